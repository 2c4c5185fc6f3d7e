"""The contract of a detector as tests, for pellucid's own detectors and for those of other distributions.

    from pellucid.testing import check_detector

    def test_contract():
        check_detector("kmeans", clusters=20)

or, with a test for each check:

    @pytest.mark.parametrize("check", detector_checks(), ids=lambda check: check.__name__)
    def test_contract(check, candidate):  # a Candidate("kmeans", clusters=20), made once for all of them
        check(candidate)

A check fails with an AssertionError that says what the contract asks. No test framework is needed.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import detectors, load
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.detectors._base import Detector
from pellucid.errors import DataError, NotFittedError, ParameterError, PellucidError, WeightsError
from pellucid.inspector import Inspector
from pellucid.models.export import Format, export
from pellucid.records.limits import Limit
from pellucid.runtimes.torch import Torch

SIDE_PX = 64  # of the images that are fitted on
BATCH_SIZE = 4
MAX_REPR_CHARS = 1000
MAX_LEFT_OUT_ERROR = 0.75  # of what is left out, as a share of its error if it were not
ALLOWED_DEFAULTS = (bool, int, float, str, tuple, type(None))
EXPORT_PACKAGES: dict[Format, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
}


class Candidate:
    """A detector under test, fitted when first needed, on twelve smooth images; see :func:`check_detector`."""

    def __init__(self, detector: str | type[Detector], **parameters: Any) -> None:
        self.cls: type[Detector] = detectors.class_of(detector) if isinstance(detector, str) else detector
        self.parameters = parameters
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(3 * BATCH_SIZE, 3, 8, 8, generator=generator)
        images = F.interpolate(coarse, size=(SIDE_PX, SIDE_PX), mode="bilinear")
        self.batches = list(torch.split(images * 0.2 + 0.4, BATCH_SIZE))  # (4, 3, 64, 64) each

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.cls.__name__})"

    def make(self) -> Detector:
        """Make one that is not fitted."""
        return self.cls(**self.parameters)

    @cached_property
    def fitted(self) -> Detector:
        """The detector after a fit; checks leave it as it is."""
        return self.make().fit(self.batches)

    @cached_property
    def second_fit(self) -> tuple[Detector, object, bool]:
        """Another one, what its fit returned, and whether the images are what they were."""
        before, detector = [batch.clone() for batch in self.batches], self.make()
        return detector, detector.fit(self.batches), all(map(torch.equal, before, self.batches))


Check = Callable[[Candidate], None]


def check_detector(detector: str | type[Detector], **parameters: Any) -> None:
    """Run every check of the contract over a detector.

    Args:
        detector: its name, or its class.
        parameters: hyper-parameters that make it fast; the defaults where none are given.

    Raises:
        AssertionError: the detector breaks the contract; the message says what is asked.
        ParameterError: there is no detector of this name.

    Example:
        >>> check_detector("padim", n_features=20)
    """
    candidate = Candidate(detector, **parameters)
    for check in detector_checks():
        check(candidate)


def detector_checks() -> list[Check]:
    """List the checks that :func:`check_detector` runs, cheap ones first; the name of each says what it is about."""
    return [
        check_constructor_is_keyword_only,
        check_constructor_has_the_common_parameters,
        check_constructor_stores_parameters_and_nothing_else,
        check_defaults_are_of_allowed_kinds,
        check_description_is_the_constructor,
        check_repr_is_short,
        check_not_fitted,
        check_no_images,
        check_fit_returns_self_and_leaves_inputs_unchanged,
        check_shapes_types_and_finiteness,
        check_same_seed_same_bytes,
        check_batch_and_order_invariance,
        check_scoring_leaves_inputs_and_state_unchanged,
        check_leaving_out_is_a_fit_without,
        check_a_planted_scratch_scores_higher,
        check_constant_image,
        check_image_that_is_not_a_number,
        check_wrong_shape,
        check_state_round_trip,
        check_a_state_that_lacks_something,
        check_model_file_round_trip,
        check_export_to_openvino,
        check_export_to_onnx,
    ]


# --- the constructor ------------------------------------------------------------------------------------------------


def check_constructor_is_keyword_only(candidate: Candidate) -> None:
    """Every hyper-parameter is keyword-only and has a default."""
    for parameter in inspect.signature(candidate.cls).parameters.values():
        assert parameter.kind is parameter.KEYWORD_ONLY, f"{parameter.name} has to be keyword-only: put it behind a *."
        assert parameter.default is not parameter.empty, f"{parameter.name} has to have a default."


def check_constructor_has_the_common_parameters(candidate: Candidate) -> None:
    """Every detector has the hyper-parameters of all."""
    missing = set(detectors.REQUIRED_PARAMETERS) - inspect.signature(candidate.cls).parameters.keys()
    assert not missing, f"The constructor has to have {sorted(missing)} among its parameters."


def check_constructor_stores_parameters_and_nothing_else(candidate: Candidate) -> None:
    """The constructor stores what it is given under its own names; what is wrong is found by a fit."""
    given = {name: object() for name in inspect.signature(candidate.cls).parameters}
    stored = vars(candidate.cls(**given))
    assert stored.keys() == given.keys(), f"The constructor has to store {sorted(given)}; it stores {sorted(stored)}."
    for name, value in given.items():
        assert stored[name] is value, f"{name} has to be stored as it is given: check and convert it in _fit."


def check_defaults_are_of_allowed_kinds(candidate: Candidate) -> None:
    """Defaults are values that a command line, a form and a file can hold."""
    for name, parameter in inspect.signature(candidate.cls).parameters.items():
        default = parameter.default
        parts = default if isinstance(default, tuple) else ("",)
        assert isinstance(default, ALLOWED_DEFAULTS if all(isinstance(part, str) for part in parts) else ()), (
            f"The default of {name} has to be a bool, int, float, str, None or a tuple of str; it is {default!r}."
        )


def check_description_is_the_constructor(candidate: Candidate) -> None:
    """The catalogue knows the detector by a name, with its paper, a sentence and its defaults."""
    try:
        name = detectors.name_of(candidate.make())
    except ParameterError as error:
        raise AssertionError(str(error)) from None
    described = detectors.describe(name)
    assert described.paper, f"The module {candidate.cls.__module__} has to have a docstring that names its source."
    assert described.summary, f"{candidate.cls.__name__} has to have a docstring: its first sentence is shown in lists."
    assert dict(described.defaults) == detectors.create(name).parameters(), (
        "The defaults in the catalogue have to be those of the constructor."
    )


def check_repr_is_short(candidate: Candidate) -> None:
    """Looking at a detector in a console does not flood it."""
    for shown in (repr(candidate.make()), repr(candidate.fitted)):
        assert candidate.cls.__name__ in shown, f"repr has to name the class; it is {shown[:100]!r}."
        assert len(shown) <= MAX_REPR_CHARS, f"repr has to be short; it has {len(shown)} characters."


# --- what is refused ------------------------------------------------------------------------------------------------


def check_not_fitted(candidate: Candidate) -> None:
    """Scoring before a fit is an error that says what to do."""
    with _raises(NotFittedError, "call fit first"):
        candidate.make().score(torch.rand(1, 3, SIDE_PX, SIDE_PX))


def check_no_images(candidate: Candidate) -> None:
    """A fit on nothing is an error."""
    with _raises(DataError, "no images to fit on"):
        candidate.make().fit([])


def check_wrong_shape(candidate: Candidate) -> None:
    """Another size than the one fitted on, or another number of channels, is an error that names both."""
    with _raises(DataError, f"fitted on {SIDE_PX}x{SIDE_PX} images but got 96x96"):
        candidate.fitted.score(torch.rand(1, 3, 96, 96))
    with _raises(DataError, "float32 (B, 3, H, W)"):
        candidate.fitted.score(torch.rand(1, 1, SIDE_PX, SIDE_PX))


# --- fit and score --------------------------------------------------------------------------------------------------


def check_fit_returns_self_and_leaves_inputs_unchanged(candidate: Candidate) -> None:
    """``fit`` returns the detector and changes no image."""
    detector, returned, left_images = candidate.second_fit
    assert returned is detector, "fit has to return self."
    assert left_images, "fit must not change the images it is given."


def check_shapes_types_and_finiteness(candidate: Candidate) -> None:
    """A batch gives a map for each image, at its size, and a score: float32 on the CPU, finite, without gradients."""
    maps, scores = candidate.fitted.score(candidate.batches[0])
    for name, found, shape in (("map", maps, (BATCH_SIZE, SIDE_PX, SIDE_PX)), ("score", scores, (BATCH_SIZE,))):
        assert found.shape == shape, f"The {name} of a batch has to be of shape {shape}; it is {tuple(found.shape)}."
        assert found.dtype == torch.float32, f"The {name} has to be float32; it is {found.dtype}."
        assert found.device.type == "cpu", f"The {name} has to be on the CPU; it is on {found.device}."
        assert not found.requires_grad, f"The {name} must not carry gradients."
        assert found.isfinite().all(), f"The {name} of an image has to be finite."


def check_same_seed_same_bytes(candidate: Candidate) -> None:
    """Two fits with the same seed learn the same and score the same, to the byte."""
    again, first = candidate.second_fit[0], candidate.fitted
    learned, expected = again.state(), first.state()
    assert learned.keys() == expected.keys(), "Two fits have to learn tensors of the same names."
    differ = [name for name in expected if not torch.equal(learned[name], expected[name])]
    assert not differ, f"Two fits with one seed have to learn the same bytes; {differ} differ: draw with self.seed."
    _assert_same_scores(again, first, candidate.batches[1], "Two fits with one seed")


def check_batch_and_order_invariance(candidate: Candidate) -> None:
    """An image's map and score do not depend on its neighbours in the batch, nor on its place there."""
    batch = candidate.batches[0]
    maps, scores = candidate.fitted.score(batch)
    flipped_maps, flipped = candidate.fitted.score(batch.flip(0))
    single_map, single = candidate.fitted.score(batch[1:2])
    asked = "An image has to score the same wherever it is in a batch, and alone."
    _assert_close(flipped.flip(0), scores, asked)
    _assert_close(flipped_maps.flip(0), maps, asked)
    _assert_close(single[0], scores[1], asked)
    _assert_close(single_map[0], maps[1], asked)


