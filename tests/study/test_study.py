"""What follows from scores: operating points, the shift test, parts of the test set, sweeps."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from pellucid.errors import DataError, ParameterError
from pellucid.limits.conformal import calibrate
from pellucid.limits.costs import Costs
from pellucid.records import Inspection, Sample
from pellucid.records.limits import Limit
from pellucid.study.evaluate import evaluate_scored
from pellucid.study.measure import worth_seeing
from pellucid.study.operating import (
    HELD_OUT_NORMALS,
    TEST_LABELS,
    TRAINING_DEFECTS,
    cheapest_limit,
    escape_limit,
    operating_points,
)
from pellucid.study.results import ScoredSample
from pellucid.study.shift import shift
from pellucid.study.sweep import Sweep

SCORES = st.lists(st.integers(0, 15).map(float), min_size=1, max_size=40)


# --- operating points -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_escapes_keep_their_promise(rate):
    rng = np.random.default_rng(0)
    escaped = []
    for _ in range(400):
        scores = rng.gamma(2.0, size=60 + 300)
        escaped.append((scores[60:] <= escape_limit(scores[:60], rate)).mean())
    expected = np.floor(61 * rate + 1e-9) / 61
    assert abs(np.mean(escaped) - expected) < 4 * np.std(escaped) / 20
    assert expected <= rate


def test_too_few_defects_promise_nothing():
    assert escape_limit([1.0] * 18, 0.05) is None
    assert escape_limit([3.0, *range(4, 22)], 0.05) == np.nextafter(3.0, -np.inf)


@given(SCORES, SCORES, st.sampled_from([Costs(), Costs(1, 1, 0.5), Costs(1000, 1, 0.1)]))
def test_the_cheapest_limit_is_the_cheapest_of_all(normal, defects, costs):
    def cost(limit):
        return costs.expected_cost(np.mean(np.array(defects) <= limit), np.mean(np.array(normal) > limit))

    chosen = cheapest_limit(normal, defects, costs)
    assert cost(chosen) == pytest.approx(min(cost(t) for t in np.arange(-0.75, 16, 0.5)))


@pytest.mark.parametrize(
    ("values", "message"),
    [((0, 1, 0.1), "give two above zero"), ((1, 1, 0.0), "between 0 and 1"), ((1, 1, 1.0), "between 0 and 1")],
)
def test_costs_that_are_none(values, message):
    with pytest.raises(ParameterError, match=message):
        Costs(*values)


def test_operating_points_say_what_chose_them():
    rng = np.random.default_rng(0)
    limit = calibrate(rng.normal(0, 1, 99), rng.normal(0, 1, 99), 0.05)
    labels = [False] * 50 + [True] * 50
    scores = [*rng.normal(0, 1, 50), *rng.normal(4, 1, 50)]
    points = operating_points(labels, scores, limit, selection=list(rng.normal(4, 1, 30)), costs=Costs())
    by_rule = {p.rule: p for p in points}
    assert {p.chosen_on for p in points} == {
        HELD_OUT_NORMALS,
        TRAINING_DEFECTS,
        f"{HELD_OUT_NORMALS}, {TRAINING_DEFECTS}",
    }
    assert by_rule["at most 5% false rejects"].limit == limit.value
    assert "at most 1% escapes" not in by_rule  # 30 defects cannot promise it
    assert by_rule["at most 5% escapes"].limit < by_rule["at most 10% escapes"].limit
    point = by_rule["at most 5% false rejects"]
    assert point.counts["false_rejects"] == sum(s > limit.value for s in scores[:50])
    optimistic = operating_points(labels, scores, limit, selection=[], costs=Costs())
    assert {p.chosen_on for p in optimistic if "escapes" in p.rule} == {TEST_LABELS}
    assert "optimistic" in TEST_LABELS


# --- shift ------------------------------------------------------------------------------------------------------------


def test_without_a_shift_the_p_values_are_those_of_chance():
    """200 random draws of one kind: the shift's p-value is uniform, the tail's never below chance."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        held_out = rng.gamma(2, 1, 40)
        found.append(shift(calibrate(held_out, held_out, 0.05), list(rng.gamma(2, 1, 60))))
    assert kstest([s.p_value for s in found], "uniform").pvalue > 0.001
    for level in (0.05, 0.2, 0.5):
        assert np.mean([s.excess_p_value <= level for s in found]) <= level + 4 * np.sqrt(level * (1 - level) / 200)
    assert np.mean([s.win_rate for s in found]) == pytest.approx(0.5, abs=0.02)


def test_a_shift_is_found_and_said():
    rng = np.random.default_rng(0)
    held_out = rng.normal(0, 1, 60)
    limit = calibrate(held_out, held_out, 0.05)
    up = shift(limit, list(rng.normal(1.5, 1, 80)))
    assert up.p_value < 0.001
    assert up.excess_p_value < 0.001
    assert up.win_rate > 0.8
    assert "score higher" in up.message
    assert "calibrate on images of the line as it is now" in up.message
    down = shift(limit, list(rng.normal(-1.5, 1, 80)))
    assert "score lower" in down.message
    assert "does not carry over" in down.message
    assert down.excess_p_value > 0.5
    assert "does not contradict the 5.0% promised" in shift(limit, list(held_out)).message
    assert shift(limit, [1.0]) is None


