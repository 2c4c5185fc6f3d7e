"""Images that pass in bands are judged as those in memory are, and their defects are told before they end."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

import pellucid
from pellucid.acquisition.band_files import open_bands
from pellucid.acquisition.bands import Band, Remarks
from pellucid.acquisition.gate import Gate
from pellucid.acquisition.geometry import Geometry, LineCamera
from pellucid.acquisition.row_streams import RawRows
from pellucid.errors import DataError, ParameterError
from pellucid.passing import inspect_bands
from pellucid.records import Ignored
from pellucid.regions.zones import Zones
from pellucid.synthesis.glass import draw_pane, write_pane


def pane(seed, size):
    return np.clip(draw_pane(np.random.default_rng(seed), size), 0, 1)


def flawed_sheet(seed=50, size=(700, 400)):
    sheet = pane(seed, size)
    for y, x in ((60, 200), (340, 380), (383, 90), (640, 30)):  # the third lies on the seam of two rows of tiles
        sheet[y : y + 8, x : x + 14] *= 0.5
    return (sheet * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def inspector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheets")
    for k in range(12):
        write_pane(folder / "normal" / f"{k:02d}.png", pane(k, (200, 260 + 40 * (k % 2))))
    return pellucid.fit(folder, "padim", tile=384, false_reject=0.1, n_features=30, outline="image", mm_per_px=0.2)


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    path = tmp_path_factory.mktemp("sheet") / "sheet.tif"
    tifffile.imwrite(path, flawed_sheet(), rowsperstrip=16)
    return path


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), 7, 100, 1000])
def test_a_file_in_bands_is_judged_as_in_memory(inspector, sheet, rows):
    expected = inspector.inspect(sheet)
    told = []
    found = inspect_bands(inspector, open_bands(sheet, rows), told.append)
    assert replace(found, map=expected.map) == replace(expected, pixels=None)
    assert found.map.shape == (0, 400)
    assert found.verdict == "reject"
    assert len(found.defects) >= 4
    assert sorted(told, key=lambda one: -one.peak) == list(found.defects)


def test_the_gate_passes_over_the_same_tiles(inspector, sheet):
    tiling = inspector.fitted_images.framing
    good = (pane(7, (700, 400)) * 255).astype(np.uint8)
    gate = Gate.fit([good], tiling.interior, tiling.margin)
    gated = replace(inspector, gate=gate.with_threshold(float(np.median(gate.strengths(flawed_sheet())))))
    expected = gated.inspect(sheet)
    found = inspect_bands(gated, open_bands(sheet, 50))
    assert replace(found, map=expected.map) == replace(expected, pixels=None)
    assert (expected.map == gated.limit.good_level).any(), "nothing was passed over"


def test_a_good_sheet_is_accepted(inspector, tmp_path):
    path = tmp_path / "sheet.tif"
    tifffile.imwrite(path, (pane(51, (700, 400)) * 255).round().astype(np.uint8))
    expected, told = inspector.inspect(path), []
    found = inspect_bands(inspector, open_bands(path), told.append)
    assert replace(found, map=expected.map) == replace(expected, pixels=None)
    assert (found.verdict, told) == ("ok", [])


def test_zones_hold_in_bands(inspector, sheet):
    for zones in (Zones(margin=45), Zones(min_area=2000), Zones(margin=180)):
        one = replace(inspector, zones=zones)
        expected, told = one.inspect(sheet), []
        found = inspect_bands(one, open_bands(sheet, 64), told.append)
        assert replace(found, map=expected.map) == replace(expected, pixels=None)
        assert any(isinstance(one, Ignored) for one in told)


class Watched(io.BytesIO):
    """Rows of a sheet, and how many were read."""

    read_bytes = 0

    def read(self, size=-1, /):
        block = super().read(size)
        self.read_bytes += len(block)
        return block


def test_defects_are_told_while_the_sheet_passes(inspector, sheet):
    stream = Watched(flawed_sheet().tobytes())
    rows_at = []
    found = inspect_bands(
        inspector, RawRows(stream, Path("line"), 400, rows=16), lambda _: rows_at.append(stream.read_bytes // 400)
    )
    expected = inspector.inspect(sheet)
    assert found.defects == expected.defects
    assert (found.score, str(found.path)) == (expected.score, "line")
    assert rows_at[0] <= 560  # of 700: a row of tiles is read ahead, and three blocks


def test_what_cannot_be_judged_is_never_accepted(inspector):
    constant = RawRows(io.BytesIO(bytes([90]) * 400 * 300), Path("line"), 400)
    found = inspect_bands(inspector, constant)
    assert (found.verdict, found.score, found.p_value > 0) == ("reject", np.inf, True)
    assert found.reason.startswith("Not judged: every pixel has the same value")
    dark = (pane(51, (300, 400)) * 2).astype(np.uint8)
    found = inspect_bands(inspector, RawRows(io.BytesIO(dark.tobytes()), Path("line"), 400))
    assert found.reason.startswith("Not judged: the image is far from those fitted on: darker")


def test_a_map_that_is_no_number_rejects(inspector, sheet, monkeypatch):
    score = type(inspector.runtime).score

    def without_numbers(self, pixels):
        maps, scores = score(self, pixels)
        return maps * np.float32(np.nan), scores

    monkeypatch.setattr(type(inspector.runtime), "score", without_numbers)
    found = inspect_bands(inspector, open_bands(sheet), lambda _: pytest.fail("told"))
    assert found.reason == "Not judged: the detector's score or map is not a finite number."
    assert found.verdict == "reject"


def test_what_was_lost_is_a_warning(inspector):
    rows = [k.to_bytes(4, "little") + row.tobytes() for k, row in enumerate(flawed_sheet()) if k != 500]
    bands = RawRows(io.BytesIO(b"".join(rows)), Path("line"), 400, line_numbers=True)
    found = inspect_bands(inspector, bands)
    assert found.warnings[0].startswith("1 of its rows did not arrive, the first of them row 500")
    assert found.sheet.height_mm == pytest.approx(140)


def test_what_no_model_or_stream_can_do(inspector, sheet, tmp_path):
    for k in range(10):
        write_pane(tmp_path / "normal" / f"{k}.png", pane(k, (256, 256)))
    whole = pellucid.fit(tmp_path, "padim", false_reject=0.1, n_features=30, outline="map")
    with pytest.raises(ParameterError, match=r"sheet.tif' is inspected band by band, but this model sees images whole"):
        inspect_bands(whole, open_bands(sheet))
    zones = Zones._drawn(np.eye(400, dtype=bool), margin=0, min_area=0)
    with pytest.raises(ParameterError, match="nobody knows the height of a stream"):
        inspect_bands(replace(inspector, zones=zones), RawRows(io.BytesIO(), Path("line"), 400))

    class Nothing:
        path, width, height, rows, remarks = Path("line"), 400, None, 256, Remarks()

        def __iter__(self):
            return iter([Band(0, np.zeros((0, 400, 3), np.float32))])

    with pytest.raises(DataError, match="'line' has no rows"):
        inspect_bands(inspector, Nothing())


def lined_sheet(line):
    sheet = flawed_sheet()
    sheet[:, 250] = line(sheet[:, 250])
    return sheet


def test_a_bold_line_from_end_to_end_is_judged_and_its_defects_are_listed(inspector, tmp_path):
    path = tmp_path / "sheet.tif"
    tifffile.imwrite(path, lined_sheet(lambda one: np.minimum(one.astype(int) + 70, 255).astype(np.uint8)))
    expected, told = inspector.inspect(path), []
    found = inspect_bands(inspector, open_bands(path, 100), told.append)
    assert replace(found, map=expected.map) == replace(expected, pixels=None)
    assert (found.verdict, found.reason) == ("reject", "")
    assert found.warnings[0].startswith(
        "Compared with those fitted on, the image is crossed by one line from end to end (line "
    )
    assert any(defect.box[0] <= 250 < defect.box[0] + defect.box[2] for defect in found.defects)
    assert len(found.defects) >= 4
    assert sorted(told, key=lambda one: -one.peak) == list(found.defects)


@pytest.mark.parametrize("margin", [0, 190])
def test_a_bold_line_on_which_nothing_counts_is_still_never_accepted(inspector, tmp_path, margin):
    path = tmp_path / "sheet.tif"
    tifffile.imwrite(path, lined_sheet(lambda one: np.minimum(one.astype(int) + 70, 255).astype(np.uint8)))
    limit = inspector.limit if margin else replace(inspector.limit, value=1e9)
    blind = replace(inspector, limit=limit, zones=Zones(margin=margin))
    expected = blind.inspect(path)
    found = inspect_bands(blind, open_bands(path, 100))
    assert replace(found, map=expected.map) == replace(expected, pixels=None)
    assert (found.verdict, found.score, found.defects) == ("reject", np.inf, ())
    assert bool(found.ignored) == bool(margin)
    assert found.reason.startswith("Not judged: compared with those fitted on, the image is crossed by one line from")
    assert found.reason.endswith("on which the detector found nothing that counts.")


def test_a_stuck_sensor_column_is_not_judged(inspector, tmp_path):
    path = tmp_path / "sheet.tif"
    tifffile.imwrite(path, lined_sheet(lambda one: np.full_like(one, 30)))
    found = inspect_bands(inspector, open_bands(path, 100))
    assert found.reason.startswith("Not judged: the image is far from those fitted on: crossed by one line as")
    assert found == replace(inspector.inspect(path), pixels=None, map=found.map)


def test_a_scale_file_places_the_same_defects_in_bands_as_in_memory(inspector, sheet):
    cameras = (LineCamera(width_px=220), LineCamera(width_px=180, overlap_px=10, offset_mm=5, skew_degrees=0.5))
    one = inspector.with_geometry(Geometry(mm_per_px=(0.2, 0.2), cameras=cameras))
    expected, told = one.inspect(sheet), []
    found = inspect_bands(one, open_bands(sheet, 64), told.append)
    assert replace(found, map=expected.map) == replace(expected, pixels=None)
    assert sorted(told, key=lambda one: -one.peak) == list(found.defects)
    for defect in found.defects:
        (centre,) = one.geometry.to_mm(np.array([defect.centroid]) + 0.5)
        assert defect.centre_mm == pytest.approx(tuple(centre))
        assert defect.box_mm[0] <= centre[0] <= defect.box_mm[2]
    plain = inspector.inspect(sheet)
    assert [one.box for one in plain.defects] == [one.box for one in found.defects]
    assert (plain.score, plain.verdict, plain.defects[0].centre_mm) == (found.score, found.verdict, None)
    narrow = inspector.with_geometry(Geometry(mm_per_px=(0.2, 0.2), cameras=cameras[:1]))
    with pytest.raises(DataError, match="The image is 400 px wide, and the cameras of the scale file are 220 px"):
        narrow.inspect(sheet)
