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
PROGRESS_VARIABLE = "PELLUCID_PROGRESS"  # of the environment; names the file that progress is written to
REPORT_INTERVAL_S = 0.5


@dataclass(frozen=True)
class ProgressReport:
    """How far a command is with what it is counting.

    Attributes:
        description: of the work, in a few words.
        completed: how many are done.
        total: how many there are; None where that is not known.
        remaining_seconds: an estimate; None before the pace is known.
    """

    description: str
    completed: float
    total: float | None
    remaining_seconds: float | None


def read_progress(file: Path) -> ProgressReport | None:
    """Read what was last reported to a file; None when there is none, or it is being written.

    Args:
        file: that ``PELLUCID_PROGRESS`` named when the command was started.
    """
    try:
        return ProgressReport(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


class _ReportingProgress(Progress):
    """A display that also writes its newest task to a file."""

    report_file: Path | None = None
    _reported_at = 0.0

    def add_task(self, *args: Any, **kwargs: Any) -> TaskID:
        task_id = super().add_task(*args, **kwargs)
        self._report(task_id, always=True)
        return task_id

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._report(task_id)

    def update(self, task_id: TaskID, **kwargs: Any) -> None:
        super().update(task_id, **kwargs)
        self._report(task_id)

    def _report(self, task_id: TaskID, always: bool = False) -> None:
        now = time.monotonic()
        if self.report_file is None or not (always or now - self._reported_at >= REPORT_INTERVAL_S):
            return
        self._reported_at = now
        task = next(task for task in self.tasks if task.id == task_id)
        report = ProgressReport(task.description, task.completed, task.total, task.time_remaining)
        self.report_file.write_text(json.dumps(asdict(report)), "utf-8")


def progress_bar() -> Progress:
    """Make a progress display of rich; it is silent when standard error is not a terminal."""
    console = Console(stderr=True)
    display = _ReportingProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    display.report_file = Path(os.environ[PROGRESS_VARIABLE]) if PROGRESS_VARIABLE in os.environ else None
    return display


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items while a bar counts them.

    Args:
        items: what is worked on, in order.
        description: of the work, in a few words.
        total: how many there are, if they cannot say it themselves.
    """
    with progress_bar() as progress:
        task_id = progress.add_task(description, total=total or length_hint(items) or None)
        for item in items:
            yield item
            progress.advance(task_id)
