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
    from pellucid import backbones, detectors, errors
    from pellucid.acquisition.folders import read_folder
    from pellucid.acquisition.plan import Plan
    from pellucid.errors import PellucidError
    from pellucid.fitting import fit, fit_split
    from pellucid.inspector import Inspector
    from pellucid.models.load import load
    from pellucid.records import Defect, Inspection, Limit, Sample, Samples, Split
    from pellucid.study.evaluate import evaluate
    from pellucid.study.results import Evaluation

    __version__: str

_HOMES = {  # every public name and the module that it is imported from when it is first used
    "Defect": "pellucid.records",
    "Evaluation": "pellucid.study.results",
    "Inspection": "pellucid.records",
    "Inspector": "pellucid.inspector",
    "Limit": "pellucid.records",
    "PellucidError": "pellucid.errors",
    "Plan": "pellucid.acquisition.plan",
    "Sample": "pellucid.records",
    "Samples": "pellucid.records",
    "Split": "pellucid.records",
    "backbones": "pellucid",
    "detectors": "pellucid",
    "errors": "pellucid",
    "evaluate": "pellucid.study.evaluate",
    "fit": "pellucid.fitting",
    "fit_split": "pellucid.fitting",
    "load": "pellucid.models.load",
    "read_folder": "pellucid.acquisition.folders",
}
__all__ = [
    "Defect",
    "Evaluation",
    "Inspection",
    "Inspector",
    "Limit",
    "PellucidError",
    "Plan",
    "Sample",
    "Samples",
    "Split",
    "__version__",
    "backbones",
    "detectors",
    "errors",
    "evaluate",
    "fit",
    "fit_split",
    "load",
    "read_folder",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: ``import pellucid`` costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("pellucid")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pellucid' has no attribute '{name}'")
    if home == "pellucid":
        return _import_module(f"pellucid.{name}")
    return getattr(_import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
