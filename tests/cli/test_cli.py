"""The commands as a user runs them: real processes, real files, real kills."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from serving import served
from typer.testing import CliRunner

from pellucid import cli
from pellucid.study.sweep import Sweep

COLUMNS = "path,label,type,score,limit,p_value,verdict"
SMALL = ("--image-size", "64", "--false-reject", "0.1")


def pellucid(*arguments: object, check: int | None = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pellucid", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    if check is not None:
        assert done.returncode == check, done.stderr
    return done


@pytest.fixture(scope="module")
def compared(glass, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    pellucid("compare", glass, "-o", out, "--detectors", "patchcore,padim,dfm", *SMALL)
    return out


def test_compare_writes_everything(compared):
    rows = json.loads((compared / "leaderboard.json").read_text())
    assert {r["detector"] for r in rows} == {"patchcore", "padim", "dfm"}
    assert sum(r["recommended"] for r in rows) == 1
    required = "detector backbone image_size image_auroc image_ap image_f1 limit false_reject_rate escape_rate"
    required += " pixel_auroc aupro fit_seconds ms_per_image_median ms_per_image_p95 model_mb params_total"
    required += " params_trained peak_ram_mb recommended"
    for row in rows:
        assert set(required.split()) <= set(row)
        assert all(row[key] is not None for key in required.split())
    for name in ("leaderboard.csv", "report.html", "splits.csv", "config.toml", "pareto.png"):
        assert (compared / name).stat().st_size > 0
    for name in ("model.pellucid", "metrics.json", "scores.csv", "images", "curves/roc.png", "tensorboard"):
        assert (compared / "padim" / name).exists()
    assert (compared / "padim/scores.csv").read_text().splitlines()[0] == COLUMNS


def test_tensorboard_has_parameters_metrics_histograms_and_pictures(compared):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(compared / "patchcore/tensorboard"))
    events.Reload()
    metrics = json.loads((compared / "patchcore/metrics.json").read_text())["metrics"]
    assert events.Scalars("image_auroc")[0].value == pytest.approx(metrics["image_auroc"])
    assert {"scores/normal", "scores/abnormal"} <= set(events.Tags()["histograms"])
    assert any(tag.startswith("images/") for tag in events.Tags()["images"])


def test_evaluate_gives_exactly_the_numbers_of_compare(compared, glass, tmp_path):
    for name in ("patchcore", "padim", "dfm"):
        pellucid("evaluate", compared / name / "model.pellucid", glass, "-o", tmp_path / name)
        assert (tmp_path / name / "scores.csv").read_text() == (compared / name / "scores.csv").read_text()
        ours = json.loads((tmp_path / name / "metrics.json").read_text())["metrics"]
        assert ours == json.loads((compared / name / "metrics.json").read_text())["metrics"]


def test_inspect_gives_the_score_of_scores_csv(compared, glass, tmp_path):
    row = list(csv.DictReader((compared / "patchcore/scores.csv").read_text().splitlines()))[-1]
    done = pellucid("inspect", compared / "patchcore/model.pellucid", glass / row["path"], "--json", "-o", tmp_path)
    found = json.loads(done.stdout)
    assert found["score"] == float(row["score"])
    assert found["verdict"] == row["verdict"]
    assert (tmp_path / "scores.csv").read_text().splitlines()[0] == COLUMNS
    assert len(list((tmp_path / "images").glob("*.png"))) == 1


def test_two_runs_with_one_seed_give_identical_files(compared, glass, tmp_path):
    pellucid("compare", glass, "-o", tmp_path, "--detectors", "patchcore,padim,dfm", *SMALL)
    for name in ("patchcore", "padim", "dfm"):
        for file in ("model.pellucid", "scores.csv", "metrics.json"):
            assert (tmp_path / name / file).read_bytes() == (compared / name / file).read_bytes()
    assert (tmp_path / "splits.csv").read_bytes() == (compared / "splits.csv").read_bytes()


def test_resume_runs_only_what_is_missing(compared, glass):
    before = (compared / "padim/cost.json").stat().st_mtime_ns
    (compared / "dfm/cost.json").unlink()
    done = pellucid("compare", glass, "-o", compared, "--detectors", "patchcore,padim,dfm", *SMALL, "--resume")
    assert "dfm: fitting" in done.stderr
    assert "padim: fitting" not in done.stderr
    assert (compared / "padim/cost.json").stat().st_mtime_ns == before


def test_reject_is_exit_code_3(compared, glass):
    model = compared / "patchcore/model.pellucid"
    done = pellucid("inspect", model, glass / "abnormal_test", "--json", "--fail-on-reject", check=None)
    verdicts = [json.loads(line)["verdict"] for line in done.stdout.splitlines()]
    assert done.returncode == (3 if "reject" in verdicts else 0)
    assert "reject" in verdicts


def test_bad_files_are_skipped_and_all_bad_is_an_error(compared, glass, tmp_path):
    bad = tmp_path / f"{'b' * 80}[bad].png"  # longer than a line, and like the markup of the console
    bad.write_text("no image")
    good = tmp_path / "good[b].png"
    good.write_bytes(next((glass / "normal_test").glob("*.png")).read_bytes())
    done = pellucid("inspect", compared / "dfm/model.pellucid", bad, good)
    assert f"skipped: '{bad}' is not an image" in done.stderr
    assert good.name in done.stdout
    assert "1 skipped" in done.stdout
    done = pellucid("inspect", compared / "dfm/model.pellucid", bad, check=1)
    assert "None of the 1 files could be inspected" in done.stderr


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
        (("detectors", "fastflw"), "did you mean 'fastflow'"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_1(arguments, message, glass, tmp_path, capsys, monkeypatch):
    filled = [a.format(glass=glass, tmp=tmp_path) for a in arguments]
    monkeypatch.setattr(sys, "argv", ["pellucid", *filled])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Traceback" not in said


def test_usage_is_exit_2():
    assert CliRunner().invoke(cli.app, ["fit", "--nonsense"]).exit_code == 2


def test_help_and_detectors_run_without_torch():
    code = "import sys; from pellucid.cli import app; from typer.testing import CliRunner as R;"
    code += "assert R().invoke(app, ['--help']).exit_code == 0; assert R().invoke(app, ['detectors']).exit_code == 0;"
    code += "assert R().invoke(app, ['backbones']).exit_code == 0; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_of_backbones_names_the_extra_to_install():
    shown = CliRunner().invoke(cli.app, ["backbones"], env={"COLUMNS": "200"}).output
    assert shown.index("prism_s") < shown.index("prism_m")
    assert "extra [vit]" in shown


STFPM = ("--detector", "stfpm", "--set", "epochs=3", *SMALL)


@pytest.fixture(scope="module")
def trained(glass, tmp_path_factory):
    model = tmp_path_factory.mktemp("trained") / "m.pellucid"
    pellucid("fit", glass, "-o", model, *STFPM)
    return model


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
@pytest.mark.parametrize("delay", [1.0, 3.0, 4.5])
def test_a_killed_fit_leaves_the_old_model_or_the_new_one(glass, trained, tmp_path, delay):
    model = Path(shutil.copy(trained, tmp_path))
    before = model.read_bytes()
    command = [sys.executable, "-m", "pellucid", "fit", str(glass), "-o", str(model), *STFPM]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert model.read_bytes() == before
    pellucid("fit", glass, "-o", model, *STFPM, "--resume")  # resumed or afresh, the result is the same
    assert model.read_bytes() == before


def test_public_names():
    import pellucid as package

    assert package.__all__ == sorted(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = package.nonsense


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].split() for line in re.findall(r"^pellucid .*", README, re.M) if "finds the" not in line]


@pytest.fixture(scope="module")
def desk(glass, tmp_path_factory):
    """A folder with what the README assumes."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(glass, folder / "GlassDefect")
    shutil.copytree(glass / "abnormal_test", folder / "new_images")
    shutil.copy(next((glass / "abnormal_test").glob("*.png")), folder / "pane_0412.png")
    return folder


