"""Which detector is meant by a name of anomalib's, and by the arguments of its constructor.

A row whose detector is not there yet says so in one sentence when it is used, and works as soon as there is a file of
that name in ``pellucid.detectors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CNN = ("backbone", "layers", "pre_trained")  # the arguments that most of them begin with


@dataclass(frozen=True)
class Row:
    """A model of anomalib's.

    Attributes:
        detector: that it is here.
        arguments: of its constructor, in the order of anomalib's. Those that the detector has are handed on, all others
            are taken without effect.
        renamed: arguments that the detector has by another name.
        paper: hyper-parameters that are anomalib's and the paper's there, and not by default here.
        values: of arguments that the detector has in other words, its word for each of anomalib's.
        only: arguments of which one value is done, with that value and a sentence for any other.
    """

    detector: str
    arguments: tuple[str, ...] = CNN
    renamed: Mapping[str, str] = field(default_factory=dict)
    paper: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    only: Mapping[str, tuple[Any, str]] = field(default_factory=dict)


PEAK = {"image_score": "peak"}
MODELS = {
    "Patchcore": Row("patchcore", (*CNN, "coreset_sampling_ratio", "num_neighbors", "precision"), paper=PEAK),
    "Padim": Row("padim", (*CNN, "n_features"), paper=PEAK),
    "Stfpm": Row(
        "stfpm",
        ("backbone", "layers"),
        paper={"layers": ("layer1", "layer2", "layer3"), "patchsize": 1, "combine": "product", "sigma": 0.0},
    ),
    "Dfm": Row("dfm", ("backbone", "layer", "pre_trained", "pooling_kernel_size", "pca_level", "score_type")),
    "Dfkde": Row(
        "dfkde",
        (*CNN, "n_pca_components", "feature_scaling_method", "max_training_points"),
        renamed={"n_pca_components": "n_components"},
    ),
    "Fastflow": Row("fastflow", ("backbone", "pre_trained", "flow_steps", "conv3x3_only", "hidden_ratio")),
    "ReverseDistillation": Row("reverse_distillation", ("backbone", "layers", "anomaly_map_mode", "pre_trained")),
    "EfficientAd": Row(
        "efficientad",
        ("imagenet_dir", "teacher_out_channels", "model_size", "lr", "weight_decay", "padding", "pad_maps"),
        only={"model_size": ("small", "the teacher that is here is the small one; leave it out")},
    ),
    "Cfa": Row(
        "cfa",
        ("backbone", "gamma_c", "gamma_d", "num_nearest_neighbors", "num_hard_negative_features", "radius"),
        renamed={"num_nearest_neighbors": "num_neighbors", "num_hard_negative_features": "num_hard_negatives"},
    ),
    "Supersimplenet": Row(
        "supersimplenet",
        ("perlin_threshold", "backbone", "layers", "supervised", "adapt_cls_features"),
        only={
            "supervised": (False, "`pellucid fit DATA --learn-defects` learns labelled defects, with any detector"),
        },
    ),
    "AnomalyDINO": Row(
        "anomaly_dino",
        ("encoder_name", "num_neighbours", "masking", "coreset_subsampling", "sampling_ratio"),
        renamed={"encoder_name": "backbone"},
        values={"masking": {True: "auto", False: "never"}},
    ),
    "Dinomaly": Row(
        "dinomaly",
        (
            *("encoder_name", "bottleneck_dropout", "decoder_depth", "target_layers", "fuse_layer_encoder"),
            *("fuse_layer_decoder", "remove_class_token"),
        ),
        renamed={"encoder_name": "backbone", "bottleneck_dropout": "dropout"},
    ),
    "Cflow": Row(
        "cflow",
        (
            *(*CNN, "fiber_batch_size", "decoder", "condition_vector", "coupling_blocks", "clamp_alpha"),
            *("permute_soft", "lr"),
        ),
    ),
    "Uflow": Row(
        "uflow",
        ("backbone", "flow_steps", "affine_clamp", "affine_subnet_channels_ratio", "permute_soft"),
        renamed={"affine_subnet_channels_ratio": "hidden_ratio"},
    ),
    "Draem": Row("draem", ("enable_sspcab", "sspcab_lambda", "anomaly_source_path", "beta")),
}
NEAREST = {  # models that are not here, and what does their work
    "Csflow": "Fastflow is the flow that is here",
    "Patchflow": "Fastflow is the flow that is here",
    "Dsr": "Supersimplenet learns from drawn anomalies, too",
    "Glass": "Supersimplenet learns from drawn anomalies, too",
    "GeneralAD": "Supersimplenet learns from drawn anomalies, too",
    "Fre": "Dfm with score_type='fre' has the same score, of a principal subspace",
    "Ganomaly": "ReverseDistillation rebuilds features instead of pixels",
    "MHPatchcore": "Patchcore takes its coreset from a stream of images",
    "Rad": "Patchcore is the memory bank that is here",
    "SuperADD": "Patchcore sees large images in tiles with TilerConfigurationCallback",
    "FoundAD": "`pellucid fit --detector patchcore --backbone dinov2_small` uses that network",
    "InpFormer": "`pellucid fit --detector patchcore --backbone dinov2_small` uses that network",
    "L2BT": "Stfpm is the student and teacher that is here",
    "UniNet": "Stfpm is the student and teacher that is here",
    "AnomalyVFM": "a model is fitted here, on 20 normal images or more",
    "WinClip": "a model is fitted here, on 20 normal images or more",
    "VlmAd": "a model is fitted here, on 20 normal images or more",
    "CFM": "colour images alone are inspected",
    "AiVad": "images are inspected, not videos",
    "Fuvas": "images are inspected, not videos",
}
FOLDERS = {  # of anomalib's models, where it is not the detector's name
    "efficient_ad": "EfficientAd",
    "super_simple_net": "Supersimplenet",
    "rkde": "Dfkde",
}
