"""Fusions: a part is the detector that it is alone, and together they say what a slow computation of the sum says."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from commands import pellucid as run_command
from hypothesis import given
from hypothesis import strategies as st

import pellucid
from pellucid import detectors, testing
from pellucid.detectors._fusion import Standard, geometric_mean
from pellucid.errors import DataError, ParameterError, WeightsError
from pellucid.models.file import read_header
from pellucid.study.sweep import Sweep
from pellucid.testing import Candidate, detector_checks

NAME = "patchcore+padim"
SMALL = {"patchcore.coreset_size": 200, "padim.n_features": 20}
TRAINED = {"patchcore.coreset_size": 50, "stfpm.epochs": 2}
NOT_ASKED = (  # a fusion has no constructor of its own; what may be absent is the parts' affair
    testing.check_constructor_is_keyword_only,
    testing.check_constructor_has_the_common_parameters,
    testing.check_constructor_stores_parameters_and_nothing_else,
    testing.check_defaults_are_of_allowed_kinds,
    testing.check_a_state_that_lacks_something,
)
CHECKS = [
    pytest.param(check, id=check.__name__, marks=pytest.mark.slow if "onnx" in check.__name__ else ())
    for check in detector_checks()
    if check not in NOT_ASKED
]


@pytest.fixture(scope="module", params=[(NAME, SMALL), ("patchcore+stfpm", TRAINED)], ids=lambda param: param[0])
def candidate(request):
    name, parameters = request.param
    return Candidate(name, **parameters)


@pytest.mark.parametrize("check", CHECKS)
def test_contract(candidate, check):
    check(candidate)


@pytest.fixture(scope="module")
def fused(batches):
    return detectors.create(NAME, **SMALL).fit(batches)


@pytest.fixture(scope="module")
def alone(batches):
    return [
        detectors.create(name, **parameters).fit(batches)
        for name, parameters in (("patchcore", {"coreset_size": 200}), ("padim", {"n_features": 20}))
    ]


def test_a_part_is_what_it_is_alone(fused, alone, batches):
    for name, detector in zip(("patchcore", "padim"), alone, strict=True):
        expected = {key: value for key, value in detector.state().items() if not key.startswith(("backbone_", "size_"))}
        learned = {key.removeprefix(f"{name}."): v for key, v in fused.state().items() if key.startswith(f"{name}.")}
        assert learned.keys() == expected.keys()
        assert all(torch.equal(learned[key], expected[key]) for key in expected)
        for found, single in zip(fused._parts[name].score(batches[1]), detector.score(batches[1]), strict=True):
            torch.testing.assert_close(found, single)


@pytest.mark.parametrize("name", ["fastflow", "reverse_distillation", "efficientad"])
def test_trained_parts_are_standardised_by_images_that_they_have_not_learned_from(name, make, batches):
    own = {key: value for key, value in make(name).parameters().items() if key not in ("backbone", "weights", "seed")}
    own |= {"epochs": 1} | ({"penalty_images": 2} if name == "efficientad" else {})
    parameters = {f"{name}.{key}": value for key, value in own.items()}
    fused = detectors.create(f"{name}+dfm", **parameters, backbone="prism_s").fit(batches)
    held_out = torch.cat(batches)[9:10]  # every tenth
    maps, scores = fused._parts[name].score(held_out)
    expected = [Standard.of([scores]), Standard.of([maps])]
    torch.testing.assert_close(fused.standards_[:, 0], torch.tensor(expected), rtol=1e-3, atol=1e-4)
    assert all(found.isfinite().all() for found in fused.score(batches[0]))


def left_out(detector, batches):
    found = list(detector.fit_leaving_out(batches, [*range(12)]))
    return (torch.cat(part).double().numpy() for part in zip(*found, strict=True))


def test_score_and_map_are_the_slow_geometric_mean(fused, alone, batches):
    """Of each part's logarithms, standardised over good images that were left out, one value after the other."""
    known = [list(left_out(copy.copy(detector), batches)) for detector in alone]
    said = [detector.score(batches[1]) for detector in alone]
    maps, scores = fused.score(batches[1])
    for kind, found in ((1, scores[2]), (0, maps[2, 30, 17])):
        total, weights = 0.0, 0.0
        for normal, of_part in zip(known, said, strict=True):
            logarithms = np.log(normal[kind].ravel())
            value = float(of_part[1][2] if kind else of_part[0][2, 30, 17])
            total += (math.log(value) - logarithms.mean()) / logarithms.std()
            weights += 1 / logarithms.std()
        assert float(found) == pytest.approx(math.exp(total / weights), rel=1e-3)


