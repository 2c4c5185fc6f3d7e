"""Groups of detectors in a comparison: who belongs to which, and that fast ones need no epochs."""

from __future__ import annotations

import doctest

import pytest

from pellucid import detectors
from pellucid.errors import ParameterError
from pellucid.study import groups
from pellucid.study.sweep import Sweep


def test_every_detector_is_in_closed_form_or_trained():
    closed, trained = groups.members("closed-form"), groups.members("trained")
    assert sorted(closed + trained) == groups.members("all") == detectors.names()
    assert set(closed) == {name for name in detectors.names() if detectors.create(name).leaves_out}
    assert all(detectors.create(name).leaves_out for name in groups.FAST)
    assert set("+".join(groups.FAST).split("+")) <= set(closed)


def test_what_is_compared_by_default_has_not_grown():
    six = {"patchcore", "padim", "dfm", "stfpm", "fastflow", "reverse_distillation"}
    assert set(groups.expand([])) == set(detectors.names()) - groups.ON_REQUEST
    assert set(groups.expand([])) >= six
    assert detectors.own_names() - six == groups.ON_REQUEST


def test_groups_and_names_are_joined_each_once():
    assert groups.expand(["padim", "fast", "closed-form"])[:2] == ["padim", "patchcore"]
    assert len(groups.expand(["fast", "fast", "patchcore+padim+dfm"])) == len(groups.FAST)
    assert doctest.testmod(groups).failed == 0


def test_what_cannot_predict_noise_says_so():
    assert groups.caveats(["patchcore", "fastflow", "padim+dfm"]) == []
    [one] = groups.caveats(["padim+stfpm", "dfm"])
    assert one.startswith("stfpm cannot tell a flaw from noise")
    [both] = groups.caveats(["reverse_distillation", "stfpm"])
    assert both.startswith("stfpm and reverse_distillation cannot tell")


def test_a_sweep_takes_them(tmp_path):
    sweep = Sweep.from_file(tmp_path, {"detectors": ["trained", "dfm+padim"]})
    assert list(sweep.candidates()) == [*groups.members("trained"), "dfm+padim"]
    assert '"trained"' in sweep.to_toml()
    with pytest.raises(ParameterError, match="Unknown detector 'quick'"):
        Sweep.from_file(tmp_path, {"detectors": ["quick"]})
    with pytest.raises(ParameterError, match="Unknown detector 'fast'"):
        Sweep.from_file(tmp_path, {"detectors": ["fast+padim"]})


def test_a_detector_that_is_called_like_a_group_is_meant(monkeypatch):
    monkeypatch.setattr(groups.detectors, "is_known", lambda name: name == "fast")
    assert groups.expand(["fast"]) == ["fast"]
