"""A fitted detector as one graph, from pixels to map and score, in a folder that is used without torch.

``model.xml`` and ``model.bin`` (OpenVINO) or ``model.onnx`` hold the graph, for batches of any size, and files named
``close_up``, ``close_up_2`` and ``close_up_3`` those for the smaller tiles around what a gate lets pass; ``model.json``
holds everything else: what the model is, how well the graph agrees with torch, and the limit, which may be edited.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from pellucid import backbones
from pellucid._io.convert import convert
from pellucid._io.files import check_writable, write_text
from pellucid.acquisition.gate import Gate
from pellucid.acquisition.images import Planes, Size, as_planes
from pellucid.acquisition.tiles import Tiling
from pellucid.errors import ExportError, ModelFileError, OutputError, ParameterError, join_names, missing_extra
from pellucid.models.file import Header, first_validation_error, upgrade_header
from pellucid.models.quantise import Normals, normals_of, quantise
from pellucid.records import Samples
from pellucid.runtimes import Runtime
from pellucid.runtimes.onnx import Onnx
from pellucid.runtimes.openvino import OpenVino
from pellucid.runtimes.torch import Torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.detectors._base import Detector

Format = Literal["openvino", "onnx"]
RUNTIMES: dict[Format, type[OpenVino] | type[Onnx]] = {"openvino": OpenVino, "onnx": Onnx}
SUFFIXES = {"openvino": (".xml", ".bin"), "onnx": (".onnx",)}  # of the files of a graph
CLOSE_UPS = ("close_up", "close_up_2", "close_up_3")  # their names, one for every size of a gate's close-ups
MAX_REFERENCE_DRIFT = 0.02  # relative, of an int8 graph's score for one image between two processors
EXPORT_VERSION = 2  # of model.json; see models/file.py for what to do when it rises
RENAMED = {"difference": "max_difference", "agreement": "rank_correlation", "probe": "reference_score"}  # since 1
COMPARED_PIXELS = 2**21  # of images that are compared in one call: torch takes some 300 bytes for each
TOLERANCE = 1e-3  # largest difference from torch, of scores relative to the score and of maps relative to their peak


class ExportHeader(BaseModel):
    """``model.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[2] = 2
    format: Format
    sha256: str  # over the graph's files
    max_difference: float  # of the graph in float32, the largest one found from torch; see TOLERANCE
    rank_correlation: float | None = None  # of an int8 graph's scores with float32's, over held-out normal images
    reference_score: float | None = None  # score of an int8 graph for one image, where it was exported
    gate: dict[str, Any] | None = None  # what passes over tiles, as lists of numbers
    model: Header


def export(
    detector: Detector,
    header: Header,
    folder: Path,
    format: Format,
    images: Sequence[Planes] = (),
    int8: str | Path | Samples | None = None,
    gate: Gate | None = None,
) -> ExportHeader:
    """Write a detector as a graph, after comparing it with torch, both on the CPU.

    Args:
        detector: fitted, on any device.
        header: of the model file.
        folder: made if need be; an earlier export in it is replaced.
        format: ``openvino`` or ``onnx``.
        images: to compare on, (3, H, W) each; drawn panes of glass when there are none.
        int8: the data set that the model was fitted on, to compute the backbone in 8-bit integers after the
            comparison; ``openvino`` only.
        gate: of a tiled model; None: it has none.

    Returns:
        What was written to ``model.json``, the largest difference from torch in it.

    Raises:
        ExportError: the graph cannot be made, or does not agree with torch.
        OutputError: the folder cannot be written to.
        ParameterError: a package that the format needs is not installed.
    """
    if int8 is not None and format != "openvino":
        raise ParameterError("An int8 graph is computed by OpenVINO: leave --format onnx out.")
    normals = None if int8 is None else normals_of(int8, header)
    check_writable(folder / "model.json")
    names = ("model.json", *(name for stem in ("model", *CLOSE_UPS) for name in graph_files(stem, format)))
    _check_replaceable(folder, names)
    reference = Torch(_on_cpu(detector))
    gate = gate if gate is None or normals is None else gate.with_close_ups()  # whose scale factors would be others
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as made:
            files = [Path(made) / name for name in graph_files("model", format)]
            off_by = _write_compared(reference, header.image_size, format, files[0], images)
            for stem, size in _close_ups(gate, header).items():
                smaller = [Path(made) / name for name in graph_files(stem, format)]
                off_by = max(off_by, _write_compared(reference.for_tiles(size), size, format, smaller[0]))
                files += smaller
            written: dict[str, object] = {"format": format, "max_difference": off_by, "model": header}
            written["gate"] = gate and {name: values.tolist() for name, values in gate.state().items()}
            if normals is not None:
                graph, files = files[0], [Path(made) / "int8" / file.name for file in files]
                files[0].parent.mkdir()
                written |= _quantise(reference, normals, header.image_size, graph, files[0])
            whole = ExportHeader.model_validate(written | {"sha256": _sha256(files)})
            for name in names:  # never a header beside another's graph
                (folder / name).unlink(missing_ok=True)
            for file in files:
                file.replace(folder / file.name)
    except OSError as error:
        raise OutputError(f"Cannot write '{folder}': {error.strerror or error}.") from None
    write_text(folder / "model.json", whole.model_dump_json(indent=2) + "\n")
    return whole


