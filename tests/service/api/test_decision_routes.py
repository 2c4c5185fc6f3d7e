"""Decisions, over HTTP."""

from __future__ import annotations

import io
import zipfile

from serving import served, serving_folder, wait_until

from pellucid.acquisition.folders import read_folder


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
