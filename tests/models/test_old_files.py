"""Model files that earlier versions wrote load and give what those versions gave; see old_files/README.md."""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import pellucid
from pellucid import backbones
from pellucid.backbones import _catalogue
from pellucid.backbones._extractor import Backbone
from pellucid.backbones.prism import GainControl
from pellucid.errors import ModelFileError
from pellucid.models import format1
from pellucid.models.file import read_header, upgrade_header

FOLDER = Path(__file__).parent / "old_files"
FILES = sorted(path.name.removesuffix(".pellucid.xz") for path in FOLDER.glob("*.pellucid.xz"))
WEIGHTS = {
    "v1_6b78dda_prism_s": "prism_s.v1",
    "v1_6c313a1_prism_s": "prism_s.v3",
    "v1_a604b40_prism_m": "prism_m.v1",
}


def unpack(name, folder):
    path = folder / f"{name}.pellucid"
    path.write_bytes(lzma.decompress((FOLDER / f"{name}.pellucid.xz").read_bytes()))
    return path


def agrees(inspector, expected):
    found = inspector.inspect(FOLDER / "picture.png")
    assert found.score == pytest.approx(expected["score"], rel=1e-5)
    assert float(found.map.mean()) == pytest.approx(expected["map_mean"], rel=1e-5)
    assert float(found.map.max()) == pytest.approx(expected["map_max"], rel=1e-5)
    assert (found.limit, found.verdict) == (expected["limit"], expected["verdict"])


