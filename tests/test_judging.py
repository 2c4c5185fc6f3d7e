"""No `ok` for what was not judged: through files, arrays and every detector."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import pellucid
from pellucid import detectors
from pellucid._io.files import write_bytes
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.calibration import score_files
from pellucid.errors import DataError, ModelFileError, TrainingError
from pellucid.inspector import Inspector
from pellucid.records import Sample
from pellucid.records.limits import Limit
from pellucid.runtimes import Floats

SIDE = 64


class GivenRuntime:
    """A runtime that gives what it was told to; what a diverged network or a broken driver may give."""

    name = "torch"
    parallel_requests = 1
    batch_size = 1
    device = "cpu"
    score_of = "peak"

    def __init__(self, score: float, value: float) -> None:
        self._score, self._value = score, value

    def for_throughput(self):
        return self

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        maps = np.zeros((len(pixels), 16, 16), np.float32)
        maps[:, 5, 6] = self._value
        return maps, np.full(len(pixels), self._score, np.float32)


def an_inspector(score: float, value: float = 0.5, limit: float = 1.0) -> Inspector:
    known = Limit(limit, 1.0, 0.05, (0.1, 0.2, 0.3))
    return Inspector(GivenRuntime(score, value), known, (SIDE, SIDE), FittedImages(data_sha256=""), 0, 0.05)


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("score", "value"),
    [
        (math.nan, 0.5),
        (math.inf, 0.5),
        (-math.inf, 0.5),
        (0.5, math.nan),
        (0.5, math.inf),
        (0.5, -math.inf),
        (math.nan,) * 2,
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_a_score_or_map_that_is_no_number_rejects(score, value, many, picture):
    inspector = an_inspector(score, value)
    found = next(iter(inspector.inspect_many([picture]))) if many else inspector.inspect(picture)
    assert found.verdict == "reject"
    assert found.reason == "Not judged: the detector's score or map is not a finite number."
    assert (found.score, found.p_value, found.defects) == (math.inf, 1 / 4, ())
    assert np.isfinite(found.map).all()
    assert "REJECT" in repr(found).upper()
    assert found.png()


def test_a_limit_that_is_no_number_accepts_nothing(picture):
    assert an_inspector(0.5, limit=math.nan).inspect(picture).verdict == "reject"


def test_a_limit_without_end_does_not_accept_what_was_not_judged(picture):
    assert an_inspector(math.nan, limit=math.inf).inspect(picture).verdict == "reject"


def test_a_number_is_judged(picture):
    assert an_inspector(0.5).inspect(picture).verdict == "ok"
    found = an_inspector(1.5, 2.0).inspect(picture)
    assert (found.verdict, found.reason, len(found.defects)) == ("reject", "", 1)


def test_a_limit_is_not_chosen_from_what_is_no_number(picture):
    with pytest.raises(TrainingError, match=r"gave '.*a\.png' the score nan, which is no number"):
        score_files(
            GivenRuntime(math.nan, 0.5), [Sample(picture, "normal")], (SIDE, SIDE), FittedImages(data_sha256="")
        )


def test_a_limit_that_is_no_number_is_not_read(glass, tmp_path):
    inspector = pellucid.fit(glass, "dfm", image_size=SIDE, false_reject=0.2)
    broken = replace(inspector, limit=replace(inspector.limit, value=0.0))
    text = json.dumps(broken.header().model_dump(mode="json"))
    assert '"value": 0.0' in text
    broken.save(tmp_path / "m.pellucid")
    exported = tmp_path / "exported"
    broken.export(exported)
    file = exported / "model.json"
    file.write_text(file.read_text("utf-8").replace('"value": 0.0', '"value": NaN'), "utf-8")
    with pytest.raises(ModelFileError, match=r"model\.limit\.value: Input should be a finite number"):
        pellucid.load(exported)


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """Forty tiles of flat glass."""
    folder = tmp_path_factory.mktemp("line")
    files = sorted((shared / "data/flatglass_line/normal").glob("*.png"))[:40]
    for file in files:
        write_bytes(folder / "normal" / file.name, file.read_bytes())
    return folder


@pytest.mark.parametrize("name", ["patchcore", "padim", "dfm"])
def test_dead_cameras_and_sheets_are_rejected_on_real_glass(name, real, tmp_path):
    """Cases 3 and 18: black, grey, white and noisy frames were `ok`, the noisy one with p = 0.90."""
    inspector = pellucid.fit(real, name, image_size=SIDE)
    inspector.save(tmp_path / "m.pellucid")
    loaded = pellucid.load(tmp_path / "m.pellucid")
    rng = np.random.default_rng(0)
    frames = {
        "black": np.zeros((96, 96), np.uint8),
        "white": np.full((96, 96), 255, np.uint8),
        "noisy": np.clip(rng.normal(3, 2, (96, 96)), 0, 255).astype(np.uint8),
        "sheet": np.tile(cv2.imread(str(next((real / "normal").iterdir())), 0), (12, 12)),
    }
    for frame in frames.values():
        found = loaded.inspect(frame)
        assert (found.verdict, found.score) == ("reject", math.inf)
        assert found.reason.startswith("Not judged: ")
    for path in sorted((real / "normal").iterdir())[:5]:
        assert loaded.inspect(path).reason == ""


@pytest.mark.parametrize(("bits", "shift"), [(12, 0), (10, 0), (14, 0), (8, 0), (12, 4)])
def test_bits_of_a_camera_are_found_and_kept(bits, shift, tmp_path):
    """Case 17: 12-bit values in 16-bit files gave pictures that were nearly black."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    for n in range(20):
        grey = np.clip(0.6 + 0.3 * np.sin(4 * x + n) * np.cos(3 * y) + rng.normal(0, 0.01, x.shape), 0, 1)
        path = tmp_path / f"data/normal/{n:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), (grey * (2**bits - 1)).astype(np.uint16) << shift)
    plan = pellucid.Plan.from_data(tmp_path / "data")
    expected = bits + shift
    assert plan.verified.bits == expected
    told = [note for note in plan.notes if "of 16 bits hold values of" in note]
    assert [f"hold values of {expected} bits" in note for note in told] == ([True] if expected < 16 else [])
    pellucid.fit(plan, "dfm", image_size=SIDE).save(tmp_path / "m.pellucid")
    loaded = pellucid.load(tmp_path / "m.pellucid")
    found = loaded.inspect(path)
    assert found.pixels.mean() == pytest.approx(0.6, abs=0.15)
    assert np.asarray(found.picture())[:, : SIDE * 2].mean() > 80
    assert found.score == loaded.inspect(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)).score
    if expected < 16:
        with pytest.raises(
            DataError, match=f"values up to 65535, but the images that were fitted on have {expected} bits"
        ):
            loaded.inspect(np.full((SIDE, SIDE), 65535, np.uint16))


