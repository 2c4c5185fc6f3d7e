"""Processes that begin where the libraries are loaded already, which takes each of the suite's hundreds three seconds.

On Linux a server process loads the libraries once, never pellucid itself, and every process is a fork of it; elsewhere,
and where lines are counted, it is a new interpreter. :func:`run` and :class:`Popen` are those of :mod:`subprocess` as
far as these tests need them. How a new interpreter starts and what it loads is tested without this file.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from subprocess import CompletedProcess

LIBRARIES = (
    *("cv2", "torch", "safetensors.torch", "huggingface_hub", "scipy.stats", "sklearn.metrics", "sklearn.covariance"),
    *("matplotlib.figure", "fastapi", "uvicorn", "sqlalchemy", "pydantic_settings", "jinja2", "typer", "rich"),
)


def can_fork() -> bool:
    """Whether processes begin as forks here; coverage follows new interpreters alone."""
    return sys.platform == "linux" and not any(name.startswith("COVERAGE_PROCESS") for name in os.environ)


def get_context(method: str = "spawn") -> BaseContext:
    """Give what starts processes by forks of the server instead of another method, where that can be."""
    if not can_fork():
        return multiprocessing.get_context(method)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context


def end() -> None:
    """End the server and wait for it: whoever measures the tests' processor time has that of their forks in it."""
    if can_fork():
        for process in multiprocessing.active_children():  # it ends when all of them have
            process.kill()
            process.join()
        forkserver._forkserver._stop()


class Popen:
    """A fork that does what a command says: ``python -m MODULE ...``, ``python -c CODE ...`` or ``python FILE ...``.

    Attributes:
        pid: by which the system knows it.
        returncode: how it ended, below 0 by which signal; None while it runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: Path,
        stderr: Path,
        cwd: Path,
        env: Mapping[str, str],
        preexec_fn: Callable[[], object] | None = None,
    ):
        import resource  # Windows has none

        self.args = command
        files = resource.getrlimit(resource.RLIMIT_NOFILE)  # which a child takes from its parent, and not from a server
        before = [partial(resource.setrlimit, resource.RLIMIT_NOFILE, files), *([preexec_fn] if preexec_fn else [])]
        streams = (str(stdout.resolve()), str(stderr.resolve()))
        arguments = (list(command[1:]), streams, str(cwd), dict(env), before)
        self._process = get_context().Process(target=_do, args=arguments, daemon=True)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    command: Sequence[str], *, output: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Popen | subprocess.Popen[bytes]:
    """Start a process that adds what it says to a file."""
    cwd, env = Path.cwd() if cwd is None else cwd, os.environ if env is None else env
    if can_fork():
        return Popen(command, stdout=output, stderr=output, cwd=cwd, env=env)
    with output.open("ab") as log:
        return subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log, env=env)


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    preexec_fn: Callable[[], object] | None = None,
    check: bool = False,
) -> CompletedProcess[str]:
    """Run a process to its end and return what it said."""
    cwd, env = Path.cwd() if cwd is None else cwd, os.environ if env is None else env
    options = {"cwd": cwd, "env": env, "preexec_fn": preexec_fn}
    if not can_fork():
        return subprocess.run(command, **options, check=check, capture_output=True, text=True, encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="pellucid-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        code = Popen(command, stdout=out, stderr=err, **options).wait()
        done = CompletedProcess(command, code, out.read_text("utf-8"), err.read_text("utf-8"))
    if check:
        done.check_returncode()
    return done


def _do(
    arguments: list[str], streams: tuple[str, str], cwd: str, env: dict[str, str], before: list[Callable[[], object]]
) -> None:
    """Be what a new interpreter would be with these arguments, in that folder and that environment."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    for number, path in enumerate(streams, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    encoding, _, errors = env.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdout = open(1, "w", encoding=encoding, errors=errors or None, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding, "backslashreplace", closefd=False)  # noqa: SIM115
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    for call in before:
        call()
    first, *rest = arguments
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(first, run_name="__main__")
