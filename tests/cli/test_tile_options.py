"""Tiles on the command line: the scale that a smallest flaw chooses, and what contradicts it."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.cli._tile_options import smallest_of
from pellucid.errors import ParameterError
from pellucid.limits.area import false_alarms_of
from pellucid.models.file import read_header
from pellucid.records.limits import FalseAlarms
from pellucid.synthesis.glass import draw_pane, write_pane
from tests.commands import pellucid_here


def test_a_smallest_flaw_in_mm_is_one_in_px():
    assert smallest_of(None, None, None, None, None) is None
    assert smallest_of(3.0, None, None, 512, None) == 3.0
    assert smallest_of(None, 1.0, 0.2, None, None) == pytest.approx(5)
    assert smallest_of(None, 1.0, (0.1, 0.25), None, None) == pytest.approx(4)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((3.0, 1.0, 0.2, None, None), "in px or in mm, not both"),
        ((None, 1.0, None, None, None), "give --mm-per-px as well"),
        ((3.0, None, None, 0, None), "leave --reduce and --tile 0 out"),
        ((3.0, None, None, None, 2), "leave --reduce and --tile 0 out"),
    ],
)
def test_what_contradicts_a_smallest_flaw(given, sentence):
    with pytest.raises(ParameterError, match=sentence):
        smallest_of(*given)


def test_a_rate_by_area_is_by_one_unit():
    assert false_alarms_of(None, None) is None
    assert false_alarms_of(0.5, None) == FalseAlarms(0.5, "m2")
    assert false_alarms_of(None, 2.0) == FalseAlarms(2.0, "megapixel")
    with pytest.raises(ParameterError, match="Give false alarms per m2 or per megapixel, not both"):
        false_alarms_of(1.0, 1.0)


def test_fit_says_what_each_scale_finds(tmp_path):
    for k in range(20):
        pane = np.clip(draw_pane(np.random.default_rng(k), (128, 160)), 0, 1)
        write_pane(tmp_path / "data" / "normal" / f"{k}.png", pane)
    model = tmp_path / "sheet.pellucid"
    options = ("--tile", "320", "--smallest-px", "5", "--outline", "map", "--set", "layers=layer1")
    options += ("--false-alarms-per-mpx", "40")
    done = pellucid_here("fit", tmp_path / "data", "-o", model, "--detector", "padim", *options)
    told = " ".join(done.stdout.split())
    assert "at their own scale: " in told
    assert "reduced 2 times: " in told
    assert told.count("(chosen)") == 1
    assert "planted flaws found" in told
    header = read_header(model)[0]
    assert (header.limit.alarm_rate, header.limit.alarm_unit) == (40, "megapixel")
    assert "Promise: models made in this way raise at most 40 false alarms per megapixel of such good glass" in told
    framing = header.fitted_images.framing
    assert f"{'reduced 2 times' if framing.reduce == 2 else 'at their own scale'}, in tiles of 320" in told
