"""Sending images and finding results, over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import cv2
import httpx
import numpy as np
import pytest
from serving import an_inspection_row, rows_of

from pellucid.acquisition.files import image_files
from pellucid.models.file import read_header
from pellucid.models.load import load
from pellucid.service.storage.record import Database


def test_it_answers_as_the_command_inspects(service, model, glass):
    inspector = load(model, "openvino")
    files = image_files(glass / "abnormal_test")[:3] + image_files(glass / "normal_test")[:3]
    answer = service.inspect(*files)
    assert answer.status_code == 200
    for file, item in zip(files, answer.json()["items"], strict=True):
        found = inspector.inspect(file)
        assert item["file"] == file.name
        assert item["part_id"] == file.stem
        assert item["verdict"] == found.verdict
        assert item["score"] == pytest.approx(found.score, rel=1e-4)
        assert item["limit"] == found.limit
        assert item["p_value"] == found.p_value
        assert [tuple(d["box"]) for d in item["defects"]] == [d.box for d in found.defects]
        for defect, expected in zip(item["defects"], found.defects, strict=True):
            assert defect.keys() == asdict(expected).keys()
            assert (defect["kind"], defect["area_px"]) == (expected.kind, expected.area_px)
            assert defect["outline"] == [list(map(list, polygon)) for polygon in expected.outline]
            assert defect["length_px"] == pytest.approx(expected.length_px)
        assert item["model_sha256"] == read_header(model)[1]
        kept = service.http.get(f"/inspections/{item['id']}").json()
        assert kept == item


def test_a_record_of_a_time_without_measures_is_still_answered(service):
    old = {"box": [1, 2, 3, 4], "area_px": 5, "peak": 1.0, "centroid": [0.5, 1.5]}
    database = Database(f"sqlite:///{service.folder / 'record' / 'record.db'}")
    row = database.add(an_inspection_row(defects=[old]))
    database.close()
    assert service.http.get(f"/inspections/{row.id}").json()["defects"] == [old]


def test_one_image_may_be_the_body(service, bad):
    answer = service.http.post(
        "/inspect",
        content=bad.read_bytes(),
        params={"model": "pane", "part_id": "P-7"},
        headers={"content-type": "image/png"},
    )
    (item,) = answer.json()["items"]
    assert (item["part_id"], item["verdict"]) == ("P-7", "reject")
    found = service.http.get("/inspections", params={"part_id": "P-7"}).json()
    assert [i["id"] for i in found["items"]] == [item["id"]]
    assert found["next"] is None


def test_pictures_maps_and_overlays(service, bad, model):
    (item,) = service.inspect(bad).json()["items"]
    assert service.http.get(item["picture"]).content == bad.read_bytes()
    shape = load(model).inspect(bad).map.shape
    for part, expected in (("map", None), ("overlay", (*shape, 3)), ("thumbnail", None)):
        answer = service.http.get(f"/inspections/{item['id']}/{part}")
        assert answer.headers["content-type"] in ("image/png", "image/jpeg")
        image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert expected is None or image.shape == expected
    overlay = cv2.imdecode(np.frombuffer(service.http.get(item["overlay"]).content, np.uint8), cv2.IMREAD_COLOR)
    x, y, _, h = item["defects"][0]["box"]
    edge = overlay[y : y + h, max(x - 2, 0)]
    assert (edge == (60, 60, 230)).all(1).any() or x == 0, "its box is drawn"


def test_inspections_are_filtered_and_paged(service, good, bad):
    service.inspect(*([good] * 3), bad)
    newest = service.http.get("/inspections", params={"count": 2}).json()
    ids = [i["id"] for i in newest["items"]]
    following = service.http.get("/inspections", params={"count": 2, "before": newest["next"]}).json()
    ids += [i["id"] for i in following["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 4
    rejects = service.http.get("/inspections", params={"verdict": "reject"}).json()["items"]
    assert rejects
    assert {i["verdict"] for i in rejects} == {"reject"}
    middle = newest["items"][1]["time"]
    since = service.http.get("/inspections", params={"since": middle}).json()["items"]
    until = service.http.get("/inspections", params={"until": middle, "count": 500}).json()["items"]
    assert all(i["time"] >= middle for i in since)
    assert all(i["time"] < middle for i in until)
    assert service.http.get("/inspections", params={"model": "other"}).json() == {"items": [], "next": None}
    for wrong in ({"since": "yesterday"}, {"since": "2026-01-01T00:00:00"}, {"count": "0"}, {"verdict": "bad"}):
        answer = service.http.get("/inspections", params=wrong)
        assert answer.status_code == 422
        assert next(iter(wrong)) in answer.json()["detail"]


def test_the_same_key_gives_the_same_answer(service, good):
    before = len(rows_of(service.folder))
    answers = [
        service.http.post(
            "/inspect", files={"files": ("a.png", f.read_bytes())}, headers={"Idempotency-Key": "k1"}
        ).json()
        for f in (good, good, good)
    ]
    assert answers[0] == answers[1] == answers[2]
    with ThreadPoolExecutor(8) as pool:
        send = {"files": {"files": ("b.png", good.read_bytes())}, "headers": {"Idempotency-Key": "k2"}}
        at_once = list(pool.map(lambda _: httpx.post(service.url + "/inspect", **send).json(), range(8)))
    assert all(answer == at_once[0] for answer in at_once)
    assert len(rows_of(service.folder)) == before + 2
    kept = {row["picture"] for row in rows_of(service.folder) if row["picture"]}
    there = {
        p.relative_to(service.folder / "record/pictures").as_posix() for p in service.folder.glob("record/pictures/*/*")
    }
    assert there == kept | {row["map"] for row in rows_of(service.folder) if row["map"]}, "no file without a row"


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"files": {"other": ("a.png", b"x")}}, 422, "no file in the field 'files'"),
        ({"json": {"a": 1}}, 415, "'image' is not an image"),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": b"", "headers": {"content-type": "image/png"}}, 422, "empty"),
        ({"content": b"x", "params": {"model": "panel"}}, 404, "did you mean 'pane'"),
        ({"files": [("files", (f"{k}.png", b"x")) for k in range(70)]}, 400, "Too many files"),
    ],
)
def test_requests_that_make_no_sense(service, request_, status, words):
    answer = service.http.post("/inspect", **request_)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


def test_names_cannot_leave_their_folder(service, good):
    sent = service.inspect(("../../../etc/passwd.png", good.read_bytes())).json()["items"][0]
    assert sent["file"] == "passwd.png"
    assert not (service.folder.parent / "etc").exists()
    for path in ("/models/..%2f..%2fetc/limit", "/static/../../pyproject.toml", "/inspections/..%2f1/picture"):
        assert service.http.get(path).status_code in (404, 422)
