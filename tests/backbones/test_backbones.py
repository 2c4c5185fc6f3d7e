from __future__ import annotations

import hashlib
import socket
import sys
import threading
from importlib import resources

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, load_file, save_file

from pellucid import backbones
from pellucid.backbones import create, network
from pellucid.detectors._networks import count_parameters
from pellucid.errors import ParameterError, WeightsError
from pellucid.synthesis.fields import FIELD_COMBINATIONS, FIELD_GENERATORS, FIELD_TRANSFORMS, random_program
from pellucid.synthesis.textures import scene

PRISM_SHAPES = [(1, 24, 16, 24), (1, 32, 8, 12), (1, 160, 4, 6)]


@pytest.mark.parametrize(
    ("name", "shapes"), [("prism_s", PRISM_SHAPES), ("prism_m", PRISM_SHAPES), ("pdn_s", [(1, 192, 16, 24)])]
)
def test_embedded_weights_agree_with_their_record(name, shapes):
    out = create(name, layers=network(name).layers)(torch.rand(1, 3, 64, 96))
    assert [tuple(m.shape) for m in out] == shapes


@pytest.mark.parametrize("name", backbones.embedded_names())
def test_embedded_weights_compute_what_they_computed_after_their_training(name):
    record = resources.files("pellucid.backbones") / "weights" / f"{name}.activations.safetensors"
    expected = load(record.read_bytes())
    pixels = torch.from_numpy(scene(np.random.default_rng(0), 64)).permute(2, 0, 1)[None]
    layers = network(name).layers
    for layer, features in zip(layers, create(name, layers=layers)(pixels), strict=True):
        torch.testing.assert_close(features, expected[layer].float(), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(("name", "millions"), [("prism_s", 2), ("prism_m", 8), ("pdn_s", 2)])
def test_embedded_weights_are_as_small_as_promised(name, millions):
    assert sum(p.numel() for p in network(name).parameters()) <= millions * 1_000_000
    content = (resources.files("pellucid.backbones") / "weights" / f"{name}.safetensors").read_bytes()
    assert len(content) <= millions << 21  # two bytes a number


def moved(name):
    """A network whose batch normalisations do something."""
    torch.manual_seed(0)
    backbone = create(name, layers=("layer1", "layer3"), pretrained=False)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -1), (module.running_var, 0.5), (module.weight, 0.5)):
                torch.nn.init.uniform_(tensor, low, 2)
    return backbone


@pytest.mark.parametrize("name", ["prism_s", "resnet18", "wide_resnet50_2", "mobilenet_v2"])
def test_a_folded_backbone_computes_the_same(name):
    backbone, pixels = moved(name), torch.rand(2, 3, 64, 96)
    expected, state = backbone(pixels), {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone.fold()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone._folded[0].modules())
    for a, b in zip(backbone(pixels), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))
    after = backbone.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[k], state[k]) for k in state)


def test_a_compiled_backbone_computes_the_same_and_only_where_it_was_asked_to():
    backbone = moved("resnet18")
    with backbone.compiled(64, 96):
        for count in (3, 1):
            pixels = torch.rand(count, 3, 64, 96)
            maps = backbone.net(backbone.normalise(pixels), "layer3")
            for found, layer in zip(backbone(pixels), backbone.layers, strict=True):
                scale = float(maps[layer].abs().max())
                torch.testing.assert_close(found, maps[layer], rtol=1e-4, atol=1e-5 * scale)
    assert backbone(torch.rand(1, 3, 32, 32))[0].shape == (1, 64, 8, 8)


