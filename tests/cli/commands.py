"""Commands as a user runs them: in a process of their own."""

from __future__ import annotations

import subprocess
import sys

SMALL = ("--image-size", "64", "--false-reject", "0.1")
COMPARED = ("--detectors", "patchcore,padim,dfm", *SMALL)
SCORES_HEADER = "path,label,type,score,limit,p_value,verdict,reason,warnings,ignored"


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pellucid", *map(str, arguments)]


def pellucid(*arguments: object, check: int | None = 0, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command; ``check`` is the exit code that it has to end with."""
    done = subprocess.run(
        command_line(*arguments), capture_output=True, text=True, encoding="utf-8", check=False, **options
    )
    if check is not None:
        assert done.returncode == check, done.stderr
    return done
