"""Results to TensorBoard: hyper-parameters with the real metrics, score histograms, curves and result pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def to_tensorboard(
    folder: Path,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float | int | None],
    scores: Mapping[str, Sequence[float]],
    pictures: Iterable[Path],
) -> None:
    """Write one run.

    Args:
        folder: where the event files go.
        parameters: hyper-parameters; lists become text.
        metrics: None is left out.
        scores: image scores by label, drawn as histograms.
        pictures: PNG files.
    """
    from torch.utils.tensorboard import SummaryWriter

    known = {k: v for k, v in metrics.items() if v is not None}
    plain = {k: v if isinstance(v, (int, float, str, bool)) else str(v) for k, v in parameters.items()}
    with SummaryWriter(str(folder)) as writer:
        writer.add_hparams(plain, known, run_name=".")
        for label, values in scores.items():
            if values:
                writer.add_histogram(f"scores/{label}", np.asarray(values))
        for path in pictures:
            image = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR))
            writer.add_image(f"{path.parent.name}/{path.stem}", image[..., ::-1], dataformats="HWC")