def test_degenerate_scores_have_a_shift_too():
    limit = calibrate([1.0] * 30, [1.0] * 30, 0.05)
    same = shift(limit, [1.0] * 30)
    assert same.win_rate == 0.5
    assert same.p_value > 0.05
    assert shift(limit, [2.0] * 30).excess_p_value < 1e-6


# --- evaluation -------------------------------------------------------------------------------------------------------


def _scored(score, label, *, type=None, group=None, limit=1.0):
    verdict = "reject" if score > limit else "ok"
    found = Inspection(Path("x.png"), score, limit, 0.5, verdict, np.full((4, 4), score, np.float32))
    return ScoredSample(Sample(Path(f"{score}.png"), label, type=type, group=group), found)


def test_an_evaluation_counts_by_type_and_group_and_lets_maps_go():
    scored = [
        _scored(0.1, "normal", group="a"),
        _scored(2.0, "normal", group="b"),
        _scored(3.0, "abnormal", type="scratch", group="b"),
        _scored(0.5, "abnormal", type="scratch"),
        _scored(5.0, "abnormal"),
    ]
    result = evaluate_scored(iter(scored), Limit(1.0, 1.0, 0.05, tuple(np.linspace(0, 1, 20))))
    assert result.by["type"]["scratch"]["escapes"] == 1
    assert result.by["type"]["scratch"]["defectives"] == 2
    assert result.by["type"]["defect"]["escapes"] == 0
    assert result.by["group"]["b"]["false_rejects"] == 1
    assert result.by["group"]["b"]["images"] == 2
    assert result.by["size"] == {}
    assert result.metrics["image_auroc"] == pytest.approx(5 / 6)
    assert result.metrics["image_auroc_low"] <= 5 / 6 <= result.metrics["image_auroc_high"]
    assert all(j.inspection.map.size == 0 for j in result.scored)
    assert any("2 normal test images are too few to check 5.0% false rejects" in n for n in result.notes)
    assert any("3 defective test images are too few" in n for n in result.notes)


def test_no_mistake_is_no_certainty():
    scored = [_scored(0.1 + k / 100, "normal") for k in range(6)] + [_scored(2.0 + k, "abnormal") for k in range(8)]
    result = evaluate_scored(scored, Limit(1.0, 1.0, 0.05, (0.5,) * 20))
    assert result.metrics["image_auroc"] == result.metrics["image_auroc_high"] == 1
    assert result.metrics["image_auroc_low"] < 0.8
    assert result.metrics["image_ap_low"] is result.metrics["image_ap_high"] is None


def test_nothing_to_evaluate():
    result = evaluate_scored([], Limit(1.0, 1.0, 0.05, (0.5,)))
    assert result.metrics["image_auroc"] is None
    assert result.shift is None
    assert any("need both normal and defective" in n for n in result.notes)
    assert any("need masks" in n for n in result.notes)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 2)), max_size=60, unique_by=lambda p: p[1]))
def test_pictures_worth_seeing_are_whole_and_never_twice(pairs):
    scored = [_scored(score, "abnormal" if bad else "normal") for bad, score in pairs]
    shown = worth_seeing(scored)
    assert len({j.sample.path for _, j in shown}) == len(shown)
    for kind, j in shown:
        wrong = (j.inspection.verdict == "reject") != (j.sample.label == "abnormal")
        assert wrong == (kind in ("false_reject", "escape"))
    wrong = [j for j in scored if (j.inspection.verdict == "reject") != (j.sample.label == "abnormal")]
    assert sum(k in ("false_reject", "escape") for k, _ in shown) >= min(len(wrong), 6)


# --- sweeps -----------------------------------------------------------------------------------------------------------


def test_a_sweep_is_the_product_of_its_lists(tmp_path):
    (tmp_path / "sweep.toml").write_text(
        'data = "glass"\ndetectors = ["patchcore", "padim"]\nbackbone = ["prism_s", "resnet18"]\n'
        'image_size = [128, "192x320"]\n[weights]\nresnet18 = "r.pth"\n'
        "[parameters.padim]\nn_features = 50\n[grid.patchcore]\nnum_neighbors = [1, 9]\n"
    )
    sweep = Sweep.from_file(tmp_path / "sweep.toml", {})
    cells = sweep.candidates()
    assert len(cells) == 2 * 2 * 2 + 2 * 2
    cell = cells["patchcore-resnet18-192x320-num_neighbors=1"]
    assert cell.image_size == "192x320"
    assert cell.parameters["num_neighbors"] == 1
    assert cell.parameters["weights"] == str(tmp_path / "r.pth")
    assert cells["padim-prism_s-128"].parameters["n_features"] == 50
    assert sweep.data == tmp_path / "glass"
    (tmp_path / "again.toml").write_text(sweep.to_toml())
    assert Sweep.from_file(tmp_path / "again.toml", {}).candidates() == cells
    longer = Sweep.from_file(tmp_path / "sweep.toml", {"image_size": [128, "192x320", 256]}).candidates()
    assert set(cells) < set(longer)  # a longer list keeps the names, so what is finished is found again


