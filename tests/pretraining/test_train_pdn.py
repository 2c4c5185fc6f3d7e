"""The lesson that makes pdn_s: where a description belongs, what it is, and the command from drawings to weights."""

from __future__ import annotations

import hashlib
import json
import sys
from unittest.mock import patch

import forks
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pellucid.backbones import create
from pretraining import train_pdn
from pretraining.train_pdn import Descriptions, twice_as_fine, unexplained


@pytest.fixture(scope="module", autouse=True)
def _drawing_begins_at_once():
    with patch.object(train_pdn, "get_context", forks.get_context):
        yield


def test_a_finer_grid_has_the_coarse_one_in_it_and_means_between():
    maps = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    fine = twice_as_fine(maps)
    assert fine.shape == (2, 3, 8, 10)
    for y in range(8):
        for x in range(10):
            around = [maps[:, :, min(r, 3), min(c, 4)] for r in (y // 2, -(-y // 2)) for c in (x // 2, -(-x // 2))]
            torch.testing.assert_close(fine[:, :, y, x], sum(around) / 4)


def test_descriptions_are_standardised_and_belong_to_their_patches():
    torch.manual_seed(0)
    teacher, pixels = Descriptions(), torch.rand(2, 3, 160, 160) * 0.2 + 0.4
    with torch.inference_mode():
        teacher.standardise([pixels])
        described = teacher(pixels)
        torch.testing.assert_close(described.mean((0, 2, 3)), torch.zeros(192), atol=1e-3, rtol=0)
        torch.testing.assert_close(described.std((0, 2, 3)), torch.ones(192), atol=1e-2, rtol=0)
        spoiled = pixels.clone()
        spoiled[:, :, 80:82, 100:102] = 1.0
        change = (teacher(spoiled) - described).square().sum((0, 1))
    change = change * (change > 0.1 * change.max())
    at = torch.arange(32) * 4.0 + 16  # px: the middles of whole patches
    assert abs(float((change.sum(1) * at).sum() / change.sum()) - 80.5) < 3
    assert abs(float((change.sum(0) * at).sum() / change.sum()) - 100.5) < 3


def test_what_is_unexplained_is_the_rest_of_the_variance():
    answers = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    said = answers + 0.1
    expected = 0.01 / np.mean([answers[:, c].numpy().var() for c in range(3)])
    assert unexplained(lambda _: said, lambda _: answers, [(answers, answers)]) == pytest.approx(expected)


def test_from_drawings_to_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_pdn, "IMAGES_PER_CHUNK", 2)
    monkeypatch.setattr(train_pdn, "PROBE_BATCHES", 1)
    output = tmp_path / "pdn_s.safetensors"
    options = ["--minutes", "0.05", "--images", "4", "--batch", "1", "--workers", "1", "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["train_pdn", *options, "-o", str(output)])
    train_pdn.main()
    record = json.loads(output.with_suffix(".json").read_text())
    assert record["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert (record["teacher"], record["images_drawn"], record["stage"]) == ("prism_m.v2", 4, "end")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["stage"] == "end"
    described = create("pdn_s", layers=("layer1",), weights=output)(torch.rand(1, 3, 64, 64))[0]
    assert described.shape == (1, 192, 16, 16)
    assert load_file(output.with_suffix(".activations.safetensors"))["layer1"].shape == (1, 192, 16, 16)
    assert not list((tmp_path / "work").iterdir())  # drawings only pass through
