"""Data modules by anomalib's names."""

from typing import Any

from pellucid.anomalib._absent import find_absent
from pellucid.anomalib.data.batches import ImageBatch, ImageItem, get_image_filenames, read_image
from pellucid.anomalib.data.benchmarks import CATEGORIES, MPDD, BTech, MVTec, MVTecAD, Visa
from pellucid.anomalib.data.datasets import AnomalibDataModule, AnomalibDataset, PredictDataset
from pellucid.anomalib.data.folder import Folder, Tabular
from pellucid.anomalib.data.modes import (
    DirType,
    ImageUpscaleMode,
    LabelName,
    LearningType,
    PrecisionType,
    Split,
    TaskType,
    TestSplitMode,
    ValSplitMode,
)
from pellucid.errors import ParameterError, unknown_name

Batch = InferenceBatch = NumpyImageBatch = ImageBatch
DatasetItem = NumpyImageItem = ImageItem

_VIDEO = "Videos are not inspected here: write their frames as images, and give these as a Folder."
_DEPTH = "Depth images are not inspected here: give the colour images of the set as a Folder."
_LAYOUT = "The layout of this data set is not known here: give its folders as Folder(...), or its list as Tabular(...)."
ABSENT = {
    **dict.fromkeys(("Avenue", "ShanghaiTech", "UCSDped", "VideoItem", "VideoBatch"), _VIDEO),
    **dict.fromkeys(("MVTec3D", "Folder3D", "ADAM3D", "DepthItem", "DepthBatch"), _DEPTH),
    **dict.fromkeys(
        ("MVTecAD2", "MVTecLOCO", "Kolektor", "RealIAD", "VAD", "AutoVI", "Kaputt", "BMAD", "Datumaro"), _LAYOUT
    ),
    **dict.fromkeys(
        ("FolderDataset", "MVTecDataset", "MVTecADDataset", "make_folder_dataset", "make_mvtec_ad_dataset"),
        "Data sets are parts of a data module here: make a Folder, and take its train_data, val_data or test_data.",
    ),
    "SyntheticAnomalyDataset": "No flaws are planted into training images here: `pellucid detectability` plants them,"
    " to find out how small a flaw is found.",
    "download_and_extract": "Nothing is downloaded: bring the files, and give their folder as root=.",
    "generate_output_image_filename": "Names of pictures are a script's own affair; engine.test writes its own"
    " pictures.",
    "DownloadInfo": "Nothing is downloaded: bring the files, and give their folder as root=.",
}
DATA_MODULES: dict[str, type[AnomalibDataModule]] = {
    cls.__name__: cls for cls in (Folder, Tabular, MVTecAD, MVTec, Visa, MPDD, BTech)
}

__all__ = [
    "CATEGORIES",
    "MPDD",
    "AnomalibDataModule",
    "AnomalibDataset",
    "BTech",
    "Batch",
    "DatasetItem",
    "DirType",
    "Folder",
    "ImageBatch",
    "ImageItem",
    "ImageUpscaleMode",
    "InferenceBatch",
    "LabelName",
    "LearningType",
    "MVTec",
    "MVTecAD",
    "NumpyImageBatch",
    "NumpyImageItem",
    "PrecisionType",
    "PredictDataset",
    "Split",
    "Tabular",
    "TaskType",
    "TestSplitMode",
    "ValSplitMode",
    "Visa",
    "get_datamodule",
    "get_image_filenames",
    "read_image",
]


def get_datamodule(config: Any) -> AnomalibDataModule:
    """Make a data module from a configuration.

    Args:
        config: a mapping ``{"class_path": "Folder", "init_args": {...}}``, or one that has it under ``data``.

    Raises:
        ParameterError: there is no such class, or an argument is not allowed.
    """
    given = config.get("data", config)
    name = str(given.get("class_path", "")).rpartition(".")[2]
    if name in ABSENT:
        raise ParameterError(ABSENT[name])
    if name not in DATA_MODULES:
        raise unknown_name("data module", name, DATA_MODULES)
    return DATA_MODULES[name](**dict(given.get("init_args") or {}))


def __getattr__(name: str) -> Any:
    return find_absent(__name__, name, ABSENT)
