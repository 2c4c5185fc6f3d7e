"""The training loop: it learns, stops, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pellucid
from pellucid.detectors._training import FeatureCache, _shuffled, _split, _stalled, native_precision, train
from pellucid.errors import ParameterError


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.mean((1, 2, 3)) - self.value).square().mean()


def _run(batches, epochs, checkpoint=None, **options):
    module = Mean()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    history = train(
        module, optimizer, batches, lambda p: [p], epochs=epochs, batch_size=4, checkpoint=checkpoint, **options
    )
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


@pytest.mark.parametrize(("count", "batch_size"), [(30, 4), (31, 4), (28, 4), (30, 1), (2, 8), (1, 8)])
def test_every_image_but_the_held_out_is_seen_once(count, batch_size):
    learned, held_out = _split(count)
    assert sorted([*learned.tolist(), *held_out.tolist()]) == list(range(count))
    assert held_out.tolist() == [i for i in range(count) if i % 10 == 9]
    batches = _shuffled(learned, batch_size, 0)
    seen = torch.cat(batches).tolist()
    left_out = len(learned) > batch_size > 1 and len(learned) % batch_size == 1
    assert len(seen) == len(set(seen)) == len(learned) - left_out
    assert set(seen) <= set(learned.tolist())
    assert count < 10 or seen != sorted(seen)
    assert all(len(batch) <= batch_size for batch in batches)


def test_an_image_is_looked_at_once_however_many_epochs(batches):
    looked = 0

    def see(pixels):
        nonlocal looked
        looked += len(pixels)
        return [pixels]

    module = Mean()
    train(module, torch.optim.Adam(module.parameters()), batches, see, epochs=5, batch_size=4)
    assert looked == sum(len(batch) for batch in batches)


def test_lessons_are_what_was_seen(batches):
    def see(pixels):
        return [pixels, 1e6 * pixels[:, :1, ::2, ::4]]  # the second is more than half precision can hold

    with FeatureCache(batches, see, torch.device("cpu")) as lessons:
        assert len(lessons) == sum(len(batch) for batch in batches)
        some = torch.tensor([11, 0, 3])
        pixels, large = lessons[some]
    expected = torch.cat(batches)[some]
    torch.testing.assert_close(pixels, expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(large, see(expected)[1].clamp(max=65504), rtol=1e-3, atol=1e-6)
    assert pixels.is_contiguous(memory_format=torch.channels_last)


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


@pytest.mark.parametrize("precision", ["16-mixed", "bf16", "", "float32"])
def test_another_precision_is_refused_before_anything_is_computed(batches, precision):
    def extract(_):
        raise AssertionError

    module = Mean()
    with pytest.raises(ParameterError, match="is not allowed: it has to be auto, 32-true or bf16-mixed"):
        train(
            module,
            torch.optim.Adam(module.parameters()),
            batches,
            extract,
            epochs=1,
            batch_size=4,
            precision=precision,
        )


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_what_is_computed_in_which_precision(batches, precision, dtype):
    seen = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 1)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            out = self.linear(pixels)
            seen.append((pixels.dtype, self.linear.weight.dtype, out.dtype))
            return out.square().mean()

    module = Spy()
    train(
        module,
        torch.optim.SGD(module.parameters(), 0.01),
        batches,
        lambda p: [p],
        epochs=1,
        batch_size=4,
        precision=precision,
    )
    assert set(seen) == {(dtype, torch.float32, dtype)}  # weights stay in float32
    assert module.linear.weight.grad.dtype == torch.float32


def test_the_native_precision_of_a_device(monkeypatch):
    for able, expected in (({}, "32-true"), ({"amx_bf16": True}, "bf16-mixed"), ({"avx512_bf16": True}, "bf16-mixed")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert native_precision(torch.device("cpu")) == expected
        assert native_precision(torch.device("mps")) == "32-true"
    for native, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda native=native, **_: native)
        assert native_precision(torch.device("cuda")) == expected
