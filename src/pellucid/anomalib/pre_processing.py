"""Pre-processing by anomalib's name: of it, the size is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pellucid.anomalib._said import say_once
from pellucid.errors import ParameterError

__path__: list[str] = []  # its parts, by anomalib's names, are found by _paths
__all__ = ["PreProcessor"]
DONE_ANYWAY = ("Normalize", "ToTensor", "ToImage", "ToDtype", "ConvertImageDtype", "ToPureTensor", "Lambda")


class PreProcessor:
    """What is done to an image before a model sees it: it is brought to a size, and normalised inside the model.

    Args:
        transform: a transform of torchvision's, or several in a ``Compose``. The size of its last ``Resize`` is the
            model's; a ``Normalize`` is done inside the model with the numbers of its backbone; any other is left out,
            which is said once: nothing is cropped.
        image_size: (height, width) in px instead, or N, the shorter side.
        others: ``train_transform``, ``val_transform``, ``test_transform``, ``export_transform``, as in earlier 2.x.

    Attributes:
        image_size: that of the model; None: that of the data module.
    """

    def __init__(
        self, transform: object = None, *, image_size: int | Sequence[int] | None = None, **others: object
    ) -> None:
        self.transform = transform if transform is not None else next(iter(others.values()), None)
        self.image_size: int | tuple[int, ...] | None = (
            image_size if isinstance(image_size, int) or image_size is None else tuple(image_size)
        )
        for one in _steps(self.transform):
            self._take(one)

    def __repr__(self) -> str:
        return f"PreProcessor(image_size={self.image_size})"

    def _take(self, step: object) -> None:
        kind = type(step).__name__
        if kind == "Resize":
            size: Any = getattr(step, "size", None)
            sides = [int(side) for side in size] if isinstance(size, Sequence) else [int(size)]
            self.image_size = sides[0] if len(sides) == 1 else tuple(sides)
        elif kind not in DONE_ANYWAY:
            say_once(
                f"{kind} of a pre_processor is taken without effect: images are brought to the size of its Resize, all"
                " of each, and normalised inside the model."
            )


def take_pre_processor(given: object) -> PreProcessor:
    """Return the pre-processing of a model.

    Args:
        given: one, or True, False or None, for none of a script's own.

    Raises:
        ParameterError: it is something else.
    """
    if isinstance(given, PreProcessor):
        return given
    if given is None or isinstance(given, bool):
        return PreProcessor()
    raise ParameterError(f"pre_processor={given!r} is not allowed: give a PreProcessor, or leave it out.")


def _steps(transform: object) -> Iterator[object]:
    """The single transforms of one that may be several."""
    inner = getattr(transform, "transforms", None)
    if transform is not None and inner is None:
        yield transform
    for one in inner or ():
        yield from _steps(one)
