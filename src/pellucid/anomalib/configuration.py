"""Configurations of anomalib's command line, 1.x and 2.x: YAML files, and options that go before them.

A configuration has ``model`` and ``data``, each with ``class_path`` and ``init_args``, or ``data`` as a path of images;
``trainer``, whose entries are those of an engine, or ``engine``; and single entries such as ``seed_everything``,
``ckpt_path`` and, of 1.x, ``task``, ``metrics``, ``normalization``, ``results_dir`` and ``logging``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pellucid.anomalib._said import without_effect
from pellucid.anomalib.data import get_datamodule
from pellucid.anomalib.data.datasets import PredictDataset, Source
from pellucid.anomalib.lightning import seed_everything
from pellucid.anomalib.models import AnomalibModule, get_model
from pellucid.errors import DataError, ParameterError, unknown_name

PACKAGES = {  # where a class of a configuration is looked for, by the first part of its path
    "anomalib": ("callbacks", "loggers", "metrics", "pre_processing", "post_processing", "visualization", "data"),
    "lightning": ("lightning",),
    "pytorch_lightning": ("lightning",),
    "torchvision": ("transforms",),
}
ENTRIES = (
    *("model", "data", "trainer", "engine", "seed_everything", "ckpt_path", "default_root_dir", "task", "metrics"),
    *("normalization", "results_dir", "logging", "dataset", "return_predictions", "verbose", "export_type"),
    *("export_root", "input_size", "compression_type", "onnx_kwargs", "ov_args", "ov_kwargs", "max_drop", "metric"),
)


@dataclass(frozen=True)
class Configuration:
    """What a configuration asks for.

    Attributes:
        entries: all of it.
        engine: arguments of the engine.
    """

    entries: Mapping[str, Any]
    engine: dict[str, Any]

    def model(self) -> AnomalibModule:
        """Make the model.

        Raises:
            ParameterError: none is named, there is no such one, or an argument is not allowed.
        """
        given = _as_object(self.entries.get("model"), "model", "--model Patchcore")
        return get_model(given["class_path"], **_made(given.get("init_args") or {}))

    def datamodule(self) -> Source:
        """Make the data module, or the images without labels that a path names.

        Raises:
            ParameterError: none is named, there is no such one, or an argument is not allowed.
        """
        data = self.entries.get("data", self.entries.get("dataset"))
        if isinstance(data, str) and _is_path(data):
            return PredictDataset(data)
        given = _as_object(data, "data", "--data Folder --data.normal_dir good")
        return get_datamodule({"class_path": given["class_path"], "init_args": _made(given.get("init_args") or {})})


def read_configuration(paths: Sequence[str | Path], options: Mapping[str, Any]) -> Configuration:
    """Read configurations, the later ones before the earlier ones, and options before all.

    Args:
        paths: of YAML files.
        options: values by their dotted names, as ``{"trainer.max_epochs": 3}``.

    Raises:
        DataError: a file cannot be read.
        ParameterError: an entry that there is not.
    """
    entries: dict[str, Any] = {}
    for path in paths:
        entries = _merged(entries, _read(Path(path)))
    for name, value in options.items():
        entries = _merged(entries, _nested(name.split("."), value))
    for name in entries:
        if name not in ENTRIES:
            raise unknown_name("entry of a configuration", name, ENTRIES)
    if (seed := entries.get("seed_everything")) not in (None, True, False):
        seed_everything(int(seed))
    return Configuration(entries, _engine(entries))


def _engine(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the engine."""
    given = {**(entries.get("engine") or {}), **(entries.get("trainer") or {})}
    root = entries.get("default_root_dir") or (entries.get("results_dir") or {}).get("path")
    metrics, method = entries.get("metrics") or {}, entries.get("normalization")
    given["normalization"] = method.get("normalization_method") if isinstance(method, Mapping) else method
    more = {"default_root_dir": root, "task": entries.get("task"), "threshold": metrics.get("threshold")}
    more |= {"image_metrics": metrics.get("image"), "pixel_metrics": metrics.get("pixel")}
    without_effect("A configuration", [name for name in ("logging",) if entries.get(name)], "trainer.logger says it")
    return {name: _made(value) for name, value in {**given, **more}.items() if value is not None}


def _as_object(given: Any, name: str, example: str) -> dict[str, Any]:
    """``class_path`` and ``init_args`` of what may be a name alone, or have its arguments beside the name."""
    found: dict[str, Any] = {"class_path": given} if isinstance(given, str) else dict(given or {})
    if not found.get("class_path"):
        raise ParameterError(f"The configuration names no {name}: give it, as in {example}, or in --config FILE.yaml.")
    beside = {key: value for key, value in found.items() if key not in ("class_path", "init_args", "dict_kwargs")}
    return {"class_path": found["class_path"], "init_args": {**(found.get("init_args") or {}), **beside}}


def _made(value: Any) -> Any:
    """A value in which every ``class_path`` has become an object."""
    if isinstance(value, Mapping) and "class_path" in value:
        return _class_of(str(value["class_path"]))(**_made(value.get("init_args") or {}))
    if isinstance(value, Mapping):
        return {key: _made(one) for key, one in value.items()}
    return [_made(one) for one in value] if isinstance(value, list) else value


def _class_of(path: str) -> Any:
    package, _, _ = path.partition(".")
    name = path.rpartition(".")[2]
    for module in PACKAGES.get(package, (*PACKAGES["anomalib"], "lightning", "transforms")):
        found = getattr(import_module(f"pellucid.anomalib.{module}"), name, None)
        if found is not None:
            return found
    raise ParameterError(f"class_path '{path}' is not allowed: there is no such class here.")


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"Cannot read the configuration '{path}': {' '.join(str(error).split())}.") from None
    if not isinstance(found, Mapping):
        raise DataError(f"The configuration '{path}' holds no entries: give model, data and trainer in it.")
    return dict(found)


def _is_path(text: str) -> bool:
    """Whether a name is not that of a class."""
    return Path(text).exists() or "/" in text or "\\" in text


def _nested(names: Sequence[str], value: Any) -> dict[str, Any]:
    return {names[0]: value if len(names) == 1 else _nested(names[1:], value)}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of two configurations; a name alone becomes that of an object whose arguments follow."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(old, str) and isinstance(value, Mapping) and name in ("model", "data"):
            old = {"class_path": old}
        elif isinstance(old, Mapping) and isinstance(value, str) and name in ("model", "data") and not _is_path(value):
            value = {"class_path": value}
        merged[name] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
