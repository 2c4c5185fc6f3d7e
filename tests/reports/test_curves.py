"""Curves are drawn without touching what the user set up in matplotlib."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from pellucid.reports import curves

LABELS, SCORES = [False, False, True, True], [0.1, 0.4, 0.3, 0.9]
CELLS = [
    {"kind": kind, "size_px": size, "contrast": contrast, "share": size / 10}
    for kind in ("scratch", "seed")
    for size in (2, 4, 9)
    for contrast in (0.1, 0.4)
]
ROWS = [
    {
        "name": name,
        "image_auroc": auroc,
        "ms_per_image_median": 9.0,
        "model_mb": 2.0,
        "recommended": True,
        "pareto": True,
    }
    for name, auroc in (("dfm", 0.9), ("padim", None))
]
DRAWN = {
    "roc": lambda: curves.roc(LABELS, SCORES, 0.75),
    "precision_recall": lambda: curves.precision_recall(LABELS, SCORES, 0.8),
    "histogram": lambda: curves.histogram(LABELS, SCORES, 0.5),
    "pareto": lambda: curves.pareto(ROWS),
    "detectability": lambda: curves.detectability(CELLS),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_curve_is_a_picture_and_the_same_twice(name):
    drawn = DRAWN[name]()
    image = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR)
    assert min(image.shape[:2]) > 300
    assert image.std() > 5
    assert DRAWN[name]() == drawn


def test_the_users_backend_stays():
    code = (
        "import sys, matplotlib; matplotlib.use('svg'); from pellucid.reports import curves;"
        "curves.roc([False, True], [0.0, 1.0], 1.0);"
        "assert matplotlib.get_backend() == 'svg'; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
