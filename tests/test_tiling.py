"""Tiled models: their maps are those of one large image, and they fit, calibrate, travel and inspect as others do."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid
from pellucid import backbones, detectors
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.gate import Gate, Gating
from pellucid.acquisition.images import DecodedImage, to_floats
from pellucid.acquisition.tiles import Tiling
from pellucid.acquisition.views import framing_of
from pellucid.backbones._extractor import Backbone
from pellucid.errors import DataError, ParameterError
from pellucid.gating import with_gate
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.models.load import load
from pellucid.records import Sample, Split
from pellucid.regions.rows import Rows
from pellucid.runtimes.bands import score_bands
from pellucid.runtimes.scoring import score_file
from pellucid.runtimes.strips import Strip
from pellucid.runtimes.torch import Torch
from pellucid.synthesis.glass import draw_pane
from pellucid.tiling import choose_tiling, reach_px
from tests.small import FAST

MARGIN_PX = 128
INTERIOR_PX = 128
SPOT = 64, 64  # far from a border on two sides
LOOKS_AT_THE_WHOLE_TILE = {
    "cfa",  # its descriptors know their place in the image
    "dinomaly",  # every token is rebuilt from all
    "dfkde",  # one vector for all of an image
    "draem",  # its networks halve the grid twice, and look far
    "efficientad",  # its autoencoder sees a tile through a single vector
}
ONE_OF_A_KIND = {
    "patchcore",
    "padim",
    "fastflow",
    "stfpm",
    "supersimplenet",
}  # others score from the same neighbourhoods
TILED_ALIKE = [
    pytest.param(name, marks=() if name in ONE_OF_A_KIND else pytest.mark.slow)
    for name in (*sorted(set(detectors.names()) - set(LOOKS_AT_THE_WHOLE_TILE)), "patchcore+dfm")
]


def pane(seed, size):
    return np.repeat(np.clip(draw_pane(np.random.default_rng(seed), size), 0, 1)[..., None], 3, axis=2)


def flawed(seed, size):
    pixels = pane(seed, size)
    pixels[size[0] // 2 : size[0] // 2 + 12, size[1] // 2 - 4 : size[1] // 2 + 20] *= 0.5
    return pixels


def tiles(count, side):
    return torch.stack([torch.from_numpy(pane(k, (side, side)).transpose(2, 0, 1)) for k in range(count)])


def as_one(detector, side):
    """The same detector for one tile that holds all of an image of a side."""
    backbone = backbones.rebuild(detector.backbone_.config, layers=detector.layers, name=detector.backbone_.name)
    state = detector.state() | {"size_": torch.tensor([side + 2 * int(detector.margin_)] * 2)}
    return type(detector)(**detector.parameters()).load_state(state, backbone=backbone)


def scored(detector, pixels):
    tiling = Tiling(tile=int(detector.size_[0]), margin=int(detector.margin_))
    known = FittedImages(data_sha256="", framing=tiling)
    return score_file(Torch(detector), Path("pane.png"), DecodedImage(pixels), (tiling.tile, tiling.tile), known)


@pytest.mark.parametrize("name", TILED_ALIKE)
def test_tiles_give_the_map_of_one_large_image(name):
    """Also at the true borders, which both mirror."""
    small = {key: value for key, value in FAST.get(name, {}).items() if key != "epochs"}
    trained = {"epochs": 1} if "epochs" in detectors.create(name).parameters() else {}
    detector = detectors.create(name, **small, **trained)
    margin = reach_px(detector)
    detector.fit(tiles(3, 2 * margin + INTERIOR_PX).split(1), margin=margin)
    pixels = flawed(9, (3 * INTERIOR_PX, 3 * INTERIOR_PX))
    found = scored(detector, pixels)
    one = scored(as_one(detector, 3 * INTERIOR_PX), pixels)
    assert found.map == pytest.approx(one.map, abs=1e-3 * float(np.abs(one.map).max()))
    assert found.score == found.map.max() == pytest.approx(one.score, rel=1e-3)
    peak = np.unravel_index(found.map.argmax(), found.map.shape)
    assert np.abs(np.array(peak) - [198, 200]).max() < 40, "the flaw is not what stands out"
    limit = float(np.quantile(one.map, 0.98))
    assert ((found.map > limit) != (one.map > limit)).mean() < 1e-3
    good = pane(10, pixels.shape[:2])  # whose map has a far lower peak to be measured by
    clean = scored(as_one(detector, 3 * INTERIOR_PX), good).map
    assert scored(detector, good).map == pytest.approx(clean, abs=1e-3 * float(np.abs(clean).max()))
    assert _reach_of_a_spot(as_one(detector, 3 * INTERIOR_PX), good, clean) <= margin


def _reach_of_a_spot(detector, good, clean):
    """How far from a black spot of four pixels the map is another by more than a thousandth of its peak, px."""
    y, x = SPOT
    spotted = good.copy()
    spotted[y : y + 2, x : x + 2] = 0
    changed = np.abs(scored(detector, spotted).map - clean) > 1e-3 * float(np.abs(clean).max())
    rows, columns = np.nonzero(changed)
    return max(np.abs(rows - y).max(), np.abs(columns - x).max())


@pytest.mark.parametrize("name", ["patchcore", "padim", "dfm"])
def test_leaving_a_group_out_is_a_fit_without_it(name, monkeypatch):
    """But for the usual contrast, which all tiles share."""
    own = {"patchcore": {"coreset_sampling_ratio": 1.0, "layers": ("layer3",)}, "padim": {"n_features": 12}}
    detector, without = (detectors.create(name, **own.get(name, {})) for _ in range(2))
    margin = reach_px(detector)
    seen = tiles(4, 2 * margin + INTERIOR_PX)
    level_of, level = Backbone.with_level_of, seen[:2]
    monkeypatch.setattr(Backbone, "with_level_of", lambda self, _: level_of(self, [level]))
    left_out = detector.fit_leaving_out(seen.split(1), [0, 0, 1, 2], margin=margin)
    found = [one for maps, scores in left_out for one in zip(maps, scores, strict=True)]
    expected = without.fit(seen[2:].split(1), margin=margin).score(seen[:2])
    for (found_map, score), expected_map, expected_score in zip(found[:2], *expected, strict=True):
        assert torch.allclose(found_map, expected_map, rtol=1e-3, atol=1e-3 * float(expected_map.abs().max()))
        assert float(score) == pytest.approx(float(expected_score), rel=1e-3)


def test_nothing_is_left_without_the_only_group():
    for name in ("patchcore", "padim", "dfm"):
        detector = detectors.create(name, **FAST.get(name, {}))
        with pytest.raises(DataError, match="without"):
            list(detector.fit_leaving_out(tiles(2, 512).split(1), [0, 0], margin=192))


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    """Good sheets of two sizes, and one with a flaw of 12 by 24 px."""
    from pellucid.synthesis.glass import write_pane

    folder = tmp_path_factory.mktemp("sheets")
    for k in range(12):
        write_pane(folder / "normal" / f"{k:02d}.png", pane(k, (200, 260 + 40 * (k % 2)))[..., 0])
    write_pane(folder / "flawed.png", flawed(50, (230, 400))[..., 0])
    write_pane(folder / "good.png", pane(51, (230, 400))[..., 0])
    return folder


@pytest.fixture(scope="module")
def inspector(sheets):
    return pellucid.fit(sheets, "padim", tile=384, false_reject=0.1, n_features=30, outline="map")


def test_a_sheet_of_another_size_is_judged_at_its_own_scale(inspector, sheets):
    found = inspector.inspect(sheets / "flawed.png")
    assert found.verdict == "reject"
    assert found.map.shape == (230, 400)
    assert not found.warnings
    left, top, width, height = found.defects[0].box
    assert left < 206 < left + width
    assert top < 121 < top + height
    assert inspector.inspect(sheets / "good.png").verdict == "ok"
    assert found.score == found.map.max()
    assert inspector.limit.pixel <= inspector.limit.value
    assert segmentation_threshold(found.map, 5.0, tiled=True) == 5.0


def test_a_tiled_model_travels(inspector, sheets, tmp_path):
    inspector.save(tmp_path / "tiled.pellucid")
    expected = inspector.inspect(sheets / "flawed.png")
    found = load(tmp_path / "tiled.pellucid").inspect(sheets / "flawed.png")
    assert np.array_equal(found.map, expected.map)
    assert found.defects == expected.defects
    inspector.export(tmp_path / "graph", "openvino", images=[sheets / "flawed.png"])
    exported = load(tmp_path / "graph").inspect(sheets / "flawed.png")
    assert exported.map == pytest.approx(expected.map, abs=1e-3 * float(expected.map.max()))
    assert exported.verdict == "reject"


def test_reduced_tiles_give_a_map_of_the_images_own_size(sheets):
    found = pellucid.fit(sheets, "padim", tile=384, reduce=2, false_reject=0.1, n_features=30, outline="map")
    assert found.seen_size((230, 401)) == (115, 201)
    assert found.inspect(sheets / "flawed.png").map.shape == (230, 400)
    assert found.inspect(sheets / "flawed.png").verdict == "reject"


def test_zones_place_the_limit_for_what_counts(inspector, sheets):
    """Of a tiled model the score of what counts is the map's highest value there, and no image has two."""
    from pellucid.regions.zones import Zones

    zones = Zones(margin=60)
    found = pellucid.fit(sheets, "padim", tile=384, false_reject=0.1, n_features=30, outline="map", zones=zones)
    assert found.limit.value <= inspector.limit.value
    assert replace(found, zones=Zones(margin=100)).inspect(sheets / "flawed.png").verdict == "reject"


