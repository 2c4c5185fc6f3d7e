"""Where weights come from: the package, a file, or the hub with its cache; never a pickle that runs code."""

from __future__ import annotations

import hashlib
import json
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

from pellucid.errors import WeightsError

EMBEDDED = ("prism_s", "prism_m")
HUB = {name: f"timm/{name}.tv_in1k" for name in ("resnet18", "resnet34", "resnet50", "wide_resnet50_2")} | {
    f"dinov2_{size}": f"facebook/dinov2-{size}" for size in ("small", "base")
}
FILE = "model.safetensors"


def load_weights(net: nn.Module, name: str, weights: str | Path | None) -> None:
    """Fill ``net`` in place; classifier heads in a checkpoint are passed over.

    Raises:
        WeightsError: missing, unreachable, damaged, or of another network.
    """
    if weights is not None:
        source, tensors = str(weights), _read(Path(weights))
    elif name in EMBEDDED:
        source, tensors = f"embedded {name}", _embedded(name)
    elif repository := name if name.startswith("timm/") else HUB.get(name):
        source, tensors = repository, _read(_download(name, repository))
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


def _embedded(name: str) -> dict[str, Tensor]:
    folder = resources.files("pellucid.backbones") / "weights"
    content = (folder / f"{name}.safetensors").read_bytes()
    record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise WeightsError(f"The embedded weights of '{name}' are damaged: install pellucid again.")
    return load(content)


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors or torch checkpoint (tensors only: no pickled code is run)."""
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
    """The checkpoint from the hub's cache, or else from the hub; the cache is keyed by content hash."""
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
            f" {constants.HF_HUB_CACHE}, or use the embedded default, --backbone {EMBEDDED[0]}."
        ) from None


def _connect(endpoint: str) -> None:
    """Reach the hub's host within seconds, through a proxy if one is configured, or raise OSError."""
    parts = urlsplit(endpoint)
    proxy = getproxies().get(parts.scheme)
    target = urlsplit(proxy) if proxy else parts
    port = target.port or (443 if target.scheme == "https" else 80)
    socket.create_connection((target.hostname or "", port), timeout=5).close()