def test_the_commands_of_the_readme_run(desk):
    names = ["compare", "fit", "inspect", "evaluate", "study", "export", "inspect", "account", "serve"]
    assert [c[1] for c in COMMANDS] == names
    for command in COMMANDS[1:-1]:
        command += ["--each", "2"] if command[1] == "study" else []  # 20 are a minute's work
        subprocess.run([sys.executable, "-m", *command], cwd=desk, check=True, capture_output=True)
    assert (desk / "results/scores.csv").exists()
    with served(desk, *COMMANDS[-1][2:]) as service:
        answer = service.inspect(desk / "pane_0412.png", model="glass").json()["items"][0]
        assert answer["verdict"] in ("ok", "reject")
        names = [model["name"] for model in service.http.get("/models").json()["items"]]
        assert names == ["exported", "glass"]


def test_an_empty_folder_is_one_sentence(compared, tmp_path):
    model = compared / "dfm/model.pellucid"
    for arguments in (["inspect", model, tmp_path], ["export", model, "-o", tmp_path / "x", "--check", tmp_path]):
        assert "There are no images in" in pellucid(*arguments, check=1).stderr


def test_the_sweep_of_the_readme_is_one(desk):
    (block,) = re.findall(r"```toml\n(.*?)```", README, flags=re.S)
    (desk / "sweep.toml").write_text(block)
    cells = Sweep.from_file(desk / "sweep.toml", {}).candidates()
    assert len(cells) == 2 * 2 * 2 + 2 * 2
    assert "patchcore-resnet18-128-coreset_sampling_ratio=0.1" in cells


