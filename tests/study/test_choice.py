"""Which model is named: accuracy, then whether it shows where the flaw is, then cost."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.study.choice import (
    COST_NOISE,
    MIN_DEFECTS_TO_TELL,
    TIE_MARGIN_AUROC,
    TIE_MARGIN_LOCALISATION,
    ComparedScores,
    choose,
    mean_draws,
    paired,
    pareto,
)


def _row(name, auroc, cost, mb, fit_cost=1.0, on="labelled training defects", seeds=1, where=0.5):
    return {
        "name": name,
        "seeds": seeds,
        "selection_auroc": auroc,
        "selection_auroc_low": None if auroc is None else auroc - 0.05,
        "selection_auroc_high": auroc,
        "selection_on": on,
        "selection_positives": 50,
        "selection_negatives": 50,
        "localisation": where,
        "localisation_low": None if where is None else where - 0.1,
        "localisation_high": None if where is None else where + 0.1,
        "localisation_on": on if where is not None else None,
        "localisation_flaws": 50,
        "ms_per_image_median": cost,
        "image_cost": cost,
        "model_mb": mb,
        "fit_seconds": fit_cost,
        "fit_cost": fit_cost,
        "image_auroc": auroc,
        "escapes": 3,
        "defectives": 50,
        "escape_rate": 0.06,
        "false_rejects": 0,
        "normals": 40,
        "false_reject_rate": 0.0,
    }


def _alike(*rows):
    """Draws that cannot tell any of the rows apart."""
    return {r["name"]: np.random.default_rng(n).normal(r["selection_auroc"], 0.1, 500) for n, r in enumerate(rows)}


def _sure(*rows):
    """Draws that tell all of them apart."""
    return {r["name"]: np.full(500, r["selection_auroc"]) for r in rows}


def test_choice_prefers_the_cheaper_of_equals():
    rows = [_row("a", 1.0, 50, 50), _row("b", 1.0, 10, 80), _row("c", 0.9, 1, 1), _row("d", 1.0, 60, 2)]
    draws = _sure(*rows)
    assert choose(rows, draws).name == "d"
    assert choose(rows, draws, prefer="speed").name == "b"
    assert choose(rows, draws, prefer="size").name == "d"
    assert choose(rows, draws, max_ms=20, max_mb=100).name == "b"
    assert choose(rows, draws, prefer="speed", max_ms=5).name == "c"
    none = choose(rows, draws, max_ms=0.5)
    assert none.name is None
    assert "No model keeps the budget of at most 0.5 ms an image" in none.sentence


def test_a_tie_needs_both_doubt_and_nearness():
    near, far = 1.0 - TIE_MARGIN_AUROC / 2, 1.0 - 3 * TIE_MARGIN_AUROC
    rows = [_row("best", 1.0, 50, 50), _row("cheap", near, 5, 5), _row("cheapest", far, 1, 1)]
    assert choose(rows, _alike(*rows)).name == "cheap"  # the cheapest is too far behind, whatever the doubt
    assert choose(rows, _sure(*rows)).name == "best"  # no doubt: better is better
    assert choose(rows, _alike(*rows), prefer="accuracy").name == "best"
    assert "no other model ties" in choose(rows, _sure(*rows)).reason
    assert "ties with the best (best, 1.000" in choose(rows, _alike(*rows)).reason


def test_few_defects_leave_doubt_and_a_margin_of_a_tenth_of_one():
    """Five ranked worse of five is chance one time in sixteen; a resample cannot know that."""
    rows = [_row("best", 1.0, 50, 50), _row("cheap", 0.985, 5, 5)]
    for few, named in ((MIN_DEFECTS_TO_TELL - 1, "cheap"), (MIN_DEFECTS_TO_TELL, "best")):
        some = [row | {"selection_positives": few} for row in rows]
        assert choose(some, _sure(*some)).name == named
    far = [rows[0] | {"selection_positives": 2}, _row("cheap", 0.94, 5, 5) | {"selection_positives": 2}]
    assert choose(far, _sure(*far)).name == "best"


@pytest.mark.parametrize("prefer", ["balanced", "accuracy", "speed", "size"])
def test_what_cannot_show_the_flaw_is_not_named_when_another_ties(prefer):
    rows = [
        _row("blind", 1.0, 1, 1, where=0.02),
        _row("dear", 0.999, 50, 50, where=0.6),
        _row("cheap", 0.999, 5, 5, where=0.6 - TIE_MARGIN_LOCALISATION * 0.9),
    ]
    chosen = choose(rows, _alike(*rows), prefer=prefer)
    assert chosen.name == "cheap"
    assert "within 0.1 of the best (dear, 0.60) are 2 of the 3 that tie." in chosen.reason
    assert "precision of 0.51 (0.41 to 0.61) on 50 labelled training defects" in chosen.reason
    assert choose(rows, _sure(*rows), prefer=prefer).name == "blind"  # accuracy comes first


def test_what_nobody_knows_the_place_of_chooses_nothing():
    rows = [_row("a", 1.0, 1, 1, where=None), _row("b", 1.0, 5, 5, where=None)]
    chosen = choose(rows, _sure(*rows))
    assert chosen.name == "a"
    assert "could not be looked at" in chosen.reason


def test_planted_flaws_say_what_they_are_worth():
    rows = [_row("a", 1.0, 1, 1, where=0.1), _row("b", 1.0, 5, 5, where=0.4)]
    planted = [row | {"localisation_on": "planted flaws"} for row in rows]
    chosen = choose(planted, _sure(*rows))
    assert chosen.name == "b"
    assert "MVTec AD and VisA, and lost it on MVTec AD 2" in chosen.reason
    assert "MVTec" not in choose(rows, _sure(*rows)).reason
    unlabelled = [row | {"selection_auroc": None} for row in planted]
    alone = choose(unlabelled, {"a": None, "b": None})
    assert alone.name == "b"
    assert alone.reason.startswith("No labelled defects. Its maps show")


@pytest.mark.parametrize("prefer", ["balanced", "accuracy", "speed", "size"])
def test_what_is_left_of_the_load_does_not_choose(prefer):
    """Each cost is off by nearly the square root of ``COST_NOISE`` at most, either way: the named model stays."""
    rows = [
        _row("a", 1.0, 20, 20, 10),
        _row("b", 0.999, 19, 21, 10.2),
        _row("c", 0.998, 21, 19, 9.8),
        _row("d", 1.0, 300, 80),
    ]
    draws, rng = _alike(*rows), np.random.default_rng(0)
    quiet = choose(rows, draws, prefer=prefer)
    for _ in range(200):
        off = COST_NOISE ** rng.uniform(-0.35, 0.35, (len(rows), 2))
        loaded = [
            row | {"image_cost": row["image_cost"] * image, "fit_cost": row["fit_cost"] * fit}
            for row, (image, fit) in zip(rows, off, strict=True)
        ]
        assert choose(loaded, draws, prefer=prefer).name == quiet.name
    assert quiet.name == ("c" if prefer == "size" else "a")


def test_seconds_do_not_choose():
    rows = [_row("a", 1.0, 20, 20), _row("b", 1.0, 40, 40)]
    slowed = [rows[0] | {"ms_per_image_median": 900.0, "fit_seconds": 900.0}, rows[1]]
    assert choose(slowed, _sure(*rows)).name == choose(slowed, _sure(*rows), prefer="speed").name == "a"


def test_a_model_that_is_cheaper_beyond_the_noise_is_named():
    rows = [_row("a", 1.0, 20, 20, 10), _row("b", 0.999, 20 / COST_NOISE**2 * 0.9, 20, 10)]
    assert choose(rows, _alike(*rows)).name == choose(rows, _alike(*rows), prefer="speed").name == "b"
    same = [_row("z", 1.0, 20, 20, 10), _row("y", 1.0, 20, 20, 10)]
    assert choose(same, _alike(*same)).name == choose(same[::-1], _alike(*same)).name == "y"


def test_a_difference_of_one_image_is_no_difference():
    """One defect of fifty ranked wrongly: many resamples lack it, so the two models tie."""
    labels = (False,) * 50 + (True,) * 50
    perfect = ComparedScores(labels, (*np.linspace(0, 1, 50), *np.linspace(2, 3, 50)), (None,) * 100)
    nearly = ComparedScores(labels, (*np.linspace(0, 1, 50), 0.8, *np.linspace(2, 3, 49)), (None,) * 100)
    low, high = paired(mean_draws([perfect]), mean_draws([nearly]))
    assert low == 0 < high
    worse = ComparedScores(labels, (*np.linspace(0, 1, 50), *np.linspace(0.5, 3, 50)), (None,) * 100)
    assert paired(mean_draws([perfect]), mean_draws([worse]))[0] > 0
    assert mean_draws([ComparedScores((True, True), (1.0, 2.0), (None, None))]) is None


def test_choice_says_when_test_labels_had_to_choose():
    row = _row("a", 0.99, 1, 1, on="test images")
    assert "optimistic" in choose([row], _sure(row)).reason
    assert "optimistic" not in choose([_row("a", 0.99, 1, 1)], {}).reason
    assert "No labelled defects" in choose([_row("a", None, 1, 1)], {}).reason


def test_the_first_sentence_is_for_people():
    said = choose([_row("a", 0.99, 12.3, 1)], {}).sentence
    assert said == (
        "Run a: it missed 3 of 50 defective test images (6.0%) and rejected none of 40 good ones, and it takes 12 ms an"
        " image on this machine."
    )
    assert "on average over 3 trainings it missed" in choose([_row("a", 0.99, 1, 1, seeds=3)], {}).sentence
    untested = _row("a", None, 9, 1) | {"defectives": 0, "normals": 0}
    assert choose([untested], {}).sentence == "Run a: it takes 9 ms an image on this machine."


def test_the_front_is_what_nothing_beats_in_everything():
    rows = [_row("a", 1.0, 50, 50), _row("b", 1.0, 10, 80), _row("c", 0.9, 1, 1), _row("d", 1.0, 60, 2)]
    assert pareto(rows) == ["a", "b", "c", "d"]
    assert pareto([_row("x", 1.0, 1, 1), _row("y", 0.9, 2, 2)]) == ["x"]
    assert pareto([_row("x", 1.0, 1, 1, 9.0), _row("y", 0.9, 2, 2, 1.0)]) == ["x", "y"]  # training time counts
