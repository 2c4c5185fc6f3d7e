"""Limits, models, changes and comparisons, over HTTP."""

from __future__ import annotations

import shutil

import pytest
from commands import SMALL, pellucid_here
from serving import rows_of, served, serving_folder

import pellucid
from pellucid.acquisition.folders import read_folder
from pellucid.models.file import read_header
from pellucid.models.load import load
from pellucid.records.limits import Limit


def test_a_limit_is_moved_kept_and_audited(model, cache, tmp_path, good):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service:
        score = service.inspect(good).json()["items"][0]["score"]
        before = service.http.get("/models/pane/limit").json()
        assert before["value"] == before["calibrated"]
        answer = service.http.put(
            "/models/pane/limit", json={"value": score / 2, "reason": "scratches came through", "confirm": True}
        )
        assert answer.json()["value"] == score / 2
        assert answer.json()["changed_by"] == "local"
        item = service.inspect(good).json()["items"][0]
        assert (item["verdict"], item["limit"]) == ("reject", score / 2)
        assert item["p_value"] == load(model).limit.p_value(item["score"]), "it says how odd, not where the limit is"
    with served(folder, "--no-pages", env=cache) as service:
        assert service.http.get("/models/pane/limit").json()["value"] == score / 2, "a restart forgets nothing"
        (change,) = service.http.get("/changes").json()["items"]
        expected = {"kind": "limit", "who": "local", "before": repr(before["calibrated"]), "after": repr(score / 2)}
        assert expected.items() <= change.items()
        assert change["reason"] == "scratches came through"
        assert service.http.put("/models/pane/limit", json={"value": None}).json()["value"] == before["calibrated"]
        for wrong in ({"value": "high"}, {"value": True}, {}, {"value": 1, "more": 2}):
            assert service.http.put("/models/pane/limit", json=wrong).status_code == 422
        assert service.http.put("/models/pain/limit", json={"value": 1}).status_code == 404
        answer = service.http.put(
            "/models/pane/limit", content=b'{"value": 1e999}', headers={"content-type": "application/json"}
        )
        assert answer.status_code == 422


def test_a_preview_counts_as_we_do(service, model, good, bad):
    limit: Limit = load(model).limit
    items = service.inspect(good, bad).json()["items"]
    for item, decision in zip(items, ("ok", "defect"), strict=True):
        service.http.put(f"/inspections/{item['id']}/decision", json={"decision": decision})
    rows = rows_of(service.folder)
    for value in (0.0, limit.value, items[1]["score"], 1e9):
        found = service.http.get("/models/pane/limit/preview", params={"value": value}).json()
        assert found["held_out_rejected"] == {"count": sum(s > value for s in limit.scores), "of": len(limit.scores)}
        normal = [r["score"] for r in rows if r["decision"] in ("ok", "nuisance")]
        defects = [r["score"] for r in rows if r["decision"] == "defect"]
        assert found["decided_rejected"] == {"count": sum(s > value for s in normal), "of": len(normal)}
        assert found["decided_escaped"] == {"count": sum(s <= value for s in defects), "of": len(defects)}
        assert found["latest_rejected"] == {"count": sum(r["score"] > value for r in rows), "of": len(rows)}
    assert service.http.get("/models/pane/limit/preview", params={"value": "nan"}).status_code == 422


def test_a_corrupt_model_is_refused_and_the_old_one_serves_on(model, cache, tmp_path, glass, good):
    folder = serving_folder(tmp_path, model)
    file = folder / "models" / "pane.pellucid"
    with served(folder, "--no-pages", env=cache) as service:
        before = service.inspect(good).json()["items"][0]
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        for broken in (bytes(content), content[:500], b"", b"MZ"):
            file.write_bytes(broken)
            answer = service.http.post("/models/pane/reload")
            assert answer.status_code == 409
            assert "pane.pellucid" in answer.json()["detail"]
            after = service.inspect(good).json()["items"][0]
            assert (after["score"], after["model_sha256"]) == (before["score"], before["model_sha256"])
        assert [m["error"] is not None for m in service.http.get("/models").json()["items"]] == [True]
        pellucid.fit(glass, "padim", image_size=64, false_reject=0.1, n_features=20).save(file)
        answer = service.http.post("/models/pane/reload")
        assert answer.status_code == 200
        after = service.inspect(good).json()["items"][0]
        assert after["model_sha256"] == answer.json()["sha256"] == read_header(file)[1] != before["model_sha256"]
        (change,) = service.http.get("/changes", params={"model": "pane"}).json()["items"]
        assert (change["kind"], change["before"], change["after"]) == (
            "reload",
            before["model_sha256"],
            after["model_sha256"],
        )
        assert service.http.post("/models/other/reload").status_code == 404


def test_a_limit_of_another_model_is_not_taken_over(model, cache, tmp_path, glass):
    folder = serving_folder(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service:
        service.http.put("/models/pane/limit", json={"value": 123.0, "confirm": True, "reason": "a test"})
        pellucid.fit(glass, "dfm", image_size=64, false_reject=0.1, seed=1).save(folder / "models" / "pane.pellucid")
        assert service.http.post("/models/pane/reload").json()["value"] != 123.0
        shutil.copy(model, folder / "models" / "pane.pellucid")
        assert service.http.post("/models/pane/reload").json()["value"] == 123.0


def test_exported_models_and_comparisons_are_on_the_shelf(model, cache, tmp_path, glass, good):
    folder = tmp_path
    load(model).export(folder / "models" / "exported")
    pellucid_here("compare", glass, "-o", folder / "models" / "run", "--detectors", "dfm", *SMALL)
    with served(folder, "--no-pages", env=cache) as service:
        assert [m["name"] for m in service.http.get("/models").json()["items"]] == ["exported", "run.dfm"]
        answer = service.inspect(good)
        assert answer.status_code == 422
        assert "exported, run.dfm" in answer.json()["detail"]
        scores = [service.inspect(good, model=name).json()["items"][0]["score"] for name in ("exported", "run.dfm")]
        assert scores[0] == pytest.approx(scores[1], rel=1e-3)
        found = service.http.get("/models/run.dfm/limit/preview", params={"value": 0.0}).json()
        tested = read_folder(glass).samples
        normals = sum(s.label == "normal" and s.split == "test" for s in tested)
        assert found["tested_rejected"] == {"count": normals, "of": normals}
        assert found["tested_escaped"]["count"] == 0
        report = service.http.get("/comparisons/run/report")
        assert report.headers["content-type"].startswith("text/html")
        assert report.text == (folder / "models" / "run" / "report.html").read_text("utf-8")
        for name, words in (("walk", "walk"), ("..", "Not Found"), ("..%2Fmodels", "Not Found")):
            refused = service.http.get(f"/comparisons/{name}/report")
            assert refused.status_code == 404
            assert words in refused.json()["detail"]
        (folder / "models" / "run" / "report.html").unlink()
        assert "no report yet" in service.http.get("/comparisons/run/report").json()["detail"]
