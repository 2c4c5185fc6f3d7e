"""What a limit promises, in one sentence, and how many good parts the next better promise needs.

One function makes the sentence for the console, the report and the pages; no rate in it is lower than the limit allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from pellucid.acquisition.splits import min_calibration_images
from pellucid.limits.area import needed_area
from pellucid.limits.conformal import realised_rate
from pellucid.records.limits import AreaUnit, FalseAlarms, Limit

BETTER_CONFIDENCE = 0.95  # that is proposed where a rate is kept on average
BETTER_RATES = (0.05, 0.02, 0.01)  # that a plant would ask for
ROUNDING = 1e-9  # by which equal rates may differ
UNPROMISED = {  # why a method promises nothing
    "f1": "labelled defects placed the limit, and what it shows on those images is optimistic",
    "tail": "a tail fitted to the highest scores placed the limit, so that {rate} rejected is expected, not guaranteed",
    "lot": (
        "the limit was moved to where {images} images of a new lot score, so that {rate} of that lot's good parts"
        " rejected is expected if their scores are spread like the earlier ones, not guaranteed"
    ),
}
APPROXIMATE = {  # why the promise of a method is not exact
    "leave-one-out": "approximate, as each image was scored as if left out of the fit",
    "cross-conformal": "approximate, as each image was scored by a model that its fold was left out of",
}

_UNITS: dict[AreaUnit, str] = {"m2": "m²", "megapixel": "megapixel"}


class Translate(Protocol):
    """Says a sentence with its values, as :class:`pellucid.service.language.translator.Translator` does."""

    def __call__(self, english: str, /, **values: object) -> str: ...


@dataclass(frozen=True)
class Promise:
    """At most this share of good parts, like those that placed the limit, is rejected.

    Attributes:
        rate: that share, in (0, 1).
        confidence: share of models made in this way that keep it, in (0, 1); None: they keep it on average.
    """

    rate: float
    confidence: float | None = None

    @property
    def needed(self) -> int:
        """How many good parts, or groups of images, have to place a limit that promises it."""
        return min_calibration_images(self.rate, self.confidence)


def promise_of(limit: Limit) -> Promise | None:
    """Return what a limit promises; None where that is nothing, or by area.

    Args:
        limit: one in the gap promises what the limit did from which it was moved up.
    """
    if _unpromised(limit) or _shows_one_part(limit) or limit.false_alarms is not None:
        return None
    lowest = 1 / (limit.groups + 1) if limit.confidence is None else 0.0  # that so many can promise
    return Promise(max(limit.false_reject_rate, lowest), limit.confidence)


def next_promise(limit: Limit, asked: float) -> Promise | None:
    """Return the next better promise than a limit's; None where no plant would ask for a better one.

    What was asked for comes first, with confidence: of so few parts as would promise it on average a tail may be
    fitted, which promises nothing. Then come the same rate with confidence, and lower rates.

    Args:
        limit: the model's.
        asked: share of good parts that was to be rejected at most, in (0, 1).
    """
    now = promise_of(limit)
    if now is None or now.rate > asked + ROUNDING:
        return Promise(asked, BETTER_CONFIDENCE)
    if now.confidence is None or now.confidence < BETTER_CONFIDENCE:
        return Promise(now.rate, BETTER_CONFIDENCE)
    lower = next((rate for rate in BETTER_RATES if rate < now.rate), None)
    return None if lower is None else Promise(lower, now.confidence)


def fill(english: str, /, **values: object) -> str:
    """Say an English sentence with its values."""
    return english.format(**values)


def promise_sentence(limit: Limit, asked: float, t: Translate = fill) -> str:
    """Say in one sentence what a limit promises, and what the next better promise needs.

    Args:
        limit: the model's, as it was calibrated.
        asked: share of good parts that was to be rejected at most, in (0, 1).
        t: translates.
    """
    if limit.false_alarms is not None:
        made, better = _made_by_area(limit, limit.false_alarms, t), _better_by_area(limit, limit.false_alarms, t)
    else:
        made, better = _made(limit, asked, t), _better(limit, asked, t)
    return t("{made}; {better}.", made=made, better=better) if better else f"{made}."


def short_promise(limit: Limit) -> str:
    """Say what a limit promises in a few words, as in ``at most 5.0% on average``; nothing where that is nothing."""
    if limit.false_alarms is not None:
        return "" if limit.lot_images is not None else _named_by_area(limit.false_alarms, limit.confidence, fill)
    now = promise_of(limit)
    return "" if now is None else _named(now, fill)


def kept_sentence(limit: Limit, value: float, t: Translate = fill) -> str:
    """Say whether another limit, that people set, keeps what the calibrated one promises; nothing where none does.

    Args:
        limit: the model's, as it was calibrated.
        value: of the limit in force.
        t: translates.
    """
    promises = limit.lot_images is None if limit.false_alarms else promise_of(limit) is not None
    if not promises or value == limit.value:
        return ""
    words = "This is said of the calibrated limit, {x}. The one in force is lower and does not keep it."
    if value > limit.value:
        words = "This is said of the calibrated limit, {x}. The one in force is higher and keeps it."
    return t(words, x=f"{limit.value:.4g}")


def _unmoved(limit: Limit) -> Limit:
    """The limit that one in the gap was moved from; any other as it is."""
    if limit.method != "gap":
        return limit
    return replace(limit, method=limit.moved_method or ("leave-one-out" if limit.left_out else "conformal"))


def _unpromised(limit: Limit) -> str:
    """Why nothing is promised, a key of ``UNPROMISED``; empty where something is."""
    method = _unmoved(limit).method
    return "lot" if limit.lot_images is not None else method if method in UNPROMISED else ""


def _shows_one_part(limit: Limit) -> bool:
    return bool(limit.weights) and limit.groups == 1


def _made(limit: Limit, asked: float, t: Translate) -> str:
    now, source = promise_of(limit), _unmoved(limit)
    if now is None:
        if why := _unpromised(limit):
            reason = t(UNPROMISED[why], rate=_percent(limit.false_reject_rate), images=limit.lot_images)
        else:
            reason = t("all good images show one part or photo, which tells nothing about others")
        return t("No promise: {reason}", reason=reason)
    notes = []
    if source.method in APPROXIMATE:
        notes.append(t(APPROXIMATE[source.method]))
    elif source.taught:
        notes.append(t("approximate, as the same images also weighed what labelled defects taught"))
    if now.rate > asked + ROUNDING:
        words = "not the {asked} that were asked for, as the good images show only {groups} parts or photos"
        notes.append(t(words, asked=_percent(asked), groups=limit.groups))
    elif now.confidence is None:
        low, high = realised_rate(limit.groups, now.rate)
        words = "a single one between {low} and {high}, nine times in ten"
        notes.append(t(words, low=_percent(low, math.floor), high=_percent(high)))
    if limit.method == "gap":
        words = "kept from the limit {x}, which labelled defects moved up to one that rejects no more"
        notes.append(t(words, x=f"{limit.moved_from:.4g}"))
    said = t("Promise: {promise}", promise=_in_words(now, t))
    return t("{said} ({notes})", said=said, notes=t("; ").join(notes)) if notes else said


def _better(limit: Limit, asked: float, t: Translate) -> str:
    better, now = next_promise(limit, asked), promise_of(limit)
    if better is None:
        return ""
    options = ["--limit conformal"] * (limit.method == "f1")
    if better.confidence != (now and now.confidence):
        options.append(f"--confidence {better.confidence:g}")
    if better.rate != asked:
        options.append(f"--false-reject {better.rate:g}")
    named = _named(better, t)
    if options:
        named = t("{promise} ({options})", promise=named, options=" ".join(options))
    more = better.needed - (limit.lot_images or limit.groups)
    if more <= 0:
        return t("the next better promise, {promise}, needs no more good parts", promise=named)
    words = "the next better promise, {promise}, needs {needed} good parts, {more} more than there are"
    if limit.lot_images is not None:
        words = "the next better promise, {promise}, needs {needed} good parts of that lot, {more} more than there are"
    elif _unmoved(limit).method == "conformal":
        words = (
            "the next better promise, {promise}, needs {needed} good parts held out of the fit, {more} more than there"
            " are"
        )
    return t(words, promise=named, needed=better.needed, more=more)


def _made_by_area(limit: Limit, promised: FalseAlarms, t: Translate) -> str:
    """What a limit by area promises, and from how much good glass."""
    if limit.lot_images is not None:
        words = "the limit was moved to where {images} images of a new lot score, which tell nothing of an area"
        return t("No promise: {reason}", reason=t(words, images=limit.lot_images))
    unit, area = t(_UNITS[promised.unit]), f"{limit.normal_area:.4g}"
    notes = [t("placed by {area} {unit} of it", area=area, unit=unit)]
    how = "leave-one-out" if limit.left_out else "cross-conformal" if limit.folds is not None else ""
    if how:
        notes.append(t(APPROXIMATE[how]))
    rate, models = f"{promised.rate:g}", _models(limit.confidence, t)
    words = "{models} models made in this way raise at most {rate} false alarms per {unit} of such good glass"
    if limit.confidence is None:
        words = "models made in this way raise at most {rate} false alarms per {unit} of such good glass on average"
    said = t("Promise: {promise}", promise=t(words, models=models, rate=rate, unit=unit))
    return t("{said} ({notes})", said=said, notes=t("; ").join(notes))


def _better_by_area(limit: Limit, promised: FalseAlarms, t: Translate) -> str:
    """What the next better promise by area needs; nothing where the rate is kept with confidence."""
    is_sure = limit.confidence is not None and limit.confidence >= BETTER_CONFIDENCE
    if is_sure and limit.lot_images is None:
        return ""
    needed = needed_area(promised, BETTER_CONFIDENCE)
    named = t(
        "{promise} ({options})",
        promise=_named_by_area(promised, BETTER_CONFIDENCE, t),
        options=f"--confidence {BETTER_CONFIDENCE:g}",
    )
    unit = t(_UNITS[promised.unit])
    words = "the next better promise, {promise}, needs {needed} {unit} of good glass"
    return t(words, promise=named, needed=f"{needed:.4g}", unit=unit)


def _named_by_area(promised: FalseAlarms, confidence: float | None, t: Translate) -> str:
    """A promise by area as a name."""
    rate, unit = f"{promised.rate:g}", t(_UNITS[promised.unit])
    if confidence is None:
        return t("at most {rate} false alarms per {unit} on average", rate=rate, unit=unit)
    words = "at most {rate} false alarms per {unit} in {models} models"
    return t(words, rate=rate, unit=unit, models=_models(confidence, t))


def _models(confidence: float | None, t: Translate) -> str:
    return "" if confidence is None else _share_of_models(confidence, t)


def _in_words(promise: Promise, t: Translate) -> str:
    """A promise as a clause."""
    rate = _percent(promise.rate)
    if promise.confidence is None:
        return t("models made in this way reject at most {rate} of good parts like these on average", rate=rate)
    models = _share_of_models(promise.confidence, t)
    return t(
        "{models} models made in this way reject at most {rate} of good parts like these", models=models, rate=rate
    )


def _named(promise: Promise, t: Translate) -> str:
    """A promise as a name."""
    rate = _percent(promise.rate)
    if promise.confidence is None:
        return t("at most {rate} on average", rate=rate)
    return t("at most {rate} in {models} models", rate=rate, models=_share_of_models(promise.confidence, t))


def _share_of_models(confidence: float, t: Translate) -> str:
    """A confidence as people say it: 19 of 20 for 0.95."""
    count = round(1 / (1 - confidence))
    if math.isclose(count * (1 - confidence), 1):
        return t("{k} of {n}", k=count - 1, n=count)
    return t("{share} of", share=f"{100 * confidence:.6g}%")


def _percent(rate: float, rounded: Callable[[float], int] = math.ceil) -> str:
    """A rate in percent, to a tenth or, below 1 %, to two digits; rounded up, so that no lower one is claimed."""
    digits = 1 if rate >= 0.01 else 1 - math.floor(math.log10(100 * rate)) if rate > 0 else 0
    units = 100 * rate * 10**digits
    whole = round(units) if math.isclose(units, round(units), rel_tol=1e-9) else rounded(units)
    return f"{whole / 10**digits:.{digits}f}%"
