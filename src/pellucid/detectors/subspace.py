"""SubspaceAD (Lendering et al., "SubspaceAD: Training-Free Few-Shot Anomaly Detection via Subspace Modeling", 2026,
arXiv 2602.23013)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._earlier import needed
from pellucid.detectors._groups import whole_groups
from pellucid.detectors._maps import concatenate, image_score, locally_aware, smooth_map, top_score
from pellucid.detectors._subspace import Moments, Scatter, Subspace
from pellucid.detectors._turned import turned
from pellucid.errors import DataError
from pellucid.records import ScoreOf


class SubspaceAd(Detector):
    """One principal subspace of all normal patches; what it cannot explain of a patch is anomalous.

    Deviations from the paper: a patch is described by the joined features of two layers of a convolutional backbone,
    means of neighbouring positions as PatchCore's are, where the paper averages layers 22 to 28 of DINOv2-G at 672 px;
    give ``backbone`` and ``layers`` for features of a transformer. Images are learned from as they are; the paper's
    thirty turned copies of each are for one to four images, and turn by equal steps here instead of at random.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: names of one or more of its layers, the first of which gives the grid. Default ``("layer2", "layer3")``.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        patchsize: features are means over this many positions in each direction, an odd number, default 3; 1 is the
            paper.
        pca_level: share of the patches' variance that the subspace keeps, in (0, 1], default 0.99 as in the paper.
        rotations: turned copies of every image that are learned from, itself among them, 1 or more, default 1. For
            fewer than ten images of parts that lie in any direction: 30, the paper's number.
        image_score: ``top``, the default and the paper's: the mean of the highest 1 % of the map; or ``peak``, its
            maximum.
        seed: stored as for every detector; nothing is random here.

    Example:
        >>> import torch
        >>> from pellucid.detectors.subspace import SubspaceAd
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = SubspaceAd().fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    mu_: Tensor  # mean of the patches, (D,)
    U_: Tensor  # principal directions, (D, k)
    variance_: Tensor  # along each of them, (k,)
    rest_: Tensor  # directions that are not principal, times their deviation, (r - k, D): for updates
    count_: Tensor  # of the patches that were fitted on, copies among them

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        patchsize: int = 3,
        pca_level: float = 0.99,
        rotations: int = 1,
        image_score: Literal["top", "peak"] = "top",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.patchsize, self.pca_level, self.rotations = patchsize, pca_level, rotations
        self.image_score, self.seed = image_score, seed

    @property
    def score_of(self) -> ScoreOf:  # type: ignore[override]
        return self.image_score

    def _check_parameters(self) -> None:
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(self.patchsize >= 1 and self.patchsize % 2 == 1, "patchsize", self.patchsize, "odd and at least 1")
        require(0 < self.pca_level <= 1, "pca_level", self.pca_level, "in (0, 1]")
        require(self.rotations >= 1, "rotations", self.rotations, "at least 1")
        require(self.image_score in ("top", "peak"), "image_score", self.image_score, "top or peak")

    def _embed(self, pixels: Tensor) -> Tensor:
        """Compute patch features (B, h, w, D)."""
        return self.tile.inner(concatenate(locally_aware(self.backbone_(pixels), self.patchsize))).permute(0, 2, 3, 1)

    def _fit(self, images: Images, checkpoint: Path | None) -> None:  # noqa: ARG002 - nothing is trained
        self._keep(self._moments(images, None))

    def _fit_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Take the patches of each group out of count, mean and scatter matrix: exact."""
        everything = self._moments(images, None)
        self._keep(everything)
        yield from self._leave_out(images, groups, everything)

    def _update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Add the images' patches to count, mean and scatter matrix, which are all kept: exact but for rounding."""
        earlier = Moments.of(Subspace(self.mu_, self.U_, self.variance_, needed(self.rest_), int(self.count_)))
        everything = self._moments(images, Scatter.of(earlier, self.device))
        self._keep(everything)
        yield from self._leave_out(images, groups, everything)

    @torch.inference_mode()
    def _moments(self, images: Images, earlier: Scatter | None) -> Scatter:
        """Add up the patches of images, turned copies among them, to those of earlier ones."""
        for pixels in track(images, "extracting features"):
            for copy in turned(pixels.to(self.device), self.rotations):
                rows = self._embed(copy).flatten(0, 2)  # (B * h * w, D)
                earlier = earlier or Scatter(rows.mean(0))
                earlier.add(rows)
        assert earlier is not None  # there is an image: whoever fits looks at the first one
        return _enough(earlier, "")

    def _keep(self, moments: Scatter) -> None:
        found = moments.subspace(self.pca_level)
        self.rest_, self.count_ = found.rest, torch.tensor(found.images, device=self.device)
        self.mu_, self.U_, self.variance_ = found.mu, found.U, found.variance

    def _leave_out(self, images: Images, groups: Sequence[int], everything: Scatter) -> Iterator[tuple[Tensor, Tensor]]:
        for group in whole_groups(track(images, "leaving images out"), groups):
            with torch.inference_mode():
                pixels = group.to(self.device)
                own, patches = everything.empty(), self._embed(pixels)
                for k, copy in enumerate(turned(pixels, self.rotations)):
                    own.add((self._embed(copy) if k else patches).flatten(0, 2))
                others = _enough(everything.without(own), " without one image or group").subspace(self.pca_level)
                found = self._map_and_score(patches - others.mu, others.U)
            yield found

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self._map_and_score(self._embed(pixels) - self.mu_, self.U_)

    def _map_and_score(self, x: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the squared reconstruction residual of patches by their deviation from the mean (B, h, w, D)."""
        residual = (x - (x @ U) @ U.T).square().sum(3)  # (B, h, w)
        anomaly_map = smooth_map(residual, self.tile.inner_size())
        return anomaly_map, (top_score if self.image_score == "top" else image_score)(anomaly_map)


def _enough(moments: Scatter, what: str) -> Scatter:
    """Return them.

    Raises:
        DataError: they are of fewer than two patches.
    """
    if moments.count < 2:
        raise DataError(f"SubspaceAD needs at least two patches to estimate a subspace{what}: give more images.")
    return moments