def test_large_images_are_tiled_and_small_ones_are_not():
    detector = detectors.create("padim")
    large, small = framing_of([(2048, 3000)] * 3), framing_of([(1023, 4000)] * 3)
    assert choose_tiling(detector, None, 1, (256, 384), large) == Tiling(tile=1024, margin=96)
    assert choose_tiling(detector, None, 1, (256, 256), small) is None
    assert choose_tiling(detector, 0, 1, (256, 256), large) is None
    assert choose_tiling(detector, None, 4, (256, 256), small) == Tiling(tile=1024, margin=96, reduce=4)
    assert choose_tiling(detector, None, 1, (256, 256), None) is None


def test_a_tile_that_the_margin_eats_is_refused(sheets):
    with pytest.raises(
        ParameterError, match="256 px are too small for patchcore on prism_s, which looks 128 px around"
    ):
        pellucid.fit(sheets, "patchcore", tile=256, false_reject=0.1)


def test_defects_do_not_teach_tiled_models(sheets):
    good = tuple(Sample(path, "normal") for path in sorted((sheets / "normal").glob("*.png")))
    split = Split(good, (), (Sample(sheets / "flawed.png", "abnormal"),) * 10, ())
    with pytest.raises(ParameterError, match="teach only detectors that see whole images: give tile=0"):
        pellucid.fit_split(detectors.create("padim"), split, tile=384, learn_defects=True)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("padim", {}, 96),
        ("patchcore", {}, 128),
        ("dfm", {}, 192),
        ("stfpm", {}, 128),
        ("reverse_distillation", {}, 256),
    ],
)
def test_the_reach_is_measured(name, arguments, expected):
    assert reach_px(detectors.create(name, **arguments)) == expected


