"""Where anomalib puts its files, and where they are looked for."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from pellucid._io.files import replacing
from pellucid.errors import ModelFileError
from pellucid.inspector import Inspector
from pellucid.models.load import load

CHECKPOINT = Path("weights", "lightning", "model.ckpt")  # below a run's folder; a second name of its model file
GRAPH_SUFFIXES = (".xml", ".bin", ".onnx")
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x80\x05")  # of torch's files, zipped or not
_VERSION = re.compile(r"v(\d+)")


def load_model(path: str | Path, device: str = "auto") -> Inspector:
    """Read a model by any of the paths that a script knows of it.

    Args:
        path: of a model file, of an exported graph, or of its folder. A part named ``latest`` is the run of the highest
            number beside it.
        device: where torch computes.

    Raises:
        ModelFileError: it is missing, or a checkpoint of anomalib's own.
    """
    file = newest(Path(path))
    if file.suffix in GRAPH_SUFFIXES and file.is_file():
        return load(file.parent)
    if file.is_file():
        with file.open("rb") as content:
            if content.read(4).startswith(PICKLE_STARTS):
                raise ModelFileError(
                    f"'{file}' is a checkpoint of torch's, as anomalib writes it, which pellucid cannot take over: fit"
                    " the model again with engine.fit, on the same images."
                )
    return load(file, device=device)


def newest(path: Path) -> Path:
    """Return a path whose part ``latest`` is replaced by the run of the highest number; another one as it is."""
    for depth, part in enumerate(path.parts):
        if part == "latest" and not (above := Path(*path.parts[:depth])).joinpath(part).exists():
            runs = {int(m[1]): run for run in above.glob("v*") if (m := _VERSION.fullmatch(run.name))}
            if runs:
                return runs[max(runs)].joinpath(*path.parts[depth + 1 :])
    return path


def give_second_name(file: Path, other: Path) -> None:
    """Let a file be found by another name, too; it takes its room once, where the file system can do that.

    Args:
        file: that there is.
        other: its second name; a file of that name is replaced.
    """
    with replacing(other) as made:
        made.unlink(missing_ok=True)
        try:
            os.link(file, made)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(file, made)
