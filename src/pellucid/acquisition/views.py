"""What the network sees of an image: all of it, padded to the network's shape, or tile by tile; never squeezed.

A tiled model (:mod:`pellucid.acquisition.tiles`) sees images of any size at one scale. For others holds what follows.

The images that a model is fitted on say how large an image is that fills its view (:class:`Framing`). Another image of
that shape is resized to the view. One of another shape keeps its own: it is brought to the fitted images' scale, what
the view has beyond it is padded, and where it is longer than the view, it is cut into overlapping tiles
(``docs/decisions/0029-images-that-are-not-square.md``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Union

from pydantic import BaseModel, ConfigDict, Field

from pellucid.acquisition.images import Pixels, Planes, Size, parse_size, resize
from pellucid.acquisition.layouts import Layout
from pellucid.acquisition.tiles import Tiling, reduce_by, tile_planes

ImageSize = int | str | Sequence[int]  # the shorter side, or height and width
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]

STEP_PX = 32  # that the view's longer side grows by, at most: the coarsest features are at a thirty-second of it
STEPS_OF_SHORTER = 8  # and at most this part of the shorter side: rounding then stretches images by 6 %, no more
MAX_ELONGATION = 4  # of the view, longer by shorter side: what it costs is then that of a square of twice the side
CELL_PX = 4  # of the finest features: what resizing moves by less than this stays in its place
MAX_SHRINKING = 1.25  # that an image is shrunk by to be seen as a whole, before it is cut into tiles
MIN_OVERLAP = 1 / 4  # of neighbouring tiles, in their length
MAX_UNSAID_STRETCH = 1.1  # of images of the fitted shape; rounding to steps is less
COMMON_SHARE = 0.8  # of the fitted images that are nearly of one shape, where they have one
ODD_SHARE = 0.02  # of the fitted images, at either end, that say nothing about what shapes are usual

Viewing = Union["Framing", Tiling]  # how images come to be seen: one by one as a whole, or in tiles of one scale


class Framing(BaseModel):
    """How images of any shape come to fill a model's view.

    Attributes:
        height: of an image that fills the view, px; with ``width`` the median shape and area of the fitted images, cut
            where those are longer than the view.
        width: of such an image, px.
        lowest_aspect: width by height of the narrowest fitted images, but for the odd one in fifty.
        highest_aspect: of the widest.
        extreme_aspects: of the narrowest and the widest, the odd ones too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    height: PositiveFloat
    width: PositiveFloat
    lowest_aspect: PositiveFloat
    highest_aspect: PositiveFloat
    extreme_aspects: tuple[PositiveFloat, PositiveFloat]

    def is_filled(self, view: Size) -> bool:
        """Whether every fitted image fills a view of (height, width) px, so that it is seen once."""
        return all(lay_out((1.0, aspect), view, self).is_whole for aspect in self.extreme_aspects)


def framing_of(sizes: Sequence[tuple[float, float]]) -> Framing | None:
    """Find the image that stands for several, by its shape and area; None where they have no common shape.

    Images of no common shape, as parts that were each cut out by a box of its own, are all stretched to one: so the
    detector has seen that good parts are, and padding would be most of what it sees.

    Args:
        sizes: height and width of the fitted images, px, at least one.
    """
    aspects = sorted(width / height for height, width in sizes)
    middle, odd = (len(sizes) - 1) // 2, int(ODD_SHARE * len(sizes))
    alike = math.log(MAX_SHRINKING) + 1e-12  # of rounding
    if sum(abs(math.log(aspect / aspects[middle])) <= alike for aspect in aspects) < (COMMON_SHARE * len(aspects)):
        return None
    area = sorted(height * width for height, width in sizes)[middle]
    height, width = math.sqrt(area / aspects[middle]), math.sqrt(area * aspects[middle])
    return Framing(
        height=height,
        width=width,
        lowest_aspect=aspects[odd],
        highest_aspect=aspects[-1 - odd],
        extreme_aspects=(aspects[0], aspects[-1]),
    )


