"""Trackers as a user runs them: a real MLflow server, Weights & Biases offline, TensorBoard's files."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import forks
import pytest
from commands import SMALL, pellucid_here

from pellucid.anomalib import AnomalibTensorBoardLogger
from pellucid.errors import ParameterError
from pellucid.tracking import Run, check, to_mlflow, with_tensorboard

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of an MLflow server."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with (folder / "log").open("wb") as log:
        alone = QUIET | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"
        }  # ten processes more, which nothing here asks for
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | alone, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
            break
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
    yield address
    os.killpg(process.pid, 15)
    process.wait()


@pytest.fixture(scope="module")
def tracked(server, glass, tmp_path_factory):
    out = tmp_path_factory.mktemp("tracked")
    with patch.dict(os.environ, QUIET | {"MLFLOW_TRACKING_URI": server, "WANDB_DIR": str(out)}):
        trackers = ("--track", "mlflow", "--track", "wandb")
        pellucid_here("compare", glass, "-o", out / "out", "--detectors", "dfm", *SMALL, *trackers)
    return out


def _get(address: str, path: str, body: dict[str, object] | None = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_mlflow_has_it_all(server, tracked, glass):
    experiment = _get(server, f"experiments/get-by-name?experiment_name={glass.name}")["experiment"]
    runs = _get(server, "runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
    assert [r["info"]["run_name"] for r in runs] == ["dfm"]
    assert runs[0]["info"]["status"] == "FINISHED"
    parameters = {p["key"]: p["value"] for p in runs[0]["data"]["params"]}
    assert parameters["backbone"] == "prism_s"
    assert parameters["detector"] == "dfm"
    logged = {m["key"]: m["value"] for m in runs[0]["data"]["metrics"]}
    metrics = json.loads((tracked / "out/dfm/metrics.json").read_text())["metrics"]
    for name in ("image_auroc", "escape_rate", "aupimo", "limit"):
        assert logged[name] == metrics[name]
    assert logged["fit_seconds"] > 0
    run = runs[0]["info"]["run_id"]
    files = {f["path"] for f in _get(server, f"artifacts/list?run_id={run}")["files"]}
    assert files == {"model.pellucid", "config.toml", "metrics.json", "scores.csv", "curves", "images"}
    stored = {f["path"]: f for f in _get(server, f"artifacts/list?run_id={run}")["files"]}
    assert int(stored["model.pellucid"]["file_size"]) == (tracked / "out/dfm/model.pellucid").stat().st_size
    history = _get(server, f"metrics/get-history?run_id={run}&metric_key=sorted_scores_normal")["metrics"]
    assert len(history) == metrics["normals"]


def _records(content: bytes) -> Iterator[bytes]:
    """Records of an offline run: LevelDB's log after a header of 7 bytes, blocks of 32 kB, long records in parts."""
    place, whole = 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, part = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def test_wandb_has_it_all(tracked):
    from wandb.proto import wandb_internal_pb2

    (file,) = tracked.glob("wandb/offline-run-*/run-*.wandb")
    config, summary, logged, artifacts = {}, {}, set(), []
    for data in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        config |= {i.key: json.loads(i.value_json) for i in record.run.config.update}
        summary |= {i.key or i.nested_key[0]: i.value_json for i in record.summary.update}
        logged |= {i.key or i.nested_key[0] for i in record.history.item}
        if record.request.log_artifact.artifact.name:
            artifacts.append(record.request.log_artifact.artifact)
        if record.artifact.name:
            artifacts.append(record.artifact)
    metrics = json.loads((tracked / "out/dfm/metrics.json").read_text())["metrics"]
    assert config["backbone"] == "prism_s"
    assert float(summary["image_auroc"]) == metrics["image_auroc"]
    assert {"scores/normal", "scores/abnormal"} <= logged
    assert any(key.startswith("images/") for key in logged)
    assert any("model.pellucid" in {e.path for e in a.manifest.contents} for a in artifacts)


def test_a_tracker_that_is_not_there(monkeypatch):
    monkeypatch.setattr("pellucid.tracking.find_spec", lambda _: None)
    with pytest.raises(ParameterError, match=r"pip install 'pellucid\[mlflow\]'"):
        check("mlflow")


def test_tensorboard_is_written_where_it_is_installed(monkeypatch, capsys):
    assert with_tensorboard(["mlflow"]) == ["tensorboard", "mlflow"]
    assert with_tensorboard(["mlflow", "tensorboard"]) == ["mlflow", "tensorboard"]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("pellucid.tracking.find_spec", lambda _: None)
    assert with_tensorboard(["mlflow"]) == ["mlflow"]
    assert "pip install 'pellucid[tensorboard]'" in capsys.readouterr().err
    for demanded in (lambda: check("tensorboard"), lambda: AnomalibTensorBoardLogger("logs")):
        with pytest.raises(ParameterError, match=r"is not installed: pip install 'pellucid\[tensorboard\]'"):
            demanded()


@pytest.mark.parametrize(("before", "after"), [(None, "true"), ("false", "false")])
def test_mlflows_telemetry_is_off_before_it_is_imported(monkeypatch, tmp_path, before, after):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", before or "")
    if before is None:
        monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    (tmp_path / "mlflow.py").write_text("import os\nraise RuntimeError(os.environ['MLFLOW_DISABLE_TELEMETRY'])")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    with pytest.raises(RuntimeError, match=f"^{after}$"):
        to_mlflow(Run("dfm", "glass", tmp_path, {}, {}, {}))


def test_tensorboard_names_the_files(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tracked / "out/dfm/tensorboard"))
    events.Reload()
    text = events.Tensors("files/model.pellucid/text_summary")[0].tensor_proto.string_val[0].decode()
    assert Path(text) == (tracked / "out/dfm/model.pellucid").resolve()


@pytest.mark.slow
def test_a_notebook_logs_to_mlflow_and_wandb(server, glass, tmp_path):
    script = f"""
from pellucid.anomalib import AnomalibMLFlowLogger, AnomalibWandbLogger, Dfm, Engine, Folder
data = Folder(name="glass", root={str(glass)!r}, normal_dir="normal_train", normal_test_dir="normal_test",
              abnormal_dir="abnormal_test", mask_dir="mask", image_size=64)
model = Dfm()
engine = Engine(logger=[AnomalibMLFlowLogger("notebook", tracking_uri={server!r}), AnomalibWandbLogger(offline=True)])
engine.fit(model, data)
engine.test(model, data)
"""
    done = forks.run([sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, **QUIET})
    assert done.returncode == 0, done.stderr
    experiment = _get(server, "experiments/get-by-name?experiment_name=notebook")["experiment"]
    (run,) = _get(server, "runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
    assert run["info"]["run_name"] == "Dfm"
    files = {f["path"] for f in _get(server, f"artifacts/list?run_id={run['info']['run_id']}")["files"]}
    assert {"model.pellucid", "config.json", "images"} <= files
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
