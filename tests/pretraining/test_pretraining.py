"""The lesson that makes prism_s: what its teacher says, and the command from the first picture to the weights."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from unittest.mock import patch

import cv2
import forks
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from torch.nn import functional as F

from pellucid.backbones import create, network
from pellucid.backbones._catalogue import CONTRAST_WEIGHT, FEATURE_CHANNELS
from pellucid.backbones.prism import Prism
from pellucid.errors import ParameterError
from pellucid.synthesis.textures import scene
from pretraining import agreement, evaluate, pictures, surfaces, train
from pretraining.teacher import Teacher, gain_control


@pytest.fixture(scope="module", autouse=True)
def _drawing_begins_at_once():
    with patch.object(pictures, "get_context", forks.get_context):
        yield


def random_weights(name, path):
    torch.manual_seed(0)
    save_file({k: v.contiguous() for k, v in network(name).state_dict().items()}, path)
    return path


@pytest.fixture(params=["mobilenet_v2", "resnet18"])
def teacher(request, tmp_path):
    return Teacher(request.param, random_weights(request.param, tmp_path / "net.safetensors"))


def drawings(count):
    images = np.stack([scene(np.random.default_rng(i), pictures.DRAWING_PX) for i in range(count)])
    return torch.from_numpy(np.round(images * 255).astype(np.uint8))


def drawn_crops(count):
    return next(pictures.crops(drawings(4), 0, 0, 1, count))[1]


def test_a_teachers_answers_fit_prisms_layers_and_are_standardised(teacher):
    clean = drawn_crops(6)
    teacher.standardise([clean])
    answers = teacher(clean)
    for layer, outputs, stride in zip(Prism.layers, FEATURE_CHANNELS, (4, 8, 16), strict=True):
        side = pictures.CROP_PX // stride
        assert answers[layer].shape == (6, outputs, side, side)
        torch.testing.assert_close(answers[layer].mean((0, 2, 3)), torch.zeros(outputs), atol=1e-3, rtol=0)
        if teacher.half_turn:  # no projection
            torch.testing.assert_close(answers[layer].std((0, 2, 3)), torch.ones(outputs), atol=1e-2, rtol=0)


def test_a_wide_teacher_is_taught_by_its_first_principal_components(tmp_path):
    from sklearn.decomposition import PCA

    teacher = Teacher("resnet18", random_weights("resnet18", tmp_path / "net.safetensors"))
    clean = drawn_crops(6)
    teacher.standardise([clean])
    features = teacher.features(clean)["layer1"].transpose(0, 1).flatten(1).T.double().numpy()
    alive = features.std(0) > 1e-6
    scaled = (features - features.mean(0)) / np.where(alive, features.std(0), 1)
    expected = PCA(FEATURE_CHANNELS[0]).fit(scaled).explained_variance_
    got = teacher(clean)["layer1"].transpose(0, 1).flatten(1).var(1).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-2)


def test_teachers_with_other_padding_see_the_same_place(tmp_path):
    """A speck has to move a teacher's features most where Prism's grid puts the speck: position i on pixel s*i."""
    teacher = Teacher("mobilenet_v2", random_weights("mobilenet_v2", tmp_path / "net.safetensors"))
    flat = torch.full((1, 3, 160, 160), 0.5)
    for at in (64, 80, 96):
        speck = flat.clone()
        speck[..., at : at + 1, at : at + 1] = 1.0
        change = (teacher.features(speck)["layer2"] - teacher.features(flat)["layer2"]).square().sum((0, 1))
        place = torch.arange(20.0) * 8
        assert abs(float((change.sum(1) * place).sum() / change.sum()) - at) < 2.5
        assert abs(float((change.sum(0) * place).sum() / change.sum()) - at) < 2.5


def test_a_teacher_with_too_few_channels(tmp_path, monkeypatch):
    monkeypatch.setattr("pretraining.teacher.FEATURE_CHANNELS", (24, 32, 999))
    weights = random_weights("resnet18", tmp_path / "net.safetensors")
    with pytest.raises(ParameterError, match="'resnet18' has 256 channels for layer3; Prism needs 999"):
        Teacher("resnet18", weights)


def test_a_dead_channel_of_the_teacher_does_no_harm(tmp_path):
    net = network("resnet18")
    with torch.no_grad():
        for parameter in (net.layer1[1].bn2.weight, net.layer1[1].bn2.bias, net.layer1[0].bn2.weight):
            parameter[0] = 0
        net.bn1.weight[0], net.bn1.bias[0], net.layer1[0].bn2.bias[0] = 0, -1, 0
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "net.safetensors")
    teacher = Teacher("resnet18", tmp_path / "net.safetensors")
    clean = drawn_crops(2)
    assert teacher.features(clean)["layer1"][:, 0].std() == 0
    teacher.standardise([clean])
    assert all(answer.isfinite().all() for answer in teacher(clean).values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--teacher", "resnet1"], "error: Unknown backbone 'resnet1': did you mean 'resnet18'?"),
        (["--teacher", "resnet18", "--weights", "absent.pth"], "absent.pth' does not exist"),
        ([], "give a file with --weights"),
    ],
)
def test_what_the_user_got_wrong_is_one_sentence(options, sentence, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", *options])
    with pytest.raises(SystemExit, match=re.escape(sentence)):
        train.run_command(train.main)


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_the_command_draws_trains_publishes_and_goes_on(tmp_path, monkeypatch, capsys):
    weights = random_weights("resnet18", tmp_path / "net.safetensors")
    out = tmp_path / "prism.safetensors"
    options = ["--images", "6", "--steps", "2", "--batch", "4", "--workers", "1", "--work", str(tmp_path / "work")]
    command = ["train", "--teacher", "resnet18", "--weights", str(weights), *options, "-o", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(train, "publish", killed)
    with pytest.raises(KeyboardInterrupt):
        train.main()
    assert "step 2/2" in capsys.readouterr().out
    (checkpoint,) = (tmp_path / "work").glob("prism_s-*.pt")
    half_way = checkpoint.read_bytes()
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", command)
    train.main()  # as after a kill between the last checkpoint and the end
    assert "step" not in capsys.readouterr().out
    first, record = out.read_bytes(), json.loads(out.with_suffix(".json").read_text())
    assert record["crops_seen"] == 8
    assert record["teacher"] == "resnet18"
    assert record["final_loss"] > 0
    assert not list((tmp_path / "work").glob("*.pt"))
    train.main()
    assert "step 2/2" in capsys.readouterr().out  # what was published is finished: it is trained anew
    assert out.read_bytes() == first
    for option, value in [("--lr", "1e-3"), ("--batch", "5"), ("--images", "7"), ("--from", str(out))]:
        checkpoint.write_bytes(half_way)
        monkeypatch.setattr(sys, "argv", [*command[:-1], str(tmp_path / "other.safetensors"), option, value])
        train.main()
        assert "step 2/2" in capsys.readouterr().out  # it does not take up another training's end
        assert (tmp_path / "other.safetensors").read_bytes() != first
    monkeypatch.setattr(sys, "argv", command)
    checkpoint.write_bytes(half_way)
    before = {path.name for path in (tmp_path / "work/drawn").iterdir()}
    monkeypatch.setattr(pictures.inspect, "getsource", lambda module: f"another {module.__name__}")
    train.main()
    assert "step 2/2" in capsys.readouterr().out  # nor what other code made, drawings or training
    assert before < {path.name for path in (tmp_path / "work/drawn").iterdir()}
    pixels = torch.from_numpy(scene(np.random.default_rng(0), 64)).permute(2, 0, 1)[None]
    published = load_file(out.with_suffix(".activations.safetensors"))
    again = create("prism_s", layers=Prism.layers, weights=out)(pixels)
    for layer, features in zip(Prism.layers, again, strict=True):
        torch.testing.assert_close(features, published[layer].float(), atol=2e-2, rtol=2e-2)


def test_a_training_that_diverges_publishes_nothing(tmp_path, monkeypatch):
    weights, out = random_weights("resnet18", tmp_path / "net.safetensors"), tmp_path / "prism.safetensors"
    command = ["train", "--teacher", "resnet18", "--weights", str(weights), "--images", "6", "--steps", "3"]
    command += ["--batch", "4", "--workers", "1", "--work", str(tmp_path / "work"), "--lr", "1e38", "-o", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    for _ in range(2):  # and nothing that could be gone on from
        with pytest.raises(
            SystemExit, match=r"error: The training diverged before step 3: give a lower --lr than 1e\+38"
        ):
            train.run_command(train.main)
        assert not out.exists()
        assert not list((tmp_path / "work").glob("*.pt"))


def test_the_weights_of_a_teacher_without_a_file_are_part_of_the_record():
    net = network("resnet18")
    first = train.state_sha256(net)
    assert first == train.state_sha256(net)
    with torch.no_grad():
        net.conv1.weight[0] += 1
    assert train.state_sha256(net) != first


@pytest.mark.slow
def test_torchrun_trains_one_network_in_two_processes(tmp_path):
    weights, out = random_weights("resnet18", tmp_path / "net.safetensors"), tmp_path / "prism.safetensors"
    options = ["--images", "6", "--steps", "3", "--batch", "4", "--workers", "1", "--work", str(tmp_path / "work")]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "pretraining.train", "--teacher", "resnet18", "--weights", str(weights), *options]
    first = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True, check=True)
    assert first.stdout.count("step 3/3") == 1
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["crops_seen"] == 24
    trained = out.read_bytes()
    further = [*command, "--from", str(out), "-o", str(tmp_path / "further.safetensors"), "--seed", "1"]
    subprocess.run(further, capture_output=True, check=True)
    assert (tmp_path / "further.safetensors").read_bytes() != trained
    assert json.loads((tmp_path / "further.json").read_text())["start"] == record
    out.with_suffix(".json").unlink()
    assert train.provenance(out) == {"sha256": hashlib.sha256(trained).hexdigest()}


def test_crops_are_the_same_again_and_others_in_another_process():
    images = drawings(3)
    (captured, clean), again, other = (next(pictures.crops(images, 0, 5, 6, 30, rank)) for rank in (0, 0, 1))
    assert captured.shape == clean.shape == (30, 3, pictures.CROP_PX, pictures.CROP_PX)
    assert torch.equal(captured, again[0])
    assert torch.equal(clean, again[1])
    assert not torch.equal(clean, other[1])


def test_crops_of_a_camera_lie_in_their_images_at_one_scale_and_turned_alike():
    """Red tells the column of a pixel and green its row; how both change across a crop tells where it was cut."""
    images = torch.full((2, pictures.DRAWING_PX, pictures.DRAWING_PX, 3), 100, dtype=torch.uint8)
    images[..., 0] = torch.arange(pictures.DRAWING_PX)
    images[..., 1] = torch.arange(pictures.DRAWING_PX)[:, None]
    inside = slice(20, -20)  # the ends of a crop in bright light are clipped
    ways = set()
    for seed in range(60):
        crop = pictures.random_crops(np.random.default_rng(seed), images, 5)
        assert 0 <= float(crop.min()) <= float(crop.max()) <= 1
        slopes = {}
        for channel in (0, 1):
            values = crop[:, channel, inside, inside]
            unclipped = (values > 0.001) & (values < 0.999)
            for axis in (1, 2):
                steps = values.diff(dim=axis)
                both = unclipped.narrow(axis, 0, steps.shape[axis]) & unclipped.narrow(axis, 1, steps.shape[axis])
                slopes[channel, axis] = torch.stack([s[b].median() for s, b in zip(steps, both, strict=True)])
        transposed = bool(slopes[0, 1].abs().max() > slopes[0, 2].abs().max())
        red, green = (slopes[0, 1], slopes[1, 2]) if transposed else (slopes[0, 2], slopes[1, 1])
        torch.testing.assert_close(red.abs(), green.abs(), rtol=0.05, atol=1e-5)
        for slope in (red, green):
            assert len(set(slope.sign().tolist())) == 1
            assert slope.abs().max() < 250 / pictures.CROP_PX / 255 * 1.2 * 1.01
        ways.add((transposed, float(red[0].sign()), float(green[0].sign())))
    assert len(ways) == 8


def test_a_cameras_noise_is_of_any_strength_and_sometimes_grey_or_smooth():
    clean, generator = torch.zeros(6, 3, pictures.CROP_PX, pictures.CROP_PX), torch.Generator().manual_seed(0)
    grey, smooth, strengths = 0, 0, []
    for seed in range(100):
        noise = pictures.camera_noise(np.random.default_rng(seed), generator, clean)
        grey += noise.shape[1] == 1
        neighbours = (noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()
        smooth += bool(neighbours > 0.05)
        strengths += noise.std((1, 2, 3)).tolist()
    assert 30 < grey < 70
    assert 15 < smooth < 45
    assert 0.00025 < min(strengths) < 0.001
    assert 0.008 < max(strengths) < 0.018


def test_two_of_five_cameras_file_their_pictures_as_jpeg():
    """What was read from a file has whole levels, what comes from a sensor has noise."""
    images = drawings(2)
    captured = torch.cat([captured for captured, _ in pictures.crops(images, 0, 0, 17, pictures.CAMERAS_PER_BATCH)])
    compressed = ((captured * 255 - (captured * 255).round()).abs() < 1e-3).all(dim=(1, 2, 3))
    assert 50 < int(compressed.sum()) < 110


@pytest.mark.parametrize("quality", [50, 60, 75, 90, 96, 100])
def test_what_a_jpeg_file_keeps_is_what_opencv_reads_back(quality):
    pixels = drawings(4)
    kept = pictures.jpeg_roundtrip(pixels.permute(0, 3, 1, 2).float() / 255, quality).permute(0, 2, 3, 1).numpy() * 255
    for before, mine in zip(pixels.numpy(), kept, strict=True):
        _, file = cv2.imencode(".jpg", before[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        read = cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32)
        changed = np.abs(read - before).mean()
        assert np.abs(read - mine).mean() < max(0.4 * changed, 0.75)  # levels; a decoder rounds in between


def test_what_is_left_unexplained_is_that_of_scikit_learns_regression():
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(3, 5, 8, 8, generator=generator) + 2
    answers = torch.einsum("bchw,dc->bdhw", seen, torch.randn(4, 5, generator=generator))
    assert agreement.unexplained(seen, answers) == pytest.approx(0, abs=1e-6)
    answers += 2 * torch.randn(answers.shape, generator=generator)
    x, y = (maps.permute(0, 2, 3, 1).flatten(0, 2).numpy() for maps in (seen, answers))
    expected = 1 - r2_score(y, LinearRegression().fit(x, y).predict(x))
    assert agreement.unexplained(seen, answers) == pytest.approx(expected, abs=1e-5)


def written(picture, path):
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.round(picture * 255).astype(np.uint8))
    return path


def test_the_agreement_of_a_folder_is_a_row_and_an_empty_folder_a_sentence(tmp_path, monkeypatch, capsys):
    weights = random_weights("resnet18", tmp_path / "net.safetensors")
    (tmp_path / "tiles").mkdir()
    command = ["agreement", "--teacher", "resnet18", "--weights", str(weights), str(tmp_path / "tiles")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match=re.escape(f"error: There are no images in '{tmp_path / 'tiles'}'.")):
        train.run_command(agreement.main)
    written(scene(np.random.default_rng(1), 64), tmp_path / "tiles/one.png")
    capsys.readouterr()
    agreement.main()
    row = capsys.readouterr().out.splitlines()[-1].strip("| ").split(" | ")
    assert row[:2] == ["tiles", "1"]
    assert all(0 < float(share) <= 1 for share in row[2:])


@pytest.mark.parametrize("kind", surfaces.FLAW_KINDS)
def test_a_flaw_on_a_surface_is_where_its_mask_says(kind):
    for seed in range(10):
        crop = np.random.default_rng(seed).uniform(0.3, 0.5, (surfaces.CROP_PX, surfaces.CROP_PX, 3)).astype(np.float32)
        spoiled, mask = surfaces.plant_flaw(np.random.default_rng((1, seed)), kind, crop)
        changed = np.abs(spoiled - crop).max(2)
        around = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) > 0
        assert 0 < mask.mean() < 0.1
        assert not changed[~around].any()
        assert changed[mask].mean() > 0.01


def test_a_surface_is_learned_from_one_half_and_tested_on_the_other():
    picture = np.full((surfaces.SURFACE_PX, surfaces.SURFACE_PX, 3), 0.25, np.float32)
    picture[:, surfaces.SURFACE_PX // 2 :] = 0.75
    made = surfaces.crops("wood.png", picture)
    assert made.learned.max() < 0.3
    assert made.clean.min() > 0.7
    assert made.flawed.median() > 0.7
    assert len(made.masks) == len(made.flawed)
    again, other = surfaces.crops("wood.png", picture), surfaces.crops("cloth.png", picture)
    torch.testing.assert_close(again.flawed, made.flawed, atol=0, rtol=0)
    assert (other.masks != made.masks).any()


def test_surfaces_are_large_and_not_flat(tmp_path):
    rough = np.random.default_rng(0).uniform(0.2, 0.8, (600, 800, 3))
    captured = surfaces.surface(written(rough, tmp_path / "rough.png"))
    assert captured.shape == (surfaces.SURFACE_PX, surfaces.SURFACE_PX, 3)
    assert surfaces.surface(written(rough[:500], tmp_path / "small.png")) is None
    rough[:, 400:] = 0.5
    assert surfaces.surface(written(rough, tmp_path / "half.png")) is None


@pytest.mark.slow
def test_what_is_found_on_surfaces_is_written_at_once_and_not_measured_again(tmp_path, monkeypatch, capsys):
    weights, folder = random_weights("resnet18", tmp_path / "net.safetensors"), tmp_path / "surfaces"
    for module in (evaluate, surfaces):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    marks = ["before", "<!-- surfaces -->", "an older table", "<!-- end of surfaces -->", "after"]
    (tmp_path / "README.md").write_text("\n".join(marks))
    options = ["--teacher", "resnet18", "--weights", str(weights), str(folder), "--detectors", "padim"]
    monkeypatch.setattr(sys, "argv", ["surfaces", *options])
    rng = np.random.default_rng(0)
    written(rng.uniform(0.3, 0.7, (512, 512, 3)), folder / "noise.png")
    written(rng.uniform(0.3, 0.7, (256, 256, 3)), folder / "small.png")
    with pytest.raises(
        SystemExit, match=re.escape("Two images are needed at least, of 512 px or more and not flat; there are 1.")
    ):
        train.run_command(surfaces.main)
    written(np.kron(rng.uniform(0.3, 0.7, (64, 64, 3)), np.ones((8, 8, 1))), folder / "tiles.png")
    surfaces.main()
    measured = (tmp_path / "surfaces.csv").read_text()
    assert len(measured.splitlines()) == 1 + 2 * 3  # surfaces, backbones
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("before\n<!-- surfaces -->\n| detector |")
    assert readme.endswith("<!-- end of surfaces -->\nafter")
    rows = [line.strip("| ").split(" | ") for line in readme.splitlines() if line.startswith("| padim |")]
    assert [row[1] for row in rows] == ["prism_m", "prism_s", "resnet18"]
    assert rows[-1][3] == "+0.0000 ± 0.0000"
    values = [float(line.split(",")[-1]) for line in measured.splitlines() if line.startswith("prism_s,")]
    assert float(rows[1][4]) == pytest.approx(np.mean(values), abs=1e-4)
    assert max(values) > 0.6  # better than guessing
    (tmp_path / "surfaces.csv").write_text("".join(measured.splitlines(keepends=True)[:-2]))  # killed before the end
    capsys.readouterr()
    surfaces.main()
    assert (tmp_path / "surfaces.csv").read_text() == measured
    assert len([line for line in capsys.readouterr().out.splitlines() if ".png" in line]) == 2


def test_prism_gives_back_the_contrast_that_the_gain_control_took():
    """Two patterns that the gain control makes alike, one four times as bold, differ in every channel."""
    rng = np.random.default_rng(0)
    pattern = torch.from_numpy(rng.standard_normal((1, 3, 128, 128), np.float32))
    pattern[..., 64:] = pattern[..., :64]
    strength = torch.full((128,), 0.02)
    strength[64:] = 0.08
    pixels = 0.5 + strength * pattern
    prism = create("prism_s", layers=Prism.layers).net
    with torch.inference_mode():
        without = prism.features(pixels, gain_control(pixels)[0])
        given = prism(pixels)
    for layer in Prism.layers:
        back = (given[layer] - without[layer])[0]
        quarter = back.shape[2] // 4
        difference = back[..., 3 * quarter].mean(1) - back[..., quarter].mean(1)
        signs = torch.tensor([1.0, -1.0]).repeat(len(back) // 2)
        torch.testing.assert_close(difference, signs * CONTRAST_WEIGHT * np.log(4), rtol=0.1, atol=0)
        brighter = prism(pixels + 0.1)[layer] - prism.features(pixels + 0.1, gain_control(pixels)[0])[layer]
        torch.testing.assert_close(brighter[0], back, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(64, 96), (50, 35)])
def test_gain_control_is_that_of_pooling_and_interpolation(size):
    def local_mean(x):
        coarse = F.avg_pool2d(x, 4, ceil_mode=True)
        for _ in range(2):
            coarse = F.avg_pool2d(coarse, 7, stride=1, padding=3, count_include_pad=False)
        return F.interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=False)

    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.1 + 0.6
    centred = x - local_mean(x)
    gain = (0.12 / (local_mean(centred.square().mean(1, keepdim=True)) + 1e-6).sqrt()).clamp(1, 8)
    lifted, got = gain_control(x)
    torch.testing.assert_close(got, gain)
    torch.testing.assert_close(lifted, centred * gain)


def test_gain_control_lifts_faint_contrast_and_leaves_bold_contrast():
    rng = np.random.default_rng(0)
    pattern = torch.from_numpy(rng.standard_normal((1, 3, 96, 96), np.float32))
    for sd, expected in ((0.005, 0.04), (0.03, 0.12), (0.2, 0.2)):
        lifted, gain = gain_control(0.5 + sd * pattern)
        assert float(lifted[..., 24:72, 24:72].std()) == pytest.approx(expected, rel=0.15)
        assert 1 <= float(gain.min()) <= float(gain.max()) <= 8
    lifted, gain = gain_control(torch.full((1, 3, 40, 56), 0.7))
    assert lifted.abs().max() < 1e-5
    assert gain.shape == (1, 1, 40, 56)
