"""Benchmarks and pretraining run seldom: here they import what there is, wherever they do, and say what they show."""

from __future__ import annotations

import ast
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FILES = sorted(path for folder in ("benchmarks", "pretraining") for path in (REPOSITORY / folder).glob("*.py"))
OWN = ("pellucid", "benchmarks", "pretraining")
COMMANDS = [path for path in FILES if 'if __name__ == "__main__":' in path.read_text("utf-8")]


def _module(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_what_is_imported_is_there(path):
    importlib.import_module(_module(path))
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OWN:
            module = importlib.import_module(node.module)
            gone = [a.name for a in node.names if not hasattr(module, a.name) and not _is_module(node.module, a.name)]
            assert gone == [], f"line {node.lineno} imports from {node.module} what it does not have"


def _is_module(package: str, name: str) -> bool:
    return hasattr(sys.modules[package], "__path__") and find_spec(f"{package}.{name}") is not None


@pytest.mark.parametrize("path", COMMANDS, ids=_module)
def test_a_command_says_what_it_shows(path, monkeypatch, capsys):
    module = importlib.import_module(_module(path))
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert module.__doc__.splitlines()[0].split()[0] in capsys.readouterr().out
