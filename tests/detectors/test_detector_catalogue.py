"""The catalogue: what it knows without torch, however pellucid is installed, and what other distributions add."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pellucid
from pellucid import detectors
from pellucid._io.plugins import find_plugins
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.errors import ModelFileError, ParameterError
from pellucid.inspector import Inspector
from pellucid.records.limits import Limit
from pellucid.runtimes.torch import Torch
from pellucid.study.groups import ON_REQUEST
from pellucid.study.sweep import Sweep

PACKAGE = Path(pellucid.__file__).parent
PLUGIN = '''"""Nearest mean (nobody, 2026)."""
from pellucid.detectors import Detector, image_score

class Mean(Detector):
    """Distance to the mean. More."""

    mean_: "Tensor"

    def __init__(self, *, backbone="prism_s", layers=("layer3",), weights=None, seed=0, power=2):
        self.backbone, self.layers, self.weights, self.seed, self.power = backbone, layers, weights, seed, power

    def _fit(self, images, checkpoint):
        self.mean_ = sum(self.backbone_(batch)[0].mean((0, 2, 3)) for batch in images) / len(images)

    def _score(self, pixels):
        distance = (self.backbone_(pixels)[0] - self.mean_[:, None, None]).norm(dim=1)
        return distance.repeat_interleave(16, 1).repeat_interleave(16, 2), image_score(distance)
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution of one module and its entry points, for this test."""

    def installed(distribution, source, **entry_points):
        (module,) = {target.partition(":")[0] for target in entry_points.values()}
        (tmp_path / f"{module}.py").write_text(source)
        information = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = [f"{name} = {target}" for name, target in entry_points.items()]
        (information / "entry_points.txt").write_text("\n".join(["[pellucid.detectors]", *lines]))
        monkeypatch.delitem(sys.modules, module, raising=False)
        find_plugins.cache_clear()

    monkeypatch.syspath_prepend(tmp_path)
    yield installed
    find_plugins.cache_clear()


def test_the_table_is_current():
    hint = "run `python -m pellucid.detectors` and commit src/pellucid/detectors/_table.py"
    assert detectors.table_is_current(), hint
    for name in detectors.own_names():
        assert detectors.describe(name) == detectors.describe_class(name, detectors.class_of(name)), hint


@pytest.mark.parametrize("form", ["zip", "bytecode", "half merged"])
def test_every_kind_of_installation_knows_its_detectors(form, tmp_path):
    copy = tmp_path / "copy" / "pellucid"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "weights", "service"))
    place = copy.parent
    if form == "bytecode":
        compileall.compile_dir(copy, quiet=1, legacy=True)
        for source in copy.rglob("*.py"):
            source.unlink()
    elif form == "zip":
        place = Path(shutil.make_archive(str(tmp_path / "all"), "zip", copy.parent))
    else:
        (copy / "detectors" / "_table.py").write_text("<<<<<<< HEAD\n")
    code = "import sys, pellucid.detectors as d\nprint(d.__file__, [d.describe(n) for n in d.names()], sep='\\n')\n"
    code += "print('torch' in sys.modules)\nprint(d.create('padim'))"
    environment = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    where, described, torch_imported, created = done.stdout.splitlines()
    assert where.startswith(str(place))
    assert described == repr([detectors.describe(name) for name in sorted(detectors.own_names())])
    assert torch_imported == str(form == "half merged")
    assert "Padim" in created


def test_what_the_table_does_not_know_as_it_is_now_is_imported(monkeypatch):
    expected = {name: detectors.describe(name) for name in ("dfm", "padim")}
    stale = {"dfm": {**detectors.TABLE["dfm"], "summary": "Old.", "source_sha256": "0"}}  # and padim is missing
    monkeypatch.setattr(detectors, "TABLE", stale)
    assert not detectors.table_is_current()
    assert {name: detectors.describe(name) for name in expected} == expected


def test_another_file_is_another_detector(tmp_path, monkeypatch, glass):
    (tmp_path / "mean.py").write_text(PLUGIN)
    (tmp_path / "_machinery.py").write_text("")
    (tmp_path / "empty.py").write_text("from pellucid.detectors._base import Detector")
    monkeypatch.setattr(detectors, "__path__", [*detectors.__path__, str(tmp_path)])
    assert {"mean", "empty"} <= set(detectors.names())
    assert "_machinery" not in detectors.names()
    assert detectors.describe("mean").summary == "Distance to the mean. More."
    assert detectors.name_of(detectors.create("mean")) == "mean"
    with pytest.raises(ParameterError, match=r"pellucid\.detectors\.empty defines no subclass of Detector: write one"):
        detectors.describe("empty")
    assert "mean" in Sweep.model_validate({"data": glass}).candidates()
    for name in ("mean", "empty"):
        sys.modules.pop(f"pellucid.detectors.{name}")


