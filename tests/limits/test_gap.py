"""A limit in the gap: against a brute force, against simulated parts, and what keeps it where it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gumbel_l, gumbel_r, norm

import pellucid
from pellucid.errors import DataError
from pellucid.limits.conformal import calibrate
from pellucid.limits.costs import Costs
from pellucid.limits.gap import MIN_DEFECTS, move_into_gap, propose_move

EVEN = Costs(1, 1, 0.5)
SCORES = st.lists(st.floats(0.01, 100), min_size=MIN_DEFECTS, max_size=40)


def limit_of(scores, groups=(), rate=0.05):
    return calibrate(list(scores), list(scores), rate, groups=groups)


def drawn(rng, normals=60, defects=30, distance=8.0):
    """Logarithms of scores: normals around 0, defects at a distance in the normals' standard deviations."""
    return np.exp(rng.normal(0, 1, normals) * 0.1), np.exp(0.1 * distance + rng.normal(0, 1, defects) * 0.15)


def fitted(values, family, sign):
    """Gumbel's distribution by its moments, as SciPy knows it."""
    scale = np.std(values, ddof=1) * np.sqrt(6) / np.pi
    return family(np.mean(values) - sign * np.euler_gamma * scale, scale)


def test_it_is_the_least_expected_cost_of_all():
    normal, defects = drawn(np.random.default_rng(0))
    limit = limit_of(normal)
    good, bad = fitted(np.log(normal), gumbel_r, 1), fitted(np.log(defects), gumbel_l, -1)
    for costs in (EVEN, Costs(20, 1, 0.5), Costs(1, 20, 0.5), Costs()):
        move = propose_move(limit, defects, costs)
        tried = np.linspace(limit.value, defects.min(), 20001)[:-1]
        cost = costs.expected_cost(bad.cdf(np.log(tried)), good.sf(np.log(tried)))
        assert move.proposed == pytest.approx(tried[np.argmin(cost)], abs=2 * (defects.min() - limit.value) / 1000)
        assert move.after.false_reject == pytest.approx(good.sf(np.log(move.proposed)))
        assert move.after.escape == pytest.approx(bad.cdf(np.log(move.proposed)))
        assert move.before.false_reject == pytest.approx(good.sf(np.log(limit.value)))
    assert propose_move(limit, defects, Costs(20, 1, 0.5)).proposed < propose_move(limit, defects, EVEN).proposed


@settings(max_examples=50)
@given(SCORES, SCORES, st.floats(0.01, 100), st.booleans())
def test_never_below_the_promise_nor_past_a_defect(normal, defects, ratio, negative):
    shift = 200.0 if negative else 0.0  # scores that are not all positive have no logarithms
    normal, defects = np.array(normal) - shift, np.array(defects) - shift
    limit = limit_of(normal, rate=0.1)
    moved = move_into_gap(limit, defects, Costs(ratio, 1, 0.5))
    assert moved.value >= limit.value
    assert moved.scores == limit.scores
    if moved.value > limit.value:
        assert normal.max() < defects.min()
        assert moved.value < defects.min()
        assert (moved.method, moved.moved_from) == ("gap", limit.value)
        assert moved.cost_ratio == pytest.approx(ratio)
    else:
        assert moved == limit


def test_where_they_overlap_it_stays():
    normal, defects = drawn(np.random.default_rng(0))
    defects[3] = normal.max()
    move = propose_move(limit_of(normal), defects, EVEN)
    assert (move.moves, move.overlapping) == (False, 1)
    assert move.before == move.after
    assert move_into_gap(limit_of(normal), defects, EVEN) == limit_of(normal)


def test_a_moved_limit_is_proposed_from_where_it_was():
    normal, defects = drawn(np.random.default_rng(0))
    moved = move_into_gap(limit_of(normal), defects, EVEN)
    assert propose_move(moved, defects, EVEN) == propose_move(limit_of(normal), defects, EVEN)


def test_a_group_has_one_voice():
    """Forty frames of one bright part say no more than one of them does."""
    normal, defects = drawn(np.random.default_rng(1), normals=30)
    bright = np.append(normal, np.full(40, normal.max()))
    groups = [*map(str, range(30)), *["bright"] * 40]
    alone = propose_move(limit_of(np.append(normal, normal.max())), defects, EVEN)
    grouped = propose_move(limit_of(bright, groups), defects, EVEN)
    assert grouped.before.false_reject == pytest.approx(alone.before.false_reject, rel=0.05)