def test_images_that_are_unlike_all_others_are_told(glass, tmp_path):
    for n, path in enumerate(sorted((glass / "normal_train").iterdir())):
        write_bytes(tmp_path / "normal" / path.name, path.read_bytes())
        last = n
    dark = np.random.default_rng(0).normal(3, 2, (256, 256)).clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "normal" / "dark.png"), dark)
    plan = pellucid.Plan.from_data(tmp_path, false_reject=0.2)
    told = [note for note in plan.notes if "unlike all the others: dark.png is darker" in note]
    assert (last + 1, len(told)) == (len(list((glass / "normal_train").iterdir())), 1)


def test_a_model_remembers_its_images(glass, tmp_path):
    plan = pellucid.Plan.from_data(glass, false_reject=0.2)
    inspector = pellucid.fit(plan, "dfm", image_size=SIDE, false_reject=0.2)
    inspector.save(tmp_path / "m.pellucid")
    known = pellucid.load(tmp_path / "m.pellucid").fitted_images
    assert known == inspector.fitted_images == plan.fitted_images()
    learned = {*plan.split.fit, *plan.split.calibrate}
    for sample in plan.verified.samples.samples:
        assert known.contain(plan.verified.hashes[sample.path]) == (sample in learned)
    again = pellucid.fit_split(detectors.create("dfm"), plan.split, SIDE, false_reject=0.2)
    assert again.fitted_images == known