class Counted:
    """A runtime whose map is the mean of its neighbours, which knows where a tile's own border is."""

    name, device, score_of = "torch", "cpu", "peak"

    def __init__(self, tiling, batch_size, parallel_requests):
        self.tiling, self.batch_size, self.parallel_requests = tiling, batch_size, parallel_requests

    def for_throughput(self):
        return self

    def for_tiles(self, size):
        assert size == (self.tiling.tile, self.tiling.tile)
        return self

    def score(self, pixels):
        inner = np.s_[self.tiling.margin : self.tiling.margin + self.tiling.interior]
        maps = np.stack(
            [cv2.blur(one.mean(0), (31, 31), borderType=cv2.BORDER_CONSTANT)[inner, inner] for one in pixels]
        )
        return maps, maps.max((1, 2))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 900), st.integers(1, 500), st.integers(1, 3), st.data())
def test_bands_of_any_height_give_the_map_of_the_whole(height, width, reduce, data):
    tiling = Tiling(tile=256, margin=64, reduce=reduce)
    runtime = Counted(tiling, data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2)))
    values = np.random.default_rng(0).random((height, width, 3), np.float32)
    if data.draw(st.booleans(), label="8 bit"):
        values = (values * 255).astype(np.uint8)
    grey_rows = data.draw(st.integers(0, height))
    values[:grey_rows] = values[:grey_rows, :, :1]
    pixels = to_floats(values)
    cuts = sorted({0, height, *data.draw(st.lists(st.integers(0, height), max_size=6))})
    bands = [values[top:bottom] for top, bottom in itertools.pairwise(cuts)]
    found = list(score_bands(runtime, bands, tiling))
    whole = score_file(
        runtime, Path("sheet.png"), DecodedImage(pixels), (256, 256), FittedImages(data_sha256="", framing=tiling)
    )
    assert np.array_equal(np.concatenate([band.map for band in found]), whole.map)
    assert [band.top for band in found] == list(np.cumsum([0, *(len(band.map) for band in found)])[:-1])
    assert np.array_equal(np.concatenate([np.broadcast_to(b.values, (*b.values.shape[:2], 3)) for b in found]), values)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 700), st.integers(200, 600), st.integers(1, 2), st.data())
