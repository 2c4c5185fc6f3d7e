"""The value of a hyper-parameter that finds more planted flaws is chosen, and the first where none does."""

from __future__ import annotations

import numpy as np
import pytest
from commands import pellucid_here

from pellucid import detectors, load
from pellucid.acquisition.plan import Plan
from pellucid.errors import ParameterError
from pellucid.study import tuning
from pellucid.study.tuning import ValueTrial, choose_value, compare_values
from pellucid.synthesis.flaws import plant_flaw
from pellucid.synthesis.glass import write_pane
from pellucid.tiling import reach_px

SIDE = 96


def printed(seed):
    """A part with marks at the same places as on every other one, and noise of its own."""
    marks, pixels = np.random.default_rng(99), np.full((SIDE, SIDE, 3), 0.6, np.float32)
    for kind in ("stone", "seed", "dust", "scratch") * 5:
        contrast = float(marks.choice([0.1, 0.2, 0.4]))
        pixels = plant_flaw(marks, pixels, kind, int(marks.integers(3, 9)), contrast)[0]
    return np.clip(pixels[..., 0] + np.random.default_rng(seed).normal(0, 0.01, (SIDE, SIDE)), 0, 1)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("printed")
    for k in range(40):
        write_pane(folder / "normal" / f"{k:02d}.png", printed(k))
    return folder


def test_a_window_finds_what_looks_like_the_print_elsewhere(parts):
    made, plan = detectors.create("patchcore"), Plan.from_data(parts, seed=0)
    trials = compare_values(made, "window", [None, 1], plan, SIDE, false_reject=0.1)
    assert [trial.value for trial in trials] == [None, 1]
    assert sum(trials[1].found) > sum(trials[0].found) > 0
    assert choose_value(trials).value == 1
    assert made.window is None
    assert not hasattr(made, "size_"), "copies were fitted"


def test_the_first_stays_unless_another_is_better_by_more_than_chance():
    def trial(value, *found):
        return ValueTrial("window", value, tuple(bool(one) for one in found))

    usual, same, better = trial(None, *[1] * 10, *[0] * 10), trial(1, *[1] * 14), trial(2, *[1] * 15, *[0] * 5)
    same = trial(1, *[1] * 14, *[0] * 6)
    assert choose_value([usual, same]) is usual, "four more of twenty are chance"
    assert choose_value([usual, same, better]) is better
    assert choose_value([better, usual]) is better
    assert str(better) == "window=2: 15 of 20 planted flaws found"
    assert str(usual).startswith("window=none: ")
    assert str(ValueTrial("layers", ("layer2", "layer3"), (True,))).startswith("layers=layer2,layer3: 1 of 1")


def test_fit_tries_the_values_and_says_what_each_finds(parts, tmp_path):
    model = tmp_path / "m.pellucid"
    said = pellucid_here(
        *("fit", parts, "-o", model, "--image-size", "64", "--false-reject", "0.1", "--choose", "window=none/1"),
    ).stdout
    lines = [line for line in said.splitlines() if "planted flaws found" in line]
    assert len(lines) == 2
    assert [line.partition(":")[0] for line in lines] == ["window=none", "window=1"]
    chosen = next(line for line in lines if line.endswith("(chosen)"))
    assert chosen.startswith("window=none:" if load(model).detector.window is None else "window=1:")


def test_tiles_have_the_margin_that_each_value_looks_at(parts, monkeypatch):
    margins, fit_on = [], tuning.fit_on

    def note(detector, samples, size, known):
        margins.append(known.margin)
        fit_on(detector, samples, size, known)

    monkeypatch.setattr(tuning, "fit_on", note)
    monkeypatch.setattr(tuning, "find_flaws", lambda images, *_: [(True,)] * len(images))
    made, layers = detectors.create("padim", n_features=10), [("layer1",), ("layer1", "layer2", "layer3")]
    compare_values(made, "layers", layers, Plan.from_data(parts, seed=0), tile=256, false_reject=0.1)
    assert margins == [reach_px(detectors.create("padim", layers=one)) for one in layers]
    assert margins[0] < margins[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--choose", "window"], "write key=value/value, as in window=none/1/2/4"),
        (["--choose", "window=2"], "write key=value/value"),
        (["--choose", "window=none//2"], "write key=value/value"),
        (["--choose", "=1/2"], "write key=value/value"),
        (["--choose", "windows=1/2"], "windows"),
        (["--choose", "window=-1/2"], "window=-1 is not allowed"),
        (["--choose", "seed=1/2"], "seed has an option of its own"),
        (["--choose", "window=none/2", "--set", "window=1"], "window is both set and to be chosen"),
    ],
)
def test_what_cannot_be_chosen_is_said_before_an_image_is_read(tmp_path, options, words):
    found = pellucid_here("fit", tmp_path / "absent", "-o", tmp_path / "m.pellucid", *options, check=1)
    assert words in " ".join(found.stderr.split())


def test_one_image_cannot_both_teach_and_judge(tmp_path):
    write_pane(tmp_path / "normal" / "1.png", printed(1))
    plan = Plan.from_data(tmp_path, false_reject=0.5)
    with pytest.raises(ParameterError, match="layers is chosen on at least two good images"):
        compare_values(detectors.create("dfm"), "layers", [("layer2",), ("layer3",)], plan, 64)
