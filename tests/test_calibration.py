"""From normal images to scores that place a limit, against fits without each group."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from pellucid import detectors
from pellucid.acquisition.images import ImageBatches
from pellucid.acquisition.verify import remember
from pellucid.acquisition.views import lay_out, views_of
from pellucid.calibration import fit_leaving_out, score_files
from pellucid.records import Sample, Split
from pellucid.runtimes.torch import Torch

GROUPS = ("b", None, "a", "b", None, "a", None, None)


@pytest.mark.parametrize("groups", [GROUPS, ("a",) * 8], ids=["groups", "one group, which is torn apart"])
def test_images_are_left_out_by_group_and_come_back_in_order(groups, tmp_path):
    rng = np.random.default_rng(0)
    samples = []
    for k, group in enumerate(groups):
        path = tmp_path / f"{k}.png"
        width = 200 if k == 3 else 40 + k  # one is seen in tiles
        cv2.imwrite(str(path), cv2.resize(rng.integers(90, 160, (6, 6, 3), np.uint8), (width, 60), interpolation=2))
        samples.append(Sample(path, "normal", group=group))
    size, fitted_images = (32, 48), remember(samples)
    parameters = {"layers": ("layer1",), "n_features": 6}
    found = fit_leaving_out(detectors.create("padim", **parameters), samples, size, fitted_images)
    assert len(lay_out((60, 200), size, fitted_images.framing).corners) > 1
    see = partial(views_of, view=size, framing=fitted_images.framing)
    for sample, one in zip(samples, found, strict=True):
        alone = sample.group is None or len(set(groups)) == 1
        others = [s.path for s in samples if s is not sample and (alone or s.group != sample.group)]
        refitted = detectors.create("padim", **parameters).fit(ImageBatches(tuple(others), size, see=see))
        [slow] = score_files(Torch(refitted), [sample], size, fitted_images)
        assert one[:4] == pytest.approx(slow[:4], rel=1e-3)
        assert one[4:] == slow[4:]  # what only tiled models have
        assert one.highest != one.score  # the map's highest value at the image's own size


def test_who_calibrates():
    a, b, c = (Sample(Path(name), "normal") for name in "abc")
    held_out, folds = Split((a, b), (c,), (), ()), Split((a, b, c), (), (), (), folds=3)
    assert held_out.normals == held_out.calibrating(leaves_out=True) == (a, b, c)
    assert held_out.calibrating(leaves_out=False) == (c,)
    assert folds.calibrating(leaves_out=True) == folds.calibrating(leaves_out=False) == (a, b, c)
