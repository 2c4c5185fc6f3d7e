"""Whether a limit is one that decides nothing: it would reject every good part, or none."""

from __future__ import annotations

from pellucid.errors import ParameterError
from pellucid.records.limits import Limit


class UnconfirmedLimitError(ParameterError):
    """A limit that rejects all or nothing, and that nobody has confirmed."""


def check_limit(calibrated: Limit, value: float, reason: str, confirmed: bool) -> None:
    """Check a limit against the scores of the good images that were held out from fitting.

    Args:
        calibrated: the limit that the model file holds, with those scores.
        value: the limit that is asked for.
        reason: in the words of whoever asks.
        confirmed: whether they know what it does.

    Raises:
        ParameterError: it was confirmed without a reason.
        UnconfirmedLimitError: it rejects all of them or none, and was not confirmed.
    """
    consequence = _consequence(calibrated, value)
    if consequence is None:
        return
    if not confirmed:
        raise UnconfirmedLimitError(f'A limit of {value:g} {consequence} Confirm it ("confirm": true), with a reason.')
    if not reason.strip():
        raise ParameterError(f"A limit of {value:g} {consequence} Give a reason for it.")


def _consequence(calibrated: Limit, value: float) -> str | None:
    """Say what an extreme limit does; None for a usual one, and for any between the scores and the calibrated one."""
    scores = calibrated.scores
    if not scores:
        return "cannot be tried: the model holds no scores of good images." if value != calibrated.value else None
    low, high, count = min(scores), max(scores), len(scores)
    if value < min(low, calibrated.value):
        return f"would reject every good part: all {count} held-out good images score from {low:.4g} to {high:.4g}."
    if value >= high and value > calibrated.value:
        return (
            f"would reject no good part, and might pass defects: all {count} held-out good images score from {low:.4g}"
            f" to {high:.4g}."
        )
    return None
