"""Exported models: they agree with torch, run without it, and what is wrong with them is one sentence."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid import detectors, runtimes
from pellucid.acquisition.files import image_files
from pellucid.acquisition.images import as_planes, read_image
from pellucid.acquisition.plan import Plan
from pellucid.errors import DataError, ExportError, ModelFileError, ParameterError
from pellucid.limits.conformal import calibrate
from pellucid.models import export as exporting
from pellucid.models import quantise
from pellucid.models.cache import cached_folder


@pytest.fixture(scope="module")
def fitted(glass):
    from small import FAST

    fast = FAST | {"reverse_distillation": {"epochs": 1}, "stfpm": {"epochs": 1}}
    return cache(lambda name: pellucid.fit(glass, name, image_size="64x96", false_reject=0.1, **fast.get(name, {})))


@pytest.fixture(scope="module")
def exported(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    fitted("padim").export(folder)
    return folder


@pytest.fixture
def copy(exported, tmp_path):
    for file in exported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


# the contract tests export each of them to OpenVINO and PaDiM to ONNX, too
USUAL = {("padim", "openvino"), ("patchcore", "onnx")}
GRAPHS = [
    pytest.param(name, format, marks=() if (name, format) in USUAL else pytest.mark.slow)
    for name in detectors.names()
    for format in ("openvino", "onnx")
]


@pytest.mark.parametrize(("name", "format"), GRAPHS)
def test_a_graph_scores_as_torch_does_in_batches_of_any_size(fitted, glass, tmp_path, name, format):
    inspector = fitted(name)
    files = image_files(glass / "abnormal_test")
    assert inspector.export(tmp_path / "m", format, images=files[:2]).max_difference <= exporting.TOLERANCE
    opened = pellucid.load(tmp_path / "m")
    assert opened.runtime.name == format
    images = np.stack([as_planes(read_image(path), (64, 96)) for path in files[2:5]])
    for batch in (images, images[:1]):
        expected_map, expected = inspector.runtime.score(batch)
        found_map, found = opened.runtime.score(batch)
        np.testing.assert_allclose(found, expected, rtol=1e-3)
        np.testing.assert_allclose(found_map, expected_map, atol=1e-3 * float(np.abs(expected_map).max()))
    if format == "openvino":  # our runtime takes images one by one, the graph takes any number
        import openvino

        together = openvino.Core().compile_model(
            tmp_path / "m" / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )([images])
        np.testing.assert_allclose(together[1], inspector.runtime.score(images)[1], rtol=1e-3)
    one, other = inspector.inspect(files[-1]), opened.inspect(files[-1])
    assert (other.verdict, other.limit, other.p_value) == (one.verdict, one.limit, one.p_value)
    assert [d.box for d in other.defects] == [d.box for d in one.defects]
    strip = np.hstack([read_image(path) for path in files[:3]])  # of a shape that is padded and tiled
    one, other = inspector.inspect(strip), opened.inspect(strip)
    assert one.map.shape == other.map.shape == strip.shape[:2]
    assert (other.warnings, other.reason) == (one.warnings, one.reason)
    assert any("overlapping tiles" in warning for warning in one.warnings)
    assert other.score == pytest.approx(one.score, rel=1e-3)


def test_what_a_graph_has_returned_is_not_written_over(exported):
    runtime = pellucid.load(exported).runtime
    one, other = exporting.panes((64, 96), 2)
    first_map, first = runtime.score(one[None])
    kept = first_map.copy(), first.copy()
    runtime.score(other[None])
    np.testing.assert_array_equal(first_map, kept[0])
    np.testing.assert_array_equal(first, kept[1])


def test_a_graph_that_differs_is_refused_and_leaves_nothing(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="differs from torch by"):
        fitted("dfm").export(tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []


def test_the_difference_sees_scores_maps_shapes_and_numbers():
    class Fake:
        name = "torch"

        def __init__(self, maps, scores):
            self.maps, self.scores = np.float32(maps), np.float32(scores)

        def score(self, pixels):
            return np.tile(self.maps, (len(pixels), 1, 1)), np.tile(self.scores, len(pixels))

    images = [np.zeros((3, 2, 2), np.float32)]
    a = Fake([[1.0, 4.0]], 2.0)
    assert exporting.max_difference(a, a, images) == 0
    assert exporting.max_difference(a, Fake([[1.0, 4.0]], 2.5), images) == pytest.approx(0.25)
    assert exporting.max_difference(a, Fake([[2.0, 4.0]], 2.0), images) == pytest.approx(0.25)
    assert exporting.max_difference(a, Fake([[1.0, np.nan]], 2.0), images) == np.inf
    assert exporting.max_difference(a, Fake([[1.0]], 2.0), images) == np.inf


def test_the_limit_of_an_exported_model_may_be_edited(copy, glass):
    path = image_files(glass / "normal_test")[0]
    assert pellucid.load(copy).inspect(path).verdict == "ok"
    header = json.loads((copy / "model.json").read_text())
    header["model"]["limit"]["value"] = 0.0
    (copy / "model.json").write_text(json.dumps(header))
    assert pellucid.load(copy).inspect(path).verdict == "reject"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.bin", b"other", "checksum does not agree"),
        ("model.json", b"{", "is not JSON"),
        ("model.json", b"{}", "cannot be understood: format: Field required"),
        ("model.bin", None, "not a whole exported model: .*model.bin: No such file"),
        ("model.json", None, "not a whole exported model: .*model.json: No such file"),
    ],
)
def test_a_damaged_export(copy, file, content, message):
    if content is None:
        (copy / file).unlink()
    else:
        (copy / file).write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        pellucid.load(copy)


@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_a_graph_that_its_runtime_cannot_read(tmp_path, format):
    path = tmp_path / exporting.graph_files("model", format)[0]
    path.write_text("no graph")
    with pytest.raises(ModelFileError, match="cannot read"):
        exporting.RUNTIMES[format](path)


def test_an_exported_model_only_inspects(exported, tmp_path):
    with pytest.raises(ParameterError, match="An exported model only inspects"):
        pellucid.load(exported).save(tmp_path / "m.pellucid")
    with pytest.raises(ParameterError, match="exported for openvino: it cannot run on torch"):
        pellucid.load(exported, "torch")


def test_a_runtime_that_is_not_installed(exported, monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda _: None)
    with pytest.raises(
        ParameterError, match="Runtime 'openvino' needs openvino, which is not installed: pip install openvino"
    ):
        pellucid.load(exported)


def test_auto_exports_once_into_the_cache_and_falls_back_on_torch(fitted, tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "m.pellucid"
    fitted("dfm").save(path)
    assert pellucid.load(path, "auto", images=3).runtime.name == "torch"
    assert pellucid.load(path, "auto").runtime.name == "openvino"
    (graph,) = (tmp_path / "cache/graphs").iterdir()
    before = (graph / "model.bin").stat().st_mtime_ns
    assert pellucid.load(path, "auto").limit == fitted("dfm").limit
    assert (graph / "model.bin").stat().st_mtime_ns == before
    (graph / "model.bin").write_bytes(b"damaged")
    assert pellucid.load(path, "auto").runtime.name == "openvino"
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "other"))
    assert pellucid.load(path, "auto").runtime.name == "torch"
    with pytest.raises(ExportError, match="differs from torch"):
        pellucid.load(path, "openvino")


def test_the_cache_makes_room(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path))
    names = [f"{k:032x}-openvino-0" for k in range(12)]
    for k, name in enumerate(["somebody's", *names]):
        (tmp_path / "graphs" / name).mkdir(parents=True)
        os.utime(tmp_path / "graphs" / name, (k, k))
    cached_folder("f" * 64, "openvino")
    assert sorted(p.name for p in (tmp_path / "graphs").iterdir()) == [*names[5:], "somebody's"]


def test_inspecting_an_exported_model_imports_no_torch(exported, glass, tmp_path):
    path = image_files(glass / "abnormal_test")[0]
    code = f"""
