"""Decisions, over HTTP."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import UTC, datetime

import numpy as np
import pytest
from serving import an_inspection_row, served, serving_folder, wait_until

from pellucid.acquisition.folders import read_folder
from pellucid.service.decisions_export import export_decisions
from pellucid.service.storage.pictures import PictureStore
from pellucid.service.storage.record import Database


def test_decisions_are_kept_undone_and_exported(model, cache, tmp_path, good, bad):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service:
        assert service.http.get("/decisions.zip").status_code == 404
        first, second, third, _ = service.inspect(bad, good, bad, good).json()["items"]
        address = f"/inspections/{first['id']}/decision"
        assert service.http.put(address, json={"decision": "ok"}).json()["decision"] == "ok"
        assert service.http.put(address, json={"decision": None}).json()["decided_by"] is None
        decided = service.http.put(address, json={"decision": "defect", "type": "scratch"}).json()
        assert (decided["decision"], decided["type"], decided["decided_by"]) == ("defect", "scratch", "local")
        history = service.http.get(f"/inspections/{first['id']}/decisions").json()
        assert [(h["decision"], h["type"]) for h in history] == [("ok", None), (None, None), ("defect", "scratch")]
        service.http.put(f"/inspections/{second['id']}/decision", json={"decision": "ok"})
        service.http.put(f"/inspections/{third['id']}/decision", json={"decision": "nuisance", "type": "dust"})
        undecided = service.http.get("/inspections", params={"decision": "none"}).json()["items"]
        assert len(undecided) == 1
        assert service.http.put("/inspections/999/decision", json={"decision": "ok"}).status_code == 404
        assert service.http.put(address, json={"decision": "maybe"}).status_code == 422
        with zipfile.ZipFile(io.BytesIO(service.http.get("/decisions.zip").content)) as zipped:
            zipped.extractall(tmp_path / "next")
        more = service.http.get("/decisions.zip", params={"accepted": 5}).content
        wait_until(lambda: not list((folder / "record").glob("*.zip")))  # nothing is left behind
    samples = read_folder(tmp_path / "next" / "data.csv").samples
    assert sorted((s.label, s.type) for s in samples) == [("abnormal", "scratch"), ("normal", None), ("normal", None)]
    assert {s.path.read_bytes() for s in samples} == {good.read_bytes(), bad.read_bytes()}
    assert len({s.group for s in samples}) == 2, "images of one part stay together"
    with zipfile.ZipFile(io.BytesIO(more)) as zipped:
        assert len(zipped.namelist()) == 4 + 1


@pytest.mark.parametrize(
    ("kind", "part"), [("=HYPERLINK(1)", "-1+2"), ("@x", "+1"), ("stone", "=cmd|' /C calc'!A0"), ("a;=1", "P;@x")]
)
def test_an_export_holds_no_formulas(tmp_path, good, kind, part):
    database, pictures = Database(f"sqlite:///{tmp_path / 'r.db'}"), PictureStore(tmp_path / "pictures")
    now = datetime.now(UTC)
    stored = pictures.save(now, good.read_bytes(), ".png", np.ones((4, 4), np.float32), (4, 4))
    row = database.add(an_inspection_row(time=now, part_id=part, picture=stored.picture, map=stored.map))
    database.decide(row.id, "defect", kind, "ann")
    export_decisions(database, pictures, tmp_path / "out")
    database.close()
    text = (tmp_path / "out" / "data.csv").read_text("utf-8")
    assert not re.search(r"(^|[,;\"])[=+@-]", text, re.MULTILINE)
    (sample,) = read_folder(tmp_path / "out" / "data.csv", training_required=False).samples
    assert (sample.type.replace("'", ""), sample.group.replace("'", "")) == (kind, part.replace("'", ""))
