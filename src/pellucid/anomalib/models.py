"""Models by anomalib's names."""

from __future__ import annotations

from typing import Any, ClassVar

from pellucid import detectors
from pellucid.errors import ParameterError
from pellucid.inspector import Inspector

REPLACED_PARAMETERS = {  # anomalib 2.x's components, and what does their work here
    "pre_processor": "image_size of the data module says how large images are made",
    "post_processor": "Engine(false_reject=...) says where the limit goes",
    "evaluator": "engine.test computes every metric that the images allow",
    "visualizer": "engine.test writes a picture of every image",
}


class AnomalyModule:
    """A detector by its anomalib name; it holds hyper-parameters, and the inspector once it is fitted.

    Args:
        parameters: hyper-parameters of the detector; ``pre_trained`` is always true.

    Raises:
        ParameterError: an unknown hyper-parameter, or a value that is not allowed.
    """

    detector: str
    paper: ClassVar[dict[str, Any]] = {}  # hyper-parameters that are the paper's there, and not by default here

    def __init__(self, **parameters: Any) -> None:
        if not parameters.pop("pre_trained", True):
            raise ParameterError("pre_trained=False is not allowed: features of random weights show little.")
        for name, instead in REPLACED_PARAMETERS.items():
            if parameters.pop(name, None) not in (None, True):
                raise ParameterError(f"{name} is not taken: {instead}; leave it out.")
        self.parameters = self.paper | parameters
        detectors.create(self.detector, **self.parameters)  # what is not allowed is refused here, not hours later
        self.inspector: Inspector | None = None


class Patchcore(AnomalyModule):
    """See :class:`pellucid.detectors.patchcore.Patchcore`."""

    detector = "patchcore"
    paper = {"image_score": "peak"}


class Padim(AnomalyModule):
    """See :class:`pellucid.detectors.padim.Padim`."""

    detector = "padim"
    paper = {"image_score": "peak"}


class Stfpm(AnomalyModule):
    """See :class:`pellucid.detectors.stfpm.Stfpm`."""

    detector = "stfpm"


class Dfm(AnomalyModule):
    """See :class:`pellucid.detectors.dfm.Dfm`; ``layer`` is the one of ``layers``, as in anomalib."""

    detector = "dfm"

    def __init__(self, layer: str | None = None, **parameters: Any) -> None:
        if layer is not None and "layers" in parameters:
            raise ParameterError("layer and layers are the same: give one of them.")
        super().__init__(**parameters | ({} if layer is None else {"layers": (layer,)}))


class Cfa(AnomalyModule):
    """See :class:`pellucid.detectors.cfa.Cfa`."""

    detector = "cfa"


class Cflow(AnomalyModule):
    """See :class:`pellucid.detectors.cflow.Cflow`."""

    detector = "cflow"


class Dfkde(AnomalyModule):
    """See :class:`pellucid.detectors.dfkde.Dfkde`."""

    detector = "dfkde"


class EfficientAd(AnomalyModule):
    """See :class:`pellucid.detectors.efficientad.EfficientAd`."""

    detector = "efficientad"


class Fastflow(AnomalyModule):
    """See :class:`pellucid.detectors.fastflow.Fastflow`."""

    detector = "fastflow"


class ReverseDistillation(AnomalyModule):
    """See :class:`pellucid.detectors.reverse_distillation.ReverseDistillation`."""

    detector = "reverse_distillation"


class Supersimplenet(AnomalyModule):
    """See :class:`pellucid.detectors.supersimplenet.SuperSimpleNet`."""

    detector = "supersimplenet"


class Uflow(AnomalyModule):
    """See :class:`pellucid.detectors.uflow.Uflow`."""

    detector = "uflow"
