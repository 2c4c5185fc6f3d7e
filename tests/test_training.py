"""The training loop: it learns, stops, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pellucid
from pellucid.detectors._training import _shuffled, _stalled, train


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.mean((1, 2, 3)) - self.value).square().mean()


def _run(batches, epochs, checkpoint=None, **options):
    module = Mean()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    history = train(module, optimizer, batches, epochs=epochs, batch_size=4, checkpoint=checkpoint, **options)
    return float(module.value.detach()), history


def test_learns(batches):
    value, history = _run(batches, 40, patience=40)
    assert history.held_out[-1] < history.held_out[0] / 10
    assert abs(value - float(torch.cat(batches).mean())) < 0.02


def test_a_resumed_run_equals_an_uninterrupted_one(batches, tmp_path):
    path = tmp_path / "training.pt"
    _run(batches, 3, path)  # as if killed after three epochs
    resumed = _run(batches, 8, path)
    assert resumed == _run(batches, 8)


def test_stops_when_the_held_out_loss_stalls():
    assert _stalled([1.0, 0.5, 0.6, 0.7], patience=2)
    assert not _stalled([1.0, 0.5, 0.6, 0.4], patience=2)
    assert not _stalled([1.0, 0.5], patience=2)


def test_every_image_but_the_held_out_is_seen_once():
    images = [torch.full((5, 1, 1, 1), 0.0) + torch.arange(5 * k, 5 * k + 5).view(5, 1, 1, 1) for k in range(6)]
    seen = torch.cat(list(_shuffled(images, 4, torch.Generator().manual_seed(0)))).flatten().tolist()
    expected = [i for i in range(30) if i % 10 != 9]
    left_out = len(expected) % 4 == 1
    assert len(seen) == len(set(seen)) == len(expected) - left_out
    assert seen != sorted(seen)


def test_progress_is_taken_up_by_the_same_configuration_only(glass, tmp_path, monkeypatch):
    from pellucid.detectors import _training

    epochs_run = []
    held_out = _training._held_out_loss
    monkeypatch.setattr(_training, "_held_out_loss", lambda *a: epochs_run.append(1) or held_out(*a))

    def fit(**changes):
        options = {"epochs": 2, "image_size": 64, "false_reject": 0.1, "checkpoint": tmp_path} | changes
        epochs_run.clear()
        return pellucid.fit(glass, "stfpm", **options), len(epochs_run)

    first, ran = fit()
    assert ran == 2
    again, ran = fit()
    assert ran == 0
    before, after = first.detector.state(), again.detector.state()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for change in ({"lr": 0.1}, {"image_size": 96}, {"seed": 1}):
        assert fit(**change)[1] == 2, change


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_learns_in_either_precision(batches, precision):
    value, _ = _run(batches, 40, patience=40, precision=precision)
    assert abs(value - float(torch.cat(batches).mean())) < 0.03
