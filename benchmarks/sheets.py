"""Drawn sheets through tiled models: rates beside the bare backbone's, memory, sizes in mm, photos.

    python -m benchmarks.sheets DIR [--stages rate,memory,sizes,photos]

Everything that is drawn lies in DIR, 3 GB for ``memory``, and is drawn only once. Each inspection is a process of its
own, whose peak memory is measured. Rates are megapixels of the image a second, drawing not counted, with nothing else
running; what each stage of an inspection spends of the processor's time is told beside them (``_account.py``). One row
a measurement goes to ``sheets.csv`` beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

import pellucid
from benchmarks._account import Account
from benchmarks._timing import append_row, cpu_name
from pellucid.acquisition.band_files import open_bands
from pellucid.acquisition.tiles import Tiling, tile_planes
from pellucid.inspector import Inspector
from pellucid.passing import inspect_bands
from pellucid.study.drawn_sheets import match_truth, place_error_mm
from pellucid.study.measure import peak_ram_mb
from pellucid.synthesis.sheet import Sheet, SheetPlan
from pellucid.synthesis.sheet_files import good_sheets, write_sheet
from pellucid.synthesis.sheet_placing import place_defects

RESULTS = Path(__file__).with_suffix(".csv")
DETECTOR = "padim"
GOOD_STRIPS = 19  # as wide as the sheet, from all along it, that a model learns from: as few as promise 5 %
FEW_STRIPS = 4  # promise 20 %, where memory is measured, which depends on neither
STRIP_ROWS = 750
COUNTS = {"seed": 60, "stone": 40, "scratch": 40, "tin drip": 20, "dust": 60}  # on a whole sheet
SHEET_MM = 6000.0
ACCOUNTED_MM = 320.0  # 1,600 rows
SIZE_CLASSES_MM = (0.4, 0.7, 1.0, 1.6, 3.0, 100.0)
GATE_LOSS = 0.005


def note(stage: str, **found: Any) -> None:
    """Write a row."""
    when = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    row = {"stage": stage, "found": json.dumps(found), "cpu": cpu_name(), "cores": os.cpu_count(), "date": when}
    append_row(RESULTS, row)


def draw_good(folder: Path, mm_per_px: float, width_mm: float, strips: int) -> Path:
    """Draw strips of as many good sheets, each further down its sheet than the one before, unless they are there."""
    plan = SheetPlan(width_mm, SHEET_MM, (mm_per_px, mm_per_px), seed=1)
    data = folder / f"good_{mm_per_px:g}_{width_mm:g}" / "normal"
    data.mkdir(parents=True, exist_ok=True)
    for k, sheet in enumerate(good_sheets(plan, strips)):
        if not (data / f"{k:03d}.png").exists():
            top = k * (sheet.shape[0] - STRIP_ROWS) // (strips - 1)
            cv2.imwrite(str(data / f"{k:03d}.png"), sheet.rows(top, top + STRIP_ROWS))
    return data.parent


def model_of(
    folder: Path,
    mm_per_px: float,
    *,
    width_mm: float = 3210.0,
    gate_loss: float = GATE_LOSS,
    strips: int = GOOD_STRIPS,
) -> Path:
    """Fit a model on good strips, or return the one that is there."""
    path = folder / f"{DETECTOR}_{mm_per_px:g}_{width_mm:g}_{gate_loss:g}.pellucid"
    if not path.exists():
        data = draw_good(folder, mm_per_px, width_mm, strips)
        start = time.perf_counter()
        promise = {"false_reject": 1 / (strips + 1), "gate_loss": gate_loss}
        fitted = pellucid.fit(data, DETECTOR, tile=1024, mm_per_px=mm_per_px, outline="image", **promise)
        report = fitted.gate_report
        seconds = round(time.perf_counter() - start)
        note("fit", mm_per_px=mm_per_px, seconds=seconds, gate=None if report is None else report.to_dict())
        fitted.save(path)
    pellucid.load(path, "openvino")  # exported here, so that an inspection's memory is its own
    return path


def sheet_file(folder: Path, mm_per_px: float, length_mm: float = SHEET_MM) -> tuple[Path, Sheet]:
    """Draw a sheet of 3.21 m, on which as many defects a metre lie whatever its length, unless it is there."""
    plan = SheetPlan(3210.0, length_mm, (mm_per_px, mm_per_px), seed=1)
    counts = {kind: max(1, round(count * length_mm / SHEET_MM)) for kind, count in COUNTS.items()}
    sheet = Sheet(plan, place_defects(plan, counts))
    path = folder / f"sheet_{mm_per_px:g}_{length_mm:g}_{sum(counts.values())}.tif"
    if not path.exists():
        write_sheet(path, sheet)
    return path, sheet


def inspect_alone(model: Path, sheet: Path, *options: str) -> dict[str, Any]:
    """Inspect in a process of its own; what that says of its time, memory and verdict."""
    command = [sys.executable, "-m", "benchmarks.sheets", str(sheet.parent), "--inspect", str(model), str(sheet)]
    source = None
    if "--pipe" in options:
        source = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sheets", str(sheet.parent), "--rows", str(sheet)], stdout=subprocess.PIPE
        )
    done = subprocess.run(
        [*command, *options], stdout=subprocess.PIPE, stdin=source and source.stdout, check=True, text=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


class Counted:
    """A runtime that notes how many pixels it computes, margins included."""

    def __init__(self, runtime: Any, computed: list[int]) -> None:
        self._runtime, self._computed = runtime, computed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def for_throughput(self) -> Any:
        return Counted(self._runtime.for_throughput(), self._computed)

    def for_tiles(self, size: tuple[int, int]) -> Any:
        return Counted(self._runtime.for_tiles(size), self._computed)

    def score(self, pixels: np.ndarray) -> Any:
        self._computed.append(len(pixels) * pixels.shape[2] * pixels.shape[3])
        return self._runtime.score(pixels)


def compile_graphs(inspector: Inspector) -> None:
    """Have the runtime compute a tile of every size, which compiles their graphs."""
    tiling, gate = inspector.fitted_images.framing, inspector.gate
    assert isinstance(tiling, Tiling)
    for inner in ((tiling.interior, tiling.interior), *(() if gate is None else gate.close_ups)):
        height, width = (side + 2 * tiling.margin for side in inner)
        inspector.runtime.for_throughput().for_tiles((height, width)).score(np.zeros((1, 3, height, width), np.float32))


def inspect_here(model: Path, sheet: Path, options: list[str]) -> None:
    """What the process of its own does."""
    inspector = pellucid.load(model, "openvino")
    computed: list[int] = []
    if "--no-gate" in options:
        inspector = replace(inspector, gate=None)
    known = open_bands(sheet)
    width, height = known.width, known.height or 0
    if "--pipe" in options:
        from pellucid.acquisition.row_streams import RawRows, open_stream

        bands: Any = RawRows(open_stream("-", 5.0), Path("-"), width, bits=8)
    else:
        bands = known
    if "--account" in options:
        inspect_bands(inspector, bands)  # compiles, and what else is done once
        account = Account()
        with account.open():
            inspect_bands(inspector, account.read(bands))
        print(json.dumps({"ms_per_mpx": account.ms_per_mpx(width * height / 1e6)}))
        return
    compile_graphs(inspector)  # once, however many sheets pass
    inspector = replace(inspector, runtime=Counted(inspector.runtime, computed))
    start, cpu = time.perf_counter(), time.process_time()
    found = inspect_bands(inspector, bands)
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {
                "mpx": round(width * height / 1e6, 1),
                "seconds": round(seconds, 1),
                "mpx_per_second": round(width * height / 1e6 / seconds, 2),
                "processor_seconds": round(time.process_time() - cpu, 1),
                "computed_px_a_px": round(sum(computed) / (width * height), 3),
                "peak_gb": round(peak_ram_mb() / 1e3, 3),
                "verdict": found.verdict,
                "reason": found.reason,
                "defects": len(found.defects),
            }
        )
    )


def backbone_rate(model: Path, sheet: Path, count: int = 24) -> float:
    """Megapixels of the image a second that the backbone alone computes in the same tiles, by OpenVINO on all cores."""
    inspector = pellucid.load(model)
    tiling, detector = inspector.fitted_images.framing, inspector.detector
    assert isinstance(tiling, Tiling)
    band = next(iter(open_bands(sheet, rows=tiling.tile))).pixels
    tiles = [tile_planes(band[:, at : at + tiling.tile]) for at in range(0, 12 * tiling.interior, tiling.interior)]
    import openvino
    import torch

    from pellucid._io.convert import convert

    graph = convert(detector.backbone_, torch.zeros(1, 3, tiling.tile, tiling.tile))
    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = openvino.Core().compile_model(graph, "CPU", hints)
    queue = openvino.AsyncInferQueue(compiled)
    for tile in tiles[:2]:
        queue.start_async([tile[None]])
    queue.wait_all()
    start = time.perf_counter()
    for k in range(count):
        queue.start_async([tiles[k % len(tiles)][None]])
    queue.wait_all()
    return float(count * tiling.interior**2 / 1e6 / (time.perf_counter() - start))


def rate(folder: Path) -> None:
    """A jumbo sheet at 0.2 mm, without and with the gate, beside the backbone; and where its time goes."""
    model = model_of(folder, 0.2)
    sheet, _ = sheet_file(folder, 0.2)
    bare = backbone_rate(model, sheet)
    without = inspect_alone(model, sheet, "--no-gate")
    bare = (bare + backbone_rate(model, sheet)) / 2  # before and after: what else the machine does changes
    gated = inspect_alone(model, sheet)
    ratio = without["mpx_per_second"] / bare
    note("rate without gate", bare_mpx_per_second=round(bare, 2), of_bare=round(ratio, 3), **without)
    note("rate with gate", **gated)
    band, _ = sheet_file(folder, 0.2, ACCOUNTED_MM)
    note("account without gate", **inspect_alone(model, band, "--no-gate", "--account"))
    note("account with gate", **inspect_alone(model, band, "--account"))


def memory(folder: Path) -> None:
    """A jumbo sheet at 0.1 mm, 1.9 gigapixels, from a file and from a pipe."""
    model = model_of(folder, 0.1, strips=FEW_STRIPS)
    sheet, _ = sheet_file(folder, 0.1)
    note("memory, file", **inspect_alone(model, sheet))
    note("memory, pipe", **inspect_alone(model, sheet, "--pipe"))


def sizes(folder: Path) -> None:
    """Sizes and places of what is found on a drawn sheet, against its truth."""
    model = model_of(folder, 0.2)
    path, sheet = sheet_file(folder, 0.2)
    found = inspect_bands(pellucid.load(model, "openvino"), open_bands(path))
    matched = match_truth(sheet.defects, found.defects, sheet.plan.mm_per_px)
    pairs = [(m.true_size_mm, m.found_size_mm, place_error_mm(m, sheet.plan.mm_per_px)) for m in matched.matches]
    table, low = {}, 0.0
    for high in SIZE_CLASSES_MM:
        here = [(t, f, p) for t, f, p in pairs if low <= t < high]
        hit = [(t, f, p) for t, f, p in here if f is not None and p is not None]
        table[f"{low:g} to {high:g} mm"] = {
            "drawn": len(here),
            "found": len(hit),
            "bias_mm": round(float(np.mean([f - t for t, f, _ in hit])), 3) if hit else None,
            "median_error_mm": round(median(abs(f - t) for t, f, _ in hit), 3) if hit else None,
            "within_0.1mm_or_10%": sum(abs(f - t) <= max(0.1, 0.1 * t) for t, f, _ in hit),
            "median_place_mm": round(median(p for *_, p in hit), 3) if hit else None,
        }
        low = high
    note("sizes", sentence=matched.sentence, classes=table, fragments=len(matched.fragments))


def photos(folder: Path) -> None:
    """Photos of 12 megapixels from disk, with the gate: a second for each, and how long the slowest take."""
    model = model_of(folder, 0.2, width_mm=800.0)
    plan = SheetPlan(800.0, 600.0, (0.2, 0.2), seed=5)
    place = folder / "photos"
    place.mkdir(exist_ok=True)
    for k, sheet in enumerate(good_sheets(plan, 30)):
        if not (place / f"{k:03d}.png").exists():
            with_flaws = (
                Sheet(sheet.plan, place_defects(sheet.plan, {"seed": 1, "scratch": 1})) if k % 5 == 0 else sheet
            )
            cv2.imwrite(str(place / f"{k:03d}.png"), with_flaws.rows(0, sheet.shape[0]))
    inspector = pellucid.load(model, "openvino")
    paths = sorted(place.iterdir())
    inspector.inspect(paths[0])
    times = []
    for path in paths:
        start = time.perf_counter()
        inspector.inspect(path)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    verdicts = [found.verdict for found in inspector.inspect_many(paths)]
    seconds = time.perf_counter() - start
    note(
        "photos of 12 Mpx",
        a_second=round(len(paths) / seconds, 2),
        rejected=verdicts.count("reject"),
        photos=len(paths),
        latency_median_ms=round(1000 * median(times)),
        latency_p95_ms=round(1000 * float(np.percentile(times, 95))),
    )


def print_rows(sheet: Path) -> None:
    """Write the raw rows of a sheet to standard output."""
    for band in _raw(sheet):
        sys.stdout.buffer.write(band)


def _raw(sheet: Path) -> Iterator[bytes]:
    for band in open_bands(sheet):
        yield np.ascontiguousarray((band.pixels[..., 0] * 255).round().astype(np.uint8)).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="Folder for everything that is drawn.")
    parser.add_argument("--stages", default="rate,sizes,photos,memory", help="Names, separated by commas.")
    parser.add_argument("--inspect", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    args, options = parser.parse_known_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.rows:
        print_rows(args.rows)
    elif args.inspect:
        inspect_here(*args.inspect, options)
    else:
        stages = {"rate": rate, "memory": memory, "sizes": sizes, "photos": photos}
        for name in args.stages.split(","):
            stages[name](args.folder)


if __name__ == "__main__":
    main()
