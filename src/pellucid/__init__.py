"""pellucid finds the flaw in the glass.

import pellucid
inspector = pellucid.fit("GlassDefect", detector="patchcore")
result = inspector.inspect("pane_0412.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.acquisition.folders import read_folder
    from pellucid.errors import PellucidError
    from pellucid.inspector import Inspector, fit, load
    from pellucid.records import Inspection

__all__ = ["Inspection", "Inspector", "PellucidError", "fit", "load", "read_folder"]

_HOMES = {
    "Inspection": "pellucid.records",
    "Inspector": "pellucid.inspector",
    "PellucidError": "pellucid.errors",
    "fit": "pellucid.inspector",
    "load": "pellucid.inspector",
    "read_folder": "pellucid.acquisition.folders",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import pellucid`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pellucid' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
