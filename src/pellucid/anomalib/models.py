"""Models by anomalib's names."""

from __future__ import annotations

from typing import Any

from pellucid import detectors
from pellucid.inspector import Inspector


class AnomalyModule:
    """A detector by its anomalib name; it holds hyper-parameters, and the inspector once it is fitted.

    Args:
        parameters: hyper-parameters of the detector; ``pre_trained`` is accepted, and always true.

    Raises:
        ParameterError: an unknown hyper-parameter, or a value that is not allowed.
    """

    detector: str

    def __init__(self, **parameters: Any) -> None:
        parameters.pop("pre_trained", None)  # always
        self.parameters = parameters
        detectors.create(self.detector, **parameters)  # unknown parameters are refused here, not hours later
        self.inspector: Inspector | None = None


class Patchcore(AnomalyModule):
    """See :class:`pellucid.detectors.patchcore.Patchcore`."""

    detector = "patchcore"


class Padim(AnomalyModule):
    """See :class:`pellucid.detectors.padim.Padim`."""

    detector = "padim"


class Stfpm(AnomalyModule):
    """See :class:`pellucid.detectors.stfpm.Stfpm`."""

    detector = "stfpm"


class Dfm(AnomalyModule):
    """See :class:`pellucid.detectors.dfm.Dfm`."""

    detector = "dfm"


class Fastflow(AnomalyModule):
    """See :class:`pellucid.detectors.fastflow.Fastflow`."""

    detector = "fastflow"


class ReverseDistillation(AnomalyModule):
    """See :class:`pellucid.detectors.reverse_distillation.ReverseDistillation`."""

    detector = "reverse_distillation"
