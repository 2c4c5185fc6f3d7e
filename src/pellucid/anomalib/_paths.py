"""Module paths of anomalib, 1.x and 2.x: where the names that a script imports from them lie here.

Python asks :class:`Paths`, after everybody else, for what lies below ``pellucid.anomalib`` and is no file. While
``python -m pellucid.anomalib`` runs a script it is also asked for ``anomalib`` itself, and for the few names of
Lightning and torchvision that such a script needs, where these are not installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Literal

HERE = "pellucid.anomalib"
_DATA_SETS = (
    r"(?:\.(?:folder|tabular|mvtec|mvtecad|visa|mpdd|btech|kolektor|image|base|datamodule|dataset|torch|numpy"
    r"|generic))*"
)
_MODELS = (
    r"(?:patchcore|padim|stfpm|dfm|dfkde|fastflow|reverse_distillation|efficient_ad|cfa|supersimplenet|anomaly_dino"
    r"|dinomaly|cflow|uflow|draem|csflow|dsr|fre|ganomaly|winclip|uninet|glass|vlm_ad)"
)
OWN_PATHS = [  # below anomalib: a pattern of paths, and the module here that has the names of all of them
    (r"data\.utils(?:\.(?:split|image|tiler|path|label|synthetic|download|transforms|generators))?", "data"),
    (rf"data\.(?:image|datamodules|datasets|dataclasses|base){_DATA_SETS}", "data"),
    (r"data\.(?:predict|task_type|inference)", "data"),
    (rf"models\.(?:image|(?:image\.)?{_MODELS}(?:\.(?:lightning_model|torch_model|anomaly_map))?)", "models"),
    (r"models\.components(?:\.base(?:\.anomalib_module|\.anomaly_module)?)?", "models"),
    (r"engine\.engine", "engine"),
    (r"deploy\.(?:export|inferencers(?:\.(?:base|torch|openvino)_inferencer)?)", "deploy"),
    (r"metrics\.(?:auroc|aupr|aupro|pro|pimo|f1_score|min_max|base|evaluator)", "metrics"),
    (r"metrics\.threshold(?:\.(?:f1_adaptive_threshold|manual_threshold|base))?", "metrics"),
    (r"callbacks\.(?:checkpoint|timer|model_loader|graph|tiler_configuration|visualizer)", "callbacks"),
    (r"loggers\.(?:base|tensorboard|mlflow|wandb|comet)", "loggers"),
    (r"pipelines\.(?:benchmark|tiled_ensemble)", "pipelines"),
    (r"pre_processing\.pre_processor", "pre_processing"),
    (r"post_processing\.(?:base|one_class|post_processor)", "post_processing"),
    (r"visualization\.(?:base|image(?:\.(?:visualizer|functional|item_visualizer))?)", "visualization"),
    (r"utils\.visualization(?:\.(?:base|image))?", "visualization"),
    (r"utils\.post_processing", "visualization"),
    (r"utils\.callbacks", "callbacks"),
    (r"utils\.loggers", "loggers"),
    (r"utils\.metrics", "metrics"),
    (r"utils\.normalization", "post_processing"),
    (r"utils(?:\.(?:types|path|config|logging))?", ""),
]
HOMES = ("", *dict.fromkeys(home for _, home in OWN_PATHS if home), "cli")
_LIGHTNING = (
    r"(?:trainer|core|callbacks(?:\.(?:callback|early_stopping|model_checkpoint|progress))?"
    r"|loggers(?:\.(?:tensorboard|csv_logs))?|utilities(?:\.(?:types|seed|rank_zero))?)"
)
FOREIGN_PATHS = [  # of other libraries, where they are not installed
    (rf"(?:lightning|pytorch_lightning|lightning\.pytorch)(?:\.{_LIGHTNING})?", "lightning"),
    (r"torchvision(?:\.transforms(?:\.v2)?)?", "transforms"),
]


def find_home(name: str) -> str | None:
    """Return the module that has the names of one of anomalib's, by its path below ``anomalib``; None: none has."""
    if name in HOMES:
        return name
    return next((home for pattern, home in OWN_PATHS if re.fullmatch(pattern, name)), None)


class Paths(MetaPathFinder, Loader):
    """Finds modules of other libraries in the modules of this package.

    Args:
        serves: ``own``, what lies below ``pellucid.anomalib``; ``anomalib``; or ``others``, Lightning and torchvision.
    """

    def __init__(self, serves: Literal["own", "anomalib", "others"]) -> None:
        self.serves = serves

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import a module that has a home here; None for any other."""
        del path, target
        home = self._home(fullname)
        if home is None:
            return None
        return ModuleSpec(fullname, self, origin=f"{HERE}.{home}".rstrip("."), is_package=True)

    def _home(self, fullname: str) -> str | None:
        if self.serves == "others":
            return next((home for pattern, home in FOREIGN_PATHS if re.fullmatch(pattern, fullname)), None)
        top = HERE if self.serves == "own" else "anomalib"
        if fullname != top and not fullname.startswith(f"{top}."):
            return None
        return find_home(fullname[len(top) + 1 :])

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module with the names of its home."""
        return _Alias(spec.name, str(spec.origin))

    def exec_module(self, module: ModuleType) -> None:
        """Import the home."""
        home = import_module(vars(module)["_home"])
        vars(module).update(__doc__=home.__doc__, __all__=list(getattr(home, "__all__", ())))


class _Alias(ModuleType):
    """Another path of a module: it has the same names, looked up when they are asked for."""

    def __init__(self, name: str, home: str) -> None:
        super().__init__(name)
        self._home = home

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") and name != "__version__":  # what the import system asks a module for
            raise AttributeError(name)
        return getattr(import_module(self._home), name)

    def __dir__(self) -> list[str]:
        return dir(import_module(self._home))


def install_own_paths() -> None:
    """Let the paths below ``pellucid.anomalib`` be found, after everything that is a file."""
    if not any(isinstance(finder, Paths) and finder.serves == "own" for finder in sys.meta_path):
        sys.meta_path.append(Paths("own"))
