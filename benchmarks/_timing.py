"""What several benchmarks measure with. It imports the standard library only: anomalib's side uses it, too."""

from __future__ import annotations

import csv
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any


def median_time(call: Callable[[], Any], repeats: int = 7) -> tuple[float, Any]:
    """Call a function and return the median of its seconds, after two calls that warm up, and its last result."""
    for _ in range(2):
        result = call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def cpu_name() -> str:
    """Return the processor's name, with the widest vector instructions that it has."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((line for line in lines if line.startswith("flags")), "")
    widest = next((kind for kind in ("avx512_bf16", "avx512f", "avx2") if f" {kind}" in flags), "")
    return f"{model} {widest}".strip()


def read_rows(file: Path) -> list[dict[str, str]]:
    """Read the rows of a results file; one that does not exist has none."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_rows(file: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a results file anew."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def append_row(file: Path, row: dict[str, Any]) -> None:
    """Print a row, and write it behind those of a results file, which is made if need be."""
    for key, value in row.items():
        print(f"{key:28} {value}")
    rows = [*read_rows(file), row]
    write_rows(file, list(dict.fromkeys(column for one in rows for column in one)), rows)


def resident_mb(process: int) -> float:
    """Return the megabytes of memory that a process holds now, on Linux."""
    line = next(s for s in Path(f"/proc/{process}/status").read_text().splitlines() if s.startswith("VmRSS"))
    return int(line.split()[1]) / 1000
