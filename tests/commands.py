"""Commands as a user runs them, in a process of their own, or here where only what they do counts: it saves seconds."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest.mock import patch

import forks

SMALL = ("--image-size", "64", "--false-reject", "0.1")
COMPARED = ("--detectors", "patchcore,padim,dfm", *SMALL)
SCORES_HEADER = "path,label,type,score,limit,p_value,verdict,reason,warnings,ignored,grade,clauses"


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pellucid", *map(str, arguments)]


def pellucid(*arguments: object, check: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own; ``check`` is the exit code that it has to end with."""
    done = forks.run(command_line(*arguments), **options)
    if check is not None:
        assert done.returncode == check, done.stderr
    return done


def pellucid_here(*arguments: object, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which has loaded already what a new one would have to load."""
    from pellucid import cli

    command, code = ["pellucid", *map(str, arguments)], 0
    with patch("sys.argv", command), redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
    if check is not None:
        assert code == check, err.getvalue()
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
