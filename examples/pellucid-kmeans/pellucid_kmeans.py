"""Distance to k-means centres, learned in mini-batches (Sculley, "Web-Scale K-Means Clustering", WWW 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from pellucid.detectors import Detector, Images, concatenate, image_score, require, smooth_map


class Kmeans(Detector):
    """Cluster centres of normal patches; a patch is as anomalous as it is far from the nearest centre.

    Args:
        backbone: network that the features come from; see ``pellucid backbones``.
        layers: its layers, joined along channels on the grid of the first.
        weights: checkpoint of the backbone; None for the embedded weights or the hub's.
        clusters: number of centres, at least 1.
        seed: of the first centres and of the order in which patches are learned.
    """

    centres_: Tensor  # (k, D)

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        clusters: int = 100,
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights = backbone, layers, weights
        self.clusters, self.seed = clusters, seed

    def _embed(self, pixels: Tensor) -> Tensor:
        """Patch features (B, h, w, D)."""
        return concatenate(self.backbone_(pixels)).permute(0, 2, 3, 1)

    def _fit(self, images: Images, checkpoint: Path | None) -> None:  # noqa: ARG002 - nothing is trained by gradients
        require(self.clusters >= 1, "clusters", self.clusters, "at least 1")
        with torch.inference_mode():
            X = torch.cat([self._embed(pixels.to(self.device)).flatten(0, 2).cpu() for pixels in images])  # (N, D)
        kmeans = MiniBatchKMeans(min(self.clusters, len(X)), n_init=1, random_state=self.seed).fit(X.numpy())
        self.centres_ = torch.from_numpy(kmeans.cluster_centers_).float().to(self.device)

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        patches = self._embed(pixels)
        B, h, w, D = patches.shape
        distance = torch.cdist(patches.reshape(-1, D), self.centres_).amin(1)  # (B * h * w,)
        anomaly_map = smooth_map(distance.view(B, h, w), (pixels.shape[2], pixels.shape[3]))
        return anomaly_map, image_score(anomaly_map)
