"""What a memory bank keeps of normal images, and which of its patches are an image's own, to leave them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from operator import length_hint
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid._io.space import estimate_fit_space, warn_of_little_room
from pellucid.detectors._base import Images
from pellucid.detectors._coreset import few_centres, k_center_greedy
from pellucid.detectors._spill import DiskTensor
from pellucid.detectors._streamed_coreset import StreamedCoreset
from pellucid.errors import DataError

PROJECTED_CHANNELS = 128  # of the random projection that the coreset is chosen in, where features have more
MAX_TILED_BANK = 4096  # patches of the bank of a tiled model, unless a size is given


class Memories(NamedTuple):
    """Patches (M, D) that are remembered, and of which image each is, (M,) int32, counted in the order of the fit."""

    patches: Tensor
    images: Tensor


class Memory(AbstractContextManager["Memory"]):
    """Gathers the patches of images, chooses by greedy k-center which are remembered, and tells whose they are.

    By place, each place of the images has as many memories as every other: over all of them, greedy k-center leaves
    places that look like many others without any.

    Patches of whole images are kept in a temporary file until the context is left. Those of tiles are chosen in two
    rounds as they pass, and computed once more instead of kept: a sheet shows the same glass again and again, and
    searching the bank should cost no more than the features of a tile.

    Args:
        describe: computes the patches (B, n, D) of images (B, 3, H, W) on the device.
        device: where that is done, and where patches are compared.
        share: of all patches that is remembered, in (0, 1].
        size: how many are remembered instead of the share, if there are so many; None takes the share.
        seed: of the projection in which they are compared, and of the first one.
        tiled: whether the images are tiles.
        by_place: whether each place has memories of its own, which follow each other in the order of places; of whole
            images alone.
    """

    def __init__(
        self,
        describe: Callable[[Tensor], Tensor],
        device: torch.device,
        *,
        share: float,
        size: int | None,
        seed: int,
        tiled: bool,
        by_place: bool = False,
    ) -> None:
        self._describe, self._device = describe, device
        self._share, self._size, self._by_place = share, size, by_place
        self._generator = torch.Generator().manual_seed(seed)
        self._matrix: Tensor | None = None  # of the projection, (D, PROJECTED_CHANNELS)
        self._earlier = 0  # images of an earlier fit
        self._files = ExitStack()
        self._patches = None if tiled else self._files.enter_context(DiskTensor(device))
        self._patches_per_image = 0

    def __exit__(self, *_: object) -> None:
        self._files.close()

    @torch.inference_mode()
    def learn(self, images: Images, known: Memories | None = None) -> Memories:
        """Choose what is remembered of images, on top of what is known of earlier ones.

        Of more images, those patches are added that are farthest from all that are known: as large a share of them as
        of the earlier ones.
        """
        self._earlier = 0 if known is None else int(known.images.max()) + 1
        if self._by_place:
            return self._choose_by_place(images, known)
        choose = self._choose_passing if self._patches is None else self._choose
        patches, numbers = choose(images, known)
        numbers = numbers.int().to(self._device)
        if known is not None:
            patches, numbers = torch.cat([known.patches, patches]), torch.cat([known.images, numbers])
        return Memories(patches, numbers)

    def without_own(self, images: Images, groups: Sequence[int], whose: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield for each of the images that were learned its patches (n, D), and which memories (M,) are of its group.

        Args:
            images: as :meth:`learn` got them.
            groups: a number for each image.
            whose: of which image each memory is, (M,).

        Raises:
            DataError: all memories are of one group.
        """
        numbers = torch.tensor([-1] * self._earlier + list(groups), device=self._device)
        of_memory = numbers[whose.long()]
        for patches, group in zip(self._by_image(images), track(groups, "leaving images out"), strict=True):
            own = of_memory == group
            if own.all():
                raise DataError(
                    f"The bank of {len(own)} patches holds those of one image or group only, and nothing is left"
                    " without it: give more images, or a larger coreset_size."
                )
            yield patches, own

    def _by_image(self, images: Images) -> Iterator[Tensor]:
        if self._patches is not None:
            for start in range(0, len(self._patches), self._patches_per_image):
                yield self._patches[start : start + self._patches_per_image]
            return
        for tile in (tile for batch in images for tile in batch):
            with torch.inference_mode():
                patches = self._describe(tile[None].to(self._device))[0]
            yield patches

    def _choose(self, images: Images, known: Memories | None) -> tuple[Tensor, Tensor]:
        """Choose from all patches; return them (M, D) and the images' numbers (M,)."""
        assert self._patches is not None
        with DiskTensor(self._device) as projected:
            self._gather(images, projected)
            total, points = len(self._patches), projected if len(projected) else self._patches
            if known is None:
                count = self._size or max(1, round(self._share * total))
            else:
                more = total // self._patches_per_image
                count = max(1, round(len(known.patches) * more / self._earlier))
            if count >= total:
                chosen = torch.arange(total)
            elif known is None:
                first = int(torch.randint(total, (1,), generator=self._generator))
                chosen = k_center_greedy(points, count, first)
            else:
                chosen = k_center_greedy(points, count, known=self._project(known.patches))
        return self._patches[chosen], chosen // self._patches_per_image + self._earlier

    def _choose_by_place(self, images: Images, known: Memories | None) -> Memories:
        """Choose of every place; return all that are known then, of one place after the other."""
        assert self._patches is not None
        with DiskTensor(self._device) as projected:
            self._gather(images, projected)
            total, points = len(self._patches), projected if len(projected) else self._patches
            places = self._patches_per_image
            known_points = None if known is None else torch.unflatten(self._project(known.patches), 0, (places, -1))
            n_images = total // places
            if known_points is None:
                count = round((self._size or self._share * total) / places)
            else:
                count = round(known_points.shape[1] * n_images / self._earlier)
            count = min(max(1, count), n_images)
            firsts = torch.randint(n_images, (places,), generator=self._generator).tolist()

            def choose(place: int) -> Tensor:
                rows = torch.arange(place, total, places)  # of one image after the other
                if count == n_images:
                    return rows
                earlier = None if known_points is None else known_points[place]
                return rows[few_centres(points[rows], count, firsts[place], earlier)]

            chosen = torch.stack([choose(place) for place in track(range(places), "choosing patches")])
        patches = self._patches[chosen.flatten()].view(places, count, -1)
        numbers = (chosen // places + self._earlier).int().to(self._device)
        if known is not None:
            patches = torch.cat([torch.unflatten(known.patches, 0, (places, -1)), patches], 1)
            numbers = torch.cat([torch.unflatten(known.images, 0, (places, -1)), numbers], 1)
        return Memories(patches.flatten(0, 1), numbers.flatten())

    def _gather(self, images: Images, projected: DiskTensor) -> None:
        """Write all patches to the file, and where they are long their projection to another."""
        assert self._patches is not None
        for pixels in track(images, "extracting features"):
            described = self._describe(pixels.to(self._device))  # (B, n, D)
            if not len(self._patches):  # the first batch tells what all will take
                self._patches_per_image = described.shape[1]
                kept = self._share if self._size is None else 0.0
                space = estimate_fit_space(length_hint(images) * len(pixels), [described.shape[1:]], kept_share=kept)
                warn_of_little_room(space)
            rows = described.flatten(0, 1)
            self._patches.append(rows)
            if rows.shape[1] > PROJECTED_CHANNELS:
                projected.append(self._project(rows))

    def _choose_passing(self, images: Images, known: Memories | None) -> tuple[Tensor, Tensor]:
        """Choose from the patches of tiles as they pass; return them (M, D) and the tiles' numbers (M,)."""
        coreset = StreamedCoreset(self._share, self._project, known and known.patches, self._size)
        number = self._earlier
        for batch in track(images, "extracting features"):
            for tile in batch:
                coreset.add(self._describe(tile[None].to(self._device))[0], number)
                number += 1
        if known is None:
            count = self._size or min(MAX_TILED_BANK, round(self._share * coreset.rows))
        else:
            count = round(len(known.patches) * (number - self._earlier) / self._earlier)
        return coreset.choose(max(1, count))

    def _project(self, rows: Tensor) -> Tensor:
        """Project features (N, D) at random to PROJECTED_CHANNELS if they are longer, which keeps distances (Johnson &
        Lindenstrauss, 1984)."""
        if rows.shape[1] <= PROJECTED_CHANNELS:
            return rows
        if self._matrix is None:
            drawn = torch.randn(rows.shape[1], PROJECTED_CHANNELS, generator=self._generator)
            self._matrix = drawn.to(rows) / PROJECTED_CHANNELS**0.5
        return rows @ self._matrix
