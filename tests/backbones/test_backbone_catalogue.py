"""Names that never change their weights, configurations that rebuild a network, and other distributions' backbones."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib import resources

import pytest
import torch
from safetensors.torch import load, save_file

from pellucid import backbones
from pellucid.backbones import create, network
from pellucid.errors import ParameterError, WeightsError


@pytest.mark.parametrize("name", backbones.embedded_names())
def test_a_released_name_never_changes_its_weights(name):
    newest = backbones.entry(name)
    folder = resources.files("pellucid.backbones") / "weights"
    content = (folder / f"{name}.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == newest.sha256
    assert json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["sha256"] == newest.sha256
    assert newest == backbones.versions(name)[0] == backbones.entry(newest.full_name)
    one, two = (create(asked, layers=("layer1",)) for asked in (name, newest.full_name))
    assert one.name == two.name == newest.full_name
    assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))


RELEASED = [
    ("prism_s.v1", "2ec60019630736367eaee0d840743b6e7236ae221bbaf06aeeadfb259ad4f9e7"),
    ("prism_s.v2", "8e63b73f606b4a514d4dc24a9dab366fae5e0cbb704a748a0cba2ab9bb7b7bd3"),
    ("prism_s.v3", "379f8184d25b725ada22e71338bc3677c2aa20f3140ce4351fb6f145d6e9a612"),
    ("prism_s.v4", "00d5513e25fe2f12aa2d78a4b6018e941b51b97cc6ad7f43115b2732e3e79b03"),
    ("prism_s.v5", "28b36cc877f56a093fbdd1bf3b4c052b6c3f34e9b2516cda8aa08f8acf4b4528"),
    ("prism_s.v6", "85129c9bed8e01a52f7009717ef2f54137efbcd9e0f1a424304a7b405e6f11df"),
    ("prism_m.v1", "db796adf4adb58dc49b3f5b11443ad3f9ab611b115a91e2fea9126d90041a5dc"),
    ("prism_m.v2", "3fe164b31c180653f2f3cb9f32a4e20138dc59c67ffd158c74abbe62e84fa660"),
    ("pdn_s.v1", "614d6349d5bcc09dcd861997acc49b3732aee755c6b85deed30b7a8b59d2539b"),
]


@pytest.mark.parametrize(("name", "sha256"), RELEASED)
def test_every_released_version_is_in_the_catalogue(name, sha256):
    known = backbones.entry(name)
    assert (known.full_name, known.sha256, known.licence) == (name, sha256, "Apache-2.0")
    assert ("prism_m.v2" if known.name == "pdn_s" else "mobilenet_v2") in known.teacher
    if known.embedded:
        return
    newest = backbones.entry(known.name).full_name
    with pytest.raises(WeightsError, match=rf"'{name}' are not in the package any more: take the newest, '{newest}'"):
        create(name, layers=("layer1",))


@pytest.mark.parametrize(
    "name", ["prism_s", "prism_m", "pdn_s", "mobilenet_v2", "resnet18", "resnet50", "dinov2_small"]
)
def test_the_catalogue_counts_parameters(name):
    for known in backbones.versions(name):
        assert sum(p.numel() for p in network(known.full_name).parameters()) == known.parameters


def test_a_version_is_only_its_own_file(tmp_path):
    content = (resources.files("pellucid.backbones") / "weights/prism_s.safetensors").read_bytes()
    (tmp_path / "released.safetensors").write_bytes(content)
    assert create("prism_s", layers=("layer1",), weights=tmp_path / "released.safetensors").name == "prism_s.v6"
    own = {k: v + 1 for k, v in load(content).items()}
    save_file(own, tmp_path / "own.safetensors")
    assert create("prism_s", layers=("layer1",), weights=tmp_path / "own.safetensors").name == "prism_s"
    with pytest.raises(WeightsError, match=r"not hold the weights of 'prism_s\.v6'.* give the bare name, 'prism_s'"):
        create("prism_s.v6", layers=("layer1",), weights=tmp_path / "own.safetensors")
    with pytest.raises(ParameterError, match=r"no version of the name 'prism_s\.v99'; it has prism_s\.v6, "):
        create("prism_s.v99", layers=("layer1",))


def test_a_backbone_shows_itself_in_a_line():
    assert repr(create("prism_s", layers=("layer1", "layer3"))) == "Backbone(prism_s.v6, layer1, layer3)"


@pytest.mark.parametrize("name", ["prism_s", "prism_s.v1", "prism_m.v1", "resnet18", "resnet50", "mobilenet_v2"])
def test_a_backbone_is_rebuilt_from_its_configuration(name):
    torch.manual_seed(0)
    one = create(name, layers=("layer1", "layer2"), pretrained=False)
    two = backbones.rebuild(json.loads(json.dumps(one.config)), layers=one.layers, name=one.name)
    two.load_state_dict(one.state_dict())
    pixels = torch.rand(1, 3, 64, 96)
    for a, b in zip(one(pixels), two(pixels), strict=True):
        assert torch.equal(a, b)
    assert two.config == one.config


def test_a_family_of_a_newer_pellucid():
    with pytest.raises(ParameterError, match=r"family 'prism_v9' are unknown to this pellucid: install a newer one"):
        backbones.rebuild({"family": "prism_v9"}, layers=("layer1",), name="prism_s.v99")


def test_a_student_is_the_same_network_up_to_the_last_layer_in_use():
    backbone = create("prism_s", layers=("layer1", "layer2"))
    student = backbone.student()
    assert student.contrast_weight == 0
    assert {k: v.shape for k, v in student.state_dict().items()} == {
        k: v.shape for k, v in backbone.net.state_dict().items()
    }
    assert all(p.requires_grad for p in student.parameters())


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Install a distribution that brings backbones."""

    def install(name, **points):
        folder = tmp_path / name
        about = folder / f"{name}-1.2.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.2\nLicense-Expression: MIT\n")
        listed = "\n".join(f"{point} = {name}:{function}" for point, function in points.items())
        (about / "entry_points.txt").write_text(f"[pellucid.backbones]\n{listed}\n")
        (folder / f"{name}.py").write_text(TINY_BACKBONE)
        monkeypatch.syspath_prepend(folder)

    return install