@pytest.mark.slow
def test_the_comparison_of_the_readme_runs(desk):
    subprocess.run([sys.executable, "-m", *COMMANDS[0]], cwd=desk, check=True, capture_output=True)
    assert len(json.loads((desk / "out/leaderboard.json").read_text())) == 6


def test_the_python_of_the_readme_runs(desk, monkeypatch):
    monkeypatch.chdir(desk)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert blocks
    for block in blocks:
        exec(block, {})


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is of POSIX")
@pytest.mark.parametrize("command", ["fit", "compare", "inspect", "export"])
def test_a_full_disk_is_one_sentence_and_the_old_file_stays(command, compared, glass, tmp_path):
    import resource

    def full() -> None:  # every write beyond this size fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    model = tmp_path / "m.pellucid"
    model.write_bytes(b"old")
    arguments = {
        "fit": ["fit", glass, "-o", model, "--detector", "dfm", *SMALL],
        "compare": ["compare", glass, "-o", tmp_path / "out", "--detectors", "dfm", *SMALL],
        "inspect": ["inspect", compared / "dfm/model.pellucid", glass / "abnormal_test", "-o", tmp_path / "found"],
        "export": ["export", compared / "dfm/model.pellucid", "-o", tmp_path / "exported"],
    }[command]
    line = [sys.executable, "-m", "pellucid", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, encoding="utf-8", preexec_fn=full, check=False)
    assert done.returncode == 1, done.stderr
    assert "Cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert model.read_bytes() == b"old"
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
@pytest.mark.parametrize("command", ["inspect", "evaluate"])
def test_killed_readers_leave_whole_files(command, compared, glass, tmp_path):
    model = compared / "patchcore/model.pellucid"
    given = glass / "abnormal_test" if command == "inspect" else glass
    arguments = [sys.executable, "-m", "pellucid", command, str(model), str(given), "-o", str(tmp_path)]
    subprocess.run(arguments, check=True, capture_output=True)
    before = (tmp_path / "scores.csv").read_bytes()
    for delay in (2.0, 2.5, 3.0):
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait()
        assert (tmp_path / "scores.csv").read_bytes() == before
        assert all(cv2.imread(str(path)) is not None for path in tmp_path.glob("images/*.png"))
    subprocess.run(arguments, check=True, capture_output=True)
    assert (tmp_path / "scores.csv").read_bytes() == before
