"""What backbones there are: names, versions, licences, origins. Imports no torch.

A released name such as ``prism_s.v6`` stands for one file of weights and one architecture for ever; the bare name is
the newest of its versions. What an architecture is, constants included, is in ``config``: the arguments of the family's
network, which a model file holds as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from pellucid.errors import ParameterError, join_names, unknown_name

ENTRY_POINTS = "pellucid.backbones"  # the group in which other distributions name theirs
PLUGIN = "plugin"  # the family of a backbone from another distribution

FEATURE_CHANNELS = (24, 32, 160)  # of layer1 to layer3 of every Prism
PDN_CHANNELS = 192  # of layers 2 and 3 of its teacher
CONTRAST_WEIGHT = 0.75  # in every feature, of the contrast that the gain control has taken away
GAIN_CONTROL = {
    "target_deviation": 0.12,  # local standard deviation, of [0, 1], that is aimed at
    "max_gain": 8.0,
    "cell_px": 4,
    "window_cells": 7,
    "smoothings": 2,
}
TEACHER = "mobilenet_v2 1.0, ImageNet-1k (Apache-2.0)"  # the teacher of every Prism, and its licence


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a backbone without importing torch.

    Attributes:
        name: without the version.
        version: of the weights; None where whoever brings the weights says what they are.
        family: module of this package that holds the network; ``plugin`` for another distribution's.
        config: arguments of the family's network, as JSON has them.
        parameters: of the whole network, counted in numbers; None where only its library knows.
        licence: of the weights.
        teacher: what the weights were taught by, with its own licence; None where no network taught them.
        sha256: of the file of weights; None where the hub, or whoever brings the file, answers for it.
        source: where the weights come from, to be read by people.
        embedded: whether they are in the package.
        hub: repository that they are downloaded from.
    """

    name: str
    version: str | None = None
    family: str
    config: Mapping[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    licence: str
    teacher: str | None = None
    sha256: str | None = None
    source: str
    embedded: bool = False
    hub: str | None = None

    @property
    def full_name(self) -> str:
        """The name with its version."""
        return f"{self.name}.{self.version}" if self.version else self.name


def _prism(
    name: str, sha256: str, parameters: int, channels: list[int], blocks: list[int], *, embedded: str = ""
) -> Entry:
    """An entry of a Prism; ``embedded`` says what the one in the package is good for."""
    shape: dict[str, Any] = {"channels": channels, "blocks": blocks}
    family = "prism_v1" if name == "prism_s.v1" else "prism"
    if family == "prism":
        shape |= {
            "feature_channels": list(FEATURE_CHANNELS),
            "contrast_weight": CONTRAST_WEIGHT,
            "gain_control": GAIN_CONTROL,
        }
    return Entry(
        name=name.split(".")[0],
        version=name.split(".")[1],
        family=family,
        config=shape,
        parameters=parameters,
        licence="Apache-2.0",
        teacher=TEACHER,
        sha256=sha256,
        source=f"embedded in the package: {embedded}" if embedded else "not in the package any more; --weights FILE",
        embedded=bool(embedded),
    )


def _resnet(name: str, parameters: int, block: str, blocks: list[int], width_factor: int = 1) -> Entry:
    return Entry(
        name=name,
        version="tv_in1k",
        family="resnet",
        config={"block": block, "blocks": blocks, "width_factor": width_factor},
        parameters=parameters,
        licence="BSD-3-Clause",
        source=f"--weights FILE, or the hub: timm/{name}.tv_in1k",
        hub=f"timm/{name}.tv_in1k",
    )


def _dinov2(size: str, parameters: int, width: int) -> Entry:
    return Entry(
        name=f"dinov2_{size}",
        version="lvd142m",
        family="dinov2",
        config={"width": width, "heads": width // 64, "blocks": 12, "patch_px": 14, "trained_px": 518},
        parameters=parameters,
        licence="Apache-2.0",
        source=f"extra [vit]; --weights FILE, or the hub: facebook/dinov2-{size}",
        hub=f"facebook/dinov2-{size}",
    )


_V1 = "2ec60019630736367eaee0d840743b6e7236ae221bbaf06aeeadfb259ad4f9e7"
_V2 = "8e63b73f606b4a514d4dc24a9dab366fae5e0cbb704a748a0cba2ab9bb7b7bd3"
_V3 = "379f8184d25b725ada22e71338bc3677c2aa20f3140ce4351fb6f145d6e9a612"
_V4 = "00d5513e25fe2f12aa2d78a4b6018e941b51b97cc6ad7f43115b2732e3e79b03"
_V5 = "28b36cc877f56a093fbdd1bf3b4c052b6c3f34e9b2516cda8aa08f8acf4b4528"
_V6 = "85129c9bed8e01a52f7009717ef2f54137efbcd9e0f1a424304a7b405e6f11df"
_M1 = "db796adf4adb58dc49b3f5b11443ad3f9ab611b115a91e2fea9126d90041a5dc"
_M2 = "3fe164b31c180653f2f3cb9f32a4e20138dc59c67ffd158c74abbe62e84fa660"
_PDN1 = "614d6349d5bcc09dcd861997acc49b3732aee755c6b85deed30b7a8b59d2539b"

_MOBILENET_STAGES = [  # expansion, channels, blocks, stride of the first
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]

_ENTRIES = (  # the newest version of a name comes first
    _prism("prism_s.v6", _V6, 1_380_216, [24, 48, 96, 192], [1, 1, 2], embedded="the fast one, and the default"),
    _prism("prism_s.v5", _V5, 1_380_216, [24, 48, 96, 192], [1, 1, 2]),
    _prism("prism_s.v4", _V4, 1_380_216, [24, 48, 96, 192], [1, 1, 2]),
    _prism("prism_s.v3", _V3, 1_667_640, [24, 48, 96, 160], [1, 2, 3]),
    _prism("prism_s.v2", _V2, 1_667_640, [24, 48, 96, 160], [1, 2, 3]),
    _prism("prism_s.v1", _V1, 1_636_952, [24, 48, 96, 160], [1, 2, 3]),
    _prism("prism_m.v2", _M2, 5_462_360, [32, 64, 128, 256], [2, 3, 4], embedded="sees more, in three times the time"),
    _prism("prism_m.v1", _M1, 1_667_640, [24, 48, 96, 160], [1, 2, 3]),
    Entry(
        name="pdn_s",
        version="v1",
        family="pdn",
        config={"channels": PDN_CHANNELS},
        parameters=1_907_520,
        licence="Apache-2.0",
        teacher="prism_m.v2 (Apache-2.0)",
        sha256=_PDN1,
        source="embedded in the package: EfficientAD's teacher",
        embedded=True,
    ),
    Entry(
        name="mobilenet_v2",
        family="mobilenet",
        config={"stages": _MOBILENET_STAGES},
        parameters=1_795_936,
        licence="that of the file",
        source="--weights FILE",
    ),
    _resnet("resnet18", 11_176_512, "basic", [2, 2, 2, 2]),
    _resnet("resnet34", 21_284_672, "basic", [3, 4, 6, 3]),
    _resnet("resnet50", 23_508_032, "bottleneck", [3, 4, 6, 3]),
    _resnet("wide_resnet50_2", 66_834_240, "bottleneck", [3, 4, 6, 3], 2),
    _dinov2("small", 22_056_576, 384),
    _dinov2("base", 86_580_480, 768),
)


def names() -> list[str]:
    """Return the name of every backbone, the default first, then those of other distributions.

    Beside these, ``timm/NAME`` is any network of timm.
    """
    own = list(dict.fromkeys(entry.name for entry in _ENTRIES))
    return own + sorted({point.name for point in metadata.entry_points(group=ENTRY_POINTS)} - set(own))


def embedded_names() -> list[str]:
    """Return the names of the backbones whose weights are in the package, the default first."""
    return [entry.name for entry in _ENTRIES if entry.embedded]


def versions(name: str) -> list[Entry]:
    """Return what was released under a name, newest first; its bare name stands for the first."""
    return [entry for entry in _ENTRIES if entry.name == name]


def entry(name: str) -> Entry:
    """Return what is known of one backbone.

    Args:
        name: with a version, such as ``prism_s.v6``, or without one, for the newest.

    Raises:
        ParameterError: there is no such backbone, or two distributions bring one of this name.
    """
    if name.startswith("timm/"):
        licence, source = "see its page on the hub", "extra [timm]; --weights FILE, or the hub"
        config = {"name": name.removeprefix("timm/")}
        return Entry(name=name, family="timm", config=config, licence=licence, source=source, hub=name)
    if found := [known for known in _ENTRIES if name in (known.full_name, known.name)]:
        return found[0]
    if points := list(metadata.entry_points(group=ENTRY_POINTS, name=name)):
        return _plugin(name, points)
    if released := versions(name.split(".")[0]):
        listed = join_names((known.full_name for known in released), 12)
        raise ParameterError(f"Backbone '{released[0].name}' has no version of the name '{name}'; it has {listed}.")
    raise unknown_name("backbone", name, names())


def _plugin(name: str, points: list[metadata.EntryPoint]) -> Entry:
    if len(points) > 1:
        owners = join_names(sorted(point.dist.name if point.dist else point.value for point in points))
        raise ParameterError(f"More than one distribution brings a backbone '{name}': uninstall one of {owners}.")
    dist = points[0].dist
    about: Any = dist.metadata if dist else {}
    licence = about.get("License-Expression") or about.get("License") or "not stated"
    source = f"distribution {dist.name} {dist.version}" if dist else points[0].value
    return Entry(name=name, family=PLUGIN, config={"name": name}, licence=licence, source=source)
