"""PatchCore (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, arXiv 2106.08265)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import length_hint
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid._io.space import estimate_fit_space, warn_of_little_room
from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._coreset import k_center_greedy
from pellucid.detectors._earlier import needed
from pellucid.detectors._maps import concatenate, locally_aware, smooth_map
from pellucid.detectors._search import BoundedSearch, nearest, neighbours, principal_directions
from pellucid.detectors._spill import DiskTensor
from pellucid.detectors._streamed_coreset import StreamedCoreset
from pellucid.errors import DataError
from pellucid.records import ScoreOf

PATCHSIZE = 3  # positions in each direction that a patch's feature is the mean of
TOP_PATCHES = 10  # of an image, that its score is the mean of
PROJECTED_CHANNELS = 128  # of the random projection that the coreset is chosen in, where features have more
MAX_TILED_BANK = 4096  # patches of the bank of a tiled model, unless coreset_size says otherwise
MIN_CHANNELS_TO_BOUND = 128  # length of features from which on the search goes through lower bounds


class Patchcore(Detector):
    """Memory of normal patches; a patch is as anomalous as it is far from the nearest one remembered.

    Deviations from the paper: the bank keeps 2 % of the patches instead of 10 or 25. Features of several layers are
    joined, not pooled to 1,024 channels. Where they have more than 128, the coreset is chosen in a Gaussian projection
    to 128 instead of a sparse one. The nearest patch is searched exactly. The image's score is the mean distance of its
    ten farthest patches instead of the farthest one's, which one odd patch of a good part can raise. Of tiles the bank
    has at most 4,096 patches, chosen in two rounds as they pass.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: names of one or more of its layers, the first of which gives the grid. Default ``("layer2", "layer3")``,
            two mid-level ones as in the paper.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        coreset_sampling_ratio: share of all patches that the bank keeps, in (0, 1], default 0.02.
        coreset_size: a fixed number of patches instead of the share, 1 or more; None, the default, takes the share.
        num_neighbors: b of the paper's equation 7, which re-weights the image's score, 1 or more, default 9; 1, or a
            bank of one patch, leaves the score as it is. A score that is a mean is not re-weighted.
        image_score: ``top``, the default: the mean distance of the ten patches that are farthest from the bank; or
            ``peak``, the paper's: the largest distance, re-weighted by equation 7.
        seed: of the random projection and of the first centre, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.patchcore import Patchcore
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Patchcore(coreset_size=50).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    bank_: Tensor  # M, (M, D)
    norms_: Tensor  # squared, (M,)
    neighbours_: Tensor  # N_b(m) of every m, (M, b) indices, m itself first
    images_: Tensor | None = None  # of which image each m is, counted in the order of the fit, (M,) int32
    directions_: Tensor | None = None  # principal ones of the bank, (D, k), where features are long
    _search: BoundedSearch | None
    _earlier = {"image_score": "peak"}  # until format 5

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        coreset_sampling_ratio: float = 0.02,
        coreset_size: int | None = None,
        num_neighbors: int = 9,
        image_score: Literal["top", "peak"] = "top",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.coreset_sampling_ratio, self.coreset_size = coreset_sampling_ratio, coreset_size
        self.num_neighbors, self.image_score, self.seed = num_neighbors, image_score, seed

    @property
    def score_of(self) -> ScoreOf:  # type: ignore[override]
        return self.image_score

    def _check_parameters(self) -> None:
        ratio, size = self.coreset_sampling_ratio, self.coreset_size
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(0 < ratio <= 1, "coreset_sampling_ratio", ratio, "in (0, 1]")
        require(size is None or size >= 1, "coreset_size", size, "at least 1")
        require(self.num_neighbors >= 1, "num_neighbors", self.num_neighbors, "at least 1")
        require(self.image_score in ("top", "peak"), "image_score", self.image_score, "top or peak")

    def _embed(self, pixels: Tensor) -> Tensor:
        """Compute locally aware patch features (B, h, w, D): means of 3x3 neighbourhoods (section 3.1)."""
        joined = concatenate(locally_aware(self.backbone_(pixels), PATCHSIZE))
        return self.tile.inner(joined).permute(0, 2, 3, 1)

    def _fit(self, images: Images, checkpoint: Path | None) -> None:  # noqa: ARG002 - nothing is trained
        if self.margin_ is not None:
            self._learn_tiles(images)
            return
        with DiskTensor(self.device) as patches:
            self._learn(images, patches)

    def _fit_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Score every image against the bank without the memories of its group.

        A bank chosen without these images would hold a few other patches in their stead: scores here are a little
        higher than those of a fit without the group.
        """
        if self.margin_ is not None:
            self._learn_tiles(images)
            yield from self._leave_tiles_out(images, groups)
            return
        with DiskTensor(self.device) as patches:
            self._learn(images, patches)
            yield from self._leave_out(patches, groups)

    def _update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Add to the bank, by the same rule, the new patches that are farthest from it: as large a share of them as of
        the earlier ones. With the whole bank kept it is a fit on all images."""
        earlier = int(needed(self.images_).max()) + 1  # images
        if self.margin_ is not None:
            self._learn_tiles(images, earlier)
            yield from self._leave_tiles_out(images, groups, earlier)
            return
        with DiskTensor(self.device) as patches:
            self._learn_more(images, patches, earlier)
            yield from self._leave_out(patches, groups, earlier)

    def _leave_out(
        self, patches: DiskTensor, groups: Sequence[int], earlier: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Score the images that ``patches`` are of, each without the memories of its group, after ``earlier`` ones."""
        size = self.tile.inner_size()
        h, w = self._grid()
        numbers = torch.tensor([-1] * earlier + list(groups), device=self.device)
        for n, group in enumerate(track(groups, "leaving images out")):
            own = self._own(numbers, group)
            with torch.inference_mode():
                rows = patches[n * h * w : (n + 1) * h * w].view(1, h, w, -1)
                found = self._score_patches(rows, size, own)
            yield found

    def _leave_tiles_out(
        self, images: Images, groups: Sequence[int], earlier: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Do the same with tiles, whose patches are computed once more instead of kept."""
        numbers = torch.tensor([-1] * earlier + list(groups), device=self.device)
        tiles = (tile[None] for batch in images for tile in batch)
        for tile, group in zip(tiles, track(groups, "leaving images out"), strict=True):
            own = self._own(numbers, group)
            with torch.inference_mode():
                found = self._score_patches(self._embed(tile.to(self.device)), self.tile.inner_size(), own)
            yield found

    def _own(self, numbers: Tensor, group: int) -> Tensor:
        """Tell which memories (M,) are of a group, by the group's number of every image that was learned."""
        own: Tensor = numbers[needed(self.images_).long()] == group
        if own.all():
            raise DataError(
                f"The bank of {len(own)} patches holds those of one image or group only, and nothing is left"
                " without it: give more images, or a larger coreset_size."
            )
        return own

    @torch.inference_mode()
    def _learn_tiles(self, images: Images, earlier: int = 0) -> None:
        """Choose the bank from the patches of tiles as they pass, on top of what ``earlier`` ones left in it.

        It is bounded: a sheet shows the same glass again and again, and searching it should cost no more than the
        features of a tile.
        """
        known = self.bank_ if earlier else None

        def project(rows: Tensor) -> Tensor:
            if rows.shape[1] <= PROJECTED_CHANNELS:
                return rows
            return rows @ self._projection(rows, torch.Generator().manual_seed(self.seed))

        coreset = StreamedCoreset(1.0 if self.coreset_size else self.coreset_sampling_ratio, project, known)
        number = earlier
        for batch in track(images, "extracting features"):
            for tile in batch:
                coreset.add(self._embed(tile[None].to(self.device)).flatten(0, 2), number)
                number += 1
        if known is None:
            count = self.coreset_size or min(MAX_TILED_BANK, round(self.coreset_sampling_ratio * coreset.rows))
        else:
            count = round(len(known) * (number - earlier) / earlier)
        bank, numbers = coreset.choose(max(1, count))
        if known is not None:
            bank = torch.cat([known, bank])
            numbers = torch.cat([needed(self.images_).to(numbers), numbers])
        self._remember(bank, numbers)

    def _grid(self) -> tuple[int, int]:
        """Return how many patches an image has, down and across."""
        height, width = self.tile.inner_size()
        rows, columns = self.backbone_.shapes(*(int(side) for side in self.size_))[0][1:]
        return rows * height // int(self.size_[0]), columns * width // int(self.size_[1])

    @torch.inference_mode()
    def _learn(self, images: Images, patches: DiskTensor) -> None:
        """Choose the bank from all patches (N, D), which are gathered into ``patches``."""
        ratio, size = self.coreset_sampling_ratio, self.coreset_size
        generator = torch.Generator().manual_seed(self.seed)
        with DiskTensor(self.device) as projected:
            count_images = self._gather(images, generator, patches, projected)
            count = min(size or max(1, round(ratio * len(patches))), len(patches))
            first = int(torch.randint(len(patches), (1,), generator=generator))
            chosen = k_center_greedy(projected if len(projected) else patches, count, first)
        self._remember(patches[chosen], chosen // (len(patches) // count_images))

    @torch.inference_mode()
    def _learn_more(self, images: Images, patches: DiskTensor, earlier: int) -> None:
        """Choose what the bank gains from new patches (N, D), which are gathered into ``patches``."""
        generator = torch.Generator().manual_seed(self.seed)
        with DiskTensor(self.device) as projected:
            count_images = self._gather(images, generator, patches, projected)
            count = min(max(1, round(len(self.bank_) * count_images / earlier)), len(patches))
            points, known = patches, self.bank_
            if len(projected):
                points, known = projected, known @ self._projection(known, torch.Generator().manual_seed(self.seed))
            chosen = k_center_greedy(points, count, known=known)
        images_of = torch.cat(
            [needed(self.images_), chosen.to(self.device) // (len(patches) // count_images) + earlier]
        )
        self._remember(torch.cat([self.bank_, patches[chosen]]), images_of)

    def _remember(self, bank: Tensor, images: Tensor) -> None:
        """Take patches (M, D) of images (M,) for the bank, and prepare the search in it."""
        self.bank_, self.images_ = bank, images.int().to(self.device)
        self.norms_ = (self.bank_ * self.bank_).sum(1)
        count = len(bank)
        long = MIN_CHANNELS_TO_BOUND <= self.bank_.shape[1] < count
        self.directions_ = principal_directions(self.bank_) if long else None
        self._prepare_scoring()
        b = min(self.num_neighbors, count)
        table = self._search.neighbours(b) if self._search else neighbours(self.bank_, self.bank_, self.norms_, b)
        self.neighbours_ = table.int()

    def _projection(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a random Gaussian projection (D, PROJECTED_CHANNELS) of features (N, D), which keeps distances (Johnson
        & Lindenstrauss, 1984)."""
        matrix = torch.randn(features.shape[1], PROJECTED_CHANNELS, generator=generator)
        scaled: Tensor = matrix.to(features) / PROJECTED_CHANNELS**0.5
        return scaled

    def _gather(self, images: Images, generator: torch.Generator, patches: DiskTensor, projected: DiskTensor) -> int:
        """Collect all patches (N, D), and where D is large their projection; return of how many images they are."""
        matrix, count_images = None, 0
        for x in track(images, "extracting features"):
            embedded = self._embed(x.to(self.device)).flatten(0, 2)  # (B * h * w, D)
            count_images += len(x)
            if not len(patches):  # the first batch tells what all will take
                shape = (embedded.shape[1], len(embedded) // len(x))
                kept = self.coreset_sampling_ratio if self.coreset_size is None else 0.0
                warn_of_little_room(estimate_fit_space(length_hint(images) * len(x), [shape], kept_share=kept))
            patches.append(embedded)
            if embedded.shape[1] > PROJECTED_CHANNELS:
                matrix = self._projection(embedded, generator) if matrix is None else matrix
                projected.append(embedded @ matrix)
        return count_images

    def _prepare_scoring(self) -> None:
        directions = self.directions_ if self.device.type == "cpu" else None  # a GPU compares with all in less time
        self._search = None if directions is None else BoundedSearch(self.bank_, self.norms_, directions)

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self._score_patches(self._embed(pixels), self.tile.inner_size())

    def _score_patches(
        self, patches: Tensor, size: tuple[int, int], own: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Score images of ``size`` by their patches (B, h, w, D), without the memories that are ``own`` (M,)."""
        B, h, w, D = patches.shape
        flat = patches.reshape(-1, D)
        search, norms = self._search, self.norms_
        if own is not None:
            search, norms = search and search.without(own), norms.masked_fill(own, torch.inf)
        squared, memory = search.nearest(flat) if search else nearest(flat, self.bank_, norms)
        distance = squared.sqrt().view(B, h * w)
        anomaly_map = smooth_map(distance.view(B, h, w), size)
        if self.image_score == "top":
            return anomaly_map, distance.topk(min(TOP_PATCHES, int(h * w)), dim=1, sorted=False).values.mean(1)
        s_star, farthest = distance.max(1)  # of m^test*, the patch that decides (equation 6)
        m_test = flat.view(B, h * w, D)[torch.arange(B, device=flat.device), farthest]  # (B, D)
        m_star = memory.view(B, h * w).gather(1, farthest[:, None])[:, 0]
        return anomaly_map, self._weight(m_test, self._near(m_star, own)) * s_star

    def _near(self, m: Tensor, own: Tensor | None) -> Tensor:
        """Look up N_b(m), (B, b) indices, for memories (B,), or find it among those that are not ``own`` (M,)."""
        if own is None:
            return self.neighbours_[m].long()
        b = min(self.neighbours_.shape[1], int((~own).sum()))
        return neighbours(self.bank_[m], self.bank_, self.norms_.masked_fill(own, torch.inf), b)

    def _weight(self, m_test: Tensor, near: Tensor) -> Tensor:
        """Compute equation 7, (B,): near 1 where the nearest memory is itself rare, less where memories are dense.

        With one neighbour, or a bank of one patch, nothing tells how dense they are: the weight is 1.

        Args:
            m_test: patches that decide, (B, D).
            near: N_b(m*) of the memory nearest to each, m* itself first, (B, b) indices.
        """
        if near.shape[1] == 1:
            return torch.ones(m_test.shape[0], device=m_test.device)
        distance = (m_test[:, None] - self.bank_[near]).norm(dim=2)
        return 1 - torch.softmax(distance, 1)[:, 0]
