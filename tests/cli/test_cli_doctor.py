"""``pellucid doctor``: what it looks at, and that it says so when something is broken."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest
from commands import pellucid_here

from pellucid import backbones, doctor
from pellucid.errors import ExportError
from pellucid.models.export import TOLERANCE


@pytest.fixture(scope="module")
def told() -> dict:
    return json.loads(pellucid_here("doctor", "--json").stdout)


def named(findings: list[dict], subject: str) -> dict[str, dict]:
    return {found["name"]: found for found in findings if found["subject"] == subject}


def test_a_healthy_machine(told):
    assert told["healthy"]
    assert {found["subject"] for found in told["findings"]} == set(doctor.SUBJECTS)
    versions = named(told["findings"], "versions")
    assert versions["numpy"]["value"] == metadata.version("numpy")
    assert {"torch", "openvino", "opencv-python-headless", "pillow"} <= versions.keys()


def test_every_requirement_is_loaded_by_a_name_that_exists():
    """Those that the project states, not those of the metadata here: an editable installation may be older."""
    stated = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = [re.split(r"[>\[]", line)[0] for line in stated if ";" not in line]
    assert {"torch", "pyyaml", "opencv-python-headless"} <= set(names)
    modules = doctor._modules()
    assert [name for name in names if importlib.util.find_spec(modules[doctor._normalized(name)]) is None] == []


def test_runtimes_agree_by_a_number(told):
    runtimes = named(told["findings"], "runtimes")
    for name in ("openvino", "onnx"):
        if runtimes[name]["state"] != "missing":
            assert 0 < runtimes[name]["number"] < TOLERANCE


def test_weights_are_the_released_ones(told):
    weights = named(told["findings"], "weights")
    assert {name.split(".")[0] for name in weights} == set(backbones.embedded_names())
    assert all(found["value"] == backbones.entry(name).sha256[:16] for name, found in weights.items())


def test_extras_are_those_of_the_package(told):
    extras = named(told["findings"], "extras")
    asked = set(metadata.metadata("pellucid").get_all("Provides-Extra")) - {"dev"}
    assert set(extras) == asked
    for name, found in extras.items():
        assert (found["advice"] == f"pip install 'pellucid[{name}]'") == (found["state"] == "missing")


def test_modules_have_the_names_that_packages_are_imported_by():
    """Whatever pellucid comes to need, its module is found; names that differ are the ones that go wrong."""
    modules = doctor._modules()
    known = {"pyyaml": "yaml", "pillow": "PIL", "scikit_learn": "sklearn", "opencv_python_headless": "cv2"}
    assert known.items() <= modules.items()
    for name in ("torch", "numpy", "tomli_w", "huggingface_hub", "pytest"):
        assert modules[name] == name


def test_a_processor_with_little_is_no_fault(monkeypatch):
    monkeypatch.setattr(doctor, "_cpuinfo", lambda: "model name\t: Old One\nflags\t\t: fpu sse2 avx2 avx_vnni\n")
    found = {one.name: (one.state, one.value) for one in doctor._processor()}
    assert found["cores"][1].endswith("Old One")
    assert found["AVX2"] == found["VNNI"] == ("ok", "yes")
    assert found["AVX-512"] == found["AMX"] == ("missing", "no")
    assert "NEON" not in found


def test_damaged_weights_and_a_package_that_does_not_load_are_broken(monkeypatch, tmp_path):
    """Everything that is wrong is told at once, in the command's words, and the exit code is 1."""
    shutil.copytree(str(resources.files("pellucid.backbones") / "weights"), tmp_path / "weights")
    file = tmp_path / "weights" / "prism_s.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    monkeypatch.setattr(doctor.resources, "files", lambda _: tmp_path)
    load = doctor.importlib.import_module

    def fails(name: str) -> object:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return load(name)

    monkeypatch.setattr(doctor.importlib, "import_module", fails)
    monkeypatch.setattr(doctor, "_runtimes", lambda _: iter(()))
    done = pellucid_here("doctor", check=1)
    assert "broken: opencv-python-headless, prism_s" in done.stderr
    assert "ImportError: libGL.so.1: cannot open shared object file" in done.stdout
    assert "Install pellucid again." in done.stdout


def test_runtimes_that_disagree_are_broken():
    class Disagreeing:
        def export(self, _: Path, format: str) -> None:
            raise ExportError(f"The {format} graph differs from torch.")

    found = doctor._agreement(Disagreeing(), "onnx")
    assert (found.state, found.value) == ("broken", "The onnx graph differs from torch.")
    assert found.advice == "Use --runtime torch."


def test_without_torch_exported_models_are_all_there_is():
    (found,) = doctor._runtimes([doctor.Finding("versions", "numpy", "ok", "2")])
    assert (found.name, found.state) == ("torch", "missing")


def test_a_full_disk_is_broken(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    states = {one.name: one.state for one in doctor._room()}
    assert states["disk here"] == states["disk for temporary files"] == "broken"
