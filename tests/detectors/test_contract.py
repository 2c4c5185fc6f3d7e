"""One contract over every detector that there is, and what it says to one that breaks it."""

from __future__ import annotations

import random

import pytest
import torch
from small import FAST

from pellucid import detectors, testing
from pellucid.detectors.dfm import Dfm
from pellucid.testing import Candidate, check_detector, detector_checks

OWN = {
    *("cfa", "dfkde", "dfm", "draem", "efficientad", "fastflow", "padim", "patchcore", "reverse_distillation", "stfpm"),
    *("anomaly_dino", "cflow", "dinomaly", "subspace", "supersimplenet", "uflow"),
}


def test_they_are_there():
    assert set(detectors.names()) >= OWN


@pytest.fixture(scope="module", params=detectors.names())
def candidate(request):
    return Candidate(request.param, **FAST.get(request.param, {}))


# runtimes/test_runtimes.py exports each of them to ONNX, too, which takes up to ten seconds
CHECKS = [
    pytest.param(
        check,
        id=check.__name__.removeprefix("check_"),
        marks=pytest.mark.slow if check is testing.check_export_to_onnx else (),
    )
    for check in detector_checks()
]


@pytest.mark.parametrize("check", CHECKS)
def test_contract(candidate, check):
    check(candidate)


def test_moving_a_fitted_detector_changes_nothing(candidate):
    detector, batch = candidate.fitted, candidate.batches[0]
    before, scores = detector.state(), detector.score(batch)
    assert detector.to("cpu") is detector
    assert detector.device == torch.device("cpu")
    assert all(tensor.equal(before[key]) for key, tensor in detector.state().items())
    assert all(a.equal(b) for a, b in zip(scores, detector.score(batch), strict=True))


def test_a_detector_that_is_exported_to_onnx_passes():
    testing.check_export_to_onnx(Candidate("padim", **FAST["padim"]))


def test_one_call_runs_every_check(monkeypatch):
    ran = []
    monkeypatch.setattr(
        testing, "detector_checks", lambda: [ran.append, lambda candidate: ran.append(candidate.fitted)]
    )
    check_detector("dfm", pca_level=0.9)
    candidate, fitted = ran
    assert type(fitted) is candidate.cls is Dfm
    assert fitted.pca_level == 0.9


def test_every_check_is_in_the_list():
    assert {f for name, f in vars(testing).items() if name.startswith("check_")} == {*detector_checks(), check_detector}


class Broken(Dfm):
    """Breaks the contract wherever a test asks it to."""

    flaw = ""

    def fit(self, images, *, checkpoint=None):
        if self.flaw == "fits nothing":
            return self
        super().fit(images, checkpoint=checkpoint)
        if self.flaw == "random":
            self.mu_ = self.mu_ + random.random()
        if self.flaw == "overwrites":
            images[0].zero_()
        return None if self.flaw == "returns nothing" else self

    def _fit_leaving_out(self, images, groups):
        if self.flaw == "leaves nothing out":
            self._fit(images, None)
            return (self._score(batch) for batch in images)
        return super()._fit_leaving_out(images, groups)

    def score(self, pixels):
        if self.flaw == "scores anything":
            return pixels[:, 0], pixels.flatten(1).amax(1)
        maps, scores = super().score(pixels)
        if self.flaw == "clamps":
            scores = scores.nan_to_num()
        if self.flaw == "compares":
            scores = scores - scores.mean()
        if self.flaw == "negates":
            scores = -scores
        if self.flaw == "double":
            maps = maps.double()
        if self.flaw == "learns":
            self.mu_ = self.mu_ + 1
        return maps, scores

    def __repr__(self):
        return "Broken" * 1000


@pytest.mark.parametrize(
    ("check", "flaw", "message"),
    [
        ("repr_is_short", "", "repr has to be short; it has 6000 characters"),
        ("description_is_the_constructor", "", "Broken of .*test_contract has no name that a model file could hold"),
        ("not_fitted", "scores anything", "asks for a NotFittedError that says 'call fit first'; there was no error"),
        ("no_images", "fits nothing", "asks for a DataError that says 'no images to fit on'; there was no error"),
        ("wrong_shape", "scores anything", "says 'fitted on 64x64 images but got 96x96'; there was no error"),
        ("fit_returns_self_and_leaves_inputs_unchanged", "returns nothing", "fit has to return self"),
        ("fit_returns_self_and_leaves_inputs_unchanged", "overwrites", "fit must not change the images"),
        ("shapes_types_and_finiteness", "double", "The map has to be float32; it is torch.float64"),
        ("same_seed_same_bytes", "random", r"\['mu_'\] differ: draw with self.seed"),
        ("batch_and_order_invariance", "compares", "score the same wherever it is in a batch, and alone"),
        ("scoring_leaves_inputs_and_state_unchanged", "learns", "score must not change what was learned"),
        (
            "leaving_out_is_a_fit_without",
            "leaves nothing out",
            "Left-out maps and scores have to be those of fits without",
        ),
        ("a_planted_scratch_scores_higher", "negates", "has to raise the score: higher is anomalous"),
        ("image_that_is_not_a_number", "clamps", "An image with NaN has to score NaN"),
        ("a_state_that_lacks_something", "", r"no error\. \w+_ is missing: annotate it in the class"),
    ],
)
def test_what_the_contract_says_to_one_that_breaks_it(check, flaw, message):
    broken = type("Broken", (Broken,), {"flaw": flaw, "__module__": __name__})
    with pytest.raises(AssertionError, match=message):
        getattr(testing, f"check_{check}")(Candidate(broken))


def positional(self, backbone="prism_s", layers=("layer3",), weights=None, seed=0): ...
def without_default(self, *, clusters): ...
def of_other_kinds(self, *, backbone="prism_s", sizes=[1]): ...  # noqa: B006 - that is what is wrong with it


def converting(self, *, seed=0):
    self.seed = str(seed)


def storing_more(self, *, seed=0):
    self.seed, self.count = seed, 0


@pytest.mark.parametrize(
    ("check", "constructor", "message"),
    [
        ("is_keyword_only", positional, "backbone has to be keyword-only: put it behind a \\*"),
        ("is_keyword_only", without_default, "clusters has to have a default"),
        ("has_the_common_parameters", without_default, r"has to have \['backbone', 'layers', 'seed', 'weights'\]"),
        ("stores_parameters_and_nothing_else", converting, "seed has to be stored as it is given"),
        ("stores_parameters_and_nothing_else", storing_more, r"has to store \['seed'\]; it stores \['count', 'seed'\]"),
        ("defaults_are_of_allowed_kinds", of_other_kinds, r"The default of sizes has to be a bool.*; it is \[1\]"),
    ],
)
def test_what_the_contract_says_to_a_constructor(check, constructor, message):
    name = f"check_{check}" if check.startswith("defaults") else f"check_constructor_{check}"
    with pytest.raises(AssertionError, match=message):
        getattr(testing, name)(Candidate(type("Broken", (Dfm,), {"__init__": constructor})))
