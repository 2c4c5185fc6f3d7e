"""Whether pellucid works on this machine: what is installed, what the processor can, whether runtimes agree, room.

Nothing is changed, nothing is asked of a network, and what is tried is tried on a small model of the embedded weights.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pellucid import __name__ as PACKAGE
from pellucid import __version__
from pellucid._io.space import available_memory_bytes, total_memory_bytes
from pellucid.errors import PellucidError

if TYPE_CHECKING:
    from pellucid.inspector import Inspector
    from pellucid.models.export import Format

State = Literal["ok", "missing", "broken"]
SUBJECTS = ("versions", "processor", "weights", "room", "runtimes", "extras")
DISTRIBUTIONS = (PACKAGE, "pellucid-runtime")  # the whole package, or the slim one
MODULES = {  # that a distribution is imported by, where it is called otherwise
    "huggingface-hub": "huggingface_hub",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "tomli-w": "tomli_w",
}
ABILITIES = {  # of a processor, by its flags on Linux; what each makes faster is in docs/reference/doctor.md
    "AVX2": {"avx2"},
    "AVX-512": {"avx512f"},
    "VNNI": {"avx512_vnni", "avx_vnni"},
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "AMX": {"amx_tile"},
    "NEON": {"asimd"},
}
MIN_FREE_DISK_BYTES = 100_000_000  # below which nothing can be written sensibly
MIN_FREE_MEMORY_BYTES = 300_000_000  # that a process with torch takes by itself
SIDE_PX = 64  # of the images that the small model learns from


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: one of ``SUBJECTS``.
        name: what it is.
        state: ``ok``; ``missing``: it could be there and nothing is wrong without it; ``broken``: something is wrong.
        value: what was found, for people.
        number: what was measured, in the unit that the value names; None where nothing was.
        advice: what to do about it, a sentence; empty where there is nothing to do.
    """

    subject: str
    name: str
    state: State
    value: str
    number: float | None = None
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything; nothing that is found raises.

    Example:
        >>> [found.name for found in examine() if found.state == "broken"]
        []
    """
    packages = list(_packages())
    return [*_versions(), *packages, *_processor(), *_weights(), *_room(), *_runtimes(packages), *_extras()]


def _versions() -> Iterator[Finding]:
    yield Finding("versions", PACKAGE, "ok", __version__)
    supported = sys.version_info >= (3, 11)
    yield Finding(
        "versions",
        "Python",
        "ok" if supported else "broken",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        advice="" if supported else "Install Python 3.11 or newer.",
    )


def _requirements() -> list[tuple[str, str | None]]:
    """The distributions that the installed package asks for, each with its extra."""
    for distribution in DISTRIBUTIONS:
        try:
            lines = metadata.requires(distribution) or []
        except metadata.PackageNotFoundError:
            continue
        return [_requirement(line) for line in lines if _applies(line)]
    return []


def _applies(line: str) -> bool:
    """Whether a requirement is for this system; markers of pellucid's own name systems in this way only."""
    system = re.search(r"sys_platform == ['\"](\w+)['\"]", line)
    return system is None or system[1] == sys.platform


def _requirement(line: str) -> tuple[str, str | None]:
    name = re.match(r"[\w.-]+", line)
    extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
    return name[0] if name else line, extra[1] if extra else None


def _packages() -> Iterator[Finding]:
    """What pellucid cannot do without: each is imported, because a package that is there may not load."""
    for name in [name for name, extra in _requirements() if extra is None]:
        try:
            importlib.import_module(MODULES.get(name.lower(), name.replace("-", "_")))
            yield Finding("versions", name, "ok", metadata.version(name))
        except Exception as error:  # whatever a broken library raises when it is loaded
            reason = " ".join(str(error).split())[:200]
            yield Finding(
                "versions", name, "broken", f"{type(error).__name__}: {reason}", advice=f"pip install --force {name}"
            )


def _processor() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("processor", "cores", "ok", f"{cores}, {_model_name()}", cores)
    flags = _flags()
    if flags is None:
        yield Finding("processor", "abilities", "missing", "this system does not list them")
        return
    for ability, names in ABILITIES.items():
        if ability == "NEON" and not flags & names:
            continue  # of other processors
        there = bool(flags & names)
        yield Finding("processor", ability, "ok" if there else "missing", "yes" if there else "no")


def _cpuinfo() -> str:
    file = Path("/proc/cpuinfo")
    return file.read_text("utf-8", errors="replace") if file.exists() else ""


def _model_name() -> str:
    named = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.M)
    return named[1].strip() if named else platform.processor() or platform.machine()


def _flags() -> set[str] | None:
    """Flags of the processor as Linux names them; of other systems what torch says of its own code."""
    if listed := re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpuinfo(), re.M):
        return set(listed[1].split())
    try:
        import torch
    except Exception:  # it is missing or broken, and that is told elsewhere
        return None
    capability = torch.backends.cpu.get_cpu_capability()
    known = {"AVX2": {"avx2"}, "AVX512": {"avx2", "avx512f"}, "NEON": {"asimd"}}
    return known.get(capability, set())


