"""The training loop: it learns, stops, and goes on after a kill as if nothing had happened."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

import pellucid
from pellucid import detectors
from pellucid.detectors._training import (
    FeatureCache,
    _shuffled,
    _split,
    _stalled,
    held_out_images,
    native_precision,
    train,
)
from pellucid.errors import ParameterError, WeightsError


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.mean((1, 2, 3)) - self.value).square().mean()


class Noisy(Mean):
    """Draws while it is trained, as dropout does."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().forward(pixels + torch.rand(()) if self.training else pixels)


def _run(batches, epochs, checkpoint=None, kind=Mean, **options):
    module = kind()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    history = train(
        module, optimizer, batches, lambda p: [p], epochs=epochs, batch_size=4, checkpoint=checkpoint, **options
    )
    return float(module.value.detach()), history


def test_learns(batches):
    value, history = _run(batches, 40, patience=40)
    assert history.held_out[-1] < history.held_out[0] / 10
    assert abs(value - float(torch.cat(batches).mean())) < 0.02


@pytest.mark.parametrize("kind", [Mean, Noisy])
def test_a_resumed_run_equals_an_uninterrupted_one(kind, batches, tmp_path):
    path = tmp_path / "training.pt"
    _run(batches, 3, path, kind)  # as if killed after three epochs
    torch.manual_seed(1)
    resumed = _run(batches, 8, path, kind)
    assert resumed == _run(batches, 8, kind=kind)


