"""Close-ups: a gated model computes small squares around candidates, whose maps are those of whole tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from commands import pellucid_here

import pellucid
from pellucid import gating
from pellucid.acquisition.band_files import open_bands
from pellucid.acquisition.contrast import cut_strips
from pellucid.acquisition.gate import Gate
from pellucid.acquisition.tiles import Tiling, tile_planes
from pellucid.close_ups import close_up_sizes, close_ups_of
from pellucid.errors import ParameterError
from pellucid.models.load import load
from pellucid.passing import inspect_bands
from pellucid.runtimes.bands import score_bands
from pellucid.runtimes.strips import TiledImage
from pellucid.synthesis.glass import draw_pane, write_pane

SIZE = 500, 1300
CLOSE_UPS = (128, 128), (192, 192), (384, 128)  # the second would not be worth while in tiles as small as these


def pane(seed, size=SIZE):
    return np.clip(draw_pane(np.random.default_rng(seed), size), 0, 1)


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    path = tmp_path_factory.mktemp("sheet") / "flawed.tif"
    pixels = pane(50)
    for y, x, light in ((100, 300, 0.5), (380, 840, 0.5), (60, 1082, 0.95)):  # the second near the seam of two rows
        pixels[y : y + 10, x : x + 12] *= light
    pixels[20:370, 560:563] *= 0.98  # a faint line, along which the detector looks at once
    tifffile.imwrite(path, (pixels * 255).round().astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    for k in range(10):
        write_pane(folder / "normal" / f"{k}.png", pane(k, (200, 300)))
    return folder


@pytest.fixture(scope="module")
def inspector(good):
    """With a gate that these flaws pass, and nothing else."""
    fitted = pellucid.fit(good, "padim", tile=576, false_reject=0.1, n_features=10, outline="map")
    clean = (pane(50) * 255).round().astype(np.uint8)  # the flawed sheet without its flaws
    tiling = fitted.fitted_images.framing
    assert tiling == Tiling(tile=576, margin=96)
    gate = Gate.fit([clean], tiling.interior, tiling.margin).with_close_ups(*CLOSE_UPS)
    highest = max(gate.unit_strengths(*strip).max() for strip in cut_strips(clean, gate.cell, gate.context))
    return replace(fitted, gate=gate.with_threshold(float(highest)))


def test_close_ups_are_parts_of_the_whole_map(inspector, flawed):
    gated, whole = inspector.inspect(flawed), replace(inspector, gate=None).inspect(flawed)
    seen = gated.map != inspector.limit.good_level
    assert 0.05 < seen.mean() < 0.5
    assert gated.map[seen] == pytest.approx(whole.map[seen], abs=1e-3 * float(whole.map.max()))
    assert gated.score == pytest.approx(whole.score, rel=1e-3)
    assert [one.box for one in gated.defects] == [one.box for one in whole.defects]
    looks = [look for strip in TiledImage(whole.pixels, *_of(inspector))._strips for look in strip.looks]
    sizes, tile = {look.size for look in looks}, inspector.fitted_images.framing.interior
    assert sizes.issuperset(CLOSE_UPS)
    assert sizes <= {*CLOSE_UPS, (tile, tile)}  # where that is less work


def _of(inspector):
    return inspector.fitted_images.framing, inspector.gating


def test_bands_of_any_height_see_the_same_close_ups(inspector, flawed):
    expected = inspector.inspect(flawed)
    pixels = expected.pixels
    for rows in (37, 500):
        bands = [pixels[top : top + rows] for top in range(0, len(pixels), rows)]
        found = [band.map for band in score_bands(inspector.runtime, bands, *_of(inspector))]
        assert np.array_equal(np.concatenate(found), expected.map)
    assert inspect_bands(inspector, open_bands(flawed)).defects == expected.defects


@pytest.mark.parametrize("format", ["openvino", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_graph_for_close_ups_travels_with_the_export(inspector, flawed, tmp_path, format):
    inspector.export(tmp_path, format, images=[flawed])
    assert {path.stem for path in tmp_path.glob("close_up*")} == {"close_up", "close_up_2", "close_up_3"}
    exported, expected = load(tmp_path), inspector.inspect(flawed)
    assert exported.inspect(flawed).map == pytest.approx(expected.map, abs=1e-3 * float(expected.map.max()))
    many = next(iter(exported.inspect_many([flawed] * 16)))
    assert [one.box for one in many.defects] == [one.box for one in expected.defects]
    with pytest.raises(ParameterError, match="cannot compute tiles of 448 x 512 px: export it again"):
        exported.runtime.for_tiles((512, 448))
    replace(inspector, gate=None).export(tmp_path, format, images=[flawed])
    assert not list(tmp_path.glob("close_up*"))
    with pytest.raises(ParameterError, match="cannot compute tiles of 448 x 448 px: export it again"):
        load(tmp_path).runtime.for_tiles((448, 448))


@pytest.mark.slow
def test_an_int8_export_says_that_it_computes_whole_tiles(inspector, good, tmp_path, monkeypatch):
    from pellucid.models import quantise

    monkeypatch.setattr(quantise, "MIN_RANK_CORRELATION", -1)  # ten images tell nothing
    model, folder = tmp_path / "model.pellucid", tmp_path / "int8"
    inspector.save(model)
    said = " ".join(pellucid_here("export", model, "--int8", good, "-o", folder).stdout.split())
    assert "computes whole tiles where its gate lets a candidate pass" in said
    exported = load(folder)
    assert (exported.gate.close_ups, exported.gate.threshold) == ((), inspector.gate.threshold)
    assert not list(folder.glob("close_up*"))
    said = pellucid_here("export", model, "-o", tmp_path / "float32").stdout
    assert "whole tiles" not in " ".join(said.split())


class Blind:
    """A runtime whose map is the side of all that it sees: that of a part is another than that of the tile."""

    def for_tiles(self, _size):
        return self

    def score(self, pixels):
        inner = pixels[:, 0, 96:-96, 96:-96]
        return np.full(inner.shape, pixels.shape[-1], np.float32), inner.max((1, 2))


def test_whether_a_detector_sees_close_ups_is_measured(inspector):
    tile = tile_planes(pane(3, (576, 576))[..., None].astype(np.float32))
    assert close_ups_of(inspector.runtime, tile, 96) == [(128, 128), (384, 128)]
    assert close_ups_of(Blind(), tile, 96) == []
    assert close_ups_of(inspector.runtime, tile[:, :512, :512], 96) == [], "a close-up is hardly less than the tile"


def test_planted_flaws_bound_what_close_ups_lose():
    panes = [(pane(k, (640, 900)) * 255).astype(np.uint8) for k in range(20, 25)]
    gate = Gate.fit(panes[:3], 384, 128).with_close_ups(*close_up_sizes(384))

    def find(tiles):
        grey = tiles.mean(-1)
        off = np.abs(grey / np.median(grey, axis=1, keepdims=True) - 1)
        return off[:, 128:-128, 128:-128].astype(np.float32)

    opened, report = gating.set_gate(gate, [gating.Strip(one, 128) for one in panes[3:]], find, 0.05, loss=0.05)
    assert opened.threshold > -np.inf
    assert report.lost <= 0.05 * (report.found + 1)
    assert dict(report.prices)[0.05] == report.good_work
    assert f"leaves the detector {report.good_work:.1%} of its work on good glass" in report.sentence


def test_a_flaw_is_as_strong_as_the_place_that_shows_it(inspector):
    """Not as what else lies in its tile, or where the detector would not look at what it sees of the flaw."""
    seen, inside = np.zeros((12, 36), np.float32), np.zeros((384, 384), bool)
    inside[70:90, 100:120] = inside[300:310, 300:310] = True
    seen[2, 12 + 3], seen[9, 12 + 9], seen[6, 12 + 6] = 5, 50, 70
    assert gating._strength(inspector.gate, seen, 1, inside, (75, 105)) == 5
    assert gating._strength(inspector.gate, seen, 1, inside, (305, 305)) == 50
    assert gating._strength(inspector.gate, seen, 0, inside, (305, 305)) == 0
    tiles = seen.reshape(12, 3, 12).max((0, 2))
    assert gating._strength(inspector.gate.with_close_ups(), tiles, 1, inside, (75, 105)) == 70
