"""The arguments and options of the commands. Each is written once, and its help is a sentence that stands alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from pellucid._io.device_names import DEVICE_NAMES, DEVICE_PATTERN

MAX_SEED = 2**32 - 1  # of NumPy's and scikit-learn's generators


def check_device_name(name: str) -> str:
    """Refuse what is not written as a device, without importing torch; whether there is one is found out later."""
    if not re.fullmatch(DEVICE_PATTERN, name):
        raise typer.BadParameter(f"'{name}' is not a device: give {DEVICE_NAMES}.")
    return name


# --- what commands read ---------------------------------------------------------------------------------------------

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Data set: a folder of images of good parts, which are all that is required; or one in the layout of five"
        " folders, of MVTec or plain, or a CSV file with the columns path, label, split, type, mask, group.",
    ),
]
TestedData = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Labelled images: a folder in the layout of five folders, of MVTec or plain, or a CSV file with the"
        " columns path, label, split, type, mask, group. Test images alone are enough, of good parts or of defective"
        " ones.",
    ),
]
ComparedData = Annotated[
    Path,
    typer.Argument(
        metavar="DATA|SWEEP.toml",
        help="Data set, as a folder or a CSV file; or a TOML file that names one and lists what is compared on it,"
        " where the options below win over what the file says.",
    ),
]
Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="Model file of `pellucid fit`, or the folder of an exported model."),
]
ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Model file that `pellucid fit` or `pellucid compare` wrote.")
]
Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER",
        help="Image files, and folders whose images are all taken, with those in the folders inside.",
    ),
]
DetectorArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="One detector, which is then shown with its paper and with every hyper-parameter and its default; all"
        " detectors, a line each, by default.",
    ),
]

# --- what commands write --------------------------------------------------------------------------------------------

ModelOutput = Annotated[
    Path,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Model file to write, as in glass.pellucid; a model there is replaced."
    ),
]
ExportOutput = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="DIR", help="Folder to write; an earlier export in it is replaced."),
]
InspectOutput = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="DIR",
        help="Folder for scores.csv, results.jsonl, defects.csv, a picture of every result and pages of large images;"
        " nothing is written by default.",
    ),
]
EvaluateOutput = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="DIR", help="Folder for metrics.json and scores.csv; nothing is written by default."
    ),
]
OutputFolder = Annotated[
    Path, typer.Option("-o", "--output", metavar="DIR", help="Folder that the results are written to; made if absent.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines, in place of tables.")]

# --- how a model is made --------------------------------------------------------------------------------------------

Detector = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Method that learns what good parts look like, one of `pellucid detectors`, or several as one, with +"
        " between.",
    ),
]
Detectors = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Names of the detectors to compare, with commas between; patchcore+padim is both as one. Or groups: fast"
        " (a minute), closed-form (nothing is trained), trained, all; by default dfm, fastflow, padim,"
        " patchcore, reverse_distillation and stfpm.",
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Network that turns pixels into features, one of `pellucid backbones`; by default the detector's own,"
        " prism_s for most.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Checkpoint of the backbone, as torchvision, timm or safetensors write it; by default the weights inside"
        " the package, or else those of the Hugging Face hub.",
    ),
]
IMAGE_SIZE_HELP = (
    "Size in pixels, at least 32, that images are resized to for the network and never cropped: N for the shorter side,"
    " the longer one following the shape of the images up to four times N, or HEIGHTxWIDTH as it is"
)
ImageSize = Annotated[str, typer.Option(metavar="SIZE", help=f"{IMAGE_SIZE_HELP}.")]
ComparedImageSize = Annotated[str | None, typer.Option(metavar="SIZE", help=f"{IMAGE_SIZE_HELP}; 256 by default.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Hyper-parameter of the detector, as `pellucid detectors NAME` lists them; may be given several times, and"
        " each that is not given keeps its value by default.",
    ),
]
Choose = Annotated[
    str | None,
    typer.Option(
        "--choose",
        metavar="KEY=VALUE/VALUE",
        help="Hyper-parameter whose value is chosen by what the detector finds with each of flaws planted into good"
        " images, as window=none/1/2/4: the first, unless another one finds more of them than chance explains; nothing"
        " by default, and values are those of --set.",
    ),
]
LEARN_DEFECTS_HELP = (
    "Let labelled training defects (abnormal_train/, or split=train in a CSV file), ten at least, teach the detector"
    " what known defects look like, as far as cross-validation shows that this helps and costs nothing on types that"
    " nobody labelled"
)
LearnDefects = Annotated[bool, typer.Option("--learn-defects", help=f"{LEARN_DEFECTS_HELP}.")]
ComparedLearnDefects = Annotated[
    bool | None, typer.Option("--learn-defects/--no-learn-defects", help=f"{LEARN_DEFECTS_HELP}; not by default.")
]
Outline = Annotated[
    Literal["auto", "image", "map"],
    typer.Option(
        help="What outlines defects: image, its own pixels in and around a region of the map; map, the region itself;"
        " auto takes what has more in common with the masks of labelled training defects, or else with flaws that are"
        " planted into good images."
    ),
]
MM_PER_PX_HELP = (
    "Millimetres that a pixel of the image file is wide, above 0, for measures in mm, as `pellucid calibrate` measures"
    " it; of pixels that are not square X,Y, along both axes"
)
MillimetresPerPixel = Annotated[
    str | None, typer.Option("--mm-per-px", metavar="X[,Y]", help=f"{MM_PER_PX_HELP}; px alone by default.")
]
InspectedMillimetresPerPixel = Annotated[
    str | None,
    typer.Option("--mm-per-px", metavar="X[,Y]", help=f"{MM_PER_PX_HELP}; by default, what the model knows."),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        max=MAX_SEED,
        help="Number, 0 or more, that draws the split and the training: the same gives the same.",
    ),
]
FirstSeed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        max=MAX_SEED,
        help="Number, 0 or more, that draws the first split and training; the others count up from it; 0 by default.",
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option(metavar="COUNT", help="How many splits and trainings, 1 or more, to average over; 1 by default."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on where a killed fit of the same data and settings stopped, not afresh."),
]
ComparedResume = Annotated[
    bool | None,
    typer.Option(
        "--resume/--fresh",
        help="Keep the models that an earlier run finished, or train all anew; by default a sweep file is resumed and a"
        " data set starts afresh.",
    ),
]

# --- what counts ------------------------------------------------------------------------------------------------------

Ignore = Annotated[
    list[Path] | None,
    typer.Option(
        "--ignore",
        metavar="FILE",
        help="Drawing of what does not count: a mask image, or polygons in COCO, Pascal VOC, YOLO, LabelMe or CVAT's"
        " format; may be given several times; nothing by default.",
    ),
]
Only = Annotated[
    list[Path] | None,
    typer.Option(
        "--only",
        metavar="FILE",
        help="Drawing of what alone counts, in the same formats; may be given several times; everything by default.",
    ),
]
Margin = Annotated[
    int,
    typer.Option(metavar="PX", min=0, help="Pixels along the image's border that do not count, 0 or more."),
]
MinArea = Annotated[
    int,
    typer.Option(metavar="PX", min=0, help="Pixels, 0 or more, that a defect must have to count."),
]

# --- what computes --------------------------------------------------------------------------------------------------

Runtime = Annotated[
    Literal["auto", "torch", "openvino", "onnx"],
    typer.Option(
        help="Library that computes: auto takes the fastest that is installed and agrees with torch, and torch itself"
        " for a few images."
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N|mps",
        callback=check_device_name,
        help="Processor that torch computes on: the CPU, an NVIDIA GPU (the one with the number N, from 0), or a Mac's;"
        " auto takes what the environment variable PELLUCID_DEVICE says, or else the best there is.",
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="Where models are trained: local, one after the other on this machine; or ray, on the cluster of the"
        " environment variable RAY_ADDRESS or one that is started here."
    ),
]

# --- how models are chosen and tested -------------------------------------------------------------------------------

Prefer = Annotated[
    Literal["balanced", "accuracy", "speed", "size"] | None,
    typer.Option(help="What decides between models that the data cannot tell apart; balanced by default."),
]
MaxMilliseconds = Annotated[
    float | None,
    typer.Option(
        "--max-ms",
        metavar="MS",
        min=0,
        help="Milliseconds that one image may take; slower models are not recommended; no bound by default.",
    ),
]
MaxMegabytes = Annotated[
    float | None,
    typer.Option(
        "--max-mb",
        metavar="MB",
        min=0,
        help="Megabytes that the model file may have; larger models are not recommended; no bound by default.",
    ),
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="NAME",
        help="Tracker that results are sent to beside TensorBoard's files, mlflow or wandb; may be given twice; none by"
        " default.",
    ),
]
FlawsPerCell = Annotated[
    int,
    typer.Option(
        metavar="COUNT",
        min=1,
        help="How many flaws of one kind, size and contrast are planted, 1 or more; more take longer and say more.",
    ),
]
FlawSeed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", min=0, max=MAX_SEED, help="Number, 0 or more, that draws the flaws' places and forms."
    ),
]
FailOnReject = Annotated[
    bool,
    typer.Option(
        "--fail-on-reject",
        help="End with exit code 3 when an image was rejected, or with --grade when one was not graded ok.",
    ),
]

# --- how a model is exported ----------------------------------------------------------------------------------------

GraphFormat = Annotated[
    Literal["openvino", "onnx"],
    typer.Option(
        "--format",
        help="Format of the written graph: openvino is the fastest on x86 processors, onnx runs in most places (extra"
        " [onnx]).",
    ),
]
CheckImages = Annotated[
    Path | None,
    typer.Option(
        "--check",
        metavar="IMAGE|FOLDER",
        help="Images, of which 32 at most are scored by the graph and by torch to compare them; drawn panes of glass by"
        " default.",
    ),
]
Int8 = Annotated[
    Path | None,
    typer.Option(
        "--int8",
        metavar="DATA",
        help="Data set that the model was fitted on: it lets the backbone compute in 8-bit integers and gives the graph"
        " a limit of its own (extra [int8]); 32-bit floats by default.",
    ),
]