def _weights() -> Iterator[Finding]:
    from pellucid import backbones

    for name in backbones.embedded_names():
        known = backbones.entry(name)
        file = resources.files("pellucid.backbones") / "weights" / f"{known.name}.safetensors"
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
        right = sha256 == known.sha256
        advice = "" if right else "Install pellucid again."
        yield Finding("weights", known.full_name, "ok" if right else "broken", sha256[:16], advice=advice)


def _room() -> Iterator[Finding]:
    for name, folder in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        enough = free >= MIN_FREE_DISK_BYTES
        advice = "" if enough else f"Make room in '{folder}'."
        yield Finding("room", name, "ok" if enough else "broken", f"{free / 1e9:.1f} GB free", free, advice)
    total, free_memory = total_memory_bytes(), available_memory_bytes()
    if total is not None:
        yield Finding("room", "memory", "ok", f"{total / 1e9:.1f} GB", total)
    if free_memory is not None:
        enough = free_memory >= MIN_FREE_MEMORY_BYTES
        advice = "" if enough else "Close other programs."
        state: State = "ok" if enough else "broken"
        yield Finding("room", "free memory", state, f"{free_memory / 1e9:.1f} GB", free_memory, advice)


def _extras() -> Iterator[Finding]:
    """Which extras are installed; they are not imported, which would take minutes."""
    wanted: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra is not None and name != PACKAGE:
            wanted.setdefault(extra, []).append(name)
    for extra, names in sorted(wanted.items()):
        if extra == "dev":
            continue  # it is for a checkout
        missing = [name for name in names if not _is_installed(name)]
        value = f"lacks {', '.join(missing)}" if missing else ", ".join(f"{n} {metadata.version(n)}" for n in names)
        advice = f"pip install '{PACKAGE}[{extra}]'" if missing else ""
        yield Finding("extras", extra, "missing" if missing else "ok", value, advice=advice)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _runtimes(packages: list[Finding]) -> Iterator[Finding]:
    """Whether every runtime computes what torch does, on a small model of the embedded weights."""
    working = {found.name for found in packages if found.state == "ok"}
    if "torch" not in working:
        yield Finding("runtimes", "torch", "missing", "not here: exported models alone can be inspected")
        return
    import torch

    yield Finding("runtimes", "torch", "ok", f"{torch.__version__}, devices: {', '.join(_devices())}")
    try:
        inspector = _small_model()
    except Exception as error:  # whatever goes wrong in a fit is what is asked for
        yield Finding("runtimes", "a small fit", "broken", f"{type(error).__name__}: {error}", advice="Install again.")
        return
    for format, needed in (("openvino", ("openvino",)), ("onnx", ("onnx", "onnxruntime", "onnxscript"))):
        if lacking := [name for name in needed if not _is_installed(name)]:
            advice = f"pip install '{PACKAGE}[onnx]'"
            yield Finding("runtimes", format, "missing", f"lacks {', '.join(lacking)}", advice=advice)
        else:
            yield _agreement(inspector, format)  # type: ignore[arg-type]


def _devices() -> list[str]:
    from pellucid.detectors._device import available_devices

    return available_devices()


def _small_model() -> Inspector:
    """Fit PaDiM on eight drawn panes of 64 x 64 px: seconds, and every part of a graph is in it."""
    import numpy as np
    import torch

    from pellucid import detectors
    from pellucid.acquisition.fitted_images import FittedImages
    from pellucid.inspector import Inspector
    from pellucid.records.limits import Limit
    from pellucid.runtimes.torch import Torch
    from pellucid.synthesis.glass import draw_pane

    panes = [draw_pane(np.random.default_rng(n), (SIDE_PX, SIDE_PX)) for n in range(8)]
    pixels = torch.from_numpy(np.stack(panes)[:, None].repeat(3, 1).clip(0, 1))
    detector = detectors.create("padim", n_features=20).fit([pixels[:4], pixels[4:]])
    limit = Limit(value=1.0, pixel=1.0, false_reject_rate=0.05, scores=(0.5, 1.0))
    return Inspector(Torch(detector), limit, (SIDE_PX, SIDE_PX), FittedImages(data_sha256=""), 0, 0.05)


def _agreement(inspector: Inspector, format: Format) -> Finding:
    from pellucid.models.export import TOLERANCE

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            difference = inspector.export(folder, format).max_difference
        except PellucidError as error:
            return Finding("runtimes", format, "broken", str(error), advice="Use --runtime torch.")
        except Exception as error:  # a broken library raises kinds of its own
            advice = f"pip install --force-reinstall {'openvino' if format == 'openvino' else 'onnxruntime'}"
            return Finding("runtimes", format, "broken", f"{type(error).__name__}: {error}", advice=advice)
    value = f"differs from torch by {difference:.1e} at most (allowed: {TOLERANCE:g})"
    return Finding("runtimes", format, "ok", value, difference)
