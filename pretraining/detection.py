"""How small and how faint a flaw is found? Planted flaws on clean panes, at 1 % false alarms, teacher beside ours.

    python -m pretraining.detection --weights ../shared/weights/mobilenet_v2_imagenet.safetensors

A flaw counts as found where the pane's score is above that of 99 % of clean panes. The shares go to ``detection.csv``,
the picture to ``detection.png`` and the table to ``README.md``, all beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from pellucid import detectors
from pellucid._io.files import csv_text, write_bytes, write_text
from pellucid.detectors._base import Detector
from pellucid.reports.curves import png
from pellucid.synthesis.glass import draw_pane, to_uint8
from pretraining import flaws
from pretraining.evaluate import FOLDER, compared, into_readme, settings
from pretraining.train import add_teacher_options, run_command

FALSE_ALARM_RATE = 0.01
TRAIN_PANES, CLEAN_PANES = 100, 400  # panes to learn from, and to find the limit with
CURVE_COLOURS = ("#888888", "#2a9d8f", "#e76f51")  # teacher, prism_s, prism_m
CSV_COLUMNS = ("backbone", "detector", "kind", "size", "contrast", "panes", "found")
Cell = tuple[str, int, float]  # kind, size in px, contrast


def clean_pane(number: int) -> NDArray[np.uint8]:
    """Draw a pane without a flaw."""
    return to_uint8(draw_pane(np.random.default_rng((11, 0, number))))


def flawed_pane(cell: Cell, number: int) -> NDArray[np.uint8]:
    kind, size, contrast = cell
    rng: Generator = np.random.default_rng(
        (11, list(flaws.FLAW_SIZES_PX).index(kind) + 1, size, round(contrast * 1000), number)
    )
    return to_uint8(flaws.flawed(rng, kind, size, contrast)[0])


def batches(images: list[NDArray[np.uint8]]) -> list[Tensor]:
    grey = torch.from_numpy(np.stack(images)).float() / 255
    return list(torch.split(grey[:, None].expand(-1, 3, -1, -1), 8))


def scores(detector: Detector, images: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    return np.concatenate([detector.score(batch)[1].numpy() for batch in batches(images)]).astype(float)


def table(found: dict[tuple[str, str, Cell], float]) -> Iterator[str]:
    """Yield a table of the faintest contrast of which at least half of the flaws are found, per kind and size."""
    fitted = list(dict.fromkeys((detector, backbone) for backbone, detector, _ in found))
    yield "| flaw | px | " + " | ".join(f"{detector}, {backbone}" for detector, backbone in fitted) + " |"
    yield "|---|---|" + "---|" * len(fitted)
    for kind, sizes in flaws.FLAW_SIZES_PX.items():
        for size in sizes:
            cells = []
            for detector, backbone in fitted:
                seen = [c for c in flaws.CONTRASTS if found[backbone, detector, (kind, size, c)] >= 0.5]
                cells.append(f"{100 * min(seen):.0f} %" if seen else "not found")
            yield f"| {kind} | {size} | " + " | ".join(cells) + " |"


def picture(found: dict[tuple[str, str, Cell], float], detector: str) -> bytes:
    """Draw the share found against contrast, a panel for each kind and size, as PNG."""
    rows = max(len(sizes) for sizes in flaws.FLAW_SIZES_PX.values())
    figure = Figure(figsize=(3 * rows, 2.4 * len(flaws.FLAW_SIZES_PX)), dpi=90, layout="constrained")
    axes = figure.subplots(len(flaws.FLAW_SIZES_PX), rows, sharex=True, sharey=True)
    for row, (kind, sizes) in zip(axes, flaws.FLAW_SIZES_PX.items(), strict=True):
        for ax, size in zip(row, sizes, strict=True):
            for backbone, colour in zip(dict.fromkeys(b for b, _, _ in found), CURVE_COLOURS, strict=True):
                shares = [found[backbone, detector, (kind, size, c)] for c in flaws.CONTRASTS]
                ax.plot([100 * c for c in flaws.CONTRASTS], shares, "o-", color=colour, label=backbone)
            ax.set(title=f"{kind}, {size} px", xscale="log", ylim=(-0.03, 1.03))
            ax.set_xticks([100 * c for c in flaws.CONTRASTS], [f"{100 * c:.0f}" for c in flaws.CONTRASTS], minor=False)
            ax.minorticks_off()
            ax.grid(alpha=0.25)
    axes[0][0].legend()
    figure.supxlabel("contrast, %")
    figure.supylabel(f"share found at {100 * FALSE_ALARM_RATE:.0f} % false alarms")
    return png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_teacher_options(parser)
    parser.add_argument("--detectors", nargs="+", default=["patchcore", "padim"], choices=detectors.names())
    parser.add_argument("--panes", type=int, default=20, help="flawed panes of each kind, size and contrast")
    args = parser.parse_args()
    cells = [(k, s, c) for k, sizes in flaws.FLAW_SIZES_PX.items() for s in sizes for c in flaws.CONTRASTS]
    with ProcessPoolExecutor() as pool:
        panes = list(pool.map(clean_pane, range(TRAIN_PANES + CLEAN_PANES), chunksize=20))
        flawed = {
            cell: list(pool.map(flawed_pane, [cell] * args.panes, range(args.panes), chunksize=args.panes))
            for cell in cells
        }
    found: dict[tuple[str, str, Cell], float] = {}
    for name in args.detectors:
        for backbone, weights, _ in compared(args.teacher, args.weights):
            detector = detectors.create(name, **settings(name, backbone, weights))
            detector.fit(batches(panes[:TRAIN_PANES]))
            limit = np.quantile(scores(detector, panes[TRAIN_PANES:]), 1 - FALSE_ALARM_RATE)
            for cell in cells:
                found[backbone, name, cell] = float((scores(detector, flawed[cell]) > limit).mean())
            mean = np.mean([found[backbone, name, cell] for cell in cells])
            print(f"{name} {backbone}: {100 * mean:.1f} % of all flaws found", flush=True)
    rows = ((b, d, *cell, args.panes, share) for (b, d, cell), share in found.items())
    write_text(FOLDER / "detection.csv", csv_text(CSV_COLUMNS, rows))
    write_bytes(FOLDER / "detection.png", picture(found, args.detectors[0]))
    into_readme("detection", list(table(found)))


if __name__ == "__main__":
    run_command(main)
