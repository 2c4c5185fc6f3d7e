"""From where on a gate lets a tile pass, by flaws that the detector finds, so that it loses at most a stated share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import ParameterError

WEAKEST = 5  # flaws that a threshold rests on: on one or two it would be luck how much work is left
ENOUGH_FOUND = 999  # flaws, whatever the loss; fewer only where they cannot promise it


def choose_threshold(strengths: Sequence[float] | NDArray[np.floating], loss: float) -> float:
    """Choose from where on a tile is a candidate, by tiles whose flaw the detector finds.

    A flaw of the same kind is then passed over with a probability of at most ``loss``, on average over such choices
    (split-conformal). With fewer than 1 / loss - 1 flaws nothing can be promised, and every tile is a candidate.

    Args:
        strengths: of these tiles.
        loss: share of such flaws that may be lost, in [0, 1); 0: none, so that every tile is a candidate.

    Returns:
        The threshold, to be exceeded; -inf where every tile is a candidate.

    Raises:
        ParameterError: the loss is not in [0, 1).
    """
    check_gate_loss(loss)
    allowed = math.floor(loss * (len(strengths) + 1) + 1e-9)
    if allowed == 0:
        return -math.inf
    # just below the allowed-th lowest: that one passes, those below it do not
    return float(np.nextafter(np.sort(np.asarray(strengths, np.float64))[allowed - 1], -math.inf))


def count_flaws(loss: float) -> int:
    """Return how many flaws a detector has to find for a threshold: as many as promise the loss, and more where these
    would be few.

    Args:
        loss: share of them that may be lost, in [0, 1); 0: none, and none is needed.

    Raises:
        ParameterError: the loss is not in [0, 1).
    """
    check_gate_loss(loss)
    if not loss:
        return 0
    promised, resting = (math.ceil(weakest / loss - 1e-9) - 1 for weakest in (1, WEAKEST))
    return max(promised, min(resting, ENOUGH_FOUND))


def check_gate_loss(loss: float) -> None:
    """Refuse what is no share of flaws that may be lost.

    Raises:
        ParameterError: it is not in [0, 1).
    """
    if not 0 <= loss < 1:
        raise ParameterError(f"gate_loss={loss:g} is not allowed: it is a share of the flaws, from 0 to below 1.")