@pytest.mark.parametrize("count", [1, 9, 10, 25])
def test_held_out_images_are_those_that_nothing_is_learned_from(count):
    images = torch.arange(count).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).split(4)
    seen = [int(pixels[0, 0, 0]) for batch in held_out_images(images) for pixels in batch]
    assert seen == ([9, 19][: count // 10] if count >= 10 else list(range(count)))


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


@pytest.mark.parametrize("lr", [0.0, 0.1])
def test_what_is_a_model_before_it_is_trained_is_kept_where_no_epoch_is_better(lr, batches):
    module = Mean()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    train(module, optimizer, batches, lambda pixels: [pixels], epochs=2, batch_size=4, from_model=True)
    kept = all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert kept == (lr == 0)


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
    torch.testing.assert_close(large, see(expected)[1], rtol=1e-3, atol=1e-6)
    assert pixels.is_contiguous(memory_format=torch.channels_last)


def test_what_half_precision_cannot_hold_is_kept_whole_or_said(batches):
    cpu = torch.device("cpu")
    with (
        FeatureCache(batches, lambda p: [p * 1000], cpu) as small,
        FeatureCache(batches, lambda p: [p * 1e5], cpu) as big,
    ):
        assert (small._rows.dtype, big._rows.dtype) == (torch.float16, torch.float32)
    later = [batches[0], batches[1] * 1e6]  # the first batch does not tell
    with pytest.warns(UserWarning, match=r"\d+ features were cut at 65504"), FeatureCache(later, lambda p: [p], cpu):
        pass
    for bad in (torch.nan, torch.inf, -torch.inf):
        spoilt = [batches[0], batches[1].index_fill(0, torch.tensor([1]), bad)]
        with pytest.raises(WeightsError, match="features that are not finite numbers"):
            FeatureCache(spoilt, lambda p: [p], cpu)


@pytest.mark.slow
def test_progress_is_taken_up_by_the_same_configuration_only(glass, tmp_path, monkeypatch):
    from pellucid.detectors import _training

    epochs_run = []
    train_epoch = _training._train_epoch
    monkeypatch.setattr(_training, "_train_epoch", lambda *a: epochs_run.append(1) or train_epoch(*a))

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


# --- trainings that go wrong ------------------------------------------------------------------------------------------

GRADIENT_TRAINED = ("stfpm", "fastflow", "cflow", "uflow", "reverse_distillation")
BAD_VALUES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Spoilt(Mean):
    """Learns, but gives another loss in some epochs: of the training, or of the held-out images, or both."""

    def __init__(self, value: float, epochs: set[int], *, training: bool, held_out: bool, done: int = 0) -> None:
        super().__init__()
        self.bad, self.epochs, self.epoch = value, epochs, done - 1
        self.in_training, self.in_held_out = training, held_out

    def train(self, mode: bool = True) -> Spoilt:
        self.epoch += mode
        return super().train(mode)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        loss = super().forward(pixels)
        spoil = self.epoch in self.epochs and (self.in_training if self.training else self.in_held_out)
        return loss * self.bad if spoil else loss


def _train(module, batches, epochs=6, checkpoint=None, lr=0.05):
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    return train(module, optimizer, batches, lambda p: [p], epochs=epochs, batch_size=4, checkpoint=checkpoint,
                 description="mean")  # fmt: skip


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
@pytest.mark.parametrize("bad_epochs", [{0}, {2}, {5}, {0, 1}, {0, 3}, {4, 5}])
def test_an_epoch_whose_held_out_loss_is_no_number_is_never_the_best_and_hides_no_other(value, bad_epochs, batches):
    module = Spoilt(value, bad_epochs, training=False, held_out=True)
    with pytest.warns(UserWarning, match=f"mean diverged in epoch {min(bad_epochs) + 1}; the weights of epoch"):
        history = _train(module, batches)
    assert [e for e, loss in enumerate(history.held_out) if loss == math.inf] == sorted(bad_epochs)
    plain = Mean()
    _train(plain, batches, epochs=max(set(range(6)) - bad_epochs) + 1)
    assert float(module.value.detach()) == float(plain.value.detach()) != 0  # the last good epoch's, the best


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
@pytest.mark.parametrize("held_out", [False, True])
def test_a_training_that_dies_keeps_its_best_epoch_or_is_refused(value, held_out, batches, tmp_path):
    module = Spoilt(value, {2, 3, 4, 5}, training=True, held_out=held_out)
    with pytest.warns(
        UserWarning, match="diverged in epoch 3; the weights of epoch 2, its best, are kept. Set a lower"
    ):
        history = _train(module, batches)
    assert len(history.train) == 3  # nothing can bring weights back that are not numbers
    good = Mean()
    _train(good, batches, epochs=2)
    assert float(module.value.detach()) == float(good.value.detach())
    checkpoint = tmp_path / "training.pt"
    for _ in ("afresh", "resumed"):
        dead = Spoilt(value, set(range(6)), training=True, held_out=held_out)
        with pytest.raises(ParameterError, match=r"mean diverged: .* Set a lower learning rate than lr=0.05\."):
            _train(dead, batches, checkpoint=checkpoint)


def test_held_out_losses_that_are_never_a_number_are_refused(batches):
    with pytest.raises(ParameterError, match="The training of mean diverged"):
        _train(Spoilt(math.nan, set(range(6)), training=False, held_out=True), batches)


@pytest.mark.parametrize("bad_epochs", [{1, 2, 3, 4, 5}, set(range(6))])
def test_a_diverged_training_that_is_resumed_ends_as_the_uninterrupted_one(bad_epochs, batches, tmp_path):
    def run(epochs, checkpoint, done=0):
        module = Spoilt(math.nan, bad_epochs, training=True, held_out=True, done=done)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                _train(module, batches, epochs, checkpoint)
            except ParameterError as error:
                return str(error)
        return float(module.value.detach())

    for killed_after in (1, 2):
        run(killed_after, tmp_path / f"{killed_after}.pt")
        assert run(6, tmp_path / f"{killed_after}.pt", done=killed_after) == run(6, None)


def test_progress_of_before_divergence_was_known_is_begun_anew(batches, tmp_path):
    module, checkpoint = Mean(), tmp_path / "old.pt"
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    old = {"module": {"value": torch.tensor(math.nan)}, "optimizer": optimizer.state_dict()}
    torch.save(old | {"best": {"value": torch.tensor(0.0)}, "train": [math.nan], "held_out": [math.nan]}, checkpoint)
    assert len(_train(module, batches, checkpoint=checkpoint).train) == 6
    assert float(module.value.detach()) > 0


@pytest.mark.parametrize("lr", [1e-30, 1e-12])
def test_a_training_that_learned_nothing_is_refused(lr, batches):
    with pytest.raises(
        ParameterError, match=r"mean learned nothing: its loss was .* another learning rate than lr=1e-"
    ):
        _train(Mean(), batches, lr=lr)


def test_few_images_are_measured_after_the_epoch_not_in_it(batches):
    """Of fewer than ten images none is held out; the loss while training is that of the weights before."""
    with pytest.raises(ParameterError, match="diverged"):
        _train(Mean(), [batches[0]], epochs=1, lr=1e9)
    assert _train(Mean(), [batches[0]], epochs=1).held_out < _train(Mean(), [batches[0]], epochs=1).train


@pytest.mark.parametrize("count", [4, 12])
@pytest.mark.parametrize("name", GRADIENT_TRAINED)
@pytest.mark.parametrize("lr", [1e5, 1e6, 1e30])
def test_no_detector_ends_with_weights_of_a_learning_rate_that_is_far_too_high(lr, name, count, batches, make):
    images = torch.cat(batches)[:count].split(4)
    with pytest.raises(ParameterError, match=f"The training of {name} diverged.* Set a lower learning rate than lr=1"):
        make(name, lr=lr, epochs=2).fit(images)


WRONG_VALUES = {
    "stfpm": [("lr", 0), ("lr", -0.1), ("lr", math.nan), ("lr", math.inf), ("epochs", 0), ("batch_size", 0),
              ("weight_decay", -1.0), ("weight_decay", math.inf), ("momentum", 1.0), ("momentum", -0.1),
              ("precision", "16-mixed"), ("precision", ""), ("precision", "float32"), ("combine", "sum"),
              ("epochs", 1.5), ("sigma", -1.0), ("layers", ())],
    "fastflow": [("flow_steps", 0), ("hidden_ratio", 0), ("hidden_ratio", math.inf), ("epochs", -1), ("lr", math.nan),
                 ("conv3x3_only", 1), ("combine", "sum"), ("sigma", -1.0), ("sigma", math.inf), ("layers", ())],
    "uflow": [("flow_steps", 0), ("hidden_ratio", 0), ("combine", "sum"), ("sigma", -1.0), ("epochs", 0), ("lr", 0),
              ("weight_decay", -1.0), ("precision", "16"), ("layers", ())],
    "cflow": [("coupling_blocks", 0), ("condition_vector", 6), ("condition_vector", -4), ("clamp_alpha", 0),
              ("combine", "sum"), ("sigma", -1.0), ("fiber_batch_size", 0), ("epochs", 0), ("lr", 0),
              ("precision", "16"), ("layers", ())],
    "reverse_distillation": [("patchsize", 2), ("patchsize", 0), ("layers", ("layer1",)), ("lr", 0), ("epochs", "ten"),
                             ("baseline", 1)],
    "padim": [("n_features", 0), ("interpolation", "cubic"), ("epsilon", 0), ("epsilon", math.nan),
              ("n_features", 2.5), ("layers", "layer1")],
    "patchcore": [("coreset_sampling_ratio", 0), ("coreset_sampling_ratio", 1.1), ("coreset_size", 0),
                  ("num_neighbors", 0), ("num_neighbors", "many"), ("layers", ())],
    "dfm": [("pca_level", 0), ("pca_level", 1.5), ("pooling_kernel_size", 0), ("score_type", "mse"),
            ("layers", ("layer1", "layer2"))],
    "efficientad": [("p_hard", 1.0), ("p_hard", -0.1), ("p_hard", math.nan), ("penalty_images", -1), ("epochs", 0),
                    ("batch_size", 0), ("lr", 0.0), ("weight_decay", -1.0), ("precision", "16"), ("layers", ())],
    "subspace": [("pca_level", 0), ("patchsize", 2), ("rotations", 0), ("image_score", "mean"), ("layers", ())],
    "supersimplenet": [("noise_std", 0), ("perlin_threshold", 1.0), ("perlin_threshold", -0.1), ("image_score", "mean"),
                       ("defect_epochs", 0), ("epochs", 0), ("lr", 0), ("weight_decay", -1.0), ("enlarge", 2),
                       ("layers", ())],
    "anomaly_dino": [("coreset_size", -1), ("rotations", 0), ("masking", "sometimes"), ("mask_threshold", math.nan),
                     ("layers", ())],
    "dinomaly": [("groups", 0), ("decoder_depth", 1), ("dropout", 1.0), ("dropout", -0.1), ("easy_share", 1.0),
                 ("mining_steps", -1), ("recentring", 1), ("epochs", 0), ("lr", 0), ("layers", ())],
    "dfkde": [("n_components", 0), ("n_components", 2.5), ("layers", ("layer1", "layer2"))],
    "draem": [("space", "images"), ("planted", 0), ("textures", 0), ("width", 0), ("depth", 0),
              ("perlin_threshold", 1.0), ("perlin_threshold", -0.1), ("epochs", 0), ("lr", 0), ("precision", "16"),
              ("layers", ())],
    "cfa": [("gamma_d", 0), ("radius", -1), ("alpha", math.nan), ("num_neighbors", 0), ("num_hard_negatives", -1),
            ("image_score", "mean"), ("epochs", 0), ("lr", 0), ("precision", "16"), ("layers", ())],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameter", "value"), [(name, *pair) for name, pairs in WRONG_VALUES.items() for pair in pairs]
)
def test_values_that_are_not_allowed_are_refused_before_data_are_read(name, parameter, value, tmp_path):
    with pytest.raises(ParameterError, match=f"{parameter}=.* is not allowed: it has to be"):
        pellucid.fit(tmp_path / "absent", name, **{parameter: value})
    with pytest.raises(ParameterError, match=f"{parameter}=.* is not allowed: it has to be"):
        detectors.create(name, **{parameter: value})


def test_every_detector_has_values_that_are_not_allowed():
    assert set(WRONG_VALUES) == set(detectors.own_names())
