"""What a model remembers of the images that it was made from, and how other images compare with them."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pellucid._io.pipeline import IO_THREADS
from pellucid._io.progress import track
from pellucid.acquisition.appearance import LINE, MAX_DIFFERENCES_SHOWN, STUCK_LINE, Appearance, Difference, differences
from pellucid.acquisition.band_appearance import BandAppearance, describe, seen_whole
from pellucid.acquisition.images import FULL_BITS, DecodedImage, See, Size, read_image
from pellucid.acquisition.layouts import Layout
from pellucid.acquisition.tiles import Tiling
from pellucid.acquisition.views import CELL_PX, Framing, views_of

CONSTANT = "Not judged: every pixel has the same value, as of a covered lens or a dead camera."
_DOUBTED = "compared with those fitted on, the image is {}, on which the detector found nothing that counts."
SIDES = ("height", "width")  # of an image's appearance
SHORT_HASH_DIGITS = 16  # of a SHA-256: two different images of a million share them once in 40 million such sets


@dataclass(frozen=True)
class ImageCheck:
    """Whether a model can judge an image.

    Attributes:
        reason: why it cannot, a sentence; empty where it can.
        warnings: how the image noticeably differs from those that were fitted on, a sentence each.
        doubt: why it is not accepted although it is judged, a sentence, for where the detector finds nothing.
    """

    reason: str = ""
    warnings: tuple[str, ...] = ()
    doubt: str = ""


class FittedImages(BaseModel):
    """What a model remembers of the images that it was fitted on and calibrated with.

    Attributes:
        data_sha256: over the contents of all of them.
        hashes: first 16 hex digits of each file's SHA-256, sorted; none in models of an earlier pellucid.
        bits: significant bits of 16-bit values, as 12 where the camera gives 0 to 4095.
        lowest: lower end of what they look like, value by value; None in models of an earlier pellucid.
        highest: upper end.
        framing: how images of any shape fill the model's view, or the tiles that they are cut into; None in models of
            an earlier pellucid, which squeeze every image into it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_sha256: str
    hashes: tuple[str, ...] = ()
    bits: Annotated[int, Field(ge=8, le=FULL_BITS)] = FULL_BITS
    lowest: Appearance | None = None
    highest: Appearance | None = None
    framing: Framing | Tiling | None = None

    @property
    def are_tiled(self) -> bool:
        """Whether images are seen in tiles of one scale, whatever their size."""
        return isinstance(self.framing, Tiling)

    @property
    def margin(self) -> int | None:
        """Of tiles, px; None where images are not tiled."""
        return self.framing.margin if isinstance(self.framing, Tiling) else None

    def contain(self, sha256: str) -> bool:
        """Tell whether the file with this SHA-256 is one of them."""
        shortened = sha256[:SHORT_HASH_DIGITS]
        at = bisect_left(self.hashes, shortened)
        return self.hashes[at : at + 1] == (shortened,)

    def with_more(self, hashes: Iterable[str], appearances: Iterable[Appearance]) -> FittedImages:
        """Return what a model remembers that has learned more images.

        Args:
            hashes: SHA-256 of each of their files.
            appearances: what they look like.
        """
        hashes = sorted(hashes)
        ends = [astuple(one) for one in (self.lowest, self.highest, *appearances) if one is not None]
        return self.model_copy(
            update={
                "data_sha256": hashlib.sha256("".join((self.data_sha256, *hashes)).encode()).hexdigest(),
                "hashes": tuple(sorted({*self.hashes, *(digest[:SHORT_HASH_DIGITS] for digest in hashes)})),
                "lowest": self.lowest and Appearance(*map(min, zip(*ends, strict=True))),
                "highest": self.highest and Appearance(*map(max, zip(*ends, strict=True))),
            }
        )

    def seen_by(self, view: Size) -> See:
        """Return what gives the views of (height, width) px that a network sees of an image."""
        return partial(views_of, view=view, framing=self.framing)

    def check(self, image: DecodedImage, layout: Layout | None = None) -> ImageCheck:
        """Find out whether an image can be judged by what was learned from these, and what is odd about it.

        Args:
            image: its pixels.
            layout: how the network sees it; None where all of it fills the view.
        """
        return self.check_seen(seen_whole(image.pixels), image.warnings, layout)

    def check_seen(
        self, seen: BandAppearance, warnings: tuple[str, ...] = (), layout: Layout | None = None
    ) -> ImageCheck:
        """Find out the same of an image of which all rows were seen, one of them at least.

        A line from end to end that a camera may have seen, and not made, is for the detector to judge; only where that
        finds nothing the line is doubted.

        Args:
            seen: what has seen it.
            warnings: what is already known to be odd about it.
            layout: how the network sees it; None where all of it fills the view.
        """
        image = seen.finish()
        if seen.is_constant:
            return ImageCheck(CONSTANT)
        far, near = self._differences(image)
        lines = [one for one in far if one.name == "line" and not seen.line_is_stuck()]
        far = [one._replace(word=STUCK_LINE) if one.word == LINE else one for one in far if one not in lines]
        if far:
            sentences = " and ".join(one.sentence for one in far[:MAX_DIFFERENCES_SHOWN])
            return ImageCheck(f"Not judged: the image is far from those fitted on: {sentences}.", warnings)
        if self.highest is not None and seen.is_noise(image, self.highest):
            return ImageCheck("Not judged: the image is nothing but noise, as of a covered lens.", warnings)
        shape = self._shape(image, layout, near)
        left = [one.sentence for one in (*lines, *near) if not (shape and one.name in SIDES)]
        more = (f"Compared with those fitted on, the image is {difference}." for difference in (*shape, *left))
        doubt = "".join(f"Not judged: {_DOUBTED.format(one.sentence)}" for one in lines)
        return ImageCheck(warnings=(*warnings, *more), doubt=doubt)

    def compare(self, image: Appearance) -> tuple[list[str], list[str]]:
        """List how an image differs from these: so far that it cannot be judged, and noticeably; the largest first."""
        far, near = self._differences(image)
        return [one.sentence for one in far[:MAX_DIFFERENCES_SHOWN]], [one.sentence for one in near]

    def _differences(self, image: Appearance) -> tuple[list[Difference], list[Difference]]:
        """What is far and what is noticeable.

        Where images keep their shape, one that is larger in one direction is longer, and tiled; only one that is larger
        in both is of another scale, by as much as in the lesser.
        """
        if self.lowest is None or self.highest is None:
            return [], []
        found = differences(image, self.lowest, self.highest)
        if isinstance(self.framing, Tiling):  # seen at their own scale, whatever their size
            found = [one for one in found if one.name not in SIDES]
        elif self.framing is not None:
            larger = [one for one in found if one.name in SIDES and one.is_above]
            excess = min(one.excess for one in larger) if len(larger) == len(SIDES) else 0.0
            found = [one._replace(excess=excess) if one in larger else one for one in found]
        return [one for one in found if one.excess > 1], [one for one in found if one.excess <= 1]

    def _shape(self, image: Appearance, layout: Layout | None, near: Sequence[Difference]) -> list[str]:
        """How an image differs in size and shape, and what became of it: one sentence for all of that.

        Shapes that were fitted on need none: the limit was chosen from such images.
        """
        if layout is None or not isinstance(self.framing, Framing) or not layout.treatment:
            return []
        sizes = [one.sentence for one in near if one.name in SIDES]
        lowest, highest = self.framing.lowest_aspect, self.framing.highest_aspect
        aspect, tolerance = image.width / image.height, 1 + CELL_PX / max(layout.view)
        if not sizes and lowest / tolerance <= aspect <= highest * tolerance:
            return []
        what = sizes or [f"of another shape (width by height {aspect:.2f}; there {lowest:.2f} to {highest:.2f})"]
        return [f"{what[0]}: {layout.treatment}"]


def describe_files(paths: Sequence[Path], bits: int = FULL_BITS) -> list[Appearance]:
    """Describe image files.

    Args:
        paths: of the files.
        bits: significant bits of 16-bit values.

    Raises:
        DataError: a file cannot be read.
    """
    with ThreadPoolExecutor(IO_THREADS) as pool:
        seen = pool.map(lambda path: describe(read_image(path, bits)), paths)
        return list(track(seen, "describing images", len(paths)))