import sys
from pellucid import cli
try:
    cli.app(["inspect", {str(exported)!r}, {str(path)!r}, "-o", {str(tmp_path)!r}], standalone_mode=False)
finally:
    heavy = {{"torch", "sklearn", "matplotlib", "safetensors"}} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (Path(tmp_path) / "scores.csv").exists()


@pytest.mark.slow
def test_the_slim_runtime_inspects_without_torch(exported, glass, tmp_path):
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (scripts,) = (tmp_path / "venv").glob("[bS][ic][nr]*")  # bin, or Scripts on Windows
    subprocess.run([scripts / "pip", "install", "--quiet", root / "slim"], check=True)
    assert subprocess.run([scripts / "python", "-c", "import torch"], capture_output=True, check=False).returncode == 1
    done = subprocess.run(
        [scripts / "pellucid", "inspect", exported, glass / "abnormal_test", "-o", tmp_path / "results"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rejected" in done.stdout
    fitting = subprocess.run(
        [scripts / "pellucid", "fit", glass, "-o", tmp_path / "m"], capture_output=True, text=True, check=False
    )
    assert fitting.returncode == 1
    assert "The slim runtime only inspects exported models" in fitting.stderr


@pytest.fixture(scope="module")
def quantised(fitted, glass, tmp_path_factory):
    """An int8 PatchCore; ten held-out images are too few to rank as strictly as users' are."""
    pytest.importorskip("nncf")  # which makes its logger itself
    listener, log = logging.NullHandler(), logging.getLogger("nncf")
    log.addHandler(listener)
    folder = tmp_path_factory.mktemp("quantised") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantise, "MIN_RANK_CORRELATION", 0.8)
        written = fitted("patchcore").export(folder, int8=glass)
    assert 0.8 <= written.rank_correlation <= 1
    log.removeHandler(listener)
    assert listener.level == logging.NOTSET  # pytest's listens there, too, and would hear no more warnings of anybody
    return folder


def test_an_int8_graph_holds_integers_and_its_own_limit(fitted, quantised):
    assert b'element_type="i8"' in (quantised / "model.xml").read_bytes()
    opened, original = pellucid.load(quantised), fitted("patchcore")
    moved, before = (np.array([one.limit.value, *one.limit.scores]) for one in (opened, original))
    slope = np.diff(moved[[1, -1]]) / np.diff(before[[1, -1]])  # images that were left out: carried over by a line
    np.testing.assert_allclose(moved - moved[1], slope * (before - before[1]), rtol=1e-5, atol=1e-6)
    assert 0.5 < slope < 1.5
    assert opened.limit.value == pytest.approx(original.limit.value, rel=0.3)
    assert opened.limit.value != original.limit.value


@pytest.fixture(scope="module")
def quantised_stfpm(fitted, glass, tmp_path_factory):
    """An int8 STFPM, whose limit is of held-out images."""
    folder = tmp_path_factory.mktemp("quantised_stfpm") / "model"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantise, "MIN_RANK_CORRELATION", 0.5)
        fitted("stfpm").export(folder, int8=glass)
    return folder


