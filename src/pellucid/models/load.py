"""A model file, or an exported folder, to what inspects."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pellucid import backbones, detectors
from pellucid.detectors._device import is_cpu
from pellucid.errors import ExportError, ModelFileError, OutputError, ParameterError, WeightsError, join_names
from pellucid.inspector import Inspector
from pellucid.models.cache import cached_folder, new_folder
from pellucid.models.export import Format, open_export
from pellucid.models.file import Header, gate_of, read_header, read_model
from pellucid.records.limits import Limit
from pellucid.runtimes import Name, Runtime, is_installed
from pellucid.runtimes.torch import Torch

OWN_VERSIONS = ("pellucid", "torch", "python")  # in a header; more is what brought a detector
MIN_IMAGES_TO_EXPORT = 200  # from which on a faster runtime makes up for the seconds of exporting to it


def load(
    path: str | Path,
    runtime: Name | Literal["auto"] | None = None,
    *,
    images: int | None = None,
    device: str = "auto",
) -> Inspector:
    """Read a model written by :meth:`Inspector.save` or :meth:`Inspector.export`; needs no network.

    Args:
        path: a model file, or the folder of an exported model.
        runtime: what computes; by default torch for a model file. For ``openvino`` and ``onnx`` the model is exported
            once into pellucid's cache; ``auto`` takes torch on a GPU, and on the CPU the fastest that is installed and
            agrees with torch. The folder of an exported model has its own runtime.
        images: how many will be inspected, if that is known: for a few, ``auto`` does not export.
        device: where torch computes: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``auto``, which is the environment
            variable ``PELLUCID_DEVICE`` if that is set, else a GPU if there is one. Other runtimes compute on the CPU.

    Raises:
        ModelFileError: missing, truncated, foreign, newer, changed, or of a detector that is not installed or takes or
            learns more by now.
        ParameterError: the runtime is not installed, or not the one that the folder was exported for, or the device is
            not there, or not the CPU where the runtime is not torch.
        ExportError: the graph does not agree with torch; ``auto`` then takes torch.

    Example:
        >>> inspector = pellucid.load("glass.pellucid")
    """
    path = Path(path)
    if path.is_dir():
        _check_on_cpu(f"'{path}' was exported and", device)
        opened = _open(path)
        if runtime not in (None, "auto", opened.runtime.name):
            raise ParameterError(f"'{path}' was exported for {opened.runtime.name}: it cannot run on {runtime}.")
        return opened
    if runtime == "auto" and (images is None or images >= MIN_IMAGES_TO_EXPORT) and is_cpu(device):
        for faster in ("openvino", "onnx"):
            with suppress(ExportError, OutputError):  # it does not agree, or the cache cannot be written to
                if is_installed(faster):
                    return load(path, faster)
    if runtime in ("openvino", "onnx"):
        _check_on_cpu(f"Runtime '{runtime}'", device)
        return _from_cache(path, runtime)
    header, tensors = read_model(path)
    if header.detector not in detectors.names():
        raise _missing_detector(path, header)
    detector = detectors.create(header.detector, **header.parameters).to(device)
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
    return replace(_inspector(Torch(detector), header), gate=gate_of(tensors))


def _missing_detector(path: Path, header: Header) -> ModelFileError:
    """The error for a detector that is not here, naming the distribution that brought it where the model was made."""
    brought_by = [f"{name} {version}" for name, version in header.versions.items() if name not in OWN_VERSIONS]
    missing = f"'{path}' holds a '{header.detector}', a detector that is not installed here"
    if not brought_by:
        return ModelFileError(f"{missing}: install the distribution that brings it.")
    return ModelFileError(f"{missing}: it came from {join_names(brought_by)}, install that.")


def _inspector(runtime: Runtime, header: Header) -> Inspector:
    limit = Limit(**header.limit.model_dump())
    return Inspector(
        runtime,
        limit,
        header.image_size,
        header.fitted_images,
        header.seed,
        header.false_reject,
        zones=header.zones,
        measuring=header.measuring,
        ancestry=header.ancestry,
        taught=header.taught,
        gate_report=header.gate,
    )


def _check_on_cpu(subject: str, device: str) -> None:
    if device not in ("auto", "cpu"):
        raise ParameterError(
            f"{subject} computes on the CPU, not on {device}: leave the device out, or use the model file with torch."
        )


def _from_cache(path: Path, format: Format) -> Inspector:
    """A model file's graph from the cache, exported into it when it is not there or not whole."""
    header, digest = read_header(path)
    folder = cached_folder(digest, format)
    with suppress(ModelFileError):
        return _open(folder, header)
    with new_folder(folder) as made:
        load(path, device="cpu").export(made, format)
    return _open(folder, header)


def _open(folder: Path, header: Header | None = None) -> Inspector:
    """An exported folder; what its model is, it says itself unless the header of the model file is given."""
    runtime, exported, gate = open_export(folder)
    return replace(_inspector(runtime, header or exported), gate=gate)
