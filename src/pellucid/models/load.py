"""A model file, or an exported folder, to what inspects."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

from pellucid import backbones, detectors
from pellucid.errors import ExportError, ModelFileError, OutputError, ParameterError, WeightsError
from pellucid.inspector import Inspector
from pellucid.models.cache import cached_folder
from pellucid.models.export import Format, open_export
from pellucid.models.file import Header, read_header, read_model
from pellucid.records import Limit
from pellucid.runtimes import Name, Runtime, is_installed
from pellucid.runtimes.torch import Torch

MIN_IMAGES_TO_EXPORT = 200  # from which on a faster runtime makes up for the seconds of exporting to it


def load(path: str | Path, runtime: Name | Literal["auto"] | None = None, *, images: int | None = None) -> Inspector:
    """Read a model written by :meth:`Inspector.save` or :meth:`Inspector.export`; needs no network.

    Args:
        path: a model file, or the folder of an exported model.
        runtime: what computes; by default torch for a model file. For ``openvino`` and ``onnx`` the model is exported
            once into pellucid's cache; ``auto`` takes the fastest that is installed and agrees with torch. The folder
            of an exported model has its own runtime.
        images: how many will be inspected, if that is known: for a few, ``auto`` does not export.

    Raises:
        ModelFileError: missing, truncated, foreign, newer, changed, or of a detector that takes or learns more by now.
        ParameterError: the runtime is not installed, or not the one that the folder was exported for.
        ExportError: the graph does not agree with torch; ``auto`` then takes torch.

    Example:
        >>> inspector = pellucid.load("glass.pellucid")
    """
    path = Path(path)
    if path.is_dir():
        opened, header = open_export(path)
        if runtime not in (None, "auto", opened.name):
            raise ParameterError(f"'{path}' was exported for {opened.name}: it cannot run on {runtime}.")
        return _inspector(opened, header)
    if runtime == "auto" and (images is None or images >= MIN_IMAGES_TO_EXPORT):
        for faster in ("openvino", "onnx"):
            with suppress(ExportError, OutputError):  # it does not agree, or the cache cannot be written to
                if is_installed(faster):
                    return load(path, faster)
    if runtime in ("openvino", "onnx"):
        return _inspector(*_from_cache(path, runtime))
    header, tensors = read_model(path)
    detector = detectors.create(header.detector, **header.parameters)
    new = detector.parameters().keys() - header.parameters.keys()
    if new:  # its default might not be what the model was fitted with
        names = ", ".join(sorted(new))
        raise ModelFileError(f"'{path}' is of an older pellucid, whose {header.detector} had no {names}: fit it again.")
    backbone = backbones.rebuild(header.backbone_config, layers=detector.layers, name=header.backbone)
    try:
        detector.load_state(tensors, backbone=backbone)
    except WeightsError:
        raise ModelFileError(
            f"'{path}' is of another pellucid, whose {header.detector} learned something else: fit it again."
        ) from None
    return _inspector(Torch(detector), header)


def _inspector(runtime: Runtime, header: Header) -> Inspector:
    limit = Limit(**header.limit.model_dump())
    return Inspector(runtime, limit, header.image_size, header.data_sha256, header.seed, header.false_reject)


def _from_cache(path: Path, format: Format) -> tuple[Runtime, Header]:
    """A model file's graph from the cache, exported into it when it is not there or not whole."""
    header, digest = read_header(path)
    folder = cached_folder(digest, format)
    with suppress(ModelFileError):
        return open_export(folder)[0], header
    load(path).export(folder, format)
    return open_export(folder)[0], header
