"""Mistakes: one sentence, nothing lost."""

from __future__ import annotations

import os
import sys

import pytest
from typer.testing import CliRunner

from pellucid import cli
from pellucid.errors import ParameterError, PellucidError, WeightsError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "{glass}", "-o", "{tmp}/o", "--track", "mlfow"), "Unknown tracker 'mlfow': did you mean 'mlflow'"),
        (("compare", "{glass}", "-o", "{tmp}/o", "--seeds", "0"), "seeds = 0 is not allowed"),
        (("compare", "{tmp}/absent.toml", "-o", "{tmp}/o"), "Cannot read"),
        (("compare", "{glass}", "-o", "{tmp}/o", "--cost-escape", "0"), "give two above zero"),
        (("evaluate", "{tmp}/absent.pellucid", "{glass}", "--defect-rate", "2"), "between 0 and 1"),
        (("study", "power", "{tmp}/absent.pellucid", "{glass}", "-o", "{tmp}/p"), "Cannot read model"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--detector", "padm"), "did you mean 'padim'"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--backbone", "resnet19"), "did you mean 'resnet18'"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--set", "num_neighbour=1"), "did you mean 'num_neighbors'"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--set", "num_neighbors=many"), "has to be of the kind of its default, 9"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--set", "num_neighbors"), "write key=value"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--set", "seed=1"), "seed has an option of its own, --seed"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--image-size", "7"), "give N or HxW"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--false-reject", "0.001"), "lowest rate possible with 50 is 0.02"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--false-reject", "2"), "between 0 and 1"),
        (("fit", "{tmp}", "-o", "{tmp}/x/m"), "known layouts are"),
        (("fit", "{glass}", "-o", "/proc/nowhere/m"), "Cannot write"),
        (("compare", "{glass}", "-o", "/proc/nowhere"), "Cannot write"),
        (("inspect", "{tmp}/absent.pellucid", "{glass}"), "Cannot read model"),
        (("evaluate", "{tmp}/absent.pellucid", "{glass}"), "Cannot read model"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--set", "layers="), "--set layers= is not understood: write key=value"),
        (("fit", "{glass}", "-o", "{tmp}/m", "--detector", "PatchCore"), "did you mean 'patchcore'"),
        (("fit", "{tmp}/absent", "-o", "{tmp}/m"), "absent' does not exist"),
        (("fit", "{glass}", "-o", "{tmp}"), "it is a folder"),
        (("fit", "{glass}", "-o", "{tmp}/text.txt"), "text.txt' is there and is not a pellucid model: give another"),
        (("fit", "{glass}", "-o", "{tmp}/text.txt/m"), "text.txt' is a file, not a folder"),
        (("compare", "{glass}", "-o", "{tmp}/o", "--detectors", ""), "Unknown detector ''"),
        (("compare", "{glass}", "-o", "{tmp}/text.txt"), "text.txt' is a file, not a folder"),
        (("compare", "{tmp}/text.toml", "-o", "{tmp}/o"), "is not a TOML file"),
        (("inspect", "{tmp}/text.txt", "{glass}"), "is not a pellucid model"),
        (("inspect", "{tmp}", "{glass}"), "is not a whole exported model"),
        (("export", "{tmp}/text.txt", "-o", "{tmp}/x"), "is not a pellucid model"),
        (("detectability", "{tmp}/absent.pellucid", "{glass}", "-o", "{tmp}/p"), "Cannot read model"),
        (("demo", "-o", "{tmp}/text.txt"), "Cannot write"),
        (("detectors", "fastflw"), "did you mean 'fastflow'"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_1(arguments, message, glass, tmp_path, capsys, monkeypatch):
    for name in ("text.txt", "text.toml"):
        (tmp_path / name).write_text("some text")
    filled = [a.format(glass=glass, tmp=tmp_path) for a in arguments]
    monkeypatch.setattr(sys, "argv", ["pellucid", *filled])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    printed = " ".join(capsys.readouterr().err.split())
    assert message in printed
    assert printed.count("error:") == 1
    assert "Traceback" not in printed
    assert ".probe" not in printed
    assert (tmp_path / "text.txt").read_text() == "some text"


def test_usage_is_exit_2():
    assert CliRunner().invoke(cli.app, ["fit", "--nonsense"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ft",), "No such command 'ft'. Did you mean 'fit'?"),
        (("fit",), "Missing argument 'DATA'"),
        (("fit", "DATA"), "Missing option '-o' / '--output'"),
        (("fit", "DATA", "-o", "m", "--detectr", "padim"), "--detector"),
        (("fit", "DATA", "-o", "m", "--seed", "-1"), "greater than or equal to 0"),
        (("fit", "DATA", "-o", "m", "--seed", "1.5"), "should be a valid integer"),
        (("fit", "DATA", "-o", "m", "--seed", str(2**32)), "less than or equal to 4294967295"),
        (("fit", "DATA", "-o", "m", "--limit", "f2"), "'f2' is not one of 'conformal', 'gap', 'f1'"),
        (("fit", "DATA", "-o", "m", "--false-reject", "few"), "should be a valid number"),
        (("compare", "DATA", "--max-ms", "-1"), "greater than or equal to 0"),
        (("inspect", "m", "i.png", "--runtime", "tensorrt"), "'tensorrt' is not one of 'auto', 'torch', 'openvino'"),
        (("inspect", "m"), "Missing argument 'IMAGE|FOLDER'"),
        (("detectability", "m", "DATA", "--flaws-per-cell", "0"), "greater than or equal to 1"),
        (("backbones", "resnet18"), "unexpected extra argument"),
    ],
)
def test_what_is_wrong_with_a_command_line_is_said(arguments, message):
    done = CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize("command", ["fit", "inspect", "evaluate", "compare", "detectability", "export", "demo"])
@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_what_is_no_device_is_refused_by_the_option(command, device):
    arguments = {"fit": ["d", "-o", "m"], "inspect": ["m", "i"], "evaluate": ["m", "d"], "detectability": ["m", "d"]}
    arguments |= {"compare": ["d"], "export": ["m", "-o", "d"], "demo": []}
    line = [command, *arguments[command], "--device", device]
    done = CliRunner().invoke(cli.app, line, env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert f"'{device}' is not a device: give auto, cpu, cuda, cuda:N or mps." in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "absent", "-o", "{tmp}/m"),
        ("compare", "absent", "-o", "{tmp}/o"),
        ("demo", "-o", "{tmp}/o"),
        ("inspect", "{model}", "{glass}"),
        ("evaluate", "{model}", "absent"),
        ("detectability", "{model}", "absent", "-o", "{tmp}/o"),
        ("export", "{model}", "-o", "{tmp}/o"),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_work_begins(arguments, model, glass, tmp_path):
    filled = [a.format(model=model, glass=glass, tmp=tmp_path) for a in arguments]
    with pytest.raises(ParameterError, match="device=cuda:99 is not there: this machine has cpu"):
        cli.app([*filled, "--device", "cuda:99"], standalone_mode=False)


def test_the_device_of_a_comparison_reaches_the_processes_that_it_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_DEVICE", "cuda:99")
    for device, expected in (("auto", "PELLUCID_DEVICE=cuda:99 is not there"), ("cpu", "absent' does not exist")):
        with pytest.raises(PellucidError, match=expected):
            cli.app(["compare", "absent", "-o", str(tmp_path), "--device", device], standalone_mode=False)
    assert os.environ["PELLUCID_DEVICE"] == "cpu"


def test_layers_weights_and_values_are_checked_before_the_data_are_read(tmp_path):
    absent = tmp_path / "absent"  # would be the error otherwise
    fit = ["fit", str(absent), "-o", str(tmp_path / "m")]
    for arguments, error, message in (
        ([*fit, "--set", "layers=layer9"], ParameterError, "has no layer layer9"),
        ([*fit, "--weights", "absent.pth"], WeightsError, "'absent.pth' does not exist"),
        ([*fit, "--false-reject", "1.5"], ParameterError, "between 0 and 1"),
        ([*fit, "--set", "num_neighbors=0"], ParameterError, "num_neighbors=0 is not allowed: it has to be at least 1"),
        ([*fit, "--detector", "stfpm", "--set", "lr=-1"], ParameterError, "it has to be above 0 and finite"),
        ([*fit, "--detector", "stfpm", "--set", "lr=1e999"], ParameterError, "it has to be above 0 and finite"),
        ([*fit, "--detector", "fastflow", "--set", "epochs=0"], ParameterError, "it has to be at least 1"),
        (["compare", str(absent), "-o", str(tmp_path), "--false-reject", "0"], ParameterError, "between 0 and 1"),
    ):
        with pytest.raises(error, match=message):
            cli.app(arguments, standalone_mode=False)


def test_too_little_memory_is_one_sentence(capsys, monkeypatch):
    class OutOfMemoryError(RuntimeError): ...  # torch's, for a GPU

    for error in (MemoryError(), OutOfMemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):

        def fail(error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        with pytest.raises(SystemExit, match="1"):
            cli.main()
        assert "There is not enough memory for this" in capsys.readouterr().err


@pytest.mark.parametrize("detector", ["stfpm", "fastflow", "reverse_distillation"])
def test_a_training_that_diverges_is_one_sentence_and_leaves_no_model(detector, glass, tmp_path, capsys, monkeypatch):
    arguments = ["fit", str(glass), "-o", str(tmp_path / "m"), "--detector", detector, "--image-size", "64"]
    arguments += ["--false-reject", "0.1", "--set", "lr=1e6", "--set", "epochs=2"]
    for resumed in ([], ["--resume"]):
        monkeypatch.setattr(sys, "argv", ["pellucid", *arguments, *resumed])
        with pytest.raises(SystemExit, match="1"):
            cli.main()
        printed = " ".join(capsys.readouterr().err.split())
        assert f"error: The training of {detector} diverged" in printed
        assert "Set a lower learning rate than lr=1e+06." in printed
        assert not (tmp_path / "m").exists()
