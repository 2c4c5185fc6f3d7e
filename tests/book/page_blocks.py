"""The blocks of a page of documentation, and a desk on which they run.

A block is told by its fence: ``sh`` (each line is a command), ``python`` (all of a page share their names), ``toml``.
Other fences show what is printed. A comment right above a block says more about it:

    <!-- file: rules.toml -->        what is in the block is written into that file before the page runs
    <!-- slow -->                    it runs in `make test-slow` only
    <!-- not run: needs a GPU -->    it does not run, and why
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any
from unittest.mock import patch

from commands import pellucid_here
from serving import Served, served

from pellucid.service.settings import read_settings

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<remark>[^\n]*?) -->\n+)?^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)
SYSTEM_PROGRAMS = ("cat", "cp", "curl", "head", "ls", "mkdir", "mv", "sha256sum", "tail", "tar")
QUICKER = {"detectability": ["--flaws-per-cell", "1"], "compare": ["--image-size", "64"]}  # minutes' work as they are
FIT_SIZE = ["--image-size", "96"]  # of models that pages fit without naming a size
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
MAKE_TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    kind: str
    text: str
    remark: str
    line: int

    @property
    def runs(self) -> bool:
        return self.kind in ("sh", "python", "toml") and not self.remark.startswith("not run")

    @property
    def file(self) -> str:
        """Name of the file that it is the content of; empty where it is none."""
        return self.remark.removeprefix("file: ") if self.remark.startswith("file: ") else ""


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(found["kind"], dedent(found["text"]), found["remark"] or "", text.count("\n", 0, found.start("text")))
        for found in BLOCK.finditer(text)
    ]


@dataclass
class Desk:
    """A folder in which the blocks of one page run, one after the other.

    Attributes:
        folder: that commands are run in.
        models: by the arguments of ``pellucid fit``, files that were fitted by an earlier page.
        names: of the Python blocks.
        service: that ``pellucid serve`` started, until the page ends.
    """

    folder: Path
    models: dict[tuple[str, ...], bytes]
    names: dict[str, Any] = field(default_factory=dict)
    service: Served | None = None
    printed: str = ""
    stack: ExitStack = field(default_factory=ExitStack)

    def run(self, block: Block) -> None:
        if block.kind == "python":
            exec(compile(block.text, f"block of line {block.line}", "exec"), self.names)
        elif block.kind == "toml":
            tomllib.loads(block.text)
        else:
            for line in lines_of(block.text):
                self.command(line)

    def command(self, line: str) -> None:
        """Run a line as a shell would, for what lines of documentation hold: variables in front, a redirection."""
        words = shlex.split(line, comments=True)
        values = [words.pop(0).split("=", 1) for word in list(words) if re.match(r"^[A-Z_]+=", word)]
        target = words[words.index(">") + 1] if ">" in words else None
        words = words[: words.index(">")] if ">" in words else words
        with patch.dict(os.environ, dict(values)):
            run = {"pellucid": self._pellucid, "pip": pip, "python": pip, "make": make}.get(words[0], self._program)
            self.printed = run(words) or ""
        if target:
            (self.folder / target).write_text(self.printed, encoding="utf-8")

    def _pellucid(self, words: Sequence[str]) -> str:
        name, *options = words[1:]
        if name == "serve":
            return self._serve(options)
        if name == "fit":
            return self._fit(options)
        return pellucid_here(name, *options, *QUICKER.get(name, ())).stdout

    def _fit(self, options: Sequence[str]) -> str:
        """Fit, or take what the same command fitted on the same data before."""
        at = options.index("-o")
        key, output = (*options[:at], *options[at + 2 :]), self.folder / options[at + 1]
        if key in self.models:
            output.write_bytes(self.models[key])
            return ""
        sized = any(option in options for option in ("--image-size", "--tile"))
        said = pellucid_here("fit", *options, *([] if sized else FIT_SIZE)).stdout
        if key[0] == "GlassDefect" and not any(option.startswith("--ignore") for option in options):
            self.models[key] = output.read_bytes()
        return said

    def _serve(self, options: Sequence[str]) -> str:
        """Start it where the page goes on to ask it something; else see that it understands its settings."""
        if not self.names.get("asks"):
            given = dict(zip(options[::2], options[1::2], strict=False))
            config = given.pop("--config", None)
            read_settings({name[2:].replace("-", "_"): value for name, value in given.items()}, config and Path(config))
            return ""
        if self.service is None:
            at = [n for n, option in enumerate(options) if option in ("--port", "--host")]
            kept = [option for n, option in enumerate(options) if n not in at and n - 1 not in at]
            self.service = self.stack.enter_context(served(self.folder, *kept))
        return ""

    def _program(self, words: Sequence[str]) -> str:
        assert words[0] in SYSTEM_PROGRAMS, f"'{words[0]}' is not run by the tests: say why above the block"
        words = list(words)
        if self.service is not None:
            words = [word.replace("http://127.0.0.1:8000", self.service.url) for word in words]
        if words[0] == "curl":
            words[1:1] = ["--silent", "--show-error", "--fail"]
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, encoding="utf-8", check=False)
        assert done.returncode == 0, f"{shlex.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout


def lines_of(text: str) -> Iterator[str]:
    yield from (line for line in text.replace("\\\n", " ").splitlines() if line.strip() and line.lstrip()[0] != "#")


def pip(words: Sequence[str]) -> str:
    """See that what is installed exists: extras of this package, files of this repository."""
    line = " ".join(words)
    if words[0] == "python" and words[1:3] != ["-m", "pip"]:
        assert words[1:3] == ["-m", "venv"] or (words[1] == "-m" and (ROOT / words[2].split(".")[0]).exists()), line
        return ""
    for extras in re.findall(r"pellucid\[([\w,]+)\]", line):
        assert set(extras.split(",")) <= EXTRAS.keys(), line
    for place in re.findall(r"(?<= )\./[\w/-]+", line):
        assert (ROOT / place / "pyproject.toml").exists(), line
    return ""


def make(words: Sequence[str]) -> str:
    """See that the target exists."""
    assert {word for word in words[1:] if "=" not in word} <= set(MAKE_TARGETS), " ".join(words)
    return ""


def needed_programs(blocks: Sequence[Block]) -> set[str]:
    lines = [line for block in blocks if block.kind == "sh" and block.runs for line in lines_of(block.text)]
    words = {shlex.split(line, comments=True)[0] for line in lines}
    return {word for word in words if word in SYSTEM_PROGRAMS and shutil.which(word) is None}
