"""A comparison replaces what a comparison made in its folder, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

import pellucid
from pellucid import cli
from pellucid.errors import OutputError, PellucidError
from pellucid.models.cache import MAX_CACHED_GRAPHS, cached_folder
from pellucid.study import owned
from pellucid.study.compare import compare
from pellucid.study.sweep import Sweep


def contents(folder: Path) -> dict[str, bytes | None]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def dfm(data: Path, **more: object) -> Sweep:
    return Sweep(data=data, detectors=["dfm"], image_size=64, false_reject=0.1, **more)


SWEEP_CONFIG = 'data = "x"\nprefer = "size"\ndetectors = []'
FOREIGN = {
    "a folder with a detector's name": {"dfm/notes.txt": "mine"},
    "the same below": {"dfm/2024/pane.png": "mine"},
    "a file with a detector's name": {"dfm": "mine"},
    "a model of somebody else": {"dfm/model.pellucid": "mine"},
    "a comparison of that name": {"dfm/leaderboard.json": "[]", "dfm/config.toml": SWEEP_CONFIG},
    "a model of another comparison": {"dfm/config.toml": 'detector = "dfm"\ntested_sha256 = "x"', "dfm/cost": "{}"},
    "a configuration of something else": {"config.toml": "colour = 1"},
    "splits of something else": {"splits.csv": "a,b"},
    "a report of something else": {"report.html": "mine"},
    "a manifest of something else": {"comparison.json": '{"paths": ["dfm"]}', "dfm/notes.txt": "mine"},
    "a manifest that is no JSON": {"comparison.json": "mine"},
    "a manifest that lists another": {
        "comparison.json": json.dumps({"made_by": owned.MADE_BY, "paths": ["padim"]}), "dfm/notes.txt": "mine"
    },
    "a hidden folder": {".previous/notes.txt": "mine"},
    "a folder of a seed": {"seed-1/dfm/notes.txt": "mine"},
}  # fmt: skip


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_what_no_comparison_made_is_refused_and_stays(files, resume, glass, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="which no comparison in this folder made: give another folder with -o"):
        compare(dfm(glass, seeds=2), tmp_path, resume=resume)
    with pytest.raises(OutputError):
        compare(dfm(tmp_path / "absent", seeds=2), tmp_path, resume=resume)  # before any data are read
    assert contents(tmp_path) == before


@pytest.mark.parametrize("place", ["normal_train", "normal_train/out", "mask", "abnormal_test/a/b"])
def test_results_do_not_go_among_the_images(place, glass, tmp_path):
    data = shutil.copytree(glass, tmp_path / "data")
    before = contents(data)
    with pytest.raises(OutputError, match=r"lies among the images of .*: give a folder outside of it with -o"):
        compare(dfm(data), data / place)
    assert contents(data) == before


def test_a_manifest_reaches_nothing_outside_its_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    output = tmp_path / "out"
    output.mkdir()
    listed = ["../notes.txt", str(tmp_path / "notes.txt"), "leaderboard.json", "dfm/../../notes.txt"]
    (output / "comparison.json").write_text(json.dumps({"made_by": owned.MADE_BY, "paths": listed}))
    (output / "leaderboard.json").write_text("[]")
    assert owned.set_aside(output)
    owned.forget_previous(output)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (output / "leaderboard.json").exists()


@pytest.mark.slow
def test_a_comparison_replaces_its_own_when_the_new_one_is_complete(glass, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    (output / "mine").mkdir(parents=True)
    (output / "mine/notes.txt").write_text("mine")
    compare(dfm(glass), output)
    first = contents(output)
    diverging = {"detectors": ["fastflow"], "parameters": {"fastflow": {"lr": 1e30, "epochs": 1, "flow_steps": 1}}}
    with pytest.raises(PellucidError, match="The training of fastflow diverged"):
        compare(dfm(glass).model_copy(update=diverging), output)
    assert "the earlier result is kept in" in capsys.readouterr().err
    failed = contents(output)
    assert {name: failed[name] for name in first if name != "comparison.json"} == {
        name: content for name, content in first.items() if name != "comparison.json"
    }
    assert not (output / ".previous").exists()

    (output / "comparison.json").unlink()  # as an earlier pellucid left it
    (output / "dfm/left over.txt").write_text("of the earlier one")
    compare(dfm(glass), output)
    again = contents(output)
    assert "dfm/left over.txt" not in again
    assert again["dfm/model.pellucid"] == first["dfm/model.pellucid"]
    assert again["mine/notes.txt"] == b"mine"
    assert not (output / ".previous").exists()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pellucid.study.compare.run_all", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compare(dfm(glass), output)
        assert (output / ".previous/dfm/model.pellucid").read_bytes() == first["dfm/model.pellucid"]
        assert (output / ".previous/leaderboard.json").exists()


@pytest.mark.parametrize("format", ["openvino", pytest.param("onnx", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["model.json", "model.xml", "model.bin", "model.onnx"])
def test_an_export_replaces_no_file_of_somebody_else(name, format, model, tmp_path):
    pytest.importorskip(format)
    (tmp_path / name).write_text('{"mine": 1}')
    written = name in ("model.json", *(("model.onnx",) if format == "onnx" else ("model.xml", "model.bin")))
    inspector = pellucid.load(model)
    if not written:  # it is not in the way
        inspector.export(tmp_path, format)
        inspector.export(tmp_path, format)  # its own is replaced
    else:
        with pytest.raises(OutputError, match=f"holds {name}, which no export made: give another folder"):
            inspector.export(tmp_path, format)
    assert (tmp_path / name).read_text() == '{"mine": 1}'


def test_a_demo_draws_into_no_folder_of_somebody_else(tmp_path, monkeypatch, capsys):
    (tmp_path / "data/normal_train").mkdir(parents=True)
    (tmp_path / "data/normal_train/pane_000.png").write_text("mine")
    before = contents(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pellucid", "demo", "-o", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert "and no demo made it: give another folder" in " ".join(capsys.readouterr().err.split())
    assert contents(tmp_path) == before


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_fit_removes_only_its_own_progress(resume, glass, tmp_path, monkeypatch):
    folder = tmp_path / "m.pellucid.training"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "0123456789abcdef.pt").write_bytes(b"of a killed one")
    arguments = ["pellucid", "fit", str(glass), "-o", str(tmp_path / "m.pellucid"), "--detector", "dfm"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--image-size", "64", "--false-reject", "0.1", *resume])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]


def test_a_full_cache_removes_only_graphs(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path))
    graphs = [tmp_path / "graphs" / f"{n:032x}-openvino-1-2" for n in range(MAX_CACHED_GRAPHS + 3)]
    for folder in (tmp_path / "graphs/mine", *graphs):
        folder.mkdir(parents=True)
    os.utime(tmp_path / "graphs/mine", (0, 0))  # the oldest
    cached_folder("f" * 64, "openvino")
    assert (tmp_path / "graphs/mine").is_dir()
    assert sum(folder.is_dir() for folder in graphs) == MAX_CACHED_GRAPHS - 1