TINY_BACKBONE = """
import torch

class Tiny(torch.nn.Module):
    mean, std, layers = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), ("layer1", "layer2")

    def __init__(self, width):
        super().__init__()
        self.layer1 = torch.nn.Conv2d(3, width, 4, 4)
        self.layer2 = torch.nn.Conv2d(width, width, 2, 2)
        self.config = {"width": width}

    def forward(self, x, last="layer2"):
        maps = {"layer1": self.layer1(x)}
        if last == "layer2":
            maps["layer2"] = self.layer2(maps["layer1"])
        return maps

def tiny(*, pretrained, width=5):
    net = Tiny(width)
    if pretrained:
        torch.nn.init.constant_(net.layer1.weight, 0.25)
    return net
"""


def test_a_backbone_of_another_distribution(distribution, glass, tmp_path, monkeypatch):
    import pellucid

    distribution("tinynets", tiny="tiny", prism_s="tiny")
    assert backbones.names()[-1] == "tiny"
    known = backbones.entry("tiny")
    assert (known.licence, known.source) == ("MIT", "distribution tinynets 1.2")
    assert "tinynets" not in sys.modules
    assert create("prism_s", layers=("layer1",)).name == "prism_s.v6"  # ours have priority
    backbone = create("tiny", layers=("layer2",))
    assert backbone.net.layer1.weight.eq(0.25).all()
    assert backbone(torch.rand(2, 3, 64, 64))[0].shape == (2, 5, 8, 8)
    inspector = pellucid.fit(glass, "dfm", image_size=64, backbone="tiny", layers=("layer1",))
    inspector.save(tmp_path / "tiny.pellucid")
    image = next((glass / "normal_test").iterdir())
    sys.modules["tinynets"].tiny.__kwdefaults__["width"] = 7  # what shapes a score is in the file
    assert pellucid.load(tmp_path / "tiny.pellucid").inspect(image).score == inspector.inspect(image).score
    assert inspector.header().backbone_config["width"] == 5
    monkeypatch.undo()
    with pytest.raises(ParameterError, match="'tiny' comes from another distribution: install the one that brings it"):
        pellucid.load(tmp_path / "tiny.pellucid")
    sys.modules.pop("tinynets")


def test_two_distributions_with_one_name(distribution):
    distribution("tinynets", tiny="tiny")
    distribution("othernets", tiny="tiny")
    with pytest.raises(ParameterError, match="More than one distribution brings a backbone 'tiny': uninstall one of"):
        create("tiny", layers=("layer1",))
    assert backbones.names().count("tiny") == 1


def test_backbones_are_listed_without_torch():
    code = "import sys; from pellucid import backbones; list(map(backbones.entry, backbones.names()));"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
