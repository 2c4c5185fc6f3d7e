"""Where weights come from: the package, a file, or the hub with its cache; never a pickle that runs code."""

from __future__ import annotations

import hashlib
import pickle
import socket
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from pellucid.backbones._catalogue import PLUGIN, Entry, embedded_names, entry, versions
from pellucid.errors import WeightsError

FILE = "model.safetensors"  # on the hub


def load_weights(net: nn.Module, name: str, weights: str | Path | None) -> None:
    """Fill ``net`` in place; classifier heads in a checkpoint are passed over.

    Args:
        net: of the backbone ``name``.
        name: with or without a version.
        weights: a checkpoint; without one the embedded weights or the hub's.

    Raises:
        WeightsError: missing, unreachable, damaged, or of another network or version.
    """
    known = entry(name)
    if weights is not None:
        source, tensors = str(weights), _read(Path(weights))
        _check_version(name, known, Path(weights))
    elif known.embedded:
        source, tensors = f"embedded {known.full_name}", _embedded(known)
    elif known.hub is not None:
        source, tensors = known.hub, _read(_download(name, known.hub))
    elif known.family == PLUGIN:
        return  # its distribution has filled it
    elif known != (newest := versions(known.name)[0]):
        raise WeightsError(
            f"The weights of '{name}' are not in the package any more: take the newest, '{newest.full_name}', or give"
            " their file with --weights FILE."
        )
    else:
        raise WeightsError(f"Backbone '{name}' has no embedded weights: give a file with --weights FILE.")
    if hasattr(net, "rename"):  # a library whose files name tensors differently from its modules
        tensors = net.rename(tensors)  # type: ignore[operator]
    net = getattr(net, "pretrained", net)  # a wrapped network of another library
    own = net.state_dict()
    kept = {k: v.to(own[k].dtype) for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    missing = [k for k in own if k not in kept and not k.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"'{source}' holds the weights of another network, not of '{name}':"
            f" {len(missing)} of {len(own)} tensors are missing or of another shape, first {missing[0]}."
        )
    net.load_state_dict(kept, strict=False)


def name_of_weights(name: str, weights: str | Path | None) -> str:
    """Return the name, with its version, of the weights that a backbone is created with.

    A file of weights has a version if it is a released one, bit for bit; otherwise the bare name is returned.
    """
    known = entry(name)
    if weights is None or known.full_name == name:
        return known.full_name
    if not any(released.sha256 for released in versions(name)):
        return name
    sha256 = _sha256(Path(weights))
    return next((released.full_name for released in versions(name) if released.sha256 == sha256), name)


def _check_version(name: str, known: Entry, path: Path) -> None:
    if known.sha256 and name == known.full_name and (sha256 := _sha256(path)) != known.sha256:
        raise WeightsError(
            f"'{path}' does not hold the weights of '{name}': its SHA-256 begins with {sha256[:12]}, not"
            f" {known.sha256[:12]}; for weights of your own give the bare name, '{known.name}'."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _embedded(known: Entry) -> dict[str, Tensor]:
    content = (resources.files("pellucid.backbones") / "weights" / f"{known.name}.safetensors").read_bytes()
    if hashlib.sha256(content).hexdigest() != known.sha256:
        raise WeightsError(f"The embedded weights of '{known.full_name}' are damaged: install pellucid again.")
    return load(content)


def _read(path: Path) -> dict[str, Tensor]:
    """Read a safetensors or torch checkpoint (tensors only: no pickled code is run)."""
    if not path.is_file():
        raise WeightsError(f"Weights file '{path}' does not exist.")
    try:
        return load_file(path)
    except SafetensorError:
        pass
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise WeightsError(f"'{path}' is neither a safetensors file nor a torch checkpoint of tensors.") from None
    tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    if not tensors or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise WeightsError(f"'{path}' is not a dictionary of tensors.")
    return {str(k): v for k, v in tensors.items()}


def _download(name: str, repository: str) -> Path:
    """Return the checkpoint in the hub's cache, or get it from the hub; the cache is keyed by content hash."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, FILE, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        _connect(constants.ENDPOINT)  # the hub client would retry for half a minute where there is no network
        return Path(hf_hub_download(repository, FILE))
    except Exception as error:  # the hub client raises many kinds, none of them ours
        raise WeightsError(
            f"Cannot get the weights of '{name}' from the hub ({type(error).__name__}). Without network: bring {FILE}"
            f" of {repository} (or a torchvision checkpoint) and give it with --weights FILE, put it into the cache"
            f" {constants.HF_HUB_CACHE}, or use the embedded default, --backbone {embedded_names()[0]}."
        ) from None


def _connect(endpoint: str) -> None:
    """Reach the hub's host within seconds, through a proxy if one is configured, or raise OSError."""
    parts = urlsplit(endpoint)
    proxy = getproxies().get(parts.scheme)
    target = urlsplit(proxy) if proxy else parts
    port = target.port or (443 if target.scheme == "https" else 80)
    socket.create_connection((target.hostname or "", port), timeout=5).close()