def check_scoring_leaves_inputs_and_state_unchanged(candidate: Candidate) -> None:
    """``score`` changes neither the images nor what was learned."""
    batch, state = candidate.batches[2].clone(), {k: v.clone() for k, v in candidate.fitted.state().items()}
    candidate.fitted.score(batch)
    assert torch.equal(batch, candidate.batches[2]), "score must not change the images it is given."
    after = candidate.fitted.state()
    assert after.keys() == state.keys(), "score must not add to what was learned."
    assert all(torch.equal(after[name], state[name]) for name in state), "score must not change what was learned."


def check_leaving_out_is_a_fit_without(candidate: Candidate) -> None:
    """Scores of a detector that can leave images out are like those of fits without them; it learns what ``fit`` does.

    They need not be the same: PatchCore leaves an image's memories out of a bank that was chosen with that image.
    """
    if not candidate.fitted.leaves_out:
        return
    groups = [0, 1, 1, *range(2, 3 * BATCH_SIZE - 1)]
    detector = candidate.make()
    found = list(detector.fit_leaving_out(candidate.batches, groups))
    maps, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert maps.shape == (3 * BATCH_SIZE, SIDE_PX, SIDE_PX), "fit_leaving_out has to yield a map for every image."
    assert scores.shape == (3 * BATCH_SIZE,), "fit_leaving_out has to yield a score for every image."
    learned, expected = detector.state(), candidate.fitted.state()
    differ = [name for name in expected if not torch.equal(learned[name], expected[name])]
    assert not differ, f"fit_leaving_out has to learn what fit does; {differ} differ."
    images = torch.cat(candidate.batches)
    error, error_if_seen = torch.zeros(2), torch.zeros(2)  # of maps and of scores
    for group in groups[::5]:
        own = torch.tensor([number == group for number in groups])
        refitted, seen = (made.score(images[own]) for made in (candidate.make().fit([images[~own]]), candidate.fitted))
        for k, left_out in enumerate((maps[own], scores[own])):
            error[k] += (left_out - refitted[k]).abs().mean()
            error_if_seen[k] += (seen[k] - refitted[k]).abs().mean()
    assert (error <= MAX_LEFT_OUT_ERROR * error_if_seen).all(), (
        f"Left-out maps and scores have to be those of fits without the group; they are {error.tolist()} off, where"
        f" those with the group in the fit are {error_if_seen.tolist()} off."
    )


