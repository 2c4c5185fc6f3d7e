"""One safe file per model: safetensors with a JSON header, no pickle, every byte under one SHA-256.

The format's version is ``VERSION``. To change the format: raise it, keep reading the old one, and add a file written by
the old version to the tests.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pellucid._files import write_bytes
from pellucid.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
_DIGEST = re.compile(rb'sha256\\": \\"([0-9a-f]{64})\\"')
_NO_DIGEST = "0" * 64


class LimitHeader(BaseModel):
    """The limit as stored; see :class:`pellucid.records.Limit`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    pixel: float
    false_reject_rate: float
    scores: tuple[float, ...]
    method: Literal["conformal", "cross-conformal", "f1"]


class Header(BaseModel):
    """Everything about a model that is not a tensor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    detector: str
    parameters: dict[str, Any]
    backbone: str
    backbone_sha256: str  # over the backbone's tensors in this file
    image_size: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]
    limit: LimitHeader
    data_sha256: str  # over the contents of the images fitted on and calibrated with
    seed: int
    false_reject: float
    versions: dict[str, str]


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def write_model(path: Path, header: Header, tensors: dict[str, Tensor]) -> None:
    """Write a model; the same model gives the same bytes.

    Raises:
        OutputError: the place cannot be written to.
    """
    from safetensors.torch import save

    text = json.dumps({"sha256": _NO_DIGEST, **header.model_dump(mode="json")}, sort_keys=False)
    content = save({k: v.contiguous() for k, v in tensors.items()}, {"pellucid": text})
    digest = hashlib.sha256(content).hexdigest()
    write_bytes(path, content.replace(_NO_DIGEST.encode(), digest.encode(), 1))


def read_model(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Read a model file.

    Raises:
        ModelFileError: missing, truncated, foreign, written by a newer pellucid, or changed since it was written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    header, _, content = _read(path)
    try:
        return header, load(content)
    except SafetensorError:
        raise ModelFileError(f"'{path}' is not a pellucid model.") from None


def read_header(path: Path) -> tuple[Header, str]:
    """The header of a model file and the SHA-256 of the whole, without torch.

    Raises:
        ModelFileError: as for :func:`read_model`.
    """
    header, digest, _ = _read(path)
    return header, digest


def _read(path: Path) -> tuple[Header, str, bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"Cannot read model '{path}': {error.strerror or error}.") from None
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not content[8:9] == b"{" or length > 100_000_000:
        raise ModelFileError(f"'{path}' is not a pellucid model.")
    head = content[8 : 8 + length]
    match = _DIGEST.search(head)
    if b'"pellucid"' not in head or match is None:
        kind = "truncated" if len(content) < 8 + length else "not a pellucid model"
        raise ModelFileError(f"'{path}' is {kind}.")
    digest = hashlib.sha256(content[: (start := 8 + match.start(1))])
    digest.update(_NO_DIGEST.encode())
    digest.update(memoryview(content)[start + 64 :])
    if digest.hexdigest().encode() != match.group(1):
        raise ModelFileError(f"'{path}' is truncated or was changed since it was written: its checksum does not agree.")
    try:
        metadata = json.loads(json.loads(head)["__metadata__"]["pellucid"])
    except (ValueError, KeyError):
        raise ModelFileError(f"'{path}' is not a pellucid model.") from None
    version = metadata.get("format_version")
    if isinstance(version, int) and version > VERSION:
        raise ModelFileError(
            f"'{path}' has format version {version}; this pellucid reads up to {VERSION}: install a newer one."
        )
    metadata.pop("sha256")
    try:
        return Header.model_validate(metadata), digest.hexdigest(), content
    except ValidationError as error:
        raise ModelFileError(f"'{path}' has a header that cannot be understood: {problem(error)}.") from None


def problem(error: ValidationError) -> str:
    """The first thing that is wrong with a header: where, and what."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
