"""What a detector is called by: its repr, its parameters' old names, the examples of its docstring."""

from __future__ import annotations

import doctest
import importlib

import pytest

import pellucid
from pellucid import detectors
from pellucid.detectors._renamed import current_parameters
from pellucid.detectors.stfpm import Stfpm
from pellucid.errors import ParameterError


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, "Patchcore()"),
        ({"layers": ["layer2", "layer3"], "weights": None}, "Patchcore()"),  # as a model file holds them
        ({"coreset_size": 50, "seed": 3}, "Patchcore(coreset_size=50, seed=3)"),
        ({"layers": ["layer1"]}, "Patchcore(layers=('layer1',))"),
    ],
)
def test_a_repr_says_what_is_not_the_default(parameters, expected):
    assert repr(detectors.create("patchcore", **parameters)) == expected


@pytest.mark.parametrize(("old", "new"), [("l2", "product"), ("cosine", "mean")])
def test_an_old_name_goes_on_working_with_a_note(old, new):
    with pytest.warns(DeprecationWarning, match=f"distance={old} of Stfpm is called combine={new} now") as noted:
        assert detectors.create("stfpm", distance=old, epochs=3).combine == new
    assert noted[0].filename == __file__
    with pytest.warns(FutureWarning, match=f"called combine={new} now; the old name goes with the next version"):
        chosen = detectors.complete("stfpm", {"distance": old, "epochs": 3}, "prism_s", None)
    assert (chosen["combine"], chosen["epochs"]) == (new, 3)
    assert "distance" not in chosen


def test_an_old_name_in_fit(glass):
    with pytest.warns(DeprecationWarning, match="called combine=mean now"):
        inspector = pellucid.fit(
            glass, "stfpm", image_size=64, false_reject=0.1, epochs=1, layers=("layer3",), distance="cosine"
        )
    assert inspector.detector.combine == "mean"
    assert "combine='mean'" in repr(inspector.detector)


def test_old_values_are_still_checked_and_both_names_are_one_too_many():
    refused = pytest.raises(
        ParameterError, match="combine='l1' is not allowed: it has to be above_usual, product or mean"
    )
    with pytest.warns(DeprecationWarning, match="called combine=l1 now"), refused:
        detectors.create("stfpm", distance="l1")
    with pytest.raises(ParameterError, match="distance is called combine now: leave distance out"):
        current_parameters(Stfpm, {"distance": "l2", "combine": "mean"})
    with pytest.raises(ParameterError, match="Unknown parameter of stfpm 'distances'"):
        detectors.create("stfpm", distances="l2")
    with pytest.raises(ParameterError, match="Unknown parameter of padim 'distance'"):
        detectors.complete("padim", {"distance": "l2"}, "prism_s", None)


def test_the_mean_of_levels_is_not_their_product(batches, make):
    product = make("stfpm", combine="product").fit(batches)
    mean = make("stfpm", combine="mean").load_state(product.state())
    assert not product.score(batches[0])[0].allclose(mean.score(batches[0])[0])


@pytest.mark.parametrize("name", ["_base", "_device", "_renamed", "_spill", *detectors.names()])
@pytest.mark.filterwarnings("ignore:distance=cosine:DeprecationWarning")
def test_the_examples_of_docstrings_run(name):
    module = importlib.import_module(f"pellucid.detectors.{name}")
    found = doctest.testmod(module, extraglobs={"Stfpm": Stfpm})
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", detectors.names())
def test_every_parameter_has_an_entry_of_its_own(name):
    cls = type(detectors.create(name))
    documented = [line.split(":")[0].strip() for line in cls.__doc__.splitlines() if line.startswith("        ")]
    for parameter in detectors.describe(name).defaults:
        assert parameter in documented, parameter
