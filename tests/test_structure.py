"""The house itself: who imports whom, how long things are, and what an import leaves as it was."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid

ROOT = Path(pellucid.__file__).parent
MODULES = {
    ".".join(("pellucid", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
    if "migrations" not in path.parts  # each is a script of its own
}
STAGES = ("acquisition", "backbones", "detectors", "limits", "regions", "reports")  # the way of an image, in order
PLUMBING = ("_io", "errors", "records")  # that every stage may import; it imports no stage
DRAWN = {"pellucid.synthesis.fields", "pellucid.synthesis.textures"}  # of numbers alone; they import no stage
DRAWING = {
    ("pellucid.records", f"pellucid.{module}")
    for module in ("acquisition.images", "acquisition.masks", "reports.pictures")
}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAY_BE_LONG = {  # each of their many arguments is declared, explained and passed on
    "pellucid.cli.compare.compare",
    "pellucid.cli.fit.fit",
    "pellucid.cli.inspect.inspect",
    "pellucid.fitting.fit",
    "pellucid.fitting.fit_split",
}


def _imports(module: str) -> Iterator[str]:
    """Every module of pellucid that one imports, wherever in its file: at the top, in functions, for types only."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "pellucid")
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            if source.split(".")[0] == "pellucid":
                for alias in node.names:
                    inner = f"{source}.{alias.name}"
                    yield inner if inner in MODULES else source


GRAPH = {module: set(_imports(module)) - {module} for module in MODULES}


def _part(module: str) -> str:
    return [*module.split("."), ""][1]


def test_nothing_is_imported_that_is_not_there():
    assert {target for targets in GRAPH.values() for target in targets} <= MODULES.keys()


def _reached(start: str) -> set[str]:
    reached, waiting = set(), [start]
    while waiting:
        new = GRAPH[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def test_nothing_imports_in_a_circle():
    reached = {module: _reached(module) for module in GRAPH}
    circles = {frozenset(other for other in reached[m] if m in reached[other]) for m in GRAPH if m in reached[m]}
    assert not circles, "\n".join(", ".join(sorted(circle)) for circle in circles)


def test_a_stage_imports_only_stages_to_its_left():
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in targets
        if (part := _part(module)) in STAGES
        and target not in DRAWN
        and _part(target) not in (*STAGES[: STAGES.index(part) + 1], *PLUMBING)
    ]
    assert not wrong, "\n".join(wrong)


def test_plumbing_imports_no_stage():
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in targets
        if _part(module) in PLUMBING
        and _part(target) not in PLUMBING
        and (module, target) not in DRAWING  # an inspection draws itself when somebody looks: decision 21
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_is_long():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in MODULES.values()
    }
    long = [f"{name}: {lines} lines" for name, lines in lengths.items() if lines > MAX_FILE_LINES]
    assert not long, "\n".join(long)


def test_no_function_is_long():
    long = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES and f"{module}.{node.name}" not in MAY_BE_LONG:
                    long.append(f"{module}.{node.name}: {lines} lines")
    assert not long, "\n".join(long)


def test_the_public_names_are_those_of_dir():
    assert dir(pellucid) == sorted(pellucid.__all__)
    assert all(getattr(pellucid, name) is not None for name in pellucid.__all__)


def test_importing_pellucid_imports_nothing_heavy():
    code = "import sys; before = set(sys.modules); import pellucid; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foreign = {name.partition(".")[0] for name in done.stdout.split()} - {"pellucid", *sys.stdlib_module_names}
    assert not foreign


STATE = """
import importlib, logging, os, sys, warnings

def imported(names):
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:  # an extra that is not installed, or a part that its own package imports in another order
            pass

def state():
    import matplotlib, numpy, PIL.Image, torch
    found = {
        "root logger": (logging.root.level, list(logging.root.handlers)),
        "matplotlib.backend": dict.__getitem__(matplotlib.rcParams, "backend"),
        "PIL.Image.MAX_IMAGE_PIXELS": PIL.Image.MAX_IMAGE_PIXELS,
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch dtype": torch.get_default_dtype(),
        "torch deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch seed": torch.random.get_rng_state().numpy().tobytes(),
        "numpy errors": numpy.geterr(),
        "warnings.filters": list(warnings.filters),
        "folder": os.getcwd(),
        "hooks": (sys.excepthook, sys.displayhook, warnings.showwarning),
    }
    others = (name for name in matplotlib.rcParams if name != "backend")  # reading that one would choose it
    found |= {f"matplotlib.{name}": matplotlib.rcParams[name] for name in others}
    found |= {f"environment {name}": value for name, value in os.environ.items()}
    for name, log in logging.root.manager.loggerDict.items():
        if isinstance(log, logging.Logger) and name.partition(".")[0] != "pellucid":
            found[f"logger {name}"] = (log.level, list(log.handlers), log.disabled, log.propagate)
    return found

"""


@pytest.fixture(scope="module")
def foreign_modules() -> list[str]:
    """What importing every module of pellucid imports from elsewhere, in that order."""
    code = f"{STATE}imported({sorted(MODULES)!r})\nprint(*(name for name in sys.modules if name != '__main__'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split() if name.partition(".")[0] != "pellucid"]


def test_imports_leave_the_state_of_others_as_it_was(foreign_modules):
    code = f"""{STATE}
imported({foreign_modules!r})
before = state()
imported({sorted(MODULES)!r})
after = state()
for name in before.keys() | after.keys():
    if after.get(name) != before.get(name):
        print(name, "was", before.get(name), "and is", after.get(name))
"""
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=True)
    assert done.stdout == "", done.stdout
