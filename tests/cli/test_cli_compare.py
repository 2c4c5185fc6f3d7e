"""Comparing from the command line, and testing what came of it."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from commands import COMPARED, SCORES_HEADER, SMALL, pellucid, pellucid_here
from typer.testing import CliRunner

from pellucid import cli
from pellucid.cli import compare
from pellucid.study.choice import Choice
from pellucid.study.compare import Comparison


def test_compare_writes_everything(compared):
    rows = json.loads((compared / "leaderboard.json").read_text())
    assert {r["detector"] for r in rows} == {"patchcore", "padim", "dfm"}
    assert sum(r["recommended"] for r in rows) == 1
    required = "detector backbone image_size image_auroc image_ap image_f1 limit false_reject_rate escape_rate"
    required += " pixel_auroc aupro fit_seconds ms_per_image_median ms_per_image_p95 model_mb params_total"
    required += " params_trained peak_ram_mb recommended fit_cost image_cost selection_auroc_low selection_auroc_high"
    required += " localisation localisation_low localisation_high localisation_on localisation_flaws"
    for row in rows:
        assert set(required.split()) <= set(row)
        assert all(row[key] is not None for key in required.split())
        assert (row["localisation_on"], row["localisation_flaws"]) == ("labelled training defects", 4)
    for name in ("leaderboard.csv", "report.html", "splits.csv", "config.toml", "pareto.png"):
        assert (compared / name).stat().st_size > 0
    for name in ("model.pellucid", "metrics.json", "scores.csv", "images", "curves/roc.png", "tensorboard"):
        assert (compared / "padim" / name).exists()
    assert (compared / "padim/scores.csv").read_text().splitlines()[0] == SCORES_HEADER


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
        pellucid_here("evaluate", compared / name / "model.pellucid", glass, "-o", tmp_path / name)
        assert (tmp_path / name / "scores.csv").read_text() == (compared / name / "scores.csv").read_text()
        ours = json.loads((tmp_path / name / "metrics.json").read_text())["metrics"]
        assert ours == json.loads((compared / name / "metrics.json").read_text())["metrics"]


@pytest.mark.slow  # the contract tests fit twice with one seed, too
def test_two_runs_with_one_seed_give_identical_files(compared, glass, tmp_path):
    pellucid("compare", glass, "-o", tmp_path, "--detectors", "patchcore", *SMALL)  # it draws most random numbers
    for file in ("model.pellucid", "scores.csv", "metrics.json"):
        assert (tmp_path / "patchcore" / file).read_bytes() == (compared / "patchcore" / file).read_bytes()
    assert (tmp_path / "splits.csv").read_bytes() == (compared / "splits.csv").read_bytes()


def test_resume_runs_only_what_is_missing(compared, glass, tmp_path):
    out = Path(shutil.copytree(compared, tmp_path / "out"))
    before = (out / "padim/cost.json").stat().st_mtime_ns
    (out / "dfm/cost.json").unlink()
    done = pellucid_here("compare", glass, "-o", out, *COMPARED, "--resume")
    assert "dfm: fitting" in done.stderr
    assert "padim: fitting" not in done.stderr
    assert (out / "padim/cost.json").stat().st_mtime_ns == before


def test_a_demo_says_where_its_report_is_and_what_to_type_next(compared, tmp_path, monkeypatch):
    rows = json.loads((compared / "leaderboard.json").read_text())
    best = next(row["name"] for row in rows if row["recommended"])
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    tested = tmp_path / best / "metrics.json"
    found = json.loads(tested.read_text())
    assert found["limit_move"] is None  # four labelled defects are too few
    tested.write_text(json.dumps(found | {"limit_move": {"sentence": "The limit could be moved."}}))
    finished = Comparison(rows, Choice(best, "Run it.", ""), {})
    monkeypatch.setattr(compare, "_run", lambda *_, **__: finished)  # six trainings take minutes
    shown = CliRunner().invoke(cli.app, ["demo", "-o", str(tmp_path)]).stdout.splitlines()
    assert found["promise"] in " ".join(" ".join(shown).split())
    assert shown[-3] == "The limit could be moved."
    assert shown[-2] == f"report: {tmp_path / 'report.html'}"
    assert shown[-1].startswith("next: pellucid inspect ")
    model, images = shlex.split(shown[-1])[3:5]
    assert Path(model) == tmp_path / best / "model.pellucid"
    assert Path(model).is_file()
    assert any(Path(images).glob("*.png"))
