"""What the pages show of the line and of trainings, over HTTP: trends, trainings, comparisons."""

from __future__ import annotations

import json
import shutil

import pytest
from fastapi.testclient import TestClient
from serving import an_inspection_row, wait_until

from pellucid.service.access.accounts import add_account
from pellucid.service.app import create_app, create_service
from pellucid.service.settings import read_settings
from pellucid.service.trends import POSITION_GRID_CELLS, read_trends


@pytest.fixture
def folders(tmp_path, glass):
    (tmp_path / "models").mkdir()
    shutil.copytree(glass, tmp_path / "data" / "panes")
    return {"models": tmp_path / "models", "record": tmp_path / "record", "data": tmp_path / "data"}


def _client(folders, **more):
    service = create_service(read_settings({**folders, "pages": False, "runtime": "torch", **more}))
    return service, TestClient(create_app(service), base_url="http://127.0.0.1")


def test_trends_are_what_the_page_shows(folders, model):
    shutil.copy(model, folders["models"] / "pane.pellucid")
    service, client = _client(folders)
    defect = {"box": [0, 0, 2, 2], "area_px": 4, "peak": 1.0, "centroid": [0.5, 0.5]}
    with client:
        known = service.registry.known("pane")
        for verdict, defects in (("ok", []), ("reject", [defect]), ("reject", [defect])):
            row = service.database.add(
                an_inspection_row(model="pane", model_sha256=known.sha256, verdict=verdict, defects=defects)
            )
        service.database.decide(row.id, "defect", "stone", "ann")
        found = client.get("/trends", params={"hours": 8}).json()
        (hour,) = found["hours"]
        assert (hour["inspected"], hour["rejected"]) == (3, 2)
        assert hour["hour"] == service.database.by_hour("pane", row.time)[0][0]
        assert found["types"] == [{"type": "stone", "count": 1}]
        assert found["positions"][0][0] == 2
        assert len(found["positions"]) == POSITION_GRID_CELLS
        assert found["drift"] is None
        for _ in range(60):
            service.database.add(an_inspection_row(model="pane", model_sha256=known.sha256))
        drift = client.get("/trends", params={"model": "pane"}).json()["drift"]
        expected = read_trends(service.database, known).drift
        assert drift["win_rates"] == list(expected.win_rates)
        assert drift["latest"]["p_value"] == expected.latest.p_value
        assert client.get("/trends", params={"model": "other"}).status_code == 404
        assert client.get("/trends", params={"hours": 0}).status_code == 422


def test_a_training_is_started_listed_and_cancelled(folders):
    request = {"data": "panes", "name": "first try", "detectors": ["stfpm"], "image_size": 128}
    with _client(folders)[1] as client:
        assert client.get("/trainings").json() == {"items": [], "data_sets": ["panes"]}
        for change, status, words in (
            ({"data": "../panes"}, 404, "not a data set of this service"),
            ({"detectors": ["padin"]}, 404, "did you mean 'padim'"),
            ({"detectors": []}, 422, "detectors"),
            ({"name": "..."}, 409, "letters and digits"),
            ({"false_reject": 0}, 422, "false_reject"),
            ({"more": 1}, 422, "more"),
            ({"false_alarms_per_m2": 0.5}, 422, "need the scale of the images"),
            ({"false_alarms_per_m2": 0.5, "false_alarms_per_mpx": 1, "mm_per_px": 0.2}, 422, "not both"),
        ):
            refused = client.post("/trainings", json=request | change)
            assert refused.status_code == status, refused.text
            assert words in refused.json()["detail"]
        started = client.post("/trainings", json=request)
        assert started.status_code == 201
        (item,) = started.json()["items"]
        assert (item["name"], item["state"], item["of"]) == ("first-try", "running", 1)
        again = client.post("/trainings", json=request | {"name": "second"})
        assert again.status_code == 409
        assert "'first-try' is still running" in again.json()["detail"]
        assert client.delete("/trainings").json()["items"][0]["state"] == "cancelled"
        assert client.delete("/trainings").status_code == 200, "once more does nothing"


def test_operators_start_no_training(folders, tmp_path):
    key = add_account(tmp_path / "accounts.toml", "sara", "operator")
    headers = {"authorization": f"Bearer {key}"}
    with _client(folders, accounts=tmp_path / "accounts.toml")[1] as client:
        request = {"data": "panes", "name": "x", "detectors": ["padim"]}
        assert client.post("/trainings", json=request, headers=headers).status_code == 403
        assert client.delete("/trainings", headers=headers).status_code == 403
        assert client.get("/trainings", headers=headers).status_code == 200


def test_comparisons_are_listed_with_their_rows(folders):
    service, client = _client(folders)
    with client:
        wait_until(service.loader.loaded.is_set)
        assert client.get("/comparisons").json() == {"items": []}
        rows = [{"name": "padim", "recommended": True, "image_auroc": None}]
        (folders["models"] / "run").mkdir()
        (folders["models"] / "run" / "leaderboard.json").write_text(json.dumps(rows), "utf-8")
        assert client.get("/comparisons").json() == {"items": [{"name": "run", "rows": rows}]}


def test_the_interface_describes_them(folders):
    with _client(folders)[1] as client:
        paths = client.get("/openapi.json").json()["paths"]
    assert {"/trends", "/trainings", "/comparisons"} <= paths.keys()
    assert paths["/trainings"].keys() == {"get", "post", "delete"}