def test_damaged_embedded_weights_are_refused(monkeypatch, tmp_path):
    source = resources.files("pellucid.backbones") / "weights"
    content = bytearray((source / "prism_s.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/prism_s.safetensors").write_bytes(content)
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    with pytest.raises(WeightsError, match=r"embedded weights of 'prism_s\.v6' are damaged"):
        create("prism_s", layers=("layer1",))


@pytest.mark.parametrize(
    ("name", "layers", "millions"),
    [("wide_resnet50_2", ("layer2", "layer3"), 24.9), ("resnet18", ("layer1", "layer2", "layer3"), 2.8)],
)
def test_parameters_agree_with_the_report(name, layers, millions):
    backbone = create(name, layers=layers, pretrained=False)
    assert round(sum(p.numel() for p in backbone.parameters()) / 1e6, 1) == millions


def test_fastflow_trains_as_many_parameters_as_the_report_says():
    from pellucid.detectors import create as create_detector

    detector = create_detector("fastflow", backbone="resnet18", whiten=False)
    detector.backbone_ = create("resnet18", layers=detector.layers, pretrained=False)
    detector._build(128, 128)
    total, trained = count_parameters(detector)
    assert round(trained / 1e6, 1) == 2.8
    assert round((total - trained) / 1e6, 1) == 2.8


def test_mobilenet_agrees_with_tensorflow(shared):
    weights = shared / "weights"
    net = network("mobilenet_v2")
    net.load_state_dict(load_file(weights / "mobilenet_v2_imagenet.safetensors"))
    expected = load_file(weights / "mobilenet_v2_activations.safetensors")
    with torch.inference_mode():
        got = net.eval()(expected["input"])
    for k in range(7):
        torch.testing.assert_close(got[f"stage{k}"], expected[f"stage{k}"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_and_timm_checkpoints_load_unchanged(name, tmp_path):
    source = network(name)
    tensors = dict(source.state_dict()) | {"fc.weight": torch.zeros(1000, 8), "fc.bias": torch.zeros(1000)}
    torch.save(tensors, tmp_path / "net.pth")
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "net.safetensors")
    x = torch.rand(1, 3, 64, 64)
    one, two = (create(name, layers=("layer2",), weights=tmp_path / f)(x)[0] for f in ("net.pth", "net.safetensors"))
    assert torch.equal(one, two)
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.1.weight"} <= set(tensors)


def test_weights_of_another_network(tmp_path):
    save_file(dict(network("resnet18").state_dict()), tmp_path / "r18.safetensors")
    with pytest.raises(WeightsError, match="weights of another network, not of 'resnet50'"):
        create("resnet50", layers=("layer2",), weights=tmp_path / "r18.safetensors")


def test_weights_that_are_no_weights(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="neither a safetensors file nor a torch checkpoint"):
        create("resnet18", layers=("layer2",), weights=tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="does not exist"):
        create("resnet18", layers=("layer2",), weights=tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="give a file with --weights"):
        create("mobilenet_v2", layers=("layer2",))


def test_without_network_the_error_names_the_file(monkeypatch, tmp_path):
    from huggingface_hub import constants

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"bring model.safetensors of timm/wide_resnet50_2.tv_in1k.*--backbone prism_s\.$"
    ):
        create("wide_resnet50_2", layers=("layer2",))


def test_weights_come_from_a_hub_server_and_then_from_its_cache(tmp_path):
    """A real HTTP server speaks as much of the hub's protocol as its client asks for."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    import pellucid.backbones._weights as module

    save_file(dict(network("resnet18").state_dict()), tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    from huggingface_hub import hf_hub_download

    endpoint, repository = f"http://127.0.0.1:{server.server_port}", backbones.entry("resnet18").hub
    try:
        path = hf_hub_download(repository, module.FILE, endpoint=endpoint, cache_dir=tmp_path / "cache")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    again = hf_hub_download(repository, module.FILE, cache_dir=tmp_path / "cache", local_files_only=True)
    assert again == path
    create("resnet18", layers=("layer1",), weights=path)


def test_dinov2_agrees_with_transformers_from_a_local_file(tmp_path):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
    source = Dinov2Model(config).eval()
    source.save_pretrained(tmp_path)
    pixels = torch.rand(1, 3, 56, 84)
    backbone = create("dinov2_small", layers=("layer2", "block12"), weights=tmp_path / "model.safetensors")
    with torch.inference_mode():
        middle, last = backbone(pixels)
        expected = source(backbone.normalise(pixels)).last_hidden_state[:, 1:]
    assert middle.shape == last.shape == (1, 384, 4, 6)
    torch.testing.assert_close(last.flatten(2).mT, expected, atol=1e-4, rtol=1e-4)
    assert backbone(torch.rand(1, 3, 64, 64))[0].shape == (1, 384, 5, 5)  # 64 px are brought to 70
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["encoder.layer.3.norm1.weight"]
    save_file(tensors, tmp_path / "damaged.safetensors")
    with pytest.raises(WeightsError, match="1 of 223 tensors are missing or of another shape"):
        create("dinov2_small", layers=("layer2",), weights=tmp_path / "damaged.safetensors")


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [("transformers", "dinov2_small", "vit"), ("timm", "timm/resnet18", "timm")],
)
def test_a_missing_extra_is_named(monkeypatch, library, name, extra):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(WeightsError, match=rf"pip install 'pellucid\[{extra}\]'"):
        create(name, layers=("layer1",))


def test_timm_from_a_local_file(tmp_path):
    timm = pytest.importorskip("timm", reason="timm does not import beside the CPU build of torch", exc_type=Exception)
    torch.manual_seed(0)
    source = timm.create_model("resnet18.tv_in1k", pretrained=False).eval()
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, tmp_path / "r18.safetensors")
    pixels = torch.rand(1, 3, 64, 64)
    layers = ("layer1", "layer2", "layer3", "layer4")
    got = create("timm/resnet18.tv_in1k", layers=layers, weights=tmp_path / "r18.safetensors")(pixels)
    own = create("resnet18", layers=layers, weights=tmp_path / "r18.safetensors")(pixels)
    for a, b in zip(got, own, strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ParameterError, match="timm has no network 'resnet1'"):
        create("timm/resnet1", layers=layers)


def test_unknown_names():
    with pytest.raises(ParameterError, match="did you mean 'resnet18'"):
        create("resnet8", layers=("layer1",))
    with pytest.raises(ParameterError, match="has no layer layer4"):
        create("prism_s", layers=("layer4",))
    assert backbones.names()[0] == "prism_s"


def test_a_backbone_that_openvino_cannot_take_is_computed_by_torch(monkeypatch, caplog):
    import pellucid.backbones._extractor as module

    def unconvertible(*_):
        raise RuntimeError("No conversion rule\nfor this operation")

    backbone, pixels = moved("prism_s"), torch.rand(1, 3, 64, 64)
    expected = backbone(pixels)
    monkeypatch.setattr(module, "convert", unconvertible)
    with backbone.compiled(64, 64):
        found = backbone(pixels)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    (warning,) = caplog.records
    assert warning.getMessage().startswith("prism_s.v6 is not computed by OpenVINO but by torch")


@pytest.mark.parametrize("side", [56, 64])
def test_dinov2_is_compiled(side):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone, pixels = create("dinov2_small", layers=("layer1",), pretrained=False), torch.rand(2, 3, side, side)
    expected = backbone(pixels)[0]
    with backbone.compiled(side, side):
        assert backbone._compiled is not None
        torch.testing.assert_close(backbone(pixels)[0], expected, rtol=1e-3, atol=1e-3)


def test_a_backbone_is_never_trained():
    backbone = create("prism_s", layers=("layer1",)).train()
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())


def test_drawing_is_deterministic_and_of_many_kinds():
    scenes = [scene(np.random.default_rng(seed), 96) for seed in range(12)]
    again = [scene(np.random.default_rng(seed), 96) for seed in range(12)]
    for one, two in zip(scenes, again, strict=True):
        assert np.array_equal(one, two)
        assert one.shape == (96, 96, 3)
        assert one.dtype == np.float32
        assert one.min() >= 0
        assert one.max() <= 1
    assert len({image.tobytes() for image in scenes}) == len(scenes)


@pytest.mark.parametrize("field", FIELD_GENERATORS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_every_field_fills_its_range(field, seed):
    fills_its_range(field(np.random.default_rng(seed), 64))


@pytest.mark.parametrize("change", FIELD_TRANSFORMS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_changed_field_fills_its_range(change, seed):
    rng = np.random.default_rng(seed)
    fills_its_range(change(rng, random_program(rng, 64, 1)))
    fills_its_range(change(rng, np.zeros((64, 64), np.float32)))


@pytest.mark.parametrize("union", FIELD_COMBINATIONS)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_two_fields_joined_fill_their_range(union, seed):
    rng = np.random.default_rng(seed)
    one = random_program(rng, 64, 1)
    fills_its_range(union(rng, one, random_program(rng, 64, 1)))
    fills_its_range(union(rng, one, np.zeros((64, 64), np.float32)))


def fills_its_range(field):
    assert field.shape == (64, 64)
    assert field.dtype == np.float32
    assert np.isfinite(field).all()
    assert field.min() >= -1e-6, "but for rounding"
    assert field.max() <= 1 + 1e-6


def test_pdn_describes_the_33_pixels_around_every_fourth():
    torch.manual_seed(0)
    net = network("pdn_s")
    pixels = torch.rand(1, 3, 80, 96, requires_grad=True)
    described = net(pixels)["layer1"]
    assert described.shape == (1, 192, 20, 24)
    torch.testing.assert_close(described[..., 4:-4, 4:-4], net.layer1(pixels))  # nothing but the border is padded
    described[0, :, 8, 10].square().sum().backward()
    seen = pixels.grad[0].abs().sum(0).nonzero()
    assert seen.amin(0).tolist() == [8 * 4 - 16, 10 * 4 - 16]
    assert seen.amax(0).tolist() == [8 * 4 + 16, 10 * 4 + 16]
