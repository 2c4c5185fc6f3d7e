"""What earlier versions of pellucid did not keep in a model."""

from __future__ import annotations

from torch import Tensor

from pellucid.errors import ParameterError


def needed(learned: Tensor | None) -> Tensor:
    """Return what an update needs of what was learned.

    Args:
        learned: None in a model that a pellucid fitted which did not keep it.

    Raises:
        ParameterError: it is None.
    """
    if learned is None:
        raise ParameterError(
            "This model is of an earlier pellucid, which did not keep what an update needs: fit it again."
        )
    return learned