def test_bands_pass_over_the_same_tiles_as_the_whole(height, width, reduce, data):
    tiling = Tiling(tile=256, margin=64, reduce=reduce)
    rng = np.random.default_rng(0)
    values = np.repeat((rng.normal(0.5, 0.02, (height, width, 1)) * 255).astype(np.uint8), 3, axis=2)
    pixels = to_floats(values)
    gate = Gate.fit([values], tiling.interior, tiling.margin).with_threshold(1.0)
    gating = Gating(gate, -7.0)
    runtime, known = Counted(tiling, 2, 1), FittedImages(data_sha256="", framing=tiling)
    whole = score_file(runtime, Path("sheet.png"), DecodedImage(pixels), (256, 256), known, gating)
    cuts = sorted({0, height, *data.draw(st.lists(st.integers(0, height), max_size=4))})
    seen = values if data.draw(st.booleans(), label="8 bit") else pixels
    bands = [seen[top:bottom] for top, bottom in itertools.pairwise(cuts)]
    found = np.concatenate([band.map for band in score_bands(runtime, bands, tiling, gating)])
    assert np.array_equal(found, whole.map)
    every = score_file(runtime, Path("sheet.png"), DecodedImage(pixels), (256, 256), known)
    over = whole.map == -7.0
    if reduce == 1:
        assert np.array_equal(whole.map[~over], every.map[~over])
        assert over.any() == (not gate.candidates(pixels).all())


def test_a_gate_travels_with_its_model(sheets, inspector, tmp_path):
    """Planted flaws set it; what it passes over is good glass, and what it shows is judged as before."""
    gated = with_gate(
        inspector, Split(tuple(Sample(p, "normal") for p in sorted((sheets / "normal").glob("*"))), (), (), ()), 0.1
    )
    assert gated.gate is not None
    assert gated.gate_report.found >= 9
    assert gated.gate_report.sentence.startswith("The gate leaves the detector ")
    expected = gated.inspect(sheets / "flawed.png")
    assert expected.verdict == inspector.inspect(sheets / "flawed.png").verdict == "reject"
    assert next(iter(gated.inspect_many([sheets / "flawed.png"]))).score == expected.score
    gated.save(tmp_path / "gated.pellucid")
    loaded = load(tmp_path / "gated.pellucid")
    assert loaded.gate_report == gated.gate_report
    assert np.array_equal(loaded.inspect(sheets / "flawed.png").map, expected.map)
    gated.export(tmp_path / "graph", "openvino", images=[sheets / "flawed.png"])
    exported = load(tmp_path / "graph")
    assert exported.gate.threshold == gated.gate.threshold
    assert exported.inspect(sheets / "flawed.png").map == pytest.approx(
        expected.map, abs=1e-3 * float(expected.map.max())
    )


def test_only_tiled_models_have_a_gate(sheets):
    with pytest.raises(ParameterError, match="A gate passes over tiles: give --tile as well"):
        pellucid.fit(sheets, "padim", image_size=64, false_reject=0.1, n_features=5, outline="map", gate_loss=0.1)
    with pytest.raises(ParameterError, match="it is a share of the flaws, from 0 to below 1"):
        pellucid.fit(sheets, "padim", tile=384, gate_loss=1.0)


def test_memory_is_that_of_four_rows_of_tiles(monkeypatch):
    """However many rows there are, and whatever their bands: of what came, what waits, and what is computed."""
    tiling, kept = Tiling(tile=256, margin=64), []
    add = Rows.add

    def counted(self, band):
        add(self, band)
        kept.append(self.end - self.start)

    monkeypatch.setattr(Rows, "add", counted)
    bands = (np.full((37, 300, 1), k / 100, np.float32) for k in range(100))
    assert sum(len(band.map) for band in score_bands(Counted(tiling, 1, 1), bands, tiling)) == 3700
    assert max(kept) <= tiling.tile + 2 * tiling.interior + 2 * 37


def test_what_a_detector_sees_is_cut_from_the_mirrored_image():
    tiling = Tiling(tile=256, margin=64)
    image = np.random.default_rng(0).random((300, 330, 1), np.float32)
    rows = Rows()
    for top in range(0, 300, 70):
        rows.add(image[top : top + 70])
    whole = np.pad(image[..., 0], 400, mode="reflect")
    strips = [Strip(rows, top, 330, tiling, None) for top in range(0, 300, tiling.interior)]
    assert [(look.row, look.column) for strip in strips for look in strip.looks] == list(
        itertools.product((0, 128, 256), repeat=2)
    )
    for strip in strips:
        for look in strip.looks:
            expected = whole[400 + look.row - 64 :, 400 + look.column - 64 :][:256, :256]
            assert np.array_equal(strip.planes(look), np.broadcast_to(expected, (3, 256, 256)))