def choose_view(image_size: ImageSize, framing: Framing | None) -> tuple[Size, Framing | None]:
    """Choose the network's height and width from what a user asked for and the shape of the fitted images.

    A single number is the shorter side. The longer one follows the images, in steps of 32 px or an
    eighth of the shorter one, up to four times the
    shorter: time, memory and, for PaDiM, the model file grow with the view's area, and are then those of a square of
    twice the side. Longer images are seen in tiles of 1:4.

    Args:
        image_size: N, the shorter side in px, at least 32; or (height, width), also as "HxW", which is taken as it is.
        framing: of the fitted images; None makes a square view that every image is squeezed into.

    Returns:
        The view's height and width in px, and the framing of what fills it.

    Raises:
        ParameterError: the size is not one or two whole numbers of at least 32.
    """
    asked = parse_size(image_size)
    if framing is None or not _is_shorter_side(image_size):
        return asked, framing
    shorter, elongation = asked[0], max(framing.height, framing.width) / min(framing.height, framing.width)
    taken = min(elongation, MAX_ELONGATION)
    step = min(STEP_PX, shorter // STEPS_OF_SHORTER)
    longer = shorter + step * round(shorter * (taken - 1) / step)
    if framing.width >= framing.height:
        return (shorter, longer), framing.model_copy(update={"width": framing.width * taken / elongation})
    return (longer, shorter), framing.model_copy(update={"height": framing.height * taken / elongation})


def _is_shorter_side(image_size: ImageSize) -> bool:
    return isinstance(image_size, int) or (isinstance(image_size, str) and "x" not in image_size.lower())


def lay_out(size: tuple[float, float], view: Size, framing: Viewing | None) -> Layout:
    """Decide how an image is seen.

    Args:
        size: its height and width, px.
        view: the network's, px.
        framing: of the model; None: every image is resized to the view, whatever its shape, as in models of before
            format 4.
    """
    if isinstance(framing, Tiling):
        return framing.lay_out(size)
    whole = Layout(view, view, ((0, 0),))
    if framing is None:
        return whole
    relative = size[0] / framing.height, size[1] / framing.width  # 1, 1 fills the view
    less, more = sorted(relative)
    if view[relative.index(less)] * (1 - less / more) < CELL_PX:
        return whole
    zoom = 1 / more if more <= MAX_SHRINKING else min(1.0, 1 / less)  # 1: the scale of the fitted images
    height, width = (max(1, round(side * r * zoom)) for side, r in zip(view, relative, strict=True))
    corners = tuple(product(_starts(height, view[0]), _starts(width, view[1])))
    return Layout(view, (height, width), corners)


def _starts(length: int, seen: int) -> list[int]:
    """Where views of ``seen`` pixels begin on so many: one in the middle, or several from end to end."""
    if length <= seen:
        return [(length - seen) // 2]
    overlap = seen * MIN_OVERLAP
    count = math.ceil((length - overlap) / (seen - overlap))
    return [round(k * (length - seen) / (count - 1)) for k in range(count)]


@dataclass(frozen=True, eq=False)
class Views:
    """An image as the network sees it: iterate over its views, (3, height, width) each.

    Attributes:
        layout: where they lie on it.
        content: the resized image, (H, W, 3).
    """

    layout: Layout
    content: Pixels

    def __len__(self) -> int:
        return len(self.layout.corners)

    def __iter__(self) -> Iterator[Planes]:
        for pixels in self.layout.look(self.content):
            yield tile_planes(pixels) if self.layout.is_tiled else pixels.transpose(2, 0, 1)


def views_of(pixels: Pixels, view: Size, framing: Viewing | None) -> Views:
    """Bring an image to the model's scale, ready to be seen.

    Args:
        pixels: (H, W, 3).
        view: the network's height and width, px.
        framing: of the model; None squeezes the image into one view.
    """
    layout = lay_out((pixels.shape[0], pixels.shape[1]), view, framing)
    content = reduce_by(pixels, layout.reduce) if layout.is_tiled else resize(pixels, layout.content)
    return Views(layout, content)


def describe_view(view: Size, framing: Viewing | None) -> str:
    """Say what the network sees, and how far that stretches images, as the end of a sentence.

    Args:
        view: height and width, px.
        framing: of the images that fill it.
    """
    if isinstance(framing, Tiling):
        return str(framing)
    seen = f"at {view[0]}x{view[1]} px"
    if framing is None:
        return f"{seen}, stretched to that whatever their shape"
    stretched = (view[1] / framing.width) / (view[0] / framing.height)
    if abs(math.log(stretched)) <= math.log(MAX_UNSAID_STRETCH):
        return seen
    direction, factor = ("wide", stretched) if stretched > 1 else ("high", 1 / stretched)
    return f"{seen}, {factor:.2g} times as {direction} as they are: --image-size {min(view)} keeps their shape"


def note_shapes(sizes: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    """Say where images to learn from are of several shapes, or longer than the view that a single number asks for.

    Args:
        sizes: their heights and widths, px, at least one.
    """
    notes, framing = [], framing_of(sizes)
    aspects = [width / height for height, width in sizes]
    if framing is None:
        return (
            f"The images to learn from have no common shape (width by height {min(aspects):.2f} to"
            f" {max(aspects):.2f}): each, and every image that is inspected, is stretched to the model's.",
        )
    middle = f"{framing.width:.0f}x{framing.height:.0f} px"
    others = sum(not lay_out(size, (256, 256), framing).is_whole for size in sizes)
    if others:
        notes.append(
            f"{others} of {len(sizes)} images to learn from have another shape than most (width by height"
            f" {min(aspects):.2f} to {max(aspects):.2f}; {middle} fill the view): they are padded, or cut into"
            " overlapping tiles where they are longer."
        )
    if max(framing.height, framing.width) > MAX_ELONGATION * min(framing.height, framing.width):
        notes.append(
            f"The images ({middle}) are longer than {MAX_ELONGATION} times their shorter side: a model sees them in"
            f" overlapping tiles of 1:{MAX_ELONGATION}, unless --image-size HEIGHTxWIDTH says otherwise."
        )
    return tuple(notes)
