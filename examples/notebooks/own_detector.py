# %% [markdown]
# # Your own detector
#
# A detector is one class: `fit` sees good images, `score` gives a map and a number. Limit, defects, exports,
# comparisons and the service come with it. Here one is written, packed, tested against the contract, and
# compared with PatchCore. It takes about half a minute.

# %%
from pathlib import Path

Path("my_detector").mkdir()

# %% [markdown]
# ## The class
#
# It calls unusual what is far from the mean of all good patches. The constructor stores hyper-parameters and
# does nothing else; what is learned ends in an underscore; `_score` is made of tensor operations, so that it
# can be exported. The docstring of the module names its source, which the contract asks for.

# %%
# %%writefile my_detector/pellucid_mean.py
"""Distance to the mean of good patches: PaDiM (Defard et al., 2020) with one mean for all places and no covariance."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pellucid.detectors import Detector, Images, concatenate, image_score, smooth_map


class Mean(Detector):
    """Distance of each patch to the mean of all good patches.

    Args:
        backbone: network that the features come from.
        layers: its layers, joined along channels on the grid of the first.
        weights: checkpoint of the backbone; None for the embedded weights or the hub's.
        seed: nothing is drawn.
    """

    mean_: Tensor  # (D,)

    def __init__(
        self,
        *,
        backbone: str = "prism_s",
        layers: Sequence[str] = ("layer2", "layer3"),
        weights: str | None = None,
        seed: int = 0,
    ) -> None:
        self.backbone, self.layers, self.weights, self.seed = backbone, layers, weights, seed

    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        with torch.inference_mode():
            means = [concatenate(self.backbone_(pixels.to(self.device))).mean((0, 2, 3)) for pixels in images]
        self.mean_ = torch.stack(means).mean(0)

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = concatenate(self.backbone_(pixels))  # (B, D, h, w)
        distance = (features - self.mean_[:, None, None]).square().sum(1).sqrt()  # (B, h, w)
        anomaly_map = smooth_map(distance, (pixels.shape[2], pixels.shape[3]))
        return anomaly_map, image_score(anomaly_map)


# %% [markdown]
# ## The package
#
# An entry point is all that pellucid needs to know. Its name is the detector's.

# %%
_ = Path("my_detector/pyproject.toml").write_text("""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "pellucid-mean"
version = "0.1.0"
dependencies = ["pellucid"]

[project.entry-points."pellucid.detectors"]
mean = "pellucid_mean:Mean"

[tool.hatch.build.targets.wheel]
include = ["pellucid_mean.py"]
""")

# %%
# %pip install --quiet ./my_detector

# %%
# !pellucid detectors mean

# %% [markdown]
# ## Does it keep the contract?
#
# Shapes, the same bytes for the same seed, batches in any order, a model file, both exports and more. What is
# broken would be said here.

# %%
from pellucid.testing import check_detector

check_detector("mean")

# %% [markdown]
# ## Is it any good?
#
# The same panes, the same split, beside PatchCore. The glass is drawn: thin lines are normal, bold ones are
# not.

# %%
from pellucid.synthesis.glass import draw_data_set

draw_data_set(Path("GlassDefect"), n_train=60, n_test=20, n_per_defect=6)

# %%
# !pellucid compare GlassDefect -o out --detectors mean,patchcore --image-size 128

# %%
import json

for row in json.loads(Path("out/leaderboard.json").read_text("utf-8")):
    costs = f"{row['model_mb']:.1f} MB, fitted in {row['fit_seconds']:.1f} s"
    print(f"{row['detector']:10} AUROC {row['image_auroc']:.3f}, {costs}")

# %% [markdown]
# What the mean cannot do is seen best on the pane that it calls least unusual:

# %%
import pellucid

inspector = pellucid.load("out/mean/model.pellucid")
result = pellucid.evaluate(inspector, "GlassDefect")
flawed = [one.inspection for one in result.scored if one.sample.label == "abnormal"]
inspector.inspect(min(flawed, key=lambda found: found.score).path)

# %% [markdown]
# The package can now be used wherever pellucid is: `pellucid fit DATA --detector mean`, the pages of the
# service, `pellucid export`. `examples/pellucid-kmeans` is one with its test, to copy; *Adding a detector* has
# the rules.
