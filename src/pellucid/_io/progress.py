"""Progress bars with the time remaining, on standard error, and only where a person is watching.

A program that waits for a command can watch as well: it names a file in the environment variable ``PELLUCID_PROGRESS``,
and the step that is being counted is written there as JSON.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from operator import length_hint
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
REPORT = "PELLUCID_PROGRESS"
EVERY = 0.5  # seconds between reports


@dataclass(frozen=True)
class Step:
    """What a command is counting."""

    description: str
    done: float
    of: float | None
    remaining: float | None  # seconds


def read_step(file: Path) -> Step | None:
    """The step that was last reported to a file; None when there is none, or it is being written."""
    try:
        return Step(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


class _Reporting(Progress):
    """A display that also writes its newest step to a file."""

    file: Path | None = None
    _reported = 0.0

    def add_task(self, *args: Any, **kwargs: Any) -> TaskID:
        task = super().add_task(*args, **kwargs)
        self._report(task, always=True)
        return task

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._report(task_id)

    def update(self, task_id: TaskID, **kwargs: Any) -> None:
        super().update(task_id, **kwargs)
        self._report(task_id)

    def _report(self, number: TaskID, always: bool = False) -> None:
        now = time.monotonic()
        if self.file is None or not (always or now - self._reported >= EVERY):
            return
        self._reported = now
        task = next(task for task in self.tasks if task.id == number)
        step = Step(task.description, task.completed, task.total, task.time_remaining)
        self.file.write_text(json.dumps(asdict(step)), "utf-8")


def bar() -> Progress:
    """A rich progress display; silent when standard error is not a terminal."""
    console = Console(stderr=True)
    display = _Reporting(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    display.file = Path(os.environ[REPORT]) if REPORT in os.environ else None
    return display


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items while a bar counts them, to ``total`` if they cannot say how many they are."""
    with bar() as progress:
        task = progress.add_task(description, total=total or length_hint(items) or None)
        for item in items:
            yield item
            progress.advance(task)
