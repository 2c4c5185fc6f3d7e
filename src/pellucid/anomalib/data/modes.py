"""Enumerations of anomalib's data modules; each member equals its text."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class TaskType(StrEnum):
    """What is to be found; masks are used where there are any, whatever it says."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"
    EXPLANATION = "explanation"


class TestSplitMode(StrEnum):
    """Where test images come from."""

    __test__ = False  # no test of pytest's

    NONE = "none"
    FROM_DIR = "from_dir"
    SYNTHETIC = "synthetic"


class ValSplitMode(StrEnum):
    """Where the images come from that anomalib chooses its threshold by; here they are normal training images."""

    NONE = "none"
    SAME_AS_TEST = "same_as_test"
    FROM_TRAIN = "from_train"
    FROM_TEST = "from_test"
    SYNTHETIC = "synthetic"
    FROM_DIR = "from_dir"


class Split(StrEnum):
    """Part of a data set."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class LabelName(IntEnum):
    """Label of an image, as a number."""

    NORMAL = 0
    ABNORMAL = 1


class DirType(StrEnum):
    """What a folder holds."""

    NORMAL = "normal"
    ABNORMAL = "abnormal"
    NORMAL_TEST = "normal_test"
    NORMAL_DEPTH = "normal_depth"
    ABNORMAL_DEPTH = "abnormal_depth"
    NORMAL_TEST_DEPTH = "normal_test_depth"
    MASK = "mask_dir"


class PrecisionType(StrEnum):
    """Of numbers that a model computes in; a detector here says it by its own parameter."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


class ImageUpscaleMode(StrEnum):
    """How anomalib's tiler enlarges images; nothing is enlarged here."""

    PADDING = "padding"
    INTERPOLATION = "interpolation"


class LearningType(StrEnum):
    """What a model learns from."""

    ONE_CLASS = "one_class"
    ZERO_SHOT = "zero_shot"
    FEW_SHOT = "few_shot"
