"""PatchCore (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, arXiv 2106.08265)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._earlier import needed
from pellucid.detectors._maps import concatenate, locally_aware, smooth_map
from pellucid.detectors._memory import Memories, Memory
from pellucid.detectors._search import (
    BoundedSearch,
    Search,
    WindowSearch,
    bounding_directions,
    neighbours,
    search_in,
)
from pellucid.errors import ParameterError
from pellucid.records import ScoreOf

PATCHSIZE = 3  # positions in each direction that a patch's feature is the mean of
TOP_PATCHES = 10  # of an image, that its score is the mean of


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
        window: cells in each direction around a patch's own, where the nearest memory is searched, 0 or more; None, the
            default: in the whole bank, the paper. A window is for parts that lie the same in every image: what is
            normal somewhere else on the part is then anomalous here (RAD, arXiv 2601.22763, which searches so in all
            patches of the most similar images). Each place keeps its own share of memories, one at least. The
            neighbours of equation 7 are those in the whole bank. Not for tiles, whose places mean nothing.
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
    _search: Search | BoundedSearch | WindowSearch
    _earlier = {"image_score": "peak", "window": None}  # until format 5, and before there was a window

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
        window: int | None = None,
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.coreset_sampling_ratio, self.coreset_size = coreset_sampling_ratio, coreset_size
        self.num_neighbors, self.image_score = num_neighbors, image_score
        self.window, self.seed = window, seed

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
        window = self.window
        require(window is None or (window >= 0 and window == int(window)), "window", window, "0 or more and whole")

    def _embed(self, pixels: Tensor) -> Tensor:
        """Compute locally aware patch features (B, h, w, D): means of 3x3 neighbourhoods (section 3.1)."""
        joined = concatenate(locally_aware(self.backbone_(pixels), PATCHSIZE))
        return self.tile.inner(joined).permute(0, 2, 3, 1)

    def _grid(self) -> tuple[int, int]:
        """Return rows and columns (h, w) of what :meth:`_embed` makes of an image."""
        h, w = self.tile.inner(torch.empty(self.backbone_.shapes(*self.tile[:2])[0][1:])).shape
        return h, w

    def _memory(self) -> Memory:
        """Make what gathers patches and chooses those that are remembered.

        Raises:
            ParameterError: there is a window, and the images are tiles.
        """
        if self.margin_ is not None and self.window is not None:
            raise ParameterError(
                f"window={self.window} compares places of a part, which tiles do not show: give tile=0, or no window."
            )
        return Memory(
            lambda pixels: self._embed(pixels).flatten(1, 2),
            self.device,
            share=self.coreset_sampling_ratio,
            size=self.coreset_size,
            seed=self.seed,
            tiled=self.margin_ is not None,
            by_place=self.window is not None,
        )

    def _fit(self, images: Images, checkpoint: Path | None) -> None:  # noqa: ARG002 - nothing is trained
        with self._memory() as memory:
            self._remember(memory.learn(images))

    def _fit_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Score every image against the bank without the memories of its group.

        A bank chosen without these images would hold a few other patches in their stead: scores here are a little
        higher than those of a fit without the group.
        """
        with self._memory() as memory:
            self._remember(memory.learn(images))
            yield from self._leave_out(memory, images, groups)

    def _update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Add to the bank, by the same rule, the new patches that are farthest from it: as large a share of them as of
        the earlier ones. With the whole bank kept it is a fit on all images."""
        with self._memory() as memory:
            self._remember(memory.learn(images, Memories(self.bank_, needed(self.images_))))
            yield from self._leave_out(memory, images, groups)

    def _leave_out(self, memory: Memory, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        h, w = self._grid()
        for patches, own in memory.without_own(images, groups, needed(self.images_)):
            with torch.inference_mode():
                found = self._score_patches(patches.view(1, h, w, -1), own)
            yield found

    def _remember(self, memories: Memories) -> None:
        """Take patches for the bank, and prepare the search in it."""
        self.bank_, self.images_ = memories
        self.norms_ = (self.bank_ * self.bank_).sum(1)
        self.directions_ = bounding_directions(self.bank_) if self.window is None else None
        self._prepare_scoring()
        self.neighbours_ = self._search.neighbours(min(self.num_neighbors, len(self.bank_))).int()

    def _prepare_scoring(self) -> None:
        if self.window is None:
            self._search = search_in(self.bank_, self.norms_, self.directions_)
        else:
            self._search = WindowSearch(self.bank_, self.norms_, self._grid(), self.window)

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self._score_patches(self._embed(pixels))

    def _score_patches(self, patches: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score images by their patches (B, h, w, D), without the memories that are ``own`` (M,)."""
        B, h, w, D = patches.shape
        flat = patches.reshape(-1, D)
        search = self._search if own is None else self._search.without(own)
        squared, memory = search.nearest(flat)
        distance = squared.sqrt().view(B, h * w)
        anomaly_map = smooth_map(distance.view(B, h, w), self.tile.inner_size())
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