def test_a_detector_of_another_distribution(install, glass):
    install("glass-mean", PLUGIN, mean="glass_mean:Mean")
    assert "mean" in detectors.names()
    assert "glass_mean" not in sys.modules  # listed, not imported
    described = detectors.describe("mean")
    assert (described.paper, described.distribution) == ("Nearest mean (nobody, 2026).", "glass-mean")
    assert dict(described.defaults) == detectors.create("mean").parameters()
    assert detectors.name_of(detectors.create("mean", power=3)) == "mean"
    with pytest.raises(ParameterError, match="Unknown parameter of mean 'powr': did you mean 'power'"):
        detectors.create("mean", powr=3)
    assert Sweep.model_validate({"data": glass}).candidates().keys() == set(detectors.names()) - ON_REQUEST


def test_a_model_of_another_distributions_detector(install, tmp_path, batches):
    install("glass-mean", PLUGIN, mean="glass_mean:Mean")
    detector = detectors.create("mean", power=3).fit(batches)
    path = tmp_path / "m.pellucid"
    Inspector(Torch(detector), Limit(1.0, 1.0, 0.05, (1.0,)), (64, 64), FittedImages(data_sha256=""), 0, 0.05).save(
        path
    )
    loaded = pellucid.load(path).detector
    assert loaded.power == 3
    assert loaded.score(batches[0])[1].equal(detector.score(batches[0])[1])
    (tmp_path / "glass_mean-1.2.dist-info" / "entry_points.txt").unlink()
    find_plugins.cache_clear()
    with pytest.raises(ModelFileError, match="holds a 'mean', a detector that is not installed here: it came from "):
        pellucid.load(path)
    with pytest.raises(ModelFileError, match=r"glass-mean 1\.2, install that"):
        pellucid.load(path)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "import no_such_module",
            r"cannot be imported \(ModuleNotFoundError: No module named 'no_such_module'\): mend or",
        ),
        ("", r"cannot be imported \(AttributeError: .*'Mean'\): mend or uninstall that distribution"),
        ("Mean = 3", r"'glass_mean:Mean', the detector 'mean' of glass-mean, cannot be used: it is no subclass"),
        (
            PLUGIN.replace("seed=0, power=2", "seed, power=2"),
            "cannot be used: its constructor has no seed with a default",
        ),
    ],
)
def test_a_broken_distribution_is_one_sentence_and_breaks_no_other(install, caplog, source, sentence):
    install("glass-mean", source, mean="glass_mean:Mean")
    with pytest.raises(ParameterError, match=sentence):
        detectors.create("mean")
    assert [described.name for described in detectors.descriptions()] == sorted(detectors.own_names())
    (record,) = caplog.records
    assert record.name == "pellucid.plugins"
    assert "'mean' of glass-mean" in record.message


def test_names_that_clash_or_are_not_allowed(install, caplog):
    install("glass-mean", PLUGIN, mean="glass_mean:Mean", dfm="glass_mean:Mean", **{"my/mean": "glass_mean:Mean"})
    install("glass-other", PLUGIN, mean="glass_other:Mean")
    for _ in range(2):  # one warning in a process
        assert detectors.names() == sorted({*detectors.own_names(), "mean"})
    assert detectors.describe("dfm").distribution == "pellucid"
    assert detectors.describe("mean").distribution == "glass-mean"
    assert sorted(record.message for record in caplog.records) == [
        "'dfm' of glass-mean is left out: pellucid has one of this name.",
        "'mean' of glass-other is left out: glass-mean has one of this name.",
        "'my/mean' of glass-mean is left out: a name has small letters, digits and underscores.",
    ]


def test_a_detector_without_a_name_cannot_be_saved(batches, tmp_path):
    namespace = {"__name__": "notebook"}
    exec(PLUGIN, namespace)
    detector = namespace["Mean"]().fit(batches)
    with pytest.raises(
        ParameterError, match=r"Mean of notebook has no name that a model file could hold: .*entry point"
    ):
        Inspector(Torch(detector), Limit(1.0, 1.0, 0.05, (1.0,)), (64, 64), FittedImages(data_sha256=""), 0, 0.05).save(
            tmp_path / "m"
        )


def test_what_a_detector_is_written_with_is_public():
    from pellucid.detectors import _base, _maps

    assert detectors.Detector is _base.Detector
    assert detectors.smooth_map is _maps.smooth_map
    with pytest.raises(AttributeError, match=r"module 'pellucid\.detectors' has no attribute 'smoth_map'"):
        detectors.smoth_map  # noqa: B018
