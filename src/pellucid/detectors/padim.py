"""PaDiM (Defard et al., "PaDiM: a Patch Distribution Modeling Framework", ICPR 2020, arXiv 2011.08785)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._device import double_precision_device
from pellucid.detectors._downdate import left_out_distances
from pellucid.detectors._earlier import needed
from pellucid.detectors._known_defects import Moments
from pellucid.detectors._maps import image_score, resize_to, smooth_map, top_score
from pellucid.detectors._tiles import Reach
from pellucid.errors import DataError
from pellucid.records import ScoreOf

BANDS = 4  # that a triangular matrix is cut into: 5/8 of the square are read


class Padim(Detector):
    """One Gaussian at every position; the Mahalanobis distance to it is the anomaly map.

    Of tiles, whose positions on the part mean nothing, there is one Gaussian for all positions.

    Deviations from the paper: maps of the coarser layers are enlarged bilinearly, where the authors' code repeats the
    nearest value (``interpolation="nearest"``): the Gaussians of neighbouring positions then differ less, and scores
    are not those of other implementations. 100 channels are kept whatever the backbone, the paper's number for
    ResNet-18; give ``n_features=550`` for the paper's wide_resnet50_2. Moments are streamed in float32. The image's
    score is the mean of the highest hundredth of its map instead of its maximum, which one odd place of a good part can
    raise.

    Args:
        backbone: name of the network that features come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: names of one or more of its layers; all are brought to the first one's grid. Default
            ``("layer1", "layer2", "layer3")``.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        n_features: channels kept, 1 or more, default 100; all where there are fewer. They are drawn at random, which
            the paper found better than PCA.
        interpolation: how the maps of the coarser layers are enlarged: ``bilinear``, the default, or ``nearest``, as in
            the authors' code.
        epsilon: added to the covariance's diagonal, above 0, default 0.01 as in the paper.
        image_score: ``top``, the default: the mean of the highest 1 % of the map; or ``peak``, the paper's maximum.
        seed: of the draw of channels, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.padim import Padim
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = Padim(n_features=20).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    reach = Reach(context_px=0)  # what smoothing sees of cells beyond is under a thousandth of the map's peak
    channels_: Tensor  # (C,) indices
    mean_: Tensor  # (h*w, C); (1, C) of tiles, and so with all that has h*w
    count_: Tensor | None = None  # of the images that were fitted on
    whiten_: Tensor  # inverse Cholesky factor of every covariance, lower triangle packed, (h*w, C*(C+1)/2)
    _bands: list[Tensor]  # the same in bands of rows without the zeros on their right, transposed, (h*w, <= C, rows)
    _picks: list[Tensor]  # channels_ by layer
    _grid: tuple[int, ...]  # h, w
    _inner_size: tuple[int, int]  # px, of what the grid is about
    _earlier = {"image_score": "peak", "interpolation": "bilinear"}  # until format 5; models of before had no choice

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer1", "layer2", "layer3"),
        weights: str | None = None,
        n_features: int = 100,
        interpolation: Literal["bilinear", "nearest"] = "bilinear",
        epsilon: float = 0.01,
        image_score: Literal["top", "peak"] = "top",
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.n_features, self.interpolation, self.epsilon = n_features, interpolation, epsilon
        self.image_score, self.seed = image_score, seed

    @property
    def score_of(self) -> ScoreOf:  # type: ignore[override]
        return self.image_score

    def _embed(self, pixels: Tensor) -> Tensor:
        """Compute the drawn channels' features per position (h*w, B, C); they are picked before they are enlarged."""
        picked = [m[:, chosen] for m, chosen in zip(self.backbone_(pixels), self._picks, strict=True)]
        maps = [m.contiguous(memory_format=torch.channels_last) for m in picked]  # enlarged seven times faster
        size = (maps[0].shape[2], maps[0].shape[3])
        embedded = torch.cat([resize_to(m, size, self.interpolation) for m in maps if m.shape[1]], dim=1)
        if self.margin_ is not None:  # all positions are one: (1, B * h * w, C)
            return self.tile.inner(embedded).permute(0, 2, 3, 1).reshape(1, -1, embedded.shape[1])
        return embedded.flatten(2).permute(2, 0, 1).contiguous()  # products of strided matrices are ten times slower

    def _pick(self, counts: Sequence[int]) -> list[Tensor]:
        """List the drawn channels of each layer, counted within it; ``counts`` says how many each has."""
        starts = itertools.accumulate(counts, initial=0)
        inside = [self.channels_ - start for start in starts]
        return [at[(at >= 0) & (at < count)] for at, count in zip(inside, counts, strict=False)]

    def _check_parameters(self) -> None:
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(self.n_features >= 1, "n_features", self.n_features, "at least 1")
        require(
            self.interpolation in ("bilinear", "nearest"), "interpolation", self.interpolation, "bilinear or nearest"
        )
        require(0 < self.epsilon < math.inf, "epsilon", self.epsilon, "above 0 and finite")
        require(self.image_score in ("top", "peak"), "image_score", self.image_score, "top or peak")

    def _fit(self, images: Images, checkpoint: Path | None) -> None:  # noqa: ARG002 - nothing is trained
        height, width = (int(side) for side in self.size_)
        counts = [c for c, _, _ in self.backbone_.shapes(height, width)]
        drawn = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(self.seed))
        self.channels_ = drawn[: self.n_features].sort().values.to(self.device)
        self._picks = self._pick(counts)
        self._learn(images)

    @torch.inference_mode()
    def _learn(self, images: Images, n: int = 0, mean: Tensor | None = None, scatter: Tensor | None = None) -> None:
        """Estimate the Gaussians from images and from the moments of ``n`` earlier ones."""
        count, mean, scatter = self._moments(images, n, mean, scatter)
        self.count_ = torch.tensor(count, device=self.device)
        covariance = scatter.div_(count - 1)
        covariance.diagonal(dim1=1, dim2=2).add_(self.epsilon)
        L = torch.linalg.cholesky(covariance.to(double_precision_device(self.device)))
        inverse = _inverse(L)  # Sigma^-1 = inverse^T inverse
        rows, columns = torch.tril_indices(*L.shape[1:], device=L.device)
        self.mean_, self.whiten_ = mean.clone(), inverse[:, rows, columns].clone().to(self.device)

    def _moments(
        self, images: Images, n: int, mean: Tensor | None, scatter: Tensor | None
    ) -> tuple[int, Tensor, Tensor]:
        """Count images; add up their mean (P, C) and scatter (P, C, C), streamed (Chan, Golub & LeVeque, 1979), to
        those of ``n`` earlier ones."""
        for batch in track(images, "extracting features"):
            x = self._embed(batch.to(self.device))  # (P, B, C)
            b, batch_mean = x.shape[1], x.mean(1)
            centred = x - batch_mean[:, None]
            if mean is None or scatter is None:
                n, mean, scatter = b, batch_mean, centred.mT @ centred
                continue
            delta = batch_mean - mean
            rows = torch.cat([centred, delta[:, None] * (n * b / (n + b)) ** 0.5], 1)
            scatter.baddbmm_(rows.mT, rows)
            mean = mean + delta * (b / (n + b))
            n += b
        if n < 2 or mean is None or scatter is None:
            raise DataError("PaDiM needs at least two images to estimate a covariance.")
        return n, mean, scatter

    def _scatter(self) -> Tensor:
        """Compute the scatter (P, C, C) that the Gaussians were estimated from."""
        rows, columns = torch.tril_indices(*[self.mean_.shape[1]] * 2, device=self.whiten_.device)
        inverse = self.whiten_.new_zeros(*self.mean_.shape, self.mean_.shape[1])
        inverse[:, rows, columns] = self.whiten_
        L = _inverse(inverse.to(double_precision_device(self.device)))
        covariance = (L @ L.mT).to(self.device)
        covariance.diagonal(dim1=1, dim2=2).sub_(self.epsilon)
        return covariance * (int(needed(self.count_)) - 1)

    def _fit_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Take each group out of mean and covariance by an exact downdate, see :mod:`pellucid.detectors._downdate`."""
        self._fit(images, None)
        yield from self._leave_out(images, groups)

    def _update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Add the images to count, mean and scatter: exact but for rounding."""
        with torch.inference_mode():
            self._learn(images, int(needed(self.count_)), self.mean_, self._scatter())
        yield from self._leave_out(images, groups)

    def _leave_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        self._prepare_scoring()
        numbers = torch.tensor(groups, device=self.device)
        if self.margin_ is not None:
            yield from self._leave_tiles_out(images, numbers)
            return
        waiting, done = self.mean_[:, None][:, :0], 0  # deviations of what is not scored yet, (P, n, C)
        for batch in track(images, "leaving images out"):
            with torch.inference_mode():
                waiting = torch.cat([waiting, self._embed(batch.to(self.device)) - self.mean_[:, None]], 1)
                end = done + waiting.shape[1]
                ended = end if end == len(groups) else done + int((numbers[done:end] != numbers[end]).sum())
                if ended == done:
                    continue
                distance = self._left_out_distances(waiting[:, : ended - done], numbers[done:ended])
                found = self._map_and_score(distance, self._inner_size)
                waiting, done = waiting[:, ended - done :], ended
            yield found

    def _leave_tiles_out(self, images: Images, numbers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Take each group out of the one Gaussian of all positions, which is then estimated anew from what is left."""
        own: dict[int, Moments] = {}
        tiles = (tile[None] for batch in images for tile in batch)  # (1, 3, H, W) each
        with torch.inference_mode():
            for tile, group in zip(tiles, track(numbers.tolist(), "adding up groups"), strict=True):
                rows = Moments.of(self._embed(tile.to(self.device))[0])
                own[group] = own[group] + rows if group in own else rows
        count, mean = int(needed(self.count_)), self.mean_[0].cpu().double()
        products = self._scatter()[0].cpu().double() + count * torch.outer(mean, mean)
        everything = Moments(count, count * mean, products)
        tiles = (tile[None] for batch in images for tile in batch)
        for tile, group in zip(tiles, track(numbers.tolist(), "leaving images out"), strict=True):
            with torch.inference_mode():
                found = self._score_tile(tile, everything - own[group])
            yield found

    def _score_tile(self, tile: Tensor, others: Moments) -> tuple[Tensor, Tensor]:
        """Score one tile (1, 3, H, W) by the Gaussian of the others."""
        if others.count < 2:
            raise DataError("PaDiM needs at least two images to estimate a covariance without one image or group.")
        covariance = others.covariance * (others.count / (others.count - 1))
        covariance.diagonal().add_(self.epsilon)
        delta = self._embed(tile.to(self.device))[0].to(covariance) - others.mean
        whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), delta.T, upper=False)
        return self._map_and_score(whitened.square().sum(0).sqrt().float().to(self.device)[None], self._inner_size)

    def _left_out_distances(self, delta: Tensor, numbers: Tensor) -> Tensor:
        """Compute distances (P, n) of whole groups, each left out, by their deviations from the mean (P, n, C)."""
        assert self.count_ is not None  # it was just learned
        count = int(self.count_)
        if count - int(numbers.bincount().max()) < 2:
            raise DataError("PaDiM needs at least two images to estimate a covariance without one image or group.")
        return left_out_distances(delta, self._bands, numbers, count, self.epsilon).sqrt()

    def _prepare_scoring(self) -> None:
        """Unpack the triangles once, and ask the backbone for its grid once."""
        height, width = (int(side) for side in self.size_)
        shapes = self.backbone_.shapes(height, width)
        self._inner_size = self.tile.inner_size()
        sides = zip(shapes[0][1:], self._inner_size, (height, width), strict=True)
        self._grid = tuple(cells * inner // side for cells, inner, side in sides)
        self._picks = self._pick([c for c, _, _ in shapes])
        edges = [len(self.channels_) * k // BANDS for k in range(BANDS + 1)]
        self._bands = [self._band(low, high) for low, high in itertools.pairwise(edges) if low < high]

    def _band(self, low: int, high: int) -> Tensor:
        """Unpack rows ``low`` to ``high`` of every triangle, transposed, (h*w, high, high - low)."""
        rows, columns = torch.tril_indices(high - low, high, offset=low, device=self.whiten_.device)
        band = self.whiten_.new_zeros(len(self.whiten_), high, high - low)
        band[:, columns, rows] = self.whiten_[:, low * (low + 1) // 2 : high * (high + 1) // 2]
        return band

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        delta = self._embed(pixels) - self.mean_[:, None]  # (P, B, C)
        squares = [(delta[:, :, : band.shape[1]] @ band).square().sum(2) for band in self._bands]  # (P, B) each
        return self._map_and_score(torch.stack(squares).sum(0).sqrt(), self._inner_size)

    def _map_and_score(self, distance: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Make maps of ``size`` from distances (P, B); of tiles (1, B * h * w)."""
        anomaly_map = smooth_map(distance.T.reshape(-1, *self._grid), size)
        return anomaly_map, (top_score if self.image_score == "top" else image_score)(anomaly_map)


def _inverse(triangles: Tensor) -> Tensor:
    """Invert lower triangular matrices (P, C, C)."""
    identity = torch.eye(triangles.shape[-1], device=triangles.device, dtype=triangles.dtype).expand_as(triangles)
    inverse: Tensor = torch.linalg.solve_triangular(triangles, identity, upper=False)
    return inverse
