"""A real service in a process of its own, and a real PostgreSQL, for the tests that need them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import forks
import httpx
import pytest

from pellucid.service.storage.tables import InspectionRow

BINARIES = next((p.parent for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))), None)


@dataclass
class Served:
    """A running service."""

    process: forks.Popen | subprocess.Popen[bytes]
    url: str
    folder: Path  # that holds models/ and record/
    http: httpx.Client

    def inspect(self, *files: Path | tuple[str, bytes], **query: str) -> httpx.Response:
        """Send files as a form."""
        sent = [("files", (f.name, f.read_bytes()) if isinstance(f, Path) else f) for f in files]
        return self.http.post("/inspect", files=sent, params=query)

    def kill(self) -> None:
        """As a power cut of the process would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As a service manager would."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text("utf-8")


@contextmanager
def served(
    folder: Path, *options: str, env: dict[str, str] | None = None, ready: bool = True, fault: str = ""
) -> Iterator[Served]:
    """Start ``pellucid serve`` in a folder and wait until it is ready; ``fault`` is code that is run before."""
    port = free_port()
    program = ["-c", f"{fault}\nimport pellucid.cli\npellucid.cli.main()"] if fault else ["-m", "pellucid"]
    command = [sys.executable, *program, "serve", "--port", str(port), *options]
    environment = {**os.environ, "PYTHONUTF8": "1", **(env or {})}
    process = forks.start(command, output=folder / "log", cwd=folder, env=environment)
    service = Served(
        process, f"http://127.0.0.1:{port}", folder, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
    )
    try:
        wait_until(lambda: answers(service, ready), process=process, told=service.log)
        yield service
    finally:
        service.http.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answers(service: Served, ready: bool) -> bool:
    """Whether it is up, or up and ready."""
    try:
        return service.http.get("/ready" if ready else "/health").status_code == 200
    except httpx.HTTPError:
        return False


def wait_until(done, seconds: float = 180, process=None, told=lambda: "") -> None:
    """Ask until it is so; the deadline is far beyond what a busy machine needs: passing costs no more."""
    end = time.monotonic() + seconds
    while not done():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the service ended with {process.returncode}: {told()}")
        assert time.monotonic() < end, f"it was not so within {seconds} s: {told()}"
        time.sleep(0.1)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A server in a folder of its own, with one empty database.

    It does not lie among pytest's: they are root's alone, and each run of pytest makes them so again.
    """

    def __init__(self) -> None:
        if BINARIES is None:
            pytest.skip("PostgreSQL is not installed")
        self.port = free_port()
        folder = Path(tempfile.mkdtemp(prefix="pellucid-postgres-"))
        self._data = folder / "data"
        self._user = {"user": "postgres"} if os.geteuid() == 0 else {}  # it refuses to run as root
        if self._user:
            import pwd  # Windows has none

            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        self._run("initdb", "-D", str(self._data), "-U", "pellucid", "--auth", "trust", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://pellucid@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k ''"
        self._run("pg_ctl", "-D", str(self._data), "-o", options, "-l", str(self._data / "log"), "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")

    def remove(self) -> None:
        """Stop it for good."""
        self.stop()
        shutil.rmtree(self._data.parent)

    def processes(self) -> list[int]:
        """The server's process and those that it started."""
        first = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(BINARIES / program), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            check=False,
            **self._user,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def full_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own, so small that it fills up."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def an_inspection_row(**more: object) -> InspectionRow:
    """An inspection as it is kept, plain but for what is given."""
    usual = InspectionRow(
        time=datetime.now(UTC),
        file="a.png",
        part_id="a",
        model="m",
        model_sha256="0" * 64,
        runtime="torch",
        milliseconds=1.0,
        score=1.0,
        limit=2.0,
        pixel_limit=2.0,
        p_value=0.5,
        verdict="ok",
        width=8,
        height=8,
        defects=[],
        source="http",
        account="local",
    )
    return replace(usual, **more)


def serving_folder(folder: Path, model: Path) -> Path:
    """A folder to serve from, with one model, ``pane``."""
    (folder / "models").mkdir()
    shutil.copy(model, folder / "models" / "pane.pellucid")
    return folder


def rows_of(folder: Path, table: str = "inspections") -> list[sqlite3.Row]:
    """All that a service's own database holds in a table."""
    with sqlite3.connect(folder / "record" / "record.db") as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()
    connection.close()
    return rows