def test_scores_that_are_all_one():
    limit = limit_of([1.0] * 30)
    moved = move_into_gap(limit, [2.0] * MIN_DEFECTS, EVEN)
    assert limit.value <= moved.value < 2


@pytest.mark.parametrize("distance", [8.0, 10.0])
def test_on_simulated_parts_apart_it_gives_few_escapes_for_most_false_rejects(distance):
    """Over 200 draws, true rates before and after, of parts whose logarithms are normal and not Gumbel's."""
    rng, before, after, moved = np.random.default_rng(0), [], [], 0
    for _ in range(200):
        normal, defects = drawn(rng, distance=distance)
        limit = limit_of(normal)
        chosen = move_into_gap(limit, defects, EVEN)
        moved += chosen.method == "gap"
        for found, value in ((before, limit.value), (after, chosen.value)):
            at = np.log(value) / 0.1
            found.append((norm.sf(at), norm.cdf((at - distance) / 1.5)))
    (rejected, escaped), (rejected_after, escaped_after) = np.mean(before, 0), np.mean(after, 0)
    assert moved > 150
    assert rejected == pytest.approx(0.04, abs=0.015)
    assert rejected_after < 0.012 + 0.04 * (1 - moved / 200)
    assert escaped_after - escaped < 0.003


def test_too_few_defects():
    limit = limit_of(np.linspace(1, 2, 30))
    few = [3.0] * (MIN_DEFECTS - 1)
    assert propose_move(limit, few, EVEN) is None
    with pytest.raises(DataError, match=r"needs at least 10 labelled training defects .* there are 9: label more"):
        move_into_gap(limit, few, EVEN)


def test_costs_of_a_ratio_have_it():
    assert Costs.of_ratio(Costs(40, 2, 0.02).ratio).ratio == pytest.approx(40 * 0.02 / (2 * 0.98))


def test_the_sentence_says_what_it_costs_and_never_offers_planted_flaws_as_a_reason_to_move():
    normal, defects = drawn(np.random.default_rng(0))
    move = propose_move(limit_of(normal), defects, EVEN)
    rates = f"from {move.before.false_reject:.2%} to {move.after.false_reject:.2%}"
    assert "could be moved (--limit gap) from" in move.sentence()
    assert rates in move.sentence()
    assert "was moved from" in move.sentence(made=True)
    assert "--limit" not in (planted := move.sentence("planted flaws"))
    assert "has room from" in planted
    assert "label at least 10 real ones" in planted
    defects[:2] = normal.max()
    assert "2 of 30 labelled" in propose_move(limit_of(normal), defects, EVEN).sentence()
    dear = propose_move(limit_of(normal), defects[2:], Costs(1e9, 1, 0.5))
    assert "no higher one is better" in dear.sentence()


def test_what_was_not_judged_is_rejected_wherever_the_limit_is():
    normal, defects = drawn(np.random.default_rng(0))
    limit = limit_of(normal)
    assert propose_move(limit, [*defects, np.inf], EVEN) == propose_move(limit, defects, EVEN)


def test_a_fit_moves_it_when_asked_and_the_file_remembers(glass, tmp_path):
    data = pellucid.read_folder(glass)
    labelled = tuple(replace(s, split="train") if s.label == "abnormal" else s for s in data.samples)
    settings = {"image_size": 64, "false_reject": 0.1}
    fitted = pellucid.fit(replace(data, samples=labelled), "dfm", limit="gap", costs=EVEN, **settings)
    scores = [fitted.inspect(s.path).score for s in labelled if s.label == "abnormal"]
    plain = calibrate(fitted.limit.scores, fitted.limit.scores, 0.1, method="leave-one-out")
    assert fitted.limit.value == pytest.approx(move_into_gap(plain, scores, EVEN).value)
    assert fitted.limit.moved_from == pytest.approx(plain.value)
    fitted.save(tmp_path / "gap.pellucid")
    assert pellucid.load(tmp_path / "gap.pellucid").limit == fitted.limit
    with pytest.raises(DataError, match="there are 4: label more"):
        pellucid.fit(glass, "dfm", limit="gap", **settings)