def graph_files(stem: str, format: Format) -> tuple[str, ...]:
    """Return the names of a graph's files, the one that a runtime is given first."""
    return tuple(stem + suffix for suffix in SUFFIXES[format])


def _close_ups(gate: Gate | None, header: Header) -> dict[str, Size]:
    """Names of the graphs for what is seen around a gate's candidates, and the sizes of the tiles that they see, px."""
    framing = header.fitted_images.framing
    if gate is None or not isinstance(framing, Tiling):
        return {}
    around = 2 * framing.margin
    sizes = [(height + around, width + around) for height, width in gate.close_ups]
    return dict(zip(CLOSE_UPS[: len(sizes)], sizes, strict=True))


def _check_replaceable(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder where files of these names lie that no export made."""
    found = [name for name in names if (folder / name).exists()]
    try:
        header = json.loads((folder / "model.json").read_text("utf-8"))
        exported = {"format", "sha256", "model"} <= header.keys()
    except (OSError, ValueError, AttributeError):
        exported = False
    if found and not exported:
        raise OutputError(
            f"'{folder}' holds {join_names(found)}, which no export made: give another folder with -o, or move that"
            " away."
        )


def _on_cpu(detector: Detector) -> Detector:
    """The detector, or a copy on the CPU: graphs are traced and compared there."""
    if detector.device.type == "cpu":
        return detector
    own = detector.backbone_  # not what its name means today: an older model has another configuration
    backbone = backbones.rebuild(own.config, layers=own.layers, name=own.name)
    return type(detector)(**detector.parameters()).to("cpu").load_state(detector.state(), backbone=backbone)


def _write_compared(reference: Torch, size: Size, format: Format, path: Path, images: Sequence[Planes] = ()) -> float:
    """Write the graph in float32; return its largest difference from torch."""
    write_graph(reference.detector, size, format, path)
    off_by = max_difference(reference, RUNTIMES[format](path), images or panes(size))
    if not off_by <= TOLERANCE:
        raise ExportError(f"The {format} graph differs from torch by {off_by:.2g}, more than {TOLERANCE:g} allowed.")
    return off_by


def _quantise(reference: Torch, normals: Normals, size: Size, graph: Path, path: Path) -> dict[str, object]:
    """Write the graph in int8; return what its header says otherwise."""
    achieved = quantise(graph, reference, normals.learn, normals.held_out, path)
    quantised = OpenVino(path, reference.score_of)
    return {
        "rank_correlation": achieved,
        "reference_score": _score_of_noise(quantised, size),
        "model": normals.header(reference, quantised),
    }


def read_export_header(folder: Path) -> ExportHeader:
    """``model.json`` of a folder.

    Raises:
        ModelFileError: there is none, or it cannot be understood.
    """
    try:
        return ExportHeader.model_validate(_upgrade(json.loads((folder / "model.json").read_bytes())))
    except OSError as error:
        raise _not_whole(folder, error) from None
    except ValidationError as error:
        raise ModelFileError(
            f"'{folder / 'model.json'}' cannot be understood: {first_validation_error(error)}."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"'{folder / 'model.json'}' is not JSON: {error}.") from None


def _upgrade(values: Any) -> Any:
    """What an earlier version wrote, as this one writes it."""
    if not isinstance(values, dict):
        return values
    if values.get("format_version") == 1:
        values = values | {"format_version": EXPORT_VERSION}
        values = {RENAMED.get(name, name): value for name, value in values.items()}
    return values | {"model": upgrade_header(values.get("model"))}


def open_export(folder: Path) -> tuple[Runtime, Header, Gate | None]:
    """The graph in a folder, ready to score, the header with its limit, and the gate, if there is one.

    Raises:
        ModelFileError: no export, a newer one, or a graph that was changed or is not whole.
        ParameterError: its runtime is not installed.
    """
    header = read_export_header(folder)
    gate = header.gate and Gate.from_state({name: np.array(values) for name, values in header.gate.items()})
    close_ups = CLOSE_UPS[: len(gate.close_ups)] if gate else ()
    graphs = [[folder / name for name in graph_files(stem, header.format)] for stem in ("model", *close_ups)]
    try:
        digest = _sha256([file for files in graphs for file in files])
    except OSError as error:
        raise _not_whole(folder, error) from None
    if digest != header.sha256:
        raise ModelFileError(f"The graph in '{folder}' was changed since it was written: its checksum does not agree.")
    graph, *smaller = (files[0] for files in graphs)
    runtime = RUNTIMES[header.format](graph, header.model.score_of, close_ups=smaller)
    if header.reference_score is not None:
        found = _score_of_noise(runtime, header.model.image_size)
        if not abs(found - header.reference_score) <= MAX_REFERENCE_DRIFT * abs(header.reference_score):
            raise ModelFileError(
                f"The int8 graph in '{folder}' computes something else on this processor than where it was exported"
                f" (score {found:.4g} instead of {header.reference_score:.4g}): export it on this machine."
            )
    return runtime, header.model, gate or None


def _not_whole(folder: Path, error: OSError) -> ModelFileError:
    name = error.filename or folder
    return ModelFileError(f"'{folder}' is not a whole exported model: {name}: {error.strerror}.")


def _score_of_noise(runtime: Runtime, size: Size) -> float:
    """The score of an image of noise, which drives a network far."""
    noise = np.random.default_rng(0).random((1, 3, *size), dtype=np.float32)
    return float(runtime.score(noise)[1][0])


def write_graph(detector: Detector, size: Size, format: Format, path: Path) -> None:
    """Convert a detector's scoring, batches (B, 3, *size) of any B, to a file; it has to be on the CPU.

    Raises:
        ExportError: it cannot be converted, or a package is missing.
        OSError: the file cannot be written.
    """
    import torch

    example = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    detector.score(example)  # what is computed once and kept is there before the graph is traced
    try:
        save = (_to_openvino if format == "openvino" else _to_onnx)(_graph(detector), example)
    except ImportError as error:
        extra = "onnx" if format == "onnx" else None
        raise ExportError(missing_extra(extra, error.name or "a package", f"Exporting to {format}")) from None
    except Exception as error:  # whatever the converters raise; nothing was written yet
        name = f"{type(detector).__name__} with {detector.backbone}"
        raise ExportError(f"{name} cannot be converted to {format}: {_reason(error)}") from error
    save(path)


def _reason(error: Exception) -> str:
    """The line of a converter's page that says what is wrong."""
    error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "No conversion rule" in line), lines[0])


