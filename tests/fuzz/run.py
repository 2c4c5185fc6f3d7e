"""Fuzzing with atheris: ``make fuzz``, or ``python tests/fuzz/run.py --seconds 60 [PARSER...]``.

Each parser runs in a process of its own. An input that raises anything but an error for people, takes longer than two
seconds or a gigabyte is written to ``tests/fuzz/found/PARSER/``, where the ordinary tests try it from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[2]
MAX_INPUT_BYTES = 65_536


class TooLongError(BaseException):
    """An input took too long."""


def main() -> int:
    """Fuzz the parsers that were named, or all, one after the other; 1 if anything was found."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("parsers", nargs="*")
    arguments.add_argument("--seconds", type=int, default=60, help="Seconds for each parser.")
    arguments.add_argument("--child", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    if options.child:
        _fuzz(options.child, options.seconds)
        return 0
    from fuzz.parsers import FOUND, PARSERS

    if unknown := sorted(set(options.parsers) - set(PARSERS)):
        arguments.error(f"no parser is called {unknown[0]}; there are {', '.join(PARSERS)}")
    before = {path for path in FOUND.rglob("*") if path.is_file()}
    failed = False
    for name in options.parsers or PARSERS:
        command = [sys.executable, __file__, "--child", name, "--seconds", str(options.seconds)]
        failed |= subprocess.run(command, check=False).returncode != 0
    new = {path for path in FOUND.rglob("*") if path.is_file()} - before
    print(f"{len(new)} new inputs in {FOUND}" if new else "nothing new was found")
    return int(failed or bool(new))


def _fuzz(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["pellucid", "tifffile", "python_multipart", "tomllib", "starlette"]):
        from fuzz.parsers import FOUND, MAX_GROWTH_BYTES, MAX_SECONDS, PARSERS

    parser = PARSERS[name]
    logging.disable()
    seen: set[str] = set()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(parser.seeds()):
        (corpus / str(number)).write_bytes(seed)
        parser.try_(seed, folder)
    signal.signal(signal.SIGALRM, _too_long)

    def keep(kind: str, content: bytes) -> None:
        if kind not in seen:
            seen.add(kind)
            place = FOUND / name / hashlib.sha256(content).hexdigest()[:16]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            print(f"FOUND {name}: {kind} in {place}", file=sys.stderr)

    def one(content: bytes) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()  # of this process: machines are shared
        signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS * 10)
        try:
            parser.try_(content, folder)
        except TooLongError:
            keep("hangs", content)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            keep(f"{type(error).__name__} at {last.filename}:{last.lineno}", content)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if time.process_time() - start > MAX_SECONDS:
            keep("slow", content)
        if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 > MAX_GROWTH_BYTES:
            keep("large", content)

    options = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}", "-timeout=0", "-rss_limit_mb=8000"]
    options += ["-verbosity=0", "-print_final_stats=1"]
    print(f"--- {name}", flush=True)
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def _too_long(_: int, __: FrameType | None) -> None:
    raise TooLongError


if __name__ == "__main__":
    sys.exit(main())
