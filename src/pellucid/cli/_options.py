"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Data = Annotated[Path, typer.Argument(help="folder (five folders, MVTec or plain layout) or CSV file")]
Output = Annotated[Path, typer.Option("-o", "--output", help="where results go")]
Backbone = Annotated[str, typer.Option(help="network that the features come from; see 'pellucid backbones'")]
Weights = Annotated[Path | None, typer.Option(help="checkpoint of the backbone (torchvision, timm, safetensors)")]
ImageSize = Annotated[str, typer.Option(help="N or HxW; images are resized, never cropped")]
Set = Annotated[list[str] | None, typer.Option("--set", help="hyper-parameter as key=value; repeatable")]
FalseReject = Annotated[float, typer.Option(help="share of good images that may be rejected")]
Seed = Annotated[int, typer.Option(help="of the split and of the detectors")]
Resume = Annotated[bool, typer.Option("--resume", help="go on where a killed run stopped")]
Runtime = Annotated[
    Literal["auto", "torch", "openvino", "onnx"],
    typer.Option(help="what computes; auto: the fastest that is installed and agrees with torch"),
]
CostEscape = Annotated[float | None, typer.Option(help="what a defect that is missed costs; 100 by default")]
CostReject = Annotated[float | None, typer.Option(help="what a good part that is rejected costs; 1 by default")]
DefectRate = Annotated[float | None, typer.Option(help="share of defective parts on the line; 0.01 by default")]
Json = Annotated[bool, typer.Option("--json", help="print JSON for machines")]
