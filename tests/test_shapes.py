"""Images of any shape through one model: maps have their size, flaws their place, and padding never counts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import pellucid
from pellucid import anomalib
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.views import choose_view, framing_of, lay_out
from pellucid.cli import fit as command
from pellucid.inspector import Inspector
from pellucid.records.limits import Limit
from pellucid.study.compare import compare
from pellucid.study.measure import measure
from pellucid.study.sweep import Sweep
from pellucid.synthesis.glass import draw_pane, write_pane

SIDE = 64


def scores_of(maps, score_of):
    """Scores (B,) that follow maps (B, H, W); the highest hundredth's is twice their mean, no map's own value."""
    if score_of == "top":
        values = np.sort(maps.reshape(len(maps), -1))
        return 2 * values[:, -max(1, round(values.shape[1] / 100)) :].mean(1)
    return maps.max((1, 2)) if score_of == "peak" else maps.sum((1, 2))


class Seen:
    """A runtime whose map is how bright each pixel of the view is; what it was shown is kept."""

    name = "torch"
    parallel_requests = 1
    device = "cpu"

    def __init__(self, batch_size=1, score_of="peak"):
        self.batch_size, self.score_of = batch_size, score_of

    def for_throughput(self):
        return self

    def score(self, pixels):
        maps = pixels.mean(1)
        return maps, scores_of(maps, self.score_of)


class HotPadding(Seen):
    """A runtime that gives padding, of which it is told, the highest values."""

    def __init__(self, layout, score_of):
        super().__init__(score_of=score_of)
        self._parts = [rows_and_columns for rows_and_columns, _ in layout.parts()]
        self._next = 0

    def score(self, pixels):
        hot = np.full((1, *pixels.shape[2:]), 1000, np.float32)
        inside = self._parts[self._next % len(self._parts)]
        self._next += 1
        hot[(0, *inside)] = pixels.mean(1)[(0, *inside)]
        return hot, scores_of(hot, self.score_of)


def an_inspector(runtime, fitted_size, side=SIDE):
    view, framing = choose_view(side, framing_of([fitted_size]))
    fitted = FittedImages(data_sha256="", framing=framing)
    return Inspector(runtime, Limit(0.5, 0.5, 0.05, (0.1, 0.2)), view, fitted, 0, 0.05)


SIZES = st.tuples(st.integers(2, 400), st.integers(2, 400))
FITTED_SIZES = st.sampled_from([(64, 64), (100, 250), (250, 100), (20, 20), (300, 290)])


@given(SIZES, FITTED_SIZES, st.tuples(st.floats(0, 1), st.floats(0, 1)), st.sampled_from([1, 4]))
@example((8, 3000), (64, 64), (0.5, 0.3), 1)
@example((3000, 8), (20, 20), (0.0, 1.0), 4)
@example((60, 3000), (100, 250), (1.0, 0.99), 4)
@example((5, 5), (300, 290), (0.2, 0.2), 1)
@settings(max_examples=40)
def test_a_flaw_is_where_it_was_planted(size, fitted_size, place, batch_size):
    """A bright square on grey, of any image through any model, alone and among many."""
    reach = max(1, min(size) // 6)
    row, column = (round(reach + p * (side - 1 - 2 * reach)) for p, side in zip(place, size, strict=True))
    pixels = np.full((*size, 3), 0.2, np.float32)
    pixels[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = 1
    assume(pixels.min() < 1)
    inspector = an_inspector(Seen(batch_size), fitted_size)
    found = inspector.inspect(pixels)
    assert found.map.shape == size
    highest = np.argwhere(found.map >= found.map.max() - 1e-4).mean(0)
    layout = lay_out(size, inspector.image_size, inspector.fitted_images.framing)
    cell = [max(1, side / content) for side, content in zip(size, layout.content, strict=True)]
    marked = np.argwhere(pixels[..., 0] == 1).mean(0)
    assert np.abs(highest - marked) == pytest.approx([0, 0], abs=max(reach, *cell) + 1)
    assert found.score == pytest.approx(float(found.map.max()), abs=0.35)


@pytest.mark.slow
def test_many_files_give_what_one_gives(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(64, 64), (64, 200), (200, 64), (30, 64), (64, 500), (8, 300), (100, 100), (700, 90)] * 2
    paths = []
    for number, shape in enumerate(shapes):
        paths.append(tmp_path / f"{number:02}.png")
        cv2.imwrite(str(paths[-1]), rng.integers(0, 255, (*shape, 3), np.uint8))
    (tmp_path / "03.png").write_bytes(b"no image")
    skipped = []
    for batch_size in (1, 5):
        inspector = an_inspector(Seen(batch_size), (64, 64))
        many = list(inspector.inspect_many(paths, skip=skipped.append))
        alone = [inspector.inspect(path) for path in paths if path.name != "03.png"]
        assert [found.path for found in many] == [found.path for found in alone]
        for a, b in zip(many, alone, strict=True):
            assert (a.score, a.warnings, a.verdict) == (b.score, b.warnings, b.verdict)
            np.testing.assert_array_equal(a.map, b.map)
    assert len(skipped) == 2


@given(SIZES, FITTED_SIZES, st.sampled_from(["peak", "top", "total"]), st.integers(0, 99))
@example((8, 3000), (64, 64), "peak", 0)
@example((64, 20), (64, 64), "total", 0)
@example((64, 20), (64, 64), "top", 0)
@settings(max_examples=25)
def test_padding_never_scores(size, fitted_size, score_of, seed):
    """However high its map is: the score is that of the pixels of the image."""
    pixels = np.random.default_rng(seed).random((*size, 3), dtype=np.float32)
    quiet = an_inspector(Seen(score_of=score_of), fitted_size)
    layout = lay_out(size, quiet.image_size, quiet.fitted_images.framing)
    hot = replace(quiet, runtime=HotPadding(layout, score_of))
    a, b = quiet.inspect(pixels), hot.inspect(pixels)
    np.testing.assert_array_equal(a.map, b.map)
    assert a.score == pytest.approx(b.score, rel=1e-4)
    assert b.map.max() <= 1
    if score_of != "total":
        assert b.score <= (1 if score_of == "peak" else 2)


def test_negative_maps_are_not_scaled():
    """A map of log-likelihoods may lie below zero altogether."""

    class Below(HotPadding):
        def score(self, pixels):
            maps, _ = super().score(pixels)
            maps = np.where(maps == 1000, -0.5, maps - 3).astype(np.float32)
            return maps, maps.max((1, 2)) - 1

    inspector = an_inspector(None, (64, 64))
    layout = lay_out((20, 64), inspector.image_size, inspector.fitted_images.framing)
    found = replace(inspector, runtime=Below(layout, "peak")).inspect(np.random.default_rng(0).random((20, 64, 3)))
    assert found.score == pytest.approx(float(found.map.max()) - 1, abs=0.01)


def test_the_size_that_is_seen_is_that_of_all_tiles():
    inspector = an_inspector(None, (64, 64))
    assert inspector.seen_size((64, 64)) == inspector.seen_size((640, 640)) == (64, 64)
    assert inspector.seen_size((64, 300)) == (64, 300)
    assert inspector.seen_size((32, 64)) == (32, 64)


def test_what_is_no_number_in_one_tile_is_not_judged():
    class Broken(Seen):
        calls = 0

        def score(self, pixels):
            self.calls += 1
            maps, scores = super().score(pixels)
            return maps, np.full_like(scores, np.nan) if self.calls == 2 else scores

    found = an_inspector(Broken(), (64, 64)).inspect(np.random.default_rng(0).random((64, 300, 3)))
    assert (found.verdict, found.score) == ("reject", np.inf)
    assert found.reason.startswith("Not judged: ")


@pytest.mark.parametrize(
    ("size", "warning"),
    [
        ((64, 64), None),
        ((640, 640), None),
        ((64, 66), None),
        ((64, 40), "(width by height 0.62; there 1.00 to 1.00): it was padded to the shape that the model takes."),
        ((64, 160), "(width by height 2.50; there 1.00 to 1.00): it was scored in 3 overlapping tiles of which the"),
    ],
)
def test_one_sentence_says_what_became_of_another_shape(size, warning):
    found = an_inspector(Seen(), (64, 64)).inspect(np.random.default_rng(0).random((*size, 3)))
    if warning is None:
        assert found.warnings == ()
    else:
        (sentence,) = found.warnings
        assert sentence.startswith("Compared with those fitted on, the image is of another shape ")
        assert warning in sentence


def test_shapes_that_were_fitted_on_are_not_warned_about():
    view, framing = choose_view(64, framing_of([(64, 64)] * 9 + [(64, 200)] * 2))
    inspector = replace(an_inspector(Seen(), (64, 64)), image_size=view)
    inspector = replace(inspector, fitted_images=FittedImages(data_sha256="", framing=framing))
    assert inspector.inspect(np.random.default_rng(0).random((64, 180, 3))).warnings == ()
    assert len(inspector.inspect(np.random.default_rng(0).random((64, 300, 3))).warnings) == 1


# --- real models ----------------------------------------------------------------------------------------------------


def grey_pane(size, seed=500):
    """A pane (H, W, 3) as an 8-bit camera gives it."""
    drawn = np.clip(draw_pane(np.random.default_rng(seed), size), 0, 1)
    return np.repeat((drawn * 255).round().astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("size", [(256, 640), (640, 256), (256, 100), (100, 5000), (8, 3000), (20, 20), (256, 256)])
def test_every_shape_has_a_map_and_an_answer(size, model):
    found = pellucid.load(model).inspect(grey_pane(size))
    assert found.map.shape == size
    assert np.isfinite(found.map).all()
    assert found.reason or np.isfinite(found.score)
    sentences = [w for w in (*found.warnings, found.reason) if "high" in w or "wide" in w or "shape" in w]
    assert len(sentences) == (size != (256, 256))


def test_longer_is_no_other_scale(model):
    """A strip is tiled and judged; the same enlarged in both directions is another scale."""
    inspector = pellucid.load(model)
    strip = inspector.inspect(grey_pane((256, 1024)))
    assert strip.reason == ""
    assert any(w.startswith("Compared with those fitted on, the image is wider (width 1024 px") for w in strip.warnings)
    assert "fitted on: higher" in inspector.inspect(grey_pane((1024, 4096))).reason


@pytest.fixture(scope="module")
def oblong(tmp_path_factory) -> Path:
    """Panes of 1:2.5, a few of another shape among them."""
    folder = tmp_path_factory.mktemp("oblong")
    for number in range(30):
        size = (96, 240) if number % 10 else (96, 400)
        write_pane(folder / f"normal/{number:02}.png", draw_pane(np.random.default_rng(number), size))
        if number < 2:
            write_pane(folder / f"abnormal/{number:02}.png", draw_pane(np.random.default_rng(90 + number), size) ** 2)
    return folder


@pytest.mark.parametrize("name", ["patchcore", "padim", "dfm"])
def test_a_fit_keeps_the_shape_and_a_file_of_it_too(name, oblong, make, tmp_path):
    plan = pellucid.Plan.from_data(oblong, false_reject=0.2)
    assert any(re.match(r"\d of \d+ images to learn from have another shape than most", note) for note in plan.notes)
    inspector = pellucid.fit_split(make(name), plan.split, 64, fitted_images=plan.fitted_images(), false_reject=0.2)
    assert inspector.image_size == (64, 160)
    inspector.save(tmp_path / "m.pellucid")
    loaded = pellucid.load(tmp_path / "m.pellucid")
    assert loaded.fitted_images == inspector.fitted_images
    flawed = grey_pane((96, 400))
    flawed[40:60, 330:350] = 250
    a, b = inspector.inspect(flawed), loaded.inspect(flawed)
    assert (a.score, a.warnings) == (b.score, b.warnings) == (a.score, ())
    if name != "dfm":  # whose error spreads over all features of the image
        row, column = np.unravel_index(int(a.map.argmax()), a.map.shape)
        assert abs(row - 50) < 16
        assert abs(column - 340) < 16
    assert a.score > loaded.inspect(grey_pane((96, 400))).score


def test_a_squeeze_is_only_what_was_asked_for(oblong):
    inspector = pellucid.fit(oblong, "dfm", image_size="64x64", false_reject=0.2)
    assert inspector.image_size == (64, 64)
    header = json.loads(inspector.header().model_dump_json())
    assert header["format_version"] == 6
    assert header["score_of"] == "total"


def test_an_old_model_squeezes_as_it_did(model):
    """Without framing, as in files of format 3: any shape fills the view."""
    inspector = pellucid.load(model)
    squeezing = replace(inspector, fitted_images=inspector.fitted_images.model_copy(update={"framing": None}))
    pixels = grey_pane((256, 300))
    maps, scores = inspector.runtime.score(
        cv2.resize(pixels.astype(np.float32) / np.float32(255), (64, 64), interpolation=cv2.INTER_AREA).transpose(
            2, 0, 1
        )[None]
    )
    found = squeezing.inspect(pixels)
    assert found.score == float(scores[0])
    np.testing.assert_array_equal(found.map, cv2.resize(maps[0], (300, 256), interpolation=cv2.INTER_LINEAR))


def test_the_console_says_what_is_seen(oblong, tmp_path, capsys):
    def fitted(size):
        command.fit(oblong, tmp_path / f"{size}.pellucid", "dfm", image_size=size, false_reject=0.2)
        return " ".join("".join(capsys.readouterr()).split())

    said = fitted("64")
    assert "images to learn from have another shape than most" in said
    assert "images are seen at 64x160 px" in said
    said = fitted("64x64")
    assert "seen at 64x64 px, 2.5 times as high as they are: --image-size 64 keeps their shape" in said


@pytest.mark.filterwarnings("ignore::pellucid.anomalib._said.AnomalibWarning")
def test_anomalibs_data_module_keeps_the_shape_too(oblong, tmp_path):
    model, engine = anomalib.Dfm(), anomalib.Engine(default_root_dir=tmp_path, false_reject=0.2)
    data = anomalib.Folder(name="oblong", root=oblong, normal_dir="normal", test_split_mode="none", image_size=64)
    engine.fit(model=model, datamodule=data)
    assert model.inspector.image_size == (64, 160)
    (batch, *_) = engine.predict(model=model, datamodule=data)
    assert batch.anomaly_maps.shape[1:] == (1, 64, 160)
    exact = anomalib.Folder(name="oblong", root=oblong, normal_dir="normal", image_size=(64, 96))
    assert exact.image_size == (64, 96)


def test_a_comparison_says_which_view_a_number_became(oblong, tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.study.compare.run_all", _measured_here)
    sweep = Sweep(data=oblong, detectors=["dfm"], image_size=[64], false_reject=0.2)
    rows = compare(sweep, tmp_path).rows
    assert {row["name"]: row["image_size"] for row in rows} == {"dfm-64": "64x160"}
    assert pellucid.load(tmp_path / "dfm-64" / "model.pellucid").image_size == (64, 160)


def _measured_here(folders, *_):
    """Without a process of its own for every model."""
    for folder in folders:
        measure(folder)
    return {}
