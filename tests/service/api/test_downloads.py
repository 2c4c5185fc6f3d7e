"""Tables as CSV files, by a real service's routes."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from serving import an_inspection_row, serving_folder

from pellucid._io.files import plain_cell
from pellucid.acquisition.files import image_files
from pellucid.service.api import downloads
from pellucid.service.app import create_app, create_service
from pellucid.service.settings import read_settings
from pellucid.service.storage import record

FORMULA = '=HYPERLINK("http://evil.example";"a")'


def _service(models, record_folder):
    return create_service(
        read_settings({"models": models, "record": record_folder, "pages": False, "runtime": "torch"})
    )


@pytest.fixture(scope="module")
def service(model, tmp_path_factory):
    folder = serving_folder(tmp_path_factory.mktemp("downloads"), model)
    made = _service(folder / "models", folder / "record")
    yield made
    made.queue.close()
    made.database.close()


@pytest.fixture(scope="module")
def client(service, glass):
    """With more rows than are read and sent together, of a known name of a model, and one that was really inspected."""
    with pytest.MonkeyPatch.context() as patch, TestClient(create_app(service), base_url="http://localhost") as http:
        patch.setattr(downloads, "LINES_AT_ONCE", 3)
        patch.setattr(record, "ITERATION_BATCH_ROWS", 2)
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        for number in range(7):
            row = an_inspection_row(
                part_id=f"part {number}", model="m", time=begin + timedelta(minutes=number), score=float(number)
            )
            service.database.add(row)
        odd = an_inspection_row(part_id=FORMULA, model="m", time=begin, score=float("inf"), verdict="reject")
        service.database.add(replace(odd, reason="Not judged: nothing.", file="+1.png", account="@sara"))
        sent = {"files": ("pane.png", image_files(glass / "normal_test")[0].read_bytes())}
        assert http.post("/inspect", params={"model": "pane"}, files=sent).status_code == 200
        yield http


def _lines(answer) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    return list(csv.DictReader(io.StringIO(answer.text)))


@pytest.mark.parametrize("query", [{}, {"model": "m"}, {"verdict": "reject"}, {"part_id": "part 3"}, {"before": 5}])
def test_inspections_are_those_that_the_list_holds(client, query):
    lines, listed, before = _lines(client.get("/inspections.csv", params=query)), [], query.get("before")
    while True:
        page = client.get("/inspections", params=query | ({"before": before} if before else {})).json()
        listed += page["items"]
        before = page["next"]
        if before is None:
            break
    assert [int(line["id"]) for line in lines] == [item["id"] for item in listed]
    for line, item in zip(lines, listed, strict=True):
        assert datetime.fromisoformat(line["time"]) == datetime.fromisoformat(item["time"]).replace(
            microsecond=datetime.fromisoformat(item["time"]).microsecond // 1000 * 1000
        )
        assert (line["score"] == "") == (item["score"] is None)
        assert item["score"] is None or float(line["score"]) == item["score"]
        assert int(line["defects"]) == len(item["defects"])
        assert line["model_sha256"] == item["model_sha256"]


def test_no_cell_is_computed_by_a_spreadsheet(client):
    (line,) = _lines(client.get("/inspections.csv", params={"verdict": "reject", "model": "m"}))
    assert (line["part_id"], line["file"], line["account"]) == (plain_cell(FORMULA), "'+1.png", "'@sara")
    assert line["part_id"].startswith("'=")
    assert (line["score"], line["reason"]) == ("", "Not judged: nothing.")


def test_every_decision_is_there_those_that_were_taken_back_too(client):
    for decision in ({"decision": "defect", "type": "=1+1"}, {"decision": None}, {"decision": "ok"}):
        assert client.put("/inspections/4/decision", json=decision).status_code == 200
    lines = _lines(client.get("/decisions.csv"))
    assert [(line["decision"], line["type"]) for line in lines] == [("defect", "'=1+1"), ("", ""), ("ok", "")]
    assert {(line["inspection_id"], line["part_id"], line["who"]) for line in lines} == {("4", "part 3", "local")}


@pytest.mark.parametrize("table", ["hours", "scores", "types", "positions"])
def test_trends_are_those_of_the_page(client, table):
    query = {"model": "pane", "hours": 24}
    lines = _lines(client.get("/trends.csv", params=query | {"table": table}))
    found = client.get("/trends", params=query).json()
    if table == "hours":
        assert [(line["hour"], int(line["inspected"]), int(line["rejected"])) for line in lines] == [
            (hour["hour"], hour["inspected"], hour["rejected"]) for hour in found["hours"]
        ]
        assert len(lines) == 1
    elif table == "positions":
        grid = [[0] * 12 for _ in range(12)]
        for line in lines:
            grid[int(line["row"])][int(line["column"])] = int(line["defects"])
        assert grid == found["positions"]
    else:
        assert lines == []


def test_limits_and_their_changes(client):
    limit = client.get("/models/pane/limit").json()["value"]
    lines = _lines(client.get("/models/pane/limit/preview.csv", params={"value": limit * 1.1}))
    tried = client.get("/models/pane/limit/preview", params={"value": limit * 1.1}).json()
    counted = {line["images"]: (int(line["count"]), int(line["of"])) for line in lines[len(lines) // 2 :]}
    assert counted == {kind: tuple(counts.values()) for kind, counts in tried.items() if kind != "limit"}
    assert [float(line["limit"]) for line in lines] == [limit] * len(counted) + [limit * 1.1] * len(counted)
    moved = {"value": limit * 1.01, "reason": "=2", "confirm": True}
    assert client.put("/models/pane/limit", json=moved).status_code == 200
    (change,) = _lines(client.get("/changes.csv", params={"model": "pane"}))
    assert (change["kind"], change["reason"], float(change["after"])) == ("limit", "'=2", limit * 1.01)


def test_results_of_a_comparison(compared, tmp_path):
    service = _service(compared.parent, tmp_path / "record")
    with TestClient(create_app(service), base_url="http://localhost") as client:
        (comparison, *_) = client.get("/comparisons").json()["items"]
        lines = _lines(client.get(f"/comparisons/{comparison['name']}/leaderboard.csv"))
    assert [line["name"] for line in lines] == [row["name"] for row in comparison["rows"]]
    assert [float(line["image_auroc"]) for line in lines] == [row["image_auroc"] for row in comparison["rows"]]


def test_what_is_not_there_is_an_answer_of_errors(client):
    assert client.get("/comparisons/none/leaderboard.csv").status_code == 404
    assert client.get("/trends.csv", params={"model": "none"}).status_code == 404
    assert client.get("/trends.csv", params={"table": "none"}).status_code == 422
    assert client.get("/inspections.csv", params={"since": "0001-01-01T00:00:00Z"}).status_code == 422