def test_every_detector_of_a_sweep_has_its_own_backbone_unless_one_is_named(tmp_path):
    asked = {"detectors": ["patchcore", "efficientad"], "weights": {"prism_s": Path("own.pth")}}
    own, named = (
        {name: one.parameters for name, one in Sweep.from_file(tmp_path, asked | more).candidates().items()}
        for more in ({}, {"backbone": "prism_m"})
    )
    assert [own[name]["backbone"] for name in asked["detectors"]] == ["prism_s", "pdn_s"]
    assert [own[name]["weights"] for name in asked["detectors"]] == ["own.pth", None]
    assert [named[name]["backbone"] for name in asked["detectors"]] == ["prism_m", "prism_m"]
    assert [named[name]["weights"] for name in asked["detectors"]] == [None, None]


def test_options_win_over_the_file(tmp_path):
    (tmp_path / "sweep.toml").write_text('data = "glass"\nseeds = 3\nprefer = "speed"\n')
    sweep = Sweep.from_file(tmp_path / "sweep.toml", {"seeds": 5, "prefer": None, "detectors": ["dfm"]})
    assert (sweep.seeds, sweep.prefer) == (5, "speed")
    assert list(sweep.candidates()) == ["dfm"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('data = "x"\ndetecters = ["dfm"]', "sweep.toml': Unknown key 'detecters': did you mean 'detectors'"),
        ("seeds = 3", "'data' is missing"),
        ('data = "x"\nseeds = 0', "seeds = 0 is not allowed: it has to be a whole number of at least 1."),
        ('data = "x"\nseeds = "three"', "seeds = 'three' is not allowed: it has to be a whole number of at least 1."),
        ('data = "x"\nseed = 1.5', "seed = 1.5 is not allowed: it has to be a whole number of at least 0."),
        ('data = "x"\nprefer = "cheap"', "prefer = 'cheap' is not allowed: it has to be balanced, accuracy, speed or"),
        ('data = "x"\nlimit = "best"', "limit = 'best' is not allowed: it has to be conformal, gap or f1."),
        ('data = "x"\ndetectors = "dfm"', "detectors = 'dfm' is not allowed: it has to be a list of names."),
        ('data = "x"\nbackbone = 3', "backbone = 3 is not allowed: it has to be a name or a list of names."),
        ('data = "x"\nimage_size = 1.5', "image_size = 1.5 is not allowed: it has to be N or HxW, or a list of such"),
        ('data = "x"\n[parameters]\npadim = 3', "parameters = {'padim': 3} is not allowed: it has to be a table of"),
        ('data = "x"\n[grid.padim]\nn_features = 5', "n_features': 5}} is not allowed: it has to be a table of lists"),
        ('data = "x"\nmax_ms = -1', "max_ms = -1 is not allowed: it has to be a number of at least 0."),
        ('data = "x"\nmax_mb = nan', "max_mb = nan is not allowed: it has to be a number of at least 0."),
        (
            'data = "x"\nfalse_reject = "few"',
            "false_reject = 'few' is not allowed: it has to be a number between 0 and 1",
        ),
        ("data = 3", "data = 3 is not allowed: it has to be the path of a folder or a CSV file."),
        ('data = "x"\n[grid.padim]\nn_features = [10, 0]', "n_features=0 is not allowed: it has to be at least 1."),
        ('data = "x"\n[parameters.stfpm]\nlr = -1', "lr=-1.0 is not allowed: it has to be above 0 and finite."),
        ('data = "x"\ndetectors = ["padm"]', "did you mean 'padim'"),
        ('data = "x"\nbackbone = ["resnet19"]', "did you mean 'resnet18'"),
        ('data = "x"\n[grid.patchcore]\nnum_neighbours = [1]', "did you mean 'num_neighbors'"),
        ('data = "x"\n[grid.patchcore]\nnum_neighbors = ["many"]', "of the kind of its default, 9"),
        ('data = "x"\n[grid.patchcor]\nnum_neighbors = [1]', "did you mean 'patchcore'"),
        ('data = "x"\n[parameters.dfm]\nseed = 1', "it has a place of its own"),
        ('data = "x"\nimage_size = [7]', "give N or HxW"),
        ('data = "x"\nbackbone = []', "one of the lists is empty"),
        ('data = "x"\nfalse_reject = 1.5', "between 0 and 1"),
        ('data = "x"\ncost_escape = -1', "give two above zero"),
        ("data = ", "is not a TOML file"),
    ],
)
def test_a_wrong_sweep_is_one_sentence(text, message, tmp_path):
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises((ParameterError, DataError), match=re.escape(message)):
        Sweep.from_file(tmp_path / "sweep.toml", {})


def test_an_absent_sweep():
    with pytest.raises(DataError, match=r"Cannot read 'nowhere\.toml'"):
        Sweep.from_file(Path("nowhere.toml"), {})