def check_a_planted_scratch_scores_higher(candidate: Candidate) -> None:
    """Higher is more anomalous: a bright scratch raises the score, and the map where it is."""
    clean = candidate.batches[0]
    scratched = clean.clone()
    scratched[:, :, 30:34, 10:54] = 1.0
    maps, scores = candidate.fitted.score(scratched)
    assert (scores > candidate.fitted.score(clean)[1]).all(), "A scratch has to raise the score: higher is anomalous."
    per_image = maps.flatten(1)
    if (per_image.amax(1) - per_image.amin(1) > 1e-4 * per_image.amax(1)).any():  # else one cell is the whole map
        assert maps[:, 24:40].mean() > maps[:, :16].mean(), "The map has to be higher where the scratch is."


def check_constant_image(candidate: Candidate) -> None:
    """An image of one colour has a finite map and score."""
    maps, scores = candidate.fitted.score(torch.full((1, 3, SIDE_PX, SIDE_PX), 0.5))
    assert maps.isfinite().all(), "The map of an image of one colour has to be finite."
    assert scores.isfinite().all(), "The score of an image of one colour has to be finite."


def check_image_that_is_not_a_number(candidate: Candidate) -> None:
    """A pixel that is not a number gives a score that is none either, and so a reject; its neighbours keep theirs."""
    batch = candidate.batches[0].clone()
    batch[0, :, 5, 5] = float("nan")
    scores = candidate.fitted.score(batch)[1]
    assert not scores[0].isfinite(), "An image with NaN has to score NaN: a number might pass as normal."
    expected = candidate.fitted.score(candidate.batches[0])[1][1:]
    _assert_close(scores[1:], expected, "An image with NaN must not change the scores of its neighbours.")


