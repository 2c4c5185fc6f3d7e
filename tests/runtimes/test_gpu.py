"""What a machine with a GPU does otherwise: torch instead of a graph, several images in a call, exports on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pellucid
from pellucid import backbones
from pellucid.acquisition.files import image_files
from pellucid.detectors._base import Detector
from pellucid.errors import ExportError, OutputError, ParameterError
from pellucid.models import export as exporting
from pellucid.models import load as loading
from pellucid.runtimes.torch import Torch


@pytest.fixture(scope="module")
def files(glass):
    return [*image_files(glass / "abnormal_test"), *image_files(glass / "normal_test")]


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    pellucid.load(model).export(folder)
    return folder


@pytest.fixture
def on_gpu(monkeypatch):
    """A detector that says it is on a GPU, though its tensors are on the CPU."""
    own = Detector.device.fget
    monkeypatch.setattr(
        Detector, "device", property(lambda self: getattr(self, "pretended", None) or own(self)), raising=True
    )

    def pretend(detector: Detector) -> Detector:
        detector.pretended = torch.device("cuda")
        return detector

    return pretend


@pytest.mark.parametrize("size", [2, 5, 64])
def test_images_in_batches_score_as_each_alone(model, files, monkeypatch, size):
    inspector = pellucid.load(model)
    alone = list(inspector.inspect_many(files))
    calls = []
    score = Torch.score
    monkeypatch.setattr(Torch, "batch_size", size)
    monkeypatch.setattr(Torch, "score", lambda self, pixels: calls.append(len(pixels)) or score(self, pixels))
    together = list(inspector.inspect_many(files))
    assert calls == [min(size, len(files) - start) for start in range(0, len(files), size)]
    assert [i.path for i in together] == files
    for a, b in zip(alone, together, strict=True):
        assert b.score == pytest.approx(a.score, rel=1e-3)
        assert b.verdict == a.verdict
        np.testing.assert_allclose(b.map, a.map, atol=1e-3 * float(a.map.max()))


def test_a_file_that_cannot_be_read_among_others_of_its_batch(model, files, tmp_path, monkeypatch):
    monkeypatch.setattr(Torch, "batch_size", 3)
    inspector, finished, skipped = pellucid.load(model), [], []
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    mixed = [bad, *files[:2], bad, bad, bad, files[2]]
    found = list(inspector.inspect_many(mixed, finish=lambda number, _: finished.append(number), skip=skipped.append))
    assert [i.path for i in found] == files[:3]
    assert sorted(finished) == [1, 2, 6]
    assert len(skipped) == 4


def test_a_batch_is_one_image_on_a_cpu_and_smaller_where_images_are_large(model, exported, on_gpu):
    detector = pellucid.load(model, device="cpu").detector
    assert Torch(detector).batch_size == pellucid.load(exported).runtime.batch_size == 1
    on_gpu(detector)
    assert Torch(detector).batch_size == 16
    detector.size_ = torch.tensor([1024, 2048])
    assert Torch(detector).batch_size == 2
    detector.size_ = torch.tensor([8192, 8192])
    assert Torch(detector).batch_size == 1


def test_auto_takes_torch_on_a_gpu(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path))
    monkeypatch.setattr(loading, "is_cpu", lambda _: False)
    assert pellucid.load(model, "auto").runtime.name == "torch"
    assert list(tmp_path.iterdir()) == []


def test_graphs_compute_on_the_cpu(model, exported):
    assert pellucid.load(exported, device="cpu").runtime.name == "openvino"
    with pytest.raises(ParameterError, match=r"was exported and computes on the CPU, not on cuda:0: leave the device"):
        pellucid.load(exported, device="cuda:0")
    with pytest.raises(ParameterError, match=r"Runtime 'onnx' computes on the CPU, not on mps"):
        pellucid.load(model, "onnx", device="mps")
    with pytest.raises(ParameterError, match="device=gpu is not allowed"):
        pellucid.load(model, device="gpu")


@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_a_detector_on_a_gpu_is_exported_from_a_copy_on_the_cpu(model, files, tmp_path, on_gpu, monkeypatch, format):
    inspector = pellucid.load(model)
    score = inspector.inspect(files[0]).score
    traced = []
    write_graph = exporting.write_graph
    monkeypatch.setattr(exporting, "write_graph", lambda d, *more: traced.append(d) or write_graph(d, *more))
    on_gpu(inspector.detector)
    inspector.export(tmp_path / "m", format)
    assert traced[0] is not inspector.detector
    assert traced[0].device == torch.device("cpu")
    assert pellucid.load(tmp_path / "m").inspect(files[0]).score == pytest.approx(score, rel=1e-3)


@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_a_network_that_cannot_be_converted_is_not_told_as_a_disk_that_is_full(model, tmp_path, monkeypatch, format):
    def untraceable(_, pixels):
        if torch.jit.is_tracing() or torch.compiler.is_exporting():
            raise RuntimeError("no rule for this\nand a long stack")
        return pixels.mean(1), pixels.mean((1, 2, 3))

    inspector = pellucid.load(model)
    monkeypatch.setattr(type(inspector.detector), "_score", untraceable)
    message = rf"^Dfm with prism_s cannot be converted to {format}: .*no rule for this"
    with pytest.raises(ExportError, match=message):
        inspector.export(tmp_path / "m", format)
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_a_graph_that_cannot_be_written_is(model, tmp_path, format):
    detector = pellucid.load(model).detector
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        exporting.write_graph(detector, (64, 64), format, tmp_path / "file" / exporting.graph_files("model", format)[0])
    with pytest.raises(OutputError, match="Cannot write"):
        pellucid.load(model).export(tmp_path / "file" / "m", format)


def test_an_operation_without_a_rule_is_named(model, tmp_path, monkeypatch):
    inspector = pellucid.load(model)
    monkeypatch.setattr(type(inspector.detector), "_score", lambda _, p: (torch.linalg.eigh(p)[0], p.mean((1, 2, 3))))
    with pytest.raises(ExportError, match=r"to openvino: No conversion rule found for operations: aten::linalg_eigh$"):
        inspector.export(tmp_path / "m")


def test_the_copy_on_the_cpu_keeps_the_configuration_of_an_older_backbone(model, on_gpu):
    fitted = pellucid.load(model).detector
    older = dict(fitted.backbone_.config) | {"contrast_weight": 0.5}
    backbone = backbones.rebuild(older, layers=fitted.backbone_.layers, name="prism_s.v4")
    detector = type(fitted)(**fitted.parameters()).load_state(fitted.state(), backbone=backbone)
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    pixels = 0.5 + noise * torch.linspace(0, 0.5, 64)  # contrast differs from place to place
    with torch.inference_mode():
        expected, newer = detector.backbone_(pixels)[0], fitted.backbone_(pixels)[0]
    assert not expected.equal(newer)
    copied = exporting._on_cpu(on_gpu(detector))
    assert (copied.backbone_.name, copied.backbone_.config) == ("prism_s.v4", older)
    with torch.inference_mode():
        assert copied.backbone_(pixels)[0].equal(expected)
