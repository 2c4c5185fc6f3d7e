"""How well does Prism see real images as its teacher does? No labels are needed, and no image is learned from.

    python -m pretraining.agreement --weights ../shared/weights/mobilenet_v2_imagenet.safetensors FOLDER ...

The loss on drawn images stops telling which weights are better long before Prism sees photographs as its teacher sees
them. This does tell: for each folder and layer, the share of the variance of the teacher's features, behind the gain
control, that no linear map of Prism's features explains. 0 is perfect, 1 is blind.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from pellucid.acquisition.files import image_files
from pellucid.acquisition.images import ImageBatches
from pellucid.backbones import create
from pellucid.backbones.prism import Prism
from pellucid.errors import DataError
from pretraining.teacher import Teacher
from pretraining.train import add_student_option, add_teacher_options, run_command

IMAGE_SIZE = (256, 256)
MAX_IMAGES_PER_FOLDER = 100  # images of a folder, evenly taken


def unexplained(seen: Tensor, answers: Tensor) -> float:
    """Return the share of the variance of ``answers`` that regression on ``seen`` leaves, both (B, C, h, w)."""
    x, y = (maps.transpose(0, 1).flatten(1).T.double() for maps in (seen, answers))  # (N, C)
    x, y = x - x.mean(0), y - y.mean(0)
    y = y / y.std(0).clamp(min=1e-6)
    left = y - x @ torch.linalg.lstsq(x, y).solution
    return float(left.square().sum() / y.square().sum())


@torch.inference_mode()
def disagreement(prism: Prism, teacher: Teacher, batches: Iterable[Tensor]) -> list[float]:
    """Return what Prism leaves unexplained of the teacher's features of images (B, 3, H, W) in [0, 1], by layer."""
    seen, answers = zip(
        *((prism.features(pixels, prism.gain_control(pixels)[0]), teacher.features(pixels)) for pixels in batches),
        strict=True,
    )
    return [
        unexplained(torch.cat([s[layer] for s in seen]), torch.cat([a[layer] for a in answers]))
        for layer in Prism.layers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_teacher_options(parser)
    add_student_option(parser)
    parser.add_argument("--prism", type=Path, help="its weights; those that ship by default")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of images, with their subfolders")
    args = parser.parse_args()
    prism = create(args.student, layers=Prism.layers, weights=args.prism).net
    teacher = Teacher(args.teacher, args.weights)
    print("| folder | images | " + " | ".join(Prism.layers) + " | mean |")
    print("|---|---|" + "---|" * (len(Prism.layers) + 1))
    for folder in args.folders:
        files = image_files(folder)
        if not files:
            raise DataError(f"There are no images in '{folder}'.")
        files = files[:: -(-len(files) // MAX_IMAGES_PER_FOLDER)]
        left = disagreement(prism, teacher, ImageBatches(tuple(files), IMAGE_SIZE))
        cells = " | ".join(f"{value:.3f}" for value in (*left, sum(left) / len(left)))
        print(f"| {folder.name} | {len(files)} | {cells} |", flush=True)


if __name__ == "__main__":
    run_command(main)