# --- what was learned, as tensors, files and graphs -----------------------------------------------------------------


def check_state_round_trip(candidate: Candidate) -> None:
    """A detector that was given the state of another scores as that does, to the byte."""
    loaded = candidate.make().load_state(candidate.fitted.state())
    _assert_same_scores(loaded, candidate.fitted, candidate.batches[1], "A detector and one loaded from its state")


def check_a_state_that_lacks_something(candidate: Candidate) -> None:
    """A state without one of its tensors is an error; those with a default in the class may be absent."""
    state = candidate.fitted.state()
    for absent in {name.partition(".")[0]: name for name in state}.values():  # of a network, one stands for all
        if hasattr(candidate.cls, absent) or absent.endswith("num_batches_tracked"):  # torch does without these
            continue
        with _raises(WeightsError, "is not that of a", f"{absent} is missing: annotate it in the class."):
            candidate.make().load_state({name: tensor for name, tensor in state.items() if name != absent})


def check_model_file_round_trip(candidate: Candidate) -> None:
    """A model file gives back the detector, its parameters and its scores, to the byte."""
    inspector = _inspector(candidate)
    with tempfile.TemporaryDirectory() as folder:
        inspector.save(Path(folder) / "m.pellucid")
        loaded = load(Path(folder) / "m.pellucid")
    assert type(loaded.detector) is candidate.cls, "A model file has to give back the detector that it was made of."
    assert loaded.limit == inspector.limit
    _assert_same_scores(loaded.detector, candidate.fitted, candidate.batches[1], "A detector and its model file")


def check_export_to_openvino(candidate: Candidate) -> None:
    """OpenVINO computes what torch does; passed over where it is not installed."""
    _check_export(candidate, "openvino")


def check_export_to_onnx(candidate: Candidate) -> None:
    """ONNX Runtime computes what torch does; passed over where it is not installed."""
    _check_export(candidate, "onnx")


def _check_export(candidate: Candidate, format: Format) -> None:
    if not all(map(find_spec, EXPORT_PACKAGES[format])):
        return
    inspector = _inspector(candidate)
    with tempfile.TemporaryDirectory() as folder:
        try:
            export(candidate.fitted, inspector.header(), Path(folder), format)  # compares on panes with flaws
        except PellucidError as error:
            raise AssertionError(f"A graph for {format} has to score as torch does: {error}") from error


def _inspector(candidate: Candidate) -> Inspector:
    limit = Limit(value=1.0, pixel=1.0, false_reject_rate=0.05, scores=(0.5, 1.0))
    return Inspector(Torch(candidate.fitted), limit, (SIDE_PX, SIDE_PX), FittedImages(data_sha256=""), 0, 0.05)


def _assert_same_scores(one: Detector, other: Detector, batch: Tensor, who: str) -> None:
    for found, expected in zip(one.score(batch), other.score(batch), strict=True):
        assert torch.equal(found, expected), f"{who} have to give the same maps and scores, to the byte."


def _assert_close(found: Tensor, expected: Tensor, asked: str) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=lambda difference: f"{asked} {difference}")


@contextmanager
def _raises(expected: type[PellucidError], text: str, hint: str = "") -> Iterator[None]:
    asked = f"The contract asks for a {expected.__name__} that says '{text}'"
    try:
        yield
    except Exception as error:
        if not isinstance(error, expected) or text not in str(error):
            raise AssertionError(f"{asked}; there was a {type(error).__name__}: {error}") from error
    else:
        raise AssertionError(f"{asked}; there was no error. {hint}".rstrip())
