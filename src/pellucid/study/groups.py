"""Detectors by groups: what ``compare --detectors fast`` means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pellucid import detectors
from pellucid.detectors import Description

ON_REQUEST = frozenset(  # compared when they, or their group, are named
    {"anomaly_dino", "cfa", "cflow", "dfkde", "dinomaly", "draem", "efficientad", "subspace", "supersimplenet", "uflow"}
)
FAST = ("patchcore", "padim", "dfm", "subspace", "patchcore+padim+dfm")  # seconds to a minute for 200 images of 256 px
PREDICTS_FEATURES = ("stfpm", "reverse_distillation")  # of a teacher, and takes for a flaw what it cannot predict
Belongs = Callable[[Description], bool]
GROUPS: Final[dict[str, Belongs]] = {
    "fast": lambda detector: detector.name in FAST,
    "all": lambda _: True,
    "closed-form": lambda detector: "epochs" not in detector.defaults,
    "trained": lambda detector: "epochs" in detector.defaults,
}


def expand(names: Sequence[str]) -> list[str]:
    """Replace groups by the detectors in them; a detector that is called like a group is meant before it.

    Args:
        names: of detectors, fusions and groups; without any, all detectors but those of :data:`ON_REQUEST`.

    Returns:
        Names of detectors and fusions, each once, in order.

    Example:
        >>> expand(["fast", "stfpm"])
        ['patchcore', 'padim', 'dfm', 'subspace', 'patchcore+padim+dfm', 'stfpm']
    """
    if not names:
        return [one.name for one in detectors.descriptions() if one.name not in ON_REQUEST]
    found: list[str] = []
    for name in names:
        found += members(name) if name in GROUPS and not detectors.is_known(name) else [name]
    return list(dict.fromkeys(found))


def members(group: str) -> list[str]:
    """List the detectors of a group."""
    if group == "fast":
        return list(FAST)
    return [one.name for one in detectors.descriptions() if GROUPS[group](one)]


def caveats(names: Sequence[str]) -> list[str]:
    """Say of detectors, or of fusions with them, what they are not to be used for.

    Args:
        names: of what is compared.

    Example:
        >>> caveats(["padim", "dfm"])
        []
    """
    parts = {part for name in names for part in name.split("+")}
    found = [name for name in PREDICTS_FEATURES if name in parts]
    if not found:
        return []
    return [
        f"{' and '.join(found)} cannot tell a flaw from noise that no network can predict, as on quiet grey surfaces:"
        " on magnetic_tile at 128 px the image AUROC is 0.88 (stfpm) and 0.84 (reverse_distillation), where padim+dfm"
        " has 0.96."
        " On such surfaces take another one."
    ]
