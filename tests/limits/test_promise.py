"""What a limit is said to promise: never more than it does, and no part more or less than the next promise needs."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import DataError
from pellucid.limits.conformal import calibrate, f1_optimal
from pellucid.limits.costs import Costs
from pellucid.limits.gap import move_into_gap
from pellucid.limits.promise import UNPROMISED, kept_sentence, next_promise, promise_of, promise_sentence
from pellucid.service.language.translator import Translator

RATES = st.one_of(st.sampled_from([0.05, 0.02, 0.01]), st.floats(0.02, 0.5))
METHODS = st.sampled_from(["conformal", "leave-one-out", "cross-conformal"])
RATE_SAID = r"at most ([\d.]+)%"
NEEDED = r"needs (\d+) good parts(?: held out of the fit)?, (\d+) more than there are\.$"


@st.composite
def limits(draw):
    """A limit with the rate that was asked for: with and without groups and confidence, from labelled defects too."""
    asked, confidence = draw(RATES), draw(st.sampled_from([None, None, 0.5, 0.95, 0.99]))
    grouped = draw(st.booleans())
    parts = draw(st.integers(1, 400))
    frames = draw(st.integers(1, 3)) if grouped else 1
    scores = 1 + np.arange(parts * frames) / 1000
    groups = [str(k // frames) for k in range(len(scores))] if grouped else []
    try:
        limit = calibrate(scores, scores, asked, groups=groups, method=draw(METHODS), confidence=confidence)
    except DataError:
        confidence = None
        groups = groups or [str(k) for k in range(len(scores))]  # of groups, any number is enough for some limit
        limit = calibrate(scores, scores, asked, groups=groups, method=draw(METHODS))
    defects = 100 + np.arange(20.0)
    how = draw(st.sampled_from(["alone", "alone", "f1", "gap", "tail"]))
    if how == "f1":
        limit = f1_optimal(limit, defects)
    elif how == "gap":
        limit = move_into_gap(limit, defects, Costs())
    elif how == "tail":
        limit = replace(limit, method="tail")
    return limit, asked


def placed(parts, rate, confidence):
    scores = np.arange(float(parts))
    return calibrate(scores, scores, rate, confidence=confidence)


@settings(max_examples=150, deadline=None)
@given(limits())
def test_it_claims_no_more_than_the_limit_keeps_and_needs_no_part_more_or_less(drawn):
    limit, asked = drawn
    sentence = promise_sentence(limit, asked)
    assert re.fullmatch(r"[^.]*(\.\d[^.]*)*\.", sentence)  # one
    made, _, better = sentence.partition("; the next better promise, ")
    rates = [float(rate) / 100 for rate in re.findall(RATE_SAID, made)]
    if {limit.method, limit.moved_method} & set(UNPROMISED) or (limit.weights and limit.groups == 1):
        assert sentence.startswith("No promise: ")
        assert rates == []
    else:
        (rate,) = rates
        assert rate >= limit.false_reject_rate - 1e-9
        assert rate <= limit.false_reject_rate + 0.001
        assert limit.confidence is not None or rate >= 1 / (limit.groups + 1) - 1e-9
        assert placed(limit.groups, min(rate + 1e-9, 0.999), limit.confidence)  # so many do promise it
        assert ("not the " in made) == (limit.false_reject_rate > asked + 1e-9)
        assert ("on average" in made) == (limit.confidence is None)
        assert ("approximate" in made) == (limit.method in ("leave-one-out", "cross-conformal") or approximate(limit))
    promise = next_promise(limit, asked)
    if not better:
        assert promise is None
        assert limit.false_reject_rate <= 0.01
        return
    assert float(re.search(RATE_SAID, better)[1]) / 100 == pytest.approx(promise.rate, abs=0.001)
    if better.endswith("needs no more good parts."):
        assert placed(limit.groups, promise.rate, promise.confidence)
        return
    needed, more = map(int, re.search(NEEDED, better).groups())
    assert needed == limit.groups + more
    assert placed(needed, promise.rate, promise.confidence)
    with pytest.raises(DataError, match="cannot promise"):
        placed(needed - 1, promise.rate, promise.confidence)


def approximate(limit):
    return limit.method == "gap" and limit.moved_method in ("leave-one-out", "cross-conformal")


@settings(max_examples=60, deadline=None)
@given(limits())
def test_it_says_the_same_in_persian(drawn):
    limit, asked = drawn
    numbers = [
        re.findall(r"[\d.]*\d", promise_sentence(limit, asked, Translator(lang, "gregorian"))) for lang in ("en", "fa")
    ]
    english, persian = map(sorted, numbers)
    assert english == persian
    assert promise_sentence(limit, asked) == promise_sentence(limit, asked, Translator("en"))


def limit_of(parts, rate=0.05, frames=1, **options):
    scores = np.arange(1.0, parts * frames + 1)
    groups = [str(k // frames) for k in range(len(scores))] if frames > 1 else []
    return calibrate(scores, scores, rate, groups=groups, **options)


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        (
            limit_of(60),
            "Promise: models made in this way reject at most 5.0% of good parts like these on average (a single one"
            " between 1.3% and 10.2%, nine times in ten); the next better promise, at most 5.0% in 19 of 20 models"
            " (--confidence 0.95), needs no more good parts.",
        ),
        (
            limit_of(100, method="leave-one-out", confidence=0.95),
            "Promise: 19 of 20 models made in this way reject at most 5.0% of good parts like these (approximate, as"
            " each image was scored as if left out of the fit); the next better promise, at most 2.0% in 19 of 20"
            " models (--false-reject 0.02), needs 149 good parts, 49 more than there are.",
        ),
        (
            limit_of(12, frames=3, method="cross-conformal"),
            "Promise: models made in this way reject at most 7.7% of good parts like these on average (approximate, as"
            " each image was scored by a model that its fold was left out of; not the 5.0% that were asked for, as the"
            " good images show only 12 parts or photos); the next better promise, at most 5.0% in 19 of 20"
            " models (--confidence 0.95), needs 59 good parts, 47 more than there are.",
        ),
        (
            limit_of(1, frames=30),
            "No promise: all good images show one part or photo, which tells nothing about others; the next better"
            " promise, at most 5.0% in 19 of 20 models (--confidence 0.95), needs 59 good parts held out of the fit, 58"
            " more than there are.",
        ),
        (
            f1_optimal(limit_of(40), [50.0]),
            "No promise: labelled defects placed the limit, and what it shows on those images is optimistic; the next"
            " better promise, at most 5.0% in 19 of 20 models (--limit conformal --confidence 0.95), needs 59 good"
            " parts, 19 more than there are.",
        ),
        (
            replace(limit_of(220, method="conformal"), taught=True),
            promise_sentence(limit_of(220, method="conformal"), 0.05).replace(
                "(", "(approximate, as the same images also weighed what labelled defects taught; ", 1
            ),
        ),
        (
            replace(limit_of(40), method="tail"),
            "No promise: a tail fitted to the highest scores placed the limit, so that 5.0% rejected is expected, not"
            " guaranteed; the next better promise, at most 5.0% in 19 of 20 models (--confidence 0.95), needs 59 good"
            " parts, 19 more than there are.",
        ),
        (
            limit_of(299, 0.01, confidence=0.95),
            "Promise: 19 of 20 models made in this way reject at most 1.0% of good parts like these.",
        ),
    ],
)
def test_what_is_said(limit, sentence):
    assert promise_sentence(limit, 0.01 if len(limit.scores) == 299 else 0.05) == sentence


@pytest.mark.parametrize("method", ["conformal", "leave-one-out", "cross-conformal"])
def test_a_limit_in_the_gap_promises_what_the_first_did(method):
    first = limit_of(220, method=method)
    once = move_into_gap(first, 1000 + np.arange(20.0), Costs())
    moved = move_into_gap(once, 2000 + np.arange(20.0), Costs())
    assert (once.method, moved.method, moved.moved_method) == ("gap", "gap", method)
    assert promise_of(moved) == promise_of(first)
    assert f"kept from the limit {first.value:.4g}, which" in promise_sentence(moved, 0.05)
    assert ("approximate" in promise_sentence(moved, 0.05)) == (method != "conformal")


def test_a_limit_that_people_set_keeps_the_promise_from_the_calibrated_one_on():
    limit = limit_of(100)
    assert kept_sentence(limit, limit.value) == ""
    assert kept_sentence(limit, limit.value + 1) == (
        "This is said of the calibrated limit, 96. The one in force is higher and keeps it."
    )
    assert kept_sentence(limit, limit.value - 1).endswith("The one in force is lower and does not keep it.")
    assert kept_sentence(f1_optimal(limit, [50.0]), 3.0) == ""


def test_rates_are_rounded_up():
    assert "at most 8.4%" in promise_sentence(limit_of(11, frames=2), 0.05)  # 1/12
    assert "at most 0.13% " in promise_sentence(limit_of(800, 0.00125), 0.00125)
    assert "at most 0.10% " in promise_sentence(limit_of(999, 0.001), 0.001)


@pytest.mark.parametrize(("confidence", "said"), [(0.9, "9 of 10"), (0.99, "99 of 100"), (0.93, "93% of")])
def test_a_confidence_is_said_as_people_say_it(confidence, said):
    assert promise_sentence(limit_of(200, confidence=confidence), 0.05).startswith(f"Promise: {said} models made")