def expected_of(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_there_is_a_file_of_every_detector():
    assert {expected_of(name)["detector"] for name in FILES} == {
        "dfm",
        "fastflow",
        "padim",
        "patchcore",
        "reverse_distillation",
        "stfpm",
    }


@pytest.mark.parametrize("name", FILES)
def test_an_old_file_gives_what_it_gave(name, tmp_path):
    inspector = pellucid.load(unpack(name, tmp_path))
    agrees(inspector, expected_of(name))
    assert inspector.header().backbone == WEIGHTS.get(name, "prism_s.v6")
    inspector.save(tmp_path / "again.pellucid")
    assert read_header(tmp_path / "again.pellucid")[0] == inspector.header()
    agrees(pellucid.load(tmp_path / "again.pellucid"), expected_of(name))


@pytest.mark.parametrize("name", ["v1_patchcore", "v5_patchcore", "v5_padim"])
def test_a_score_goes_on_being_the_one_that_the_limit_is_for(name, tmp_path):
    """Models of before format 6 score by the maximum, as the papers do; what is fitted now does not by default."""
    detector = pellucid.load(unpack(name, tmp_path)).detector
    assert detector.image_score == "peak"
    assert type(detector)().image_score == "top"


@pytest.mark.parametrize("name", ["v1_patchcore", "v2_patchcore", "v3_patchcore", "v4_patchcore", "v5_patchcore"])
def test_an_old_export_gives_what_it_gave(name, tmp_path):
    shutil.copytree(FOLDER / f"{name}_openvino", tmp_path / "exported")
    found = pellucid.load(tmp_path / "exported").inspect(FOLDER / "picture.png")
    expected = expected_of(name)
    assert found.score == pytest.approx(expected["score"], rel=1e-3)
    assert float(found.map.mean()) == pytest.approx(expected["map_mean"], rel=1e-3)
    assert found.verdict == expected["verdict"]


@pytest.mark.parametrize("name", ["v1_dfm", "v1_6b78dda_prism_s"])
def test_what_the_catalogue_says_by_now_does_not_change_a_model(name, tmp_path, monkeypatch):
    pellucid.load(unpack(name, tmp_path)).save(tmp_path / "now.pellucid")
    other = backbones.create("prism_s", layers=("layer1",))
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = other(pixels)[0]

    changed = _catalogue._prism("prism_s.v6", "", 1, [24, 48, 96, 192], [1, 1, 2], embedded="changed")
    gain_control = {**_catalogue.GAIN_CONTROL, "target_deviation": 0.3, "max_gain": 2.0, "smoothings": 1}
    config = {**changed.config, "gain_control": gain_control, "contrast_weight": 0.1}
    newest = type(changed)(**{**vars(changed), "config": config, "sha256": backbones.entry("prism_s").sha256})
    monkeypatch.setattr(_catalogue, "_ENTRIES", (newest,))
    monkeypatch.setattr("pellucid.backbones.prism_v1.PrismV1.mean", (0.0, 0.0, 0.0))
    monkeypatch.setattr("pellucid.backbones.prism.Prism.std", (2.0, 2.0, 2.0))
    assert not torch.allclose(backbones.create("prism_s", layers=("layer1",))(pixels)[0], before)
    agrees(pellucid.load(tmp_path / "now.pellucid"), expected_of(name))


@pytest.mark.parametrize("known", backbones.versions("prism_s") + backbones.versions("prism_m"))
@pytest.mark.parametrize("layers", [("layer1",), ("layer1", "layer3")])
def test_other_weights_are_recognised_by_their_shapes(known, layers):
    """Weights that were never released: of the newest version whose tensors look alike."""
    backbone = backbones.create(known.full_name, layers=layers, pretrained=False)
    state = {f"backbone_.{key}": tensor for key, tensor in backbone.state_dict().items()}
    stem = state["backbone_.net.stem.0.weight"].numpy().tobytes()
    tensors = {key: {"shape": list(value.shape), "data_offsets": [0, len(stem)]} for key, value in state.items()}
    name, config = format1.recognise_backbone(known.name, tensors, memoryview(stem))
    assert name == known.name
    assert config["family"] == known.family
    rebuilt = backbones.rebuild(config, layers=layers, name=name)
    rebuilt.load_state_dict(backbone.state_dict())
    pixels = torch.rand(1, 3, 64, 64)
    for a, b in zip(rebuilt(pixels), backbone(pixels), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", [name for name in backbones.names() if not name.startswith(("prism", "pdn"))])
def test_other_families_are_what_they_were(name):
    weights, config = format1.recognise_backbone(name, {}, memoryview(b""))
    assert weights == name
    now = pytest.importorskip("transformers") and backbones.create(name, layers=("layer1",), pretrained=False)
    assert isinstance(now, Backbone)
    assert now.config == config


def test_a_header_without_tensors_is_that_of_an_export():
    upgraded = upgrade_header({"format_version": 1, "backbone": "prism_s", "backbone_sha256": "0" * 64})
    assert upgraded["backbone_config"] == {}
    assert "backbone_sha256" not in upgraded


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("resize", "lanczos", r"this pellucid knows only 'area-linear', not 'lanczos'; install a newer one"),
        ("colour", "bgr", r"this pellucid knows only 'rgb', not 'bgr'; install a newer one"),
        ("value_range", [0, 255], r"knows only \(0\.0, 1\.0\), not \(0\.0, 255\.0\); install a newer one"),
    ],
)
def test_preprocessing_that_is_not_known_is_a_sentence(field, value, sentence, tmp_path, monkeypatch):
    inspector = pellucid.load(unpack("v1_dfm", tmp_path))
    real = json.dumps

    def other(header, **options):
        return real(header | {"preprocessing": header["preprocessing"] | {field: value}}, **options)

    monkeypatch.setattr("pellucid.models.file.json.dumps", other)
    inspector.save(tmp_path / "other.pellucid")
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match=sentence):
        pellucid.load(tmp_path / "other.pellucid")


def test_the_header_says_what_shapes_a_score(tmp_path):
    header = pellucid.load(unpack("v1_dfm", tmp_path)).header()
    assert header.preprocessing.model_dump() == {"resize": "area-linear", "colour": "rgb", "value_range": (0.0, 1.0)}
    assert header.backbone_config["channels"] == [24, 48, 96, 192]
    assert GainControl(**header.backbone_config["gain_control"]).max_gain == 8.0
    assert np.shape(header.backbone_config["mean"]) == (3,)