@pytest.mark.slow
def test_an_int8_graph_of_held_out_images_gets_its_limit_from_them(quantised_stfpm, glass):
    opened = pellucid.load(quantised_stfpm)
    held_out = Plan.from_data(glass, false_reject=0.1).split.calibrate
    scores = sorted(i.score for i in map(opened.inspect, (s.path for s in held_out)))
    np.testing.assert_allclose(opened.limit.scores, scores, rtol=1e-5)
    placed = calibrate(opened.limit.scores, opened.limit.scores, 0.1)
    assert opened.limit.value == pytest.approx(placed.value)


def test_an_int8_graph_scores_defects_as_the_model_does(fitted, quantised, glass):
    opened, original = pellucid.load(quantised), fitted("patchcore")
    for path in image_files(glass / "abnormal_test"):
        assert opened.inspect(path).score == pytest.approx(original.inspect(path).score, rel=0.3)


def test_only_the_backbone_is_in_integers(quantised_stfpm):
    import openvino

    model = openvino.Core().read_model(quantised_stfpm / "model.xml")
    convolutions = [op for op in model.get_ops() if op.get_type_name() == "Convolution"]
    integer = [
        op for op in convolutions if op.input(0).get_source_output().get_node().get_type_name() == "FakeQuantize"
    ]
    assert integer
    assert all(op.get_friendly_name().startswith("__module.backbone_") for op in integer)
    assert any(op.get_friendly_name().startswith("__module.student_") for op in convolutions)


@pytest.mark.slow
def test_an_int8_graph_that_ranks_otherwise_is_refused(fitted, glass, tmp_path, monkeypatch):
    monkeypatch.setattr(quantise, "MIN_RANK_CORRELATION", 1.1)
    with pytest.raises(ExportError, match=r"ranks 40 held-out normal images otherwise .* at least 1.1"):
        fitted("patchcore").export(tmp_path / "m", int8=glass)
    assert list((tmp_path / "m").iterdir()) == []


def test_an_int8_graph_asks_for_the_data_that_its_model_was_fitted_on(fitted, glass, tmp_path):
    shutil.copytree(glass, tmp_path / "fewer")
    image_files(tmp_path / "fewer" / "normal_train")[0].unlink()
    with pytest.raises(DataError, match="these are others"):
        fitted("patchcore").export(tmp_path / "m", int8=tmp_path / "fewer")
    with pytest.raises(ParameterError, match="leave --format onnx out"):
        fitted("patchcore").export(tmp_path / "m", "onnx", int8=glass)


def test_an_int8_graph_without_nncf(fitted, glass, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ParameterError, match=r"pip install 'pellucid\[int8\]'"):
        fitted("patchcore").export(tmp_path / "m", int8=glass)


def test_an_int8_graph_on_a_processor_that_computes_something_else(quantised, tmp_path):
    for file in quantised.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    header = json.loads((tmp_path / "model.json").read_text())
    header["reference_score"] *= 1.1
    (tmp_path / "model.json").write_text(json.dumps(header))
    with pytest.raises(ModelFileError, match=r"computes something else on this processor .* export it on this machine"):
        pellucid.load(tmp_path)


def test_a_runtime_for_many_images_computes_the_same_one_by_one_and_together(exported):
    runtime = pellucid.load(exported).runtime
    images = np.stack(exporting.panes((64, 96), 3))
    for a, b in zip(runtime.for_throughput().score(images), runtime.score(images), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(np.abs(b).max()))


def test_threads_that_score_first_at_the_same_time_do_not_wait_for_one_another(exported):
    code = f"""if True:
        import threading
        import numpy as np
        import pellucid

        inspector = pellucid.load({str(exported)!r})
        runtime, gate = inspector.runtime.for_throughput(), threading.Barrier(4)

        def score():
            gate.wait()
            runtime.score(np.zeros((1, 3, *inspector.image_size), np.float32))

        threads = [threading.Thread(target=score) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("done")
    """
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout == "done\n"
