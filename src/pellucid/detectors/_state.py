"""What was learned, as tensors by name: attributes that end in an underscore, modules with a name for each part."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def learned_tensors(attributes: Mapping[str, object]) -> dict[str, Tensor]:
    """Collect tensors, and those of modules, on the CPU."""
    out: dict[str, Tensor] = {}
    for name, value in attributes.items():
        if not name.endswith("_"):
            continue
        if isinstance(value, nn.Module):
            out |= {f"{name}.{key}": tensor.detach().cpu() for key, tensor in value.state_dict().items()}
        elif isinstance(value, Tensor):
            out[name] = value.detach().cpu()
    return out


def load_modules(attributes: Mapping[str, object], state: Mapping[str, Tensor]) -> None:
    """Bring the modules among attributes to what :func:`learned_tensors` returned.

    Raises:
        RuntimeError: they are of another shape.
    """
    for name, value in attributes.items():
        if isinstance(value, nn.Module):
            prefix = f"{name}."
            value.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
            value.eval()
