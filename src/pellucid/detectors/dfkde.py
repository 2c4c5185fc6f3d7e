"""DFKDE, deep feature kernel density estimation, as anomalib has it (Akcay et al., "Anomalib: A Deep Learning Library
for Anomaly Detection", ICIP 2022, arXiv 2202.08341); it has no paper of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._maps import smooth_map
from pellucid.detectors._subspace import LeftOutSubspaces, Subspace
from pellucid.errors import DataError

MIN_SHARE = 1e-6  # of the largest variance, below which a direction is not divided by its deviation


class Dfkde(Detector):
    """A Gaussian kernel density of good images in a few principal directions; an image where it is low is anomalous.

    Deviations from anomalib: it scores images only, by a logistic curve of the log density. Here the score is the
    negative log density itself, but for a constant, and the map, smoothed by a Gaussian of 4 px, says how much each
    position raises it, to the first order: it may be negative. Directions are divided by their deviation, so that
    Scott's rule fits all of them, and there is a kernel on every image, not on 40,000 at most.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: the name of one of its layers, whose map is averaged over all positions. Default ``("layer3",)``.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        n_components: principal directions, 1 or more, default 16 as in anomalib; fewer where images have fewer.
        seed: stored as for every detector; nothing is random here.

    Example:
        >>> import torch
        >>> from pellucid.detectors.dfkde import Dfkde
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Dfkde().fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    score_of = "total"

    rows_: Tensor  # mean features of the good images, (N, D)
    mu_: Tensor  # their mean, (D,)
    whiten_: Tensor  # principal directions over the deviation along them, (D, k)
    kernels_: Tensor  # the good images in these, (N, k)

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer3",),
        weights: str | None = None,
        n_components: int = 16,
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.n_components, self.seed = n_components, seed

    def _check_parameters(self) -> None:
        require(len(self.layers) == 1, "layers", self.layers, "one layer")
        require(self.n_components >= 1, "n_components", self.n_components, "at least 1")

    def _fit(self, images: Images, checkpoint: Path | None) -> None:  # noqa: ARG002 - nothing is trained
        self._learn(self._describe(images)[0])

    def _fit_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Estimate directions and density without each group: exact."""
        rows, maps = self._describe(images)
        self._learn(rows)
        yield from self._leave_out(rows, maps, groups)

    def _update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Add the images' features to those of the earlier ones, which are all kept: a fit on all."""
        rows, maps = self._describe(images)
        everything = torch.cat([self.rows_, rows])
        self._learn(everything)
        yield from self._leave_out(everything, maps, groups)

    @torch.inference_mode()
    def _describe(self, images: Images) -> tuple[Tensor, Tensor]:
        """Compute mean features (N, D) and the maps that they are of, (N, D, h, w)."""
        found = [self.backbone_(pixels.to(self.device))[0] for pixels in track(images, "extracting features")]
        maps = torch.cat(found)
        return maps.mean((2, 3)), maps

    @torch.inference_mode()
    def _learn(self, rows: Tensor) -> None:
        if len(rows) < 2:
            raise DataError("DFKDE needs at least two images to estimate a density.")
        found = LeftOutSubspaces(rows, 1.0).without(torch.zeros(len(rows), dtype=torch.bool))
        self.rows_, self.mu_, self.whiten_ = rows.clone(), found.mu, self._whitening(found)
        self.kernels_ = (rows - self.mu_) @ self.whiten_

    def _whitening(self, found: Subspace) -> Tensor:
        """Return the principal directions of a subspace over their deviation, (D, k)."""
        variance = found.variance[: self.n_components]
        kept = variance.clamp_min(MIN_SHARE * float(found.variance[0]))
        return found.U[:, : self.n_components] / kept.sqrt()

    def _leave_out(self, rows: Tensor, maps: Tensor, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Score the last of the images (N, D) by the others, groups left out in turn, by their maps (n, D, h, w)."""
        height, width = (int(side) for side in self.size_)
        earlier = len(rows) - len(maps)
        numbers, others = torch.tensor([-1] * earlier + list(groups)), LeftOutSubspaces(rows, 1.0)
        for group in track(dict.fromkeys(groups), "leaving images out"):
            own = (numbers == group).to(rows.device)
            if int((~own).sum()) < 2:
                raise DataError("DFKDE needs at least two images to estimate a density without one image or group.")
            with torch.inference_mode():
                found = others.without(own)
                whiten = self._whitening(found)
                kernels = (rows[~own] - found.mu) @ whiten
                scored = self._map_and_score(
                    maps[own[earlier:]] - found.mu[:, None, None], whiten, kernels, (height, width)
                )
            yield scored

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        deviation = self.backbone_(pixels)[0] - self.mu_[:, None, None]
        return self._map_and_score(deviation, self.whiten_, self.kernels_, (pixels.shape[2], pixels.shape[3]))

    def _map_and_score(
        self, deviation: Tensor, whiten: Tensor, kernels: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Score features by their deviation from the mean (B, D, h, w), by kernels (N, k)."""
        N, k = kernels.shape
        bandwidth = N ** (-1 / (k + 4))  # Scott's rule
        at = torch.einsum("bdhw,dk->bhwk", deviation, whiten)
        z = at.mean((1, 2))  # (B, k)
        apart = (z[:, None] - kernels) / bandwidth  # (B, N, k)
        exponent = -0.5 * apart.square().sum(2)  # (B, N)
        score = -exponent.logsumexp(1)
        gradient = (exponent.softmax(1)[:, :, None] * apart).sum(1) / bandwidth  # of the score in z, (B, k)
        share = (at * gradient[:, None, None]).sum(3)  # (B, h, w)
        return smooth_map(share, size), score