@pytest.mark.parametrize("groups", [[*range(12)], [k // 3 for k in range(12)]])
def test_left_out_it_is_the_parts_left_out(groups, fused, batches):
    detector = detectors.create(NAME, **SMALL)
    maps, scores = (torch.cat(p) for p in zip(*detector.fit_leaving_out(batches, groups), strict=True))
    found = []
    for name, parameters in (("patchcore", {"coreset_size": 200}), ("padim", {"n_features": 20})):
        of_part = detectors.create(name, **parameters).fit_leaving_out(batches, groups)
        found.append([torch.cat(p) for p in zip(*of_part, strict=True)])
    of_scores, of_maps = fused.standards_
    torch.testing.assert_close(maps, geometric_mean([part[0] for part in found], of_maps), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, geometric_mean([part[1] for part in found], of_scores), rtol=1e-4, atol=1e-4)


def test_more_images_update_every_part(fused, batches):
    updated = copy.copy(fused)
    before, new = fused.score(batches[0]), [batch.flip(3) ** 1.1 for batch in batches]
    list(updated.update_leaving_out(new, [*range(12)]))
    assert torch.equal(updated.standards_, fused.standards_)
    assert int(updated._parts["padim"].count_) == 24
    assert (updated.score(new[0])[1] < fused.score(new[0])[1]).all()
    for found, expected in zip(fused.score(batches[0]), before, strict=True):
        assert torch.equal(found, expected)  # the one that it was updated from is untouched


def test_one_that_cannot_learn_on_says_so(batches):
    trained = detectors.create("patchcore+stfpm", **TRAINED)
    assert not trained.leaves_out
    with pytest.raises(ParameterError, match="Stfpm cannot learn more images on top"):
        list(trained.fit(batches).update_leaving_out(batches, [*range(12)]))
    with pytest.raises(DataError, match="bank of 1 patches holds those of one image"):
        detectors.create(NAME, **SMALL | {"patchcore.coreset_size": 1}).fit(batches)


def test_pixels_go_through_the_backbone_once(fused, batches):
    with fused.backbone_.overheard() as calls:
        fused.score(batches[0])
    assert len(calls) == 1
    assert fused.can_be_taught


VALUES = st.lists(st.floats(0.1, 100), min_size=2, max_size=6)


@given(VALUES, st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.floats(0.05, 2), st.floats(0.05, 2))
def test_the_order_is_that_of_the_sum_of_standardised_logarithms(values, means, first, second):
    a, b = np.array(values), np.array(values[::-1]) ** 1.3
    standards = torch.tensor([[0, 1e-6, means[0], first], [0, 1e-6, means[1], second]])
    fused = geometric_mean([torch.from_numpy(a), torch.from_numpy(b)], standards.double()).numpy()
    total = (np.log(a) - means[0]) / first + (np.log(b) - means[1]) / second
    for i in range(len(a)):
        for j in range(len(a)):
            if total[i] > total[j] + 1e-6:
                assert fused[i] > fused[j]
    assert (fused > 0).all()


def test_a_typical_value_is_one_and_what_is_no_number_stays_none():
    generator = torch.Generator().manual_seed(0)
    normal = [torch.rand(400, generator=generator) + 1, 50 * torch.rand(400, generator=generator) - 20]
    standards = torch.tensor([Standard.of([values[:200], values[200:]]) for values in normal])
    assert standards[0, 0] == 0
    assert standards[1, 0] < -20  # below zero: moved, so that there is a logarithm
    fused = geometric_mean(normal, standards)
    assert float(fused.log().mean()) == pytest.approx(0, abs=1e-4)
    broken = torch.stack([torch.tensor([math.nan, -1e9, 2.0])] * 2)
    assert geometric_mean(list(broken), standards).isnan().tolist() == [True, False, False]
    constant = Standard.of([torch.zeros(3), torch.zeros(2)])
    assert all(map(math.isfinite, constant))
    assert constant.deviation > 0


# --- by name ------------------------------------------------------------------------------------------------------


def test_it_is_described_without_its_parts_being_made():
    described = detectors.describe("patchcore+dfm")
    assert described.summary == "Geometric mean of what patchcore and dfm say, as one detector."
    assert "1909.11786" in described.paper
    assert described.defaults["layers"] == ("layer2", "layer3")
    assert described.defaults["dfm.pca_level"] == 0.97
    assert "patchcore.seed" not in described.defaults
    assert detectors.is_known("patchcore+dfm")
    assert not detectors.is_known("patchcore+nothing")


def test_parameters_of_parts_have_their_names_in_front():
    chosen = detectors.complete(NAME, {"patchcore.layers": ["layer1"], "padim.layers": ["layer3"]}, None, None)
    assert chosen["layers"] == ("layer1", "layer3")
    made = detectors.create(NAME, **chosen, seed=3)
    assert repr(made) == "PatchcorePadim(patchcore.layers=('layer1',), padim.layers=('layer3',), seed=3)"
    with pytest.warns(DeprecationWarning, match=r"stfpm\.distance=l2 of PadimStfpm is called stfpm\.combine=product"):
        assert detectors.create("padim+stfpm", **{"stfpm.distance": "l2"}).parameters()["stfpm.combine"] == "product"


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("patchcore+padims", {}, r"Unknown detector 'padims'.*did you mean 'padim'"),
        ("patchcore+", {}, "Unknown detector ''"),
        ("padim+padim", {}, r"'padim\+padim' has padim twice: a fusion is of different detectors"),
        (NAME, {"num_neighbors": 3}, r"Unknown parameter of patchcore\+padim 'num_neighbors'"),
        (NAME, {"padim.epsilon": -1.0}, "epsilon=-1.0 is not allowed: it has to be above 0"),
        (NAME, {"padim.epsilon": "x"}, "padim.epsilon=x is not allowed: it has to be of the kind of its default"),
        (NAME, {"layers": ("layer1",)}, r"a fusion has those of its parts, as in patchcore\.layers"),
    ],
)
def test_what_is_refused(name, parameters, message):
    with pytest.raises(ParameterError, match=message):
        detectors.create(name, **parameters)


def test_layers_are_the_parts():
    with pytest.raises(ParameterError, match=r"layers is not allowed among the parameters of patchcore\+padim: each"):
        detectors.complete(NAME, {"layers": ["layer1"]}, None, None)


def test_a_state_that_lacks_something(fused):
    for absent in ("standards_", "patchcore.bank_", "padim.whiten_", "size_"):
        state = {key: tensor for key, tensor in fused.state().items() if key != absent}
        with pytest.raises(WeightsError, match="is not that of a PatchcorePadim with these parameters"):
            detectors.create(NAME, **SMALL).load_state(state)


def test_a_sweep_compares_them(glass):
    given = {"detectors": [NAME, "dfm"], "parameters": {NAME: {"padim.n_features": 30}}}
    candidates = Sweep.from_file(glass, given).candidates()
    assert candidates[NAME].parameters["padim.n_features"] == 30
    assert candidates[NAME].parameters["layers"] == ("layer2", "layer3", "layer1")


def test_from_the_command_line_to_a_verdict(glass, tmp_path):
    model = tmp_path / "m.pellucid"
    small = ["--set", "patchcore.coreset_size=100", "--set", "padim.n_features=20"]
    run_command("fit", glass, "-o", model, "--detector", NAME, "--image-size", 64, "--false-reject", 0.1, *small)
    header = read_header(model)[0]
    assert header.detector == NAME
    assert header.score_of == "top"
    assert header.parameters["patchcore.coreset_size"] == 100
    inspector = pellucid.load(model)
    assert type(inspector.detector).__name__ == "PatchcorePadim"
    good = inspector.inspect(next((glass / "normal_test").iterdir()))
    flawed = [inspector.inspect(path) for path in sorted((glass / "abnormal_test").iterdir())]
    assert np.mean([found.score for found in flawed]) > good.score
    assert inspector.limit.left_out
