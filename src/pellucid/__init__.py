"""pellucid finds the flaw in the glass.

>>> import pellucid
>>> inspector = pellucid.fit("GlassDefect", detector="patchcore")
>>> result = inspector.inspect("pane_0412.png")
>>> result.verdict
'reject'
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid import backbones as backbones
    from pellucid import detectors as detectors
    from pellucid import errors as errors
    from pellucid.acquisition.folders import read_folder as read_folder
    from pellucid.acquisition.plan import Plan as Plan
    from pellucid.errors import PellucidError as PellucidError
    from pellucid.fitting import fit as fit
    from pellucid.fitting import fit_split as fit_split
    from pellucid.inspector import Inspector as Inspector
    from pellucid.models.load import load as load
    from pellucid.records import Defect as Defect
    from pellucid.records import Ignored as Ignored
    from pellucid.records import Inspection as Inspection
    from pellucid.records import Sample as Sample
    from pellucid.records import Samples as Samples
    from pellucid.records import Split as Split
    from pellucid.records.limits import Limit as Limit
    from pellucid.regions.zones import Zones as Zones
    from pellucid.study.evaluate import evaluate as evaluate
    from pellucid.study.results import Evaluation as Evaluation
    from pellucid.updating import Update as Update
    from pellucid.updating import update as update

__version__ = "0.1.0"  # the only place: both distributions and the service take it from here
_HOMES = {  # every public name and the module that it is imported from when it is first used; a module has none
    "Defect": "pellucid.records",
    "Evaluation": "pellucid.study.results",
    "Ignored": "pellucid.records",
    "Inspection": "pellucid.records",
    "Inspector": "pellucid.inspector",
    "Limit": "pellucid.records.limits",
    "PellucidError": "pellucid.errors",
    "Plan": "pellucid.acquisition.plan",
    "Sample": "pellucid.records",
    "Samples": "pellucid.records",
    "Split": "pellucid.records",
    "Update": "pellucid.updating",
    "Zones": "pellucid.regions.zones",
    "backbones": None,
    "detectors": None,
    "errors": None,
    "evaluate": "pellucid.study.evaluate",
    "fit": "pellucid.fitting",
    "fit_split": "pellucid.fitting",
    "load": "pellucid.models.load",
    "read_folder": "pellucid.acquisition.folders",
    "update": "pellucid.updating",
}
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: ``import pellucid`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pellucid' has no attribute '{name}'")
    home = _HOMES[name]
    return _import_module(f"pellucid.{name}") if home is None else getattr(_import_module(home), name)


def __dir__() -> list[str]:
    return __all__
