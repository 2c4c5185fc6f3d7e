"""AnomalyDINO (Damm et al., "AnomalyDINO: Boosting Patch-based Few-shot Anomaly Detection with DINOv2", WACV 2025,
arXiv 2405.14529)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.detectors._base import Detector, Images, require
from pellucid.detectors._maps import concatenate, smooth_map, top_score
from pellucid.detectors._memory import Memories, Memory
from pellucid.detectors._search import BoundedSearch, Search, bounding_directions, search_in
from pellucid.detectors._turned import turned
from pellucid.errors import ParameterError

SQUARINGS = 10  # of a covariance matrix, which leave of it its first component, to the power 1,024
BORDER_SHARE = 0.2  # of an image's side, on each of its sides, around its middle
MIN_MIDDLE_SHARE = 0.35  # of the middle, that a mask of the foreground keeps
MASKINGS = ("never", "auto", "always")


class AnomalyDino(Detector):
    """Memory of normal tokens; a patch is as anomalous as the cosine to the most similar one remembered is small.

    Deviations from the paper: tokens are, by default, the deepest features of a convolutional backbone; give a
    ``backbone`` and its last layer for those of a transformer (``dinov2_small`` and ``block12``, the paper's). The bank
    keeps up to 4,096 of them, chosen by greedy k-center as PatchCore's, where the paper keeps all of 1 to 16 images.
    No background is masked unless ``masking`` says so, because no flaw is found in what is masked. The paper looks at
    the first image's mask to decide whether masking is useful; here the masks of all fitted images are tested, and most
    have to keep the middle and to leave the rim out. What of an image is foreground is split off by Otsu's threshold,
    because the paper's is in the unit of DINOv2's tokens, and is the side that holds more of its middle, whichever way
    the component points. An image neither side of which holds its middle is not masked; the paper's score is then near
    zero. Reference images are not masked, as in the authors' code.

    Args:
        backbone: name of the network that tokens come from, one of ``pellucid.backbones.names()``. Default
            ``prism_s``.
        layers: names of one or more of its layers, the first of which gives the grid. Default ``("layer3",)``, the
            deepest.
        weights: checkpoint file of the backbone; None, the default, takes those that belong to its name.
        coreset_size: how many tokens the bank keeps at most, 0 or more, default 4096; 0 keeps all, the paper.
        rotations: turned copies of every image that are remembered, itself among them, 1 or more. Default 1, the
            paper's *informed* setting for parts that lie in one direction; 8 is its *agnostic* one, and for few images.
        masking: whether the background is left out of maps and scores: ``never``, the default; ``always``; or ``auto``,
            the paper's: where the masks of the fitted images show that it is useful.
        mask_threshold: value of a token's first principal component from which on it is foreground; None, the default,
            splits those of each image in two by Otsu's threshold. 10 is the paper, for DINOv2-S.
        seed: of the random projection and of the first token that is chosen, an integer, default 0.

    Example:
        >>> import torch
        >>> from pellucid.detectors.anomaly_dino import AnomalyDino
        >>> images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> maps, scores = AnomalyDino(rotations=4).fit([images]).score(images[:2])
        >>> maps.shape, scores.shape
        (torch.Size([2, 64, 64]), torch.Size([2]))
    """

    score_of = "top"

    bank_: Tensor  # M, unit vectors, (M, D)
    images_: Tensor  # of which image each is, counted in the order of the fit, (M,) int32
    useful_: Tensor  # of how many fitted images the mask is useful, and how many were asked, (2,)
    directions_: Tensor | None = None  # principal ones of the bank, (D, k), where tokens are long
    _search: Search | BoundedSearch
    _masked: bool

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer3",),
        weights: str | None = None,
        coreset_size: int = 4096,
        rotations: int = 1,
        masking: Literal["never", "auto", "always"] = "never",
        mask_threshold: float | None = None,
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.coreset_size, self.rotations = coreset_size, rotations
        self.masking, self.mask_threshold, self.seed = masking, mask_threshold, seed

    def _check_parameters(self) -> None:
        require(len(self.layers) >= 1, "layers", self.layers, "one or more layers")
        require(self.coreset_size >= 0, "coreset_size", self.coreset_size, "0 or more")
        require(self.rotations >= 1, "rotations", self.rotations, "at least 1")
        require(self.masking in MASKINGS, "masking", self.masking, "never, auto or always")
        threshold = self.mask_threshold
        require(threshold is None or threshold == threshold, "mask_threshold", threshold, "a number or None")

    def _tokens(self, pixels: Tensor) -> Tensor:
        """Compute the patches' tokens, (B, h, w, D)."""
        return self.tile.inner(concatenate(self.backbone_(pixels))).permute(0, 2, 3, 1)

    def _memory(self, masks: list[tuple[Tensor, Tensor]]) -> Memory:
        """Gather the tokens of images and of their turned copies; what :func:`foreground` says of each is appended.

        Raises:
            ParameterError: images are tiles, on which nothing is background.
        """
        if self.margin_ is not None and self.masking != "never":
            raise ParameterError(f"masking={self.masking} is for whole images: give tile=0, or masking=never.")

        def describe(pixels: Tensor) -> Tensor:
            copies = [self._tokens(copy) for copy in turned(pixels, self.rotations)]
            if self.masking != "never":
                masks.extend(zip(*foreground(copies[0], self.mask_threshold), strict=True))
            return F.normalize(torch.stack(copies, 1).flatten(1, 3), dim=2)  # (B, rotations * h * w, D)

        return Memory(
            describe,
            self.device,
            share=1.0,
            size=self.coreset_size or None,
            seed=self.seed,
            tiled=self.margin_ is not None,
        )

    def _fit(self, images: Images, checkpoint: Path | None) -> None:  # noqa: ARG002 - nothing is trained
        masks: list[tuple[Tensor, Tensor]] = []
        with self._memory(masks) as memory:
            self._remember(memory.learn(images), masks, torch.zeros(2))

    def _fit_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Score every image against the bank without the tokens of its group and of their turned copies; whether masks
        are useful is asked of the others. With all tokens kept it is exact."""
        masks: list[tuple[Tensor, Tensor]] = []
        with self._memory(masks) as memory:
            self._remember(memory.learn(images), masks, torch.zeros(2))
            yield from self._leave_out(memory, images, groups, masks)

    def _update_leaving_out(self, images: Images, groups: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Add those tokens to the bank that are farthest from it, as large a share of them as of the earlier ones."""
        masks: list[tuple[Tensor, Tensor]] = []
        with self._memory(masks) as memory:
            self._remember(memory.learn(images, Memories(self.bank_, self.images_)), masks, self.useful_)
            yield from self._leave_out(memory, images, groups, masks)

    def _leave_out(
        self, memory: Memory, images: Images, groups: Sequence[int], masks: Sequence[tuple[Tensor, Tensor]]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        h, w = self.tile.inner(torch.empty(self.backbone_.shapes(*self.tile[:2])[0][1:])).shape
        for n, (patches, own) in enumerate(memory.without_own(images, groups, self.images_)):
            of_group = [mask for mask, group in zip(masks, groups, strict=True) if group == groups[n]] if masks else []
            masked = self._is_masked(self.useful_ - _count_useful(of_group))
            with torch.inference_mode():
                p = patches[: h * w].view(1, h, w, -1)  # without the turned copies
                found = self._score_patches(p, masks[n][0][None] if masked else None, self._search.without(own))
            yield found

    def _remember(self, memories: Memories, masks: Sequence[tuple[Tensor, Tensor]], useful: Tensor) -> None:
        """Take tokens for the bank; ``useful`` is what earlier masks said."""
        self.bank_, self.images_ = memories
        self.directions_ = bounding_directions(self.bank_)
        self.useful_ = useful.cpu() + _count_useful(masks)
        self._prepare_scoring()

    def _prepare_scoring(self) -> None:
        self._search = search_in(self.bank_, self.bank_.square().sum(1), self.directions_)
        self._masked = self._is_masked(self.useful_)

    def _is_masked(self, useful: Tensor) -> bool:
        """Decide whether the background is left out; ``useful`` (2,) says of how many images' masks that is so."""
        return self.masking == "always" or (self.masking == "auto" and bool(2 * useful[0] > useful[1]))

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self._tokens(pixels)
        mask = foreground(tokens, self.mask_threshold)[0] if self._masked else None
        return self._score_patches(F.normalize(tokens, dim=3), mask, self._search)

    def _score_patches(self, p: Tensor, mask: Tensor | None, search: Search | BoundedSearch) -> tuple[Tensor, Tensor]:
        """Compute map and score of images by their patches, unit vectors (B, h, w, D), and their foreground (B, h, w).

        The score is the mean of the highest 1 % of the patches' distances, an estimate of the tail value at risk.
        """
        B, h, w, D = p.shape
        squared, _ = search.nearest(p.reshape(-1, D))
        d = squared.view(B, h, w) / 2  # |p - m|^2 / 2 = 1 - <p, m>
        if mask is not None:
            d = d * mask  # a product: what is not a number stays so
        return smooth_map(d, self.tile.inner_size()), top_score(d)


def foreground(tokens: Tensor, threshold: float | None) -> tuple[Tensor, Tensor]:
    """Tell foreground from background by the first principal component of each image's tokens (section 3.3).

    Foreground is the side of it that keeps more of the middle of the image. The mask is widened by a patch, and holes
    of one are closed.

    Args:
        tokens: (B, h, w, D).
        threshold: of the component; None: Otsu's.

    Returns:
        Masks (B, h, w), 1 for foreground, all 1 where neither side keeps the middle; and whether each is useful, (B,):
        whether it keeps the middle but not the rim.
    """
    B, h, w, D = tokens.shape
    component = first_component(tokens.reshape(B, h * w, D))  # (B, h * w)

    def side(values: Tensor) -> Tensor:
        split = otsu(values) if threshold is None else threshold
        return (values > split).to(tokens.dtype).view(B, h, w)

    one, other = side(component), side(-component)
    of_one, of_other = _middle_share(one), _middle_share(other)
    mask = torch.where(of_one >= of_other, one, other)
    mask = torch.where(torch.maximum(of_one, of_other) > MIN_MIDDLE_SHARE, mask, torch.ones_like(mask))
    rim = F.pad(torch.zeros_like(mask[:, 2:, 2:]), (1, 1, 1, 1), value=1.0)
    useful = (mask * rim).sum((1, 2)) <= MIN_MIDDLE_SHARE * rim.sum((1, 2))
    widened = F.max_pool2d(F.max_pool2d(mask[:, None], 3, 1, 1), 3, 1, 1)
    return -F.max_pool2d(-widened, 3, 1, 1)[:, 0], useful


def _middle_share(mask: Tensor) -> Tensor:
    """Return how much of the middle of their image masks (B, h, w) keep, (B, 1, 1)."""
    rows, columns = (slice(int(BORDER_SHARE * side), int((1 - BORDER_SHARE) * side)) for side in mask.shape[1:])
    return mask[:, rows, columns].mean((1, 2), keepdim=True)


def first_component(tokens: Tensor) -> Tensor:
    """Compute the first principal component (B, N) of each image's tokens (B, N, D).

    By powers of the covariance matrix, which exports can compute; the entry of its direction that is largest is
    positive, as scikit-learn has it.
    """
    centred = tokens - tokens.mean(1, keepdim=True)
    power = centred.transpose(1, 2) @ centred  # (B, D, D)
    for _ in range(SQUARINGS):
        power = power / power.norm(dim=(1, 2), keepdim=True).clamp_min(1e-30)
        power = power @ power
    largest = power.square().sum(1).argmax(1)  # of the direction's entries
    direction = power.gather(2, largest[:, None, None].expand(-1, power.shape[1], 1))  # (B, D, 1)
    component: Tensor = (centred @ F.normalize(direction, dim=1))[:, :, 0]
    return component


def otsu(values: Tensor) -> Tensor:
    """Compute the threshold (B, 1) between the two classes of values (B, N) whose means differ most (Otsu, IEEE Trans.
    SMC 9(1), 1979): half way between those on either side of the cut."""
    rising = values.sort(1).values
    N = rising.shape[1]
    below = torch.arange(1, N, device=values.device).to(values)  # how many are
    total, total_below = rising.sum(1, keepdim=True), rising.cumsum(1)[:, :-1]
    apart = total_below / below - (total - total_below) / (N - below)
    cut = (below * (N - below) * apart.square()).argmax(1, keepdim=True)  # (B, 1)
    return (rising.gather(1, cut) + rising.gather(1, cut + 1)) / 2


def _count_useful(masks: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Count the masks that are useful, and all, (2,)."""
    return torch.tensor([float(sum(bool(useful) for _, useful in masks)), float(len(masks))])
