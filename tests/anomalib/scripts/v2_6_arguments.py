#!/usr/bin/env python
"""anomalib 2.6: a script with arguments, seeds, a guard, and a CSV of scores."""
import argparse
import csv
import logging
from pathlib import Path

import torch
from anomalib.data import Folder
from anomalib.data.utils import TestSplitMode, ValSplitMode
from anomalib.engine import Engine
from anomalib.models import get_model
from lightning.pytorch import seed_everything

logger = logging.getLogger(__name__)


def get_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="Padim")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--size", type=int, nargs=2, default=(64, 64))
    parser.add_argument("--output", type=Path, default=Path("scores.csv"))
    return parser.parse_args()


def main():
    args = get_args()
    seed_everything(args.epochs + 6, workers=True)
    torch.set_float32_matmul_precision("medium")
    datamodule = Folder(
        name=args.data.name,
        root=args.data,
        normal_dir="train/good",
        abnormal_dir="test/bubble",
        test_split_mode=TestSplitMode.FROM_DIR,
        val_split_mode=ValSplitMode.FROM_TEST,
        val_split_ratio=0.5,
        num_workers=4,
        train_batch_size=16,
    )
    model = get_model(args.model, n_features=20)
    model.pre_processor = model.configure_pre_processor(image_size=tuple(args.size))
    engine = Engine(max_epochs=args.epochs, accelerator="cpu", default_root_dir="runs")
    engine.fit(model=model, datamodule=datamodule)
    metrics = engine.test(model=model, datamodule=datamodule)[0]
    logger.info("%s", metrics)
    with args.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "score", "label"])
        for batch in engine.predict(model=model, data_path=args.data / "test"):
            for path, score, label in zip(batch.image_path, batch.pred_score, batch.pred_label):
                writer.writerow([Path(path).name, f"{score.item():.6f}", int(label)])
    return metrics


if __name__ == "__main__":
    main()
