"""DFM (Ahuja et al., "Probabilistic Modeling of Deep Features for Out-of-Distribution and Adversarial Detection",
arXiv 1909.11786, 2019), with the feature-reconstruction error of its successor (Ndiour et al., arXiv 2012.04250)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid._io.progress import track
from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._earlier import needed
from pellucid.detectors._maps import image_score, smooth_map
from pellucid.detectors._subspace import LeftOutSubspaces, Moments, Subspace, principal_subspace
from pellucid.detectors._tiles import Reach


class Dfm(Detector):
    """PCA of pooled deep features; what the principal subspace cannot explain, or finds unlikely, is anomalous.

    Of tiles, whose positions on the part mean nothing, it is a PCA of the features of all positions.

    Deviations from the papers: they score images only. Here the score is split into its shares by position, which make
    the map, smoothed by a Gaussian of 4 px; those of ``nll`` are exact and may be negative. One Gaussian is fitted, as
    there is one class.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: the name of one of its layers. Default ``("layer3",)``.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        pooling_kernel_size: features are averaged over this many positions in each direction, 1 or more, default 4.
        pca_level: share of the variance that the subspace keeps, in (0, 1], default 0.97.
        score_type: ``fre``, the reconstruction error, the default; or ``nll``, the Gaussian's negative log-likelihood.
        seed: stored as for every detector; nothing is random here.

    Example:
        >>> import torch
        >>> from pellucid.detectors.dfm import Dfm
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Dfm().fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    score_of = "total"
    reach = Reach(context_px=64, cell_px=64)  # a cell that pooling leaves

    mu_: Tensor  # (D,)
    U_: Tensor  # principal directions, (D, k)
    variance_: Tensor  # along each of them, (k,)
    rest_: Tensor | None = None  # directions that are not principal, times their deviation, (r - k, D): for updates
    count_: Tensor | None = None  # of the images that were fitted on

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer3",),
        weights: str | None = None,
        pooling_kernel_size: int = 4,
        pca_level: float = 0.97,
        score_type: Literal["fre", "nll"] = "fre",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.pooling_kernel_size, self.pca_level, self.score_type = pooling_kernel_size, pca_level, score_type
        self.seed = seed

    def _check_parameters(self) -> None:
        require(len(self.layers) == 1, "layers", self.layers, "one layer")
        require(self.pooling_kernel_size >= 1, "pooling_kernel_size", self.pooling_kernel_size, "at least 1")
        require(0 < self.pca_level <= 1, "pca_level", self.pca_level, "in (0, 1]")
        require(self.score_type in ("fre", "nll"), "score_type", self.score_type, "fre or nll")

    def _embed(self, pixels: Tensor) -> Tensor:
        """Compute pooled features (B, C, h, w)."""
        return self.tile.inner(F.avg_pool2d(self.backbone_(pixels)[0], self.pooling_kernel_size), self.reach.context_px)

    def _rows(self, maps: Tensor) -> Tensor:
        """Bring features (B, C, h, w) to what the subspace is of: a row for each image, (B, D); or of tiles for each
        position, (B * h * w, C)."""
        return maps.flatten(1) if self.margin_ is None else maps.movedim(1, 3).flatten(0, 2)

    def _fit(self, images: Images, checkpoint: Path | None) -> None:  # noqa: ARG002 - nothing is trained
        with torch.inference_mode():
            rows = (self._rows(self._embed(x.to(self.device))) for x in track(images, "extracting features"))
            self._keep(principal_subspace(rows, self.pca_level))

    def _fit_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Compute the subspace of the others for each group: exact, from the features of all, which are kept."""
        with torch.inference_mode():
            maps = [self._embed(x.to(self.device)) for x in track(images, "extracting features")]
            self._keep(principal_subspace((self._rows(part) for part in maps), self.pca_level))
        yield from self._leave_out(torch.cat(maps), groups, None)

    def _update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Add the images to count, mean and scatter matrix, which are all kept: exact but for rounding."""
        rest, count = needed(self.rest_), int(needed(self.count_))
        earlier = Moments.of(Subspace(self.mu_, self.U_, self.variance_, rest, count))
        with torch.inference_mode():
            maps = torch.cat([self._embed(x.to(self.device)) for x in track(images, "extracting features")])
            rows = self._rows(maps)
            everything = LeftOutSubspaces(rows, self.pca_level, earlier)
            self._keep(everything.without(torch.zeros(len(rows), dtype=torch.bool)))
        yield from self._leave_out(maps, groups, earlier)

    def _keep(self, found: Subspace) -> None:
        self.rest_, self.count_ = found.rest, torch.tensor(found.images, device=self.device)
        self.mu_, self.U_, self.variance_ = found.mu, found.U, found.variance

    def _leave_out(
        self, maps: Tensor, groups: Sequence[int], earlier: Moments | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Score features (N, C, h, w), each by the subspace of the others and of ``earlier`` ones."""
        rows, numbers = self._rows(maps), torch.tensor(groups, device=self.device)
        numbers = numbers.repeat_interleave(len(rows) // len(maps))
        others = LeftOutSubspaces(rows, self.pca_level, earlier)
        for group in track(dict.fromkeys(groups), "leaving images out"):
            with torch.inference_mode():
                own = numbers == group
                mu, U, variance, *_ = others.without(own)
                found = self._map_and_score(rows[own] - mu, maps.shape[1:], U, variance)
            yield found

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self._embed(pixels)
        return self._map_and_score(self._rows(maps) - self.mu_, maps.shape[1:], self.U_, self.variance_)

    def _map_and_score(self, x: Tensor, shape: Sequence[int], U: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Score rows by their deviation from the mean, and spread the score over maps.

        Args:
            x: deviations (B, D), or of tiles (B * h * w, C).
            shape: of an image's features, (C, h, w).
            U: of the subspace, (D, k).
            variance: along it, (k,).
        """
        z = x @ U  # (B, k)
        if self.score_type == "fre":
            share = (x - z @ U.T) ** 2  # (B, D), sums to the reconstruction error
            score = share.sum(1)
        else:
            # The Mahalanobis distance splits exactly into one share per feature: x_d * (Sigma^-1 x)_d.
            share = 0.5 * x * ((z / variance) @ U.T)
            score = share.sum(1) + 0.5 * (2 * torch.pi * variance).log().sum()
        C, h, w = shape
        by_place = share.view(-1, C, h, w).sum(1) if self.margin_ is None else share.sum(1).view(-1, h, w)
        anomaly_map = smooth_map(by_place, self.tile.inner_size(self.reach.context_px))
        return anomaly_map, score if self.margin_ is None else image_score(anomaly_map)
