"""Sentences of the pages, in Persian."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

from pellucid.limits import promise
from pellucid.regions.kinds import KINDS
from pellucid.service import pages
from pellucid.service.access.accounts import Role
from pellucid.service.pages.texts import PERSIAN
from pellucid.service.storage.tables import ChangeKind
from pellucid.service.training import TrainingState


def test_every_sentence_is_there_in_persian():
    """Whatever the pages say is a key, and every key is said."""
    said = set()
    for file in [*Path(pages.__file__).parent.glob("*.py"), Path(promise.__file__)]:
        tree = ast.parse(file.read_text("utf-8"))
        tables = [n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "PERSIAN"]
        nodes = [n for part in tree.body if part not in tables for n in ast.walk(part)]
        said |= {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    service_words = {*get_args(TrainingState), *get_args(Role), *KINDS, *get_args(ChangeKind)}
    assert set(PERSIAN) - said - service_words == set()
    assert service_words <= set(PERSIAN)
    for english, persian in PERSIAN.items():
        assert _holes(english) == _holes(persian), english


def _holes(text: str) -> set[str]:
    return {part.split("}")[0] for part in text.split("{")[1:]}