def _graph(detector: Detector) -> nn.Module:
    """The detector's networks as one module, whose forward is its scoring."""
    from torch import nn

    from pellucid.detectors._networks import networks_of

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, network in networks_of(detector).items():
                self.add_module(name, network)

        def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
            return detector.compute(pixels)

    return Graph().eval()


def _to_openvino(graph: nn.Module, example: Tensor) -> Callable[[Path], None]:
    """Convert a graph; return what writes it."""
    import openvino

    model = convert(graph, example)

    def save(path: Path) -> None:
        try:
            openvino.save_model(model, path, compress_to_fp16=False)
        except RuntimeError as error:  # its way to say that a file cannot be written
            raise OSError(str(error).strip().splitlines()[-1]) from None

    return save


def _to_onnx(graph: nn.Module, example: Tensor) -> Callable[[Path], None]:
    """Convert a graph; return what writes it."""
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells every user that torchvision is not installed
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own, about sizes that are constants here
        program = torch.export.export(graph, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        converted = torch.onnx.export(program, (), input_names=["pixels"], verbose=False)
    return partial(converted.save, external_data=False)  # type: ignore[union-attr]


def max_difference(reference: Runtime, other: Runtime, images: Sequence[Planes]) -> float:
    """Largest difference over images one by one and several at once, of scores relative to the score and of maps
    relative to their peak."""
    largest = 0.0
    several = max(2, COMPARED_PIXELS // images[0][0].size)
    for batch in [*(image[None] for image in images), np.stack(images[:several])]:
        for a, b in zip(reference.score(batch), other.score(batch), strict=True):
            if a.shape != b.shape:
                return float("inf")
            scale = np.abs(a).reshape(len(a), -1).max(1).clip(1e-12)
            off = np.abs(a - b).reshape(len(a), -1).max(1) / scale
            largest = max(largest, float(off.max())) if np.isfinite(off).all() else float("inf")
    return largest


def panes(size: Size, count: int = 6) -> list[Planes]:
    """Drawn panes of glass, every kind of flaw among them."""
    from pellucid.synthesis import glass

    rng = np.random.default_rng(0)
    kinds = list(glass.DEFECT_GENERATORS)
    drawn = [glass.draw_defective_pane(rng, kinds[k % len(kinds)])[0] for k in range(count)]
    return [np.ascontiguousarray(as_planes(np.repeat(d[..., None], 3, 2).clip(0, 1), size)) for d in drawn]


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
