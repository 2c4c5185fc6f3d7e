"""The service as a real process: what it answers, what it keeps, and what is left after all that can go wrong."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import Postgres, an_entry, full_disk, place, rows_of, served, wait_until

import pellucid
from pellucid.acquisition.folders import image_files, read_folder
from pellucid.errors import DataError, DiskFullError, ParameterError, RecordError
from pellucid.models.file import read_header
from pellucid.models.load import load
from pellucid.records import Limit
from pellucid.service.access import Accounts, add_account, is_loopback, of_token
from pellucid.service.settings import Settings
from pellucid.service.storage.pictures import LEVELS, Store
from pellucid.service.storage.record import Change, Filter, Record
from pellucid.service.storage.retention import expire
from pellucid.service.uploads import RefusedError, check_upload


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return {"PELLUCID_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def service(model, cache, tmp_path_factory):
    folder = place(tmp_path_factory.mktemp("served"), model)
    with served(folder, "--no-pages", env=cache) as running:
        yield running


@pytest.fixture(scope="module")
def good(glass):
    return image_files(glass / "normal_test")[0]


@pytest.fixture(scope="module")
def bad(glass, model):
    inspector = load(model)
    return next(f for f in image_files(glass / "abnormal_test") if inspector.inspect(f).verdict == "reject")


# --- inspecting -----------------------------------------------------------------------------------------------------


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
        assert item["model_sha256"] == read_header(model)[1]
        kept = service.http.get(f"/inspections/{item['id']}").json()
        assert kept == item


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


def test_the_same_key_gives_the_same_answer(service, good, bad):
    before = len(rows_of(service.folder))
    answers = [
        service.http.post(
            "/inspect", files={"files": ("a.png", f.read_bytes())}, headers={"Idempotency-Key": "k1"}
        ).json()
        for f in (good, good, bad)
    ]
    assert answers[0] == answers[1] == answers[2]
    with ThreadPoolExecutor(8) as pool:
        send = {"files": {"files": ("b.png", good.read_bytes())}, "headers": {"Idempotency-Key": "k2"}}
        at_once = list(pool.map(lambda _: httpx.post(service.url + "/inspect", **send).json(), range(8)))
    assert all(answer == at_once[0] for answer in at_once)
    assert len(rows_of(service.folder)) == before + 2
    kept = {row["picture"] for row in rows_of(service.folder)}
    there = {
        p.relative_to(service.folder / "record/pictures").as_posix() for p in service.folder.glob("record/pictures/*/*")
    }
    assert there == kept | {row["map"] for row in rows_of(service.folder)}, "no file without a row"


# --- bad input ------------------------------------------------------------------------------------------------------


def _png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def _saved(image: Image.Image, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG of a few bytes that says that it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    rows = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


GREY = np.full((40, 40, 3), 90, np.uint8)
FRAMES = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
REFUSED = {
    "empty": (b"", 422, "empty"),
    "text": (b"not an image at all", 415, "not an image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", 415, "not an image"),
    "html": (b"<html><script>alert(1)</script></html>", 415, "not an image"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", 415, "not an image"),
    "zip": (b"PK\x03\x04" + bytes(60), 415, "not an image"),
    "truncated png": (_png(np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8))[:2000], 422, "truncated"),
    "truncated jpeg": (_saved(Image.effect_noise((80, 80), 50), "JPEG")[:900], 422, "truncated"),
    "truncated bmp": (_saved(FRAMES[0], "BMP")[:900], 422, "truncated"),
    "truncated tiff": (_saved(FRAMES[0], "TIFF")[:90], 422, "TIFF"),
    "gif that ends in its second image": (  # where Pillow raises IndexError
        _saved(FRAMES[0], "GIF").rstrip(b";") + b"," + bytes(4) + b"\x28\0\x28\0\0",
        415,
        "not an image",
    ),
    "bomb": (_bomb(30_000), 413, "megapixels"),
    "60,000 px wide": (_png(np.zeros((2, 60_000), np.uint8)), 413, "32767"),
    "animated gif": (_saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), 415, "GIF"),
    "animated png": (_saved(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), 422, "2 images"),
    "tiff of pages": (_saved(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), 422, "2 images"),
    "webp": (_saved(FRAMES[0], "WEBP"), 415, "WEBP"),
    "float tiff": (None, 422, "NaN"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_inspected_gets_one_sentence(service, good, kind):
    content, status, words = REFUSED[kind]
    if content is None:
        out = io.BytesIO()
        tifffile.imwrite(out, np.full((40, 40), np.nan, np.float32))
        content = out.getvalue()
    before = len(rows_of(service.folder))
    answer = service.inspect((f"{kind}.png", content))
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert len(rows_of(service.folder)) == before
    mixed = service.inspect((f"{kind}.png", content), good)
    assert mixed.status_code == 207
    first, second = mixed.json()["items"]
    assert first["status"] == status
    assert words in first["error"]
    assert second["verdict"] in ("ok", "reject")


@pytest.mark.parametrize(
    "content",
    [
        _png(np.full((40, 40), 30_000, np.uint16)),
        _saved(FRAMES[0].convert("CMYK"), "JPEG"),
        _saved(FRAMES[0].convert("CMYK"), "TIFF"),
        _saved(FRAMES[0].convert("P"), "PNG"),
        _saved(FRAMES[0].convert("LA"), "PNG"),
        _png(np.zeros((1, 1), np.uint8)),
    ],
    ids=["16 bit", "CMYK jpeg", "CMYK tiff", "palette", "alpha", "one pixel"],
)
def test_unusual_images_that_can_be_read_are_inspected(service, content):
    (item,) = service.inspect(("odd", content)).json()["items"]
    assert service.http.get(item["picture"]).headers["content-type"] in ("image/png", "image/jpeg")
    assert service.http.get(item["overlay"]).status_code == 200


SEEDS = [content for content, *_ in REFUSED.values() if content] + [
    _png(GREY),
    _saved(FRAMES[0], "JPEG"),
    _saved(FRAMES[0], "TIFF"),
]


@given(
    seed=st.sampled_from(SEEDS),
    cut=st.integers(0, 5000),
    flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_files_are_inspected_or_refused(service, seed, cut, flips):
    content = bytearray(seed[: len(seed) - cut] if cut < len(seed) else seed)
    for where, value in flips:
        content[where % len(content)] = value
    answer = service.inspect(("mutated.png", bytes(content)))
    assert answer.status_code in (200, 413, 415, 422), answer.text
    if answer.status_code != 200:
        assert answer.json()["detail"].endswith(".")


def test_no_worker_was_lost(service, good):
    """After all of the above: as many at a time as before."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: service.inspect(good).status_code, range(48)))
    assert Counter(answers) == {200: 48}
    assert "Traceback" not in service.log()


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


# --- limits, models, changes ----------------------------------------------------------------------------------------


def test_a_limit_is_moved_kept_and_audited(model, cache, tmp_path, good):
    folder = place(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service:
        score = service.inspect(good).json()["items"][0]["score"]
        before = service.http.get("/models/pane/limit").json()
        assert before["value"] == before["calibrated"]
        answer = service.http.put("/models/pane/limit", json={"value": score / 2, "reason": "scratches came through"})
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
    folder = place(tmp_path, model)
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
    folder = place(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service:
        service.http.put("/models/pane/limit", json={"value": 123.0})
        pellucid.fit(glass, "dfm", image_size=64, false_reject=0.1, seed=1).save(folder / "models" / "pane.pellucid")
        assert service.http.post("/models/pane/reload").json()["value"] != 123.0
        shutil.copy(model, folder / "models" / "pane.pellucid")
        assert service.http.post("/models/pane/reload").json()["value"] == 123.0


def test_exported_models_and_comparisons_are_on_the_shelf(model, cache, tmp_path, glass, good):
    folder = tmp_path
    load(model).export(folder / "models" / "exported")
    command = [sys.executable, "-m", "pellucid", "compare", str(glass), "-o", str(folder / "models" / "run")]
    command += ["--detectors", "dfm", "--image-size", "64", "--false-reject", "0.1"]
    subprocess.run(command, check=True, capture_output=True)
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


# --- decisions ------------------------------------------------------------------------------------------------------


def test_decisions_are_kept_undone_and_exported(model, cache, tmp_path, good, bad):
    folder = place(tmp_path, model)
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


# --- back-pressure, time, stopping ----------------------------------------------------------------------------------


def test_too_much_at_once_is_told_to_come_back(model, cache, tmp_path, good):
    folder = place(tmp_path, model)
    with served(folder, "--no-pages", "--waiting", "2", env=cache) as service:
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: service.inspect(good), range(120)))
        counts = Counter(answer.status_code for answer in answers)
        assert set(counts) == {200, 429}
        busy = next(answer for answer in answers if answer.status_code == 429)
        assert int(busy.headers["retry-after"]) >= 1
        assert "try again" in busy.json()["detail"]
        assert len(rows_of(folder)) == counts[200]
        text = service.http.get("/metrics").text
        assert f"pellucid_refused_total {counts[429]}.0" in text
        inspected = re.findall(r'pellucid_inspections_total\{model="pane",verdict="\w+"\} (\d+)', text)
        assert sum(map(int, inspected)) == counts[200]
        assert "pellucid_requests_under_way 0.0" in text


def test_requests_that_are_too_large(model, cache, tmp_path):
    folder = place(tmp_path, model)
    with served(folder, "--no-pages", "--request-mb", "1", "--megapixels", "0.5", env=cache) as service:
        answer = service.inspect(("big.png", bytes(1_500_000)))
        assert answer.status_code == 413
        assert "1 MB" in answer.json()["detail"]

        def stream():
            for _ in range(40):
                yield bytes(50_000)

        answer = service.http.post("/inspect", content=stream(), headers={"content-type": "image/png"})
        assert answer.status_code == 413, "a body of unknown length is counted"
        answer = service.inspect(("wide.png", _png(np.zeros((800, 800), np.uint8))))
        assert answer.status_code == 413
        assert "0.5 megapixels" in answer.json()["detail"]


def test_a_request_is_given_up_after_its_time(model, cache, tmp_path, good):
    folder = place(tmp_path, model)
    with served(folder, "--no-pages", "--timeout", "0.0001", env=cache) as service:
        answer = service.inspect(good)
        assert answer.status_code == 504
        assert "within 0.0001 s" in answer.json()["detail"]
        assert service.http.get("/health").status_code == 200


def test_a_stop_finishes_what_was_accepted(model, cache, tmp_path, good):
    folder = place(tmp_path, model)
    with served(folder, "--no-pages", env=cache) as service, ThreadPoolExecutor(32) as pool:
        sent = [
            pool.submit(lambda: httpx.post(service.url + "/inspect", files={"files": good.read_bytes()}, timeout=60))
            for _ in range(200)
        ]
        wait_until(lambda: len(rows_of(folder)) >= 20)
        service.stop()
        assert "stopped: all that was taken in" in service.log()
        done = [future for future in sent if future.exception() is None and future.result().status_code == 200]
        numbers = [f.result().json()["items"][0]["id"] for f in done]
    assert len(numbers) >= 20
    assert set(numbers) == {row["id"] for row in rows_of(folder)}, "an answer for every row, a row for every answer"


# --- faults ---------------------------------------------------------------------------------------------------------


def test_killed_under_load_it_has_kept_every_answer_once(model, cache, tmp_path, good):
    folder = place(tmp_path, model)
    answered: list[tuple[int, str]] = []

    def client(service, number):
        with httpx.Client(base_url=service.url, timeout=30) as http:
            for k in range(500):
                part = f"{number}-{k}"
                try:
                    answer = http.post(
                        "/inspect",
                        files={"files": good.read_bytes()},
                        params={"part_id": part},
                        headers={"Idempotency-Key": part},
                    )
                except httpx.HTTPError:
                    return
                answered.append((answer.json()["items"][0]["id"], part))

    for _ in range(2):
        with served(folder, "--no-pages", env=cache) as service:
            threads = [threading.Thread(target=client, args=(service, n)) for n in range(8)]
            for thread in threads:
                thread.start()
            target = len(answered) + 60
            wait_until(lambda: len(answered) >= target)  # noqa: B023
            service.kill()
            for thread in threads:
                thread.join()
    with served(folder, "--no-pages", env=cache) as service:
        kept = {row["id"]: row["part_id"] for row in rows_of(folder)}
        assert dict(answered).items() <= kept.items()
        assert len(kept.values()) == len(set(kept.values())), "none twice"
        for number, _ in answered[::10]:
            assert service.http.get(f"/inspections/{number}/picture").content == good.read_bytes()
        again = service.http.post(
            "/inspect", files={"files": good.read_bytes()}, headers={"Idempotency-Key": answered[0][1]}
        )
        assert again.json()["items"][0]["id"] == answered[0][0]


def test_a_full_disk_is_told_and_survived(model, cache, tmp_path, glass):
    folder = place(tmp_path, model)
    files = image_files(glass / "normal_test")
    with full_disk(folder / "record", 3), served(folder, "--no-pages", env=cache) as service:
        statuses = Counter()
        for _ in range(60):
            answer = service.inspect(*files[:4])
            statuses[answer.status_code] += 1
            if answer.status_code == 507:
                break
        assert answer.status_code == 507, statuses
        assert "space" in answer.json()["detail"]
        assert service.http.get("/health").status_code == 200
        assert service.http.get("/inspections").json()["items"]
        rows = rows_of(folder)
        kept = {row["picture"] for row in rows} | {row["map"] for row in rows}
        for path in (folder / "record" / "pictures").glob("*/*"):
            assert path.relative_to(folder / "record" / "pictures").as_posix() in kept, "no half of anything is left"
        for path in list((folder / "record" / "pictures").glob("*/*"))[:40]:
            path.unlink()
        assert service.inspect(files[0]).status_code == 200
        assert "Traceback" not in service.log()


def test_a_database_that_is_not_pellucids_or_newer(tmp_path, model):
    folder = place(tmp_path, model)
    Record(f"sqlite:///{tmp_path / 'new.db'}").close()
    with sqlite3.connect(tmp_path / "new.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(RecordError, match="newer pellucid"):
        Record(f"sqlite:///{tmp_path / 'new.db'}")
    (tmp_path / "text.db").write_text("this is no database, and long enough to be looked at" * 30)
    with pytest.raises(RecordError, match="cannot be used"):
        Record(f"sqlite:///{tmp_path / 'text.db'}")
    for url in ("nonsense", "oracle+nothing://x/y", "postgresql+missing://x/y"):
        with pytest.raises(ParameterError, match="not understood"):
            Record(url)
    done = subprocess.run(
        [sys.executable, "-m", "pellucid", "serve", "--database", "postgresql://user:geheim@127.0.0.1:1/x"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "geheim" not in done.stderr + done.stdout, "no password in what is said"


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    yield server
    server.stop()


def test_two_workers_keep_one_record(postgres, model, cache, tmp_path, good, bad):
    folder = place(tmp_path, model)
    options = ("--no-pages", "--database", postgres.url)
    with served(folder, *options, env=cache) as one, served(folder, *options, env=cache) as two:

        def send(number):
            worker = (one, two)[number % 2]
            key = f"both-{number // 2}"  # each key goes to both
            return httpx.post(
                worker.url + "/inspect",
                files={"files": good.read_bytes()},
                headers={"Idempotency-Key": key},
                timeout=60,
            ).json()

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(send, range(80)))
        assert answers[::2] == answers[1::2], "whoever was asked, the answer is the same"
        numbers = {answer["items"][0]["id"] for answer in answers}
        assert len(numbers) == 40
        for worker in (one, two):
            found = worker.http.get("/inspections", params={"count": 500}).json()["items"]
            assert {i["id"] for i in found} == numbers
        one.http.put("/models/pane/limit", json={"value": 0.001})
        wait_until(lambda: two.inspect(good).json()["items"][0]["verdict"] == "reject", 10)
        assert two.http.get("/models/pane/limit").json()["value"] == 0.001
        item = two.inspect(bad).json()["items"][0]
        one.http.put(f"/inspections/{item['id']}/decision", json={"decision": "defect", "type": "stone"})
        assert two.http.get(f"/inspections/{item['id']}").json()["type"] == "stone"
        assert one.http.get(f"/inspections/{item['id']}/picture").content == bad.read_bytes()


def test_a_database_that_goes_and_comes_back(postgres, model, cache, tmp_path, good):
    folder = place(tmp_path, model)
    with served(folder, "--no-pages", "--database", postgres.url, env=cache) as service:
        first = service.inspect(good).json()["items"][0]["id"]
        postgres.stop()
        try:
            answer = service.inspect(good)
            assert answer.status_code == 503
            assert "cannot be used now" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) >= 1
            ready = service.http.get("/ready")
            assert ready.status_code == 503
            assert ready.json()["reasons"]
            assert service.http.get("/health").status_code == 200
        finally:
            postgres.start()
        wait_until(lambda: service.http.get("/ready").status_code == 200, 15)
        assert service.inspect(good).json()["items"][0]["id"] > first
        assert service.http.get(f"/inspections/{first}").status_code == 200
        rows = service.http.get("/inspections").json()["items"]
        pictures = list((folder / "record" / "pictures").glob("*/*"))
        mine = [r for r in rows if r["id"] >= first]
        assert len(pictures) == 2 * len(mine), "what was not kept left no file"
        assert "Traceback" not in service.log()


# --- the record itself ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def record(request, tmp_path):
    if request.param == "sqlite":
        made = Record(f"sqlite:///{tmp_path / 'r.db'}")
    else:
        server = request.getfixturevalue("postgres")
        made = Record(server.url)
    yield made
    made.close()


def test_entries_come_back_as_they_went_in(record):
    entry = an_entry(
        file="ü.png",
        score=0.1 + 0.2,
        defects=[{"box": [1, 2, 3, 4], "area_px": 5, "peak": 1e-9, "centroid": [0.5, 1.5]}],
        time=datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        picture="x",
        map_low=-1.5,
    )
    kept = record.add(entry)
    assert record.get(kept.id) == kept
    assert kept.time == entry.time
    assert kept.score == entry.score
    assert record.get(2**31 - 1) is None


def test_filters_agree_with_a_slow_reference(record):
    rng = np.random.default_rng(0)
    start = datetime.now(UTC)
    model = f"m{rng.integers(1 << 30)}{time.monotonic_ns()}"
    entries = []
    for k in range(60):
        score = float(rng.random())
        verdict = "reject" if score > 0.7 else "ok"
        p = float(rng.choice([0.05, 0.1, 0.3]))
        entries.append(
            record.add(
                an_entry(
                    time=start + timedelta(minutes=k),
                    score=score,
                    verdict=verdict,
                    p_value=p,
                    part_id=f"p{k % 7}",
                    model=model,
                )
            )
        )
    for k in (3, 10, 20):
        entries[k] = record.decide(entries[k].id, "defect" if k == 3 else "ok", "stone" if k == 3 else None, "ann")
    moment = start + timedelta(minutes=20)
    for where, keep in (
        (Filter(model=model), lambda e: e.model == model),
        (Filter(model=model, since=moment), lambda e: e.time >= moment),
        (Filter(model=model, until=moment, verdict="reject"), lambda e: e.time < moment and e.verdict == "reject"),
        (Filter(model=model, part_id="p3"), lambda e: e.part_id == "p3"),
        (Filter(model=model, decision="none"), lambda e: e.decision is None),
        (Filter(model=model, decision="any"), lambda e: e.decision is not None),
        (Filter(model=model, decision="ok"), lambda e: e.decision == "ok"),
        (Filter(model=model, near=True), lambda e: e.verdict == "reject" or e.p_value <= 0.1),
        (Filter(model=model, before=entries[30].id), lambda e: e.id < entries[30].id),
    ):
        expected = [e for e in entries if keep(e)][::-1]
        assert record.find(where, 100) == expected
        assert record.count(where) == len(expected)
        assert list(record.each(where)) == expected
    hours = Counter(f"{e.time:%Y-%m-%dT%H}" for e in entries)
    rejected = Counter(f"{e.time:%Y-%m-%dT%H}" for e in entries if e.verdict == "reject")
    assert record.by_hour(Filter(model=model)) == [(h, hours[h], rejected[h]) for h in sorted(hours)]
    assert "stone" in record.types()


def test_the_newest_limit_of_the_very_model_counts(record):
    name = f"m{time.monotonic_ns()}"
    for sha, after in (("a" * 64, "1.0"), ("b" * 64, "2.0"), ("a" * 64, "3.0")):
        record.change(Change(datetime.now(UTC), "ann", name, sha, "limit", "0.0", after))
    assert record.limit_of(name, "a" * 64).after == "3.0"
    assert record.limit_of(name, "b" * 64).after == "2.0"
    assert record.limit_of(name, "c" * 64) is None
    assert [c.after for c in record.changed(model=name)] == ["3.0", "2.0", "1.0"]


def test_pictures_are_kept_for_their_time(tmp_path):
    record, store = Record(f"sqlite:///{tmp_path / 'r.db'}"), Store(tmp_path / "pictures")
    now = datetime.now(UTC)
    anomaly_map = np.zeros((8, 8), np.float32)
    kept = {}
    for name, days, verdict, decision in (
        ("new ok", 1, "ok", None),
        ("old ok", 40, "ok", None),
        ("decided ok", 40, "ok", "ok"),
        ("old reject", 40, "reject", None),
        ("ancient reject", 400, "reject", None),
        ("ancient decided", 400, "ok", "defect"),
    ):
        moment = now - timedelta(days=days)
        files = store.keep(moment, b"content", ".png", anomaly_map, (8, 8))
        entry = record.add(an_entry(time=moment, verdict=verdict, picture=files.picture, map=files.map))
        if decision:
            record.decide(entry.id, decision, None, "ann")
        kept[name] = entry.id
    store.keep(now - timedelta(days=401), b"left by a kill", ".png", anomaly_map, (8, 8))  # without a row
    assert expire(record, store, keep_ok=30, keep_reject=365) == 3
    left = {name for name, number in kept.items() if record.get(number).picture}
    assert left == {"new ok", "decided ok", "old reject"}
    assert len(list((tmp_path / "pictures").glob("*/*"))) == 6
    assert len(list((tmp_path / "pictures").iterdir())) == 2, "empty days are gone"
    with pytest.raises(DataError, match="their time was over"):
        store.picture(record.get(kept["old ok"]))
    record.close()


@given(low=st.floats(-1e3, 1e3), spread=st.floats(0, 1e4), seed=st.integers(0, 99))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_maps_keep_their_values(tmp_path, low, spread, seed):
    anomaly_map = np.float32(low + spread * np.random.default_rng(seed).random((9, 11)))
    store = Store(tmp_path)
    kept = store.keep(datetime.now(UTC), b"x", ".png", anomaly_map, (9, 11))
    found = store.map(an_entry(map=kept.map, map_low=kept.map_low, map_high=kept.map_high))
    step = (float(anomaly_map.max()) - float(anomaly_map.min())) / LEVELS
    np.testing.assert_allclose(found, anomaly_map, atol=step / 2 + 1e-6 * (abs(low) + spread) + 1e-7)


def test_a_full_disk_leaves_no_half_of_a_picture(tmp_path):
    with full_disk(tmp_path / "small", 1):
        store = Store(tmp_path / "small")
        for _ in range(2):
            store.keep(datetime.now(UTC), bytes(300_000), ".png", np.zeros((8, 8), np.float32), (8, 8))
        with pytest.raises(DiskFullError, match="No space"):
            store.keep(datetime.now(UTC), bytes(600_000), ".png", np.zeros((8, 8), np.float32), (8, 8))
        assert all(f.stat().st_size for f in (tmp_path / "small").glob("*/*"))
        assert not list((tmp_path / "small").glob("*/.*"))


# --- access ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "accounts.toml"
    return {"file": file, **{name: add_account(file, name, name) for name in ("operator", "engineer")}}


def test_elsewhere_needs_accounts(tmp_path):
    with pytest.raises(ParameterError, match="needs accounts"):
        Settings(models=tmp_path, record=tmp_path, host="0.0.0.0")
    with pytest.raises(ParameterError, match="--waiting 0"):
        Settings(models=tmp_path, record=tmp_path, waiting=0)
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("192.168.1.5")
    assert not is_loopback("example.org")
    with pytest.raises(ParameterError, match="guessed"):
        of_token("short")
    (tmp_path / "bad.toml").write_text("[[account]]\nname = 'a'\n")
    with pytest.raises(DataError, match="cannot be understood"):
        Accounts.read(tmp_path / "bad.toml")
    with pytest.raises(ParameterError, match="not allowed"):
        add_account(tmp_path / "a.toml", "a b", "operator")


def test_accounts_and_roles(model, cache, tmp_path, keys, good):
    folder = place(tmp_path, model)
    with served(
        folder, "--accounts", str(keys["file"]), "--host", "0.0.0.0", "--no-pages", env=cache, ready=False
    ) as service:
        assert service.http.get("/inspections").status_code == 401
        assert service.inspect(good).status_code == 401
        assert service.http.get("/inspections", headers={"authorization": "Bearer wrong"}).status_code == 401
        operator, engineer = ({"authorization": f"Bearer {keys[name]}"} for name in ("operator", "engineer"))
        wait_until(lambda: service.http.get("/ready", headers=operator).status_code == 200)
        sent = service.http.post("/inspect", files={"files": good.read_bytes()}, headers=operator).json()["items"][0]
        assert sent["account"] == "operator"
        decided = service.http.put(f"/inspections/{sent['id']}/decision", json={"decision": "ok"}, headers=operator)
        assert decided.json()["decided_by"] == "operator"
        for verb, path, body in (("PUT", "/models/pane/limit", {"value": 1.0}), ("POST", "/models/pane/reload", None)):
            refused = service.http.request(verb, path, json=body, headers=operator)
            assert refused.status_code == 403
            assert "an engineer" in refused.json()["detail"]
            assert service.http.request(verb, path, json=body, headers=engineer).status_code == 200
        assert {c["who"] for c in service.http.get("/changes", headers=operator).json()["items"]} == {"engineer"}
        assert service.http.post("/session", json={"key": "wrong"}).status_code == 401
        answer = service.http.post("/session", json={"key": keys["operator"]})
        cookie = answer.headers["set-cookie"]
        assert all(word in cookie.lower() for word in ("httponly", "samesite=strict"))
        assert service.http.get("/inspections").status_code == 200, "the browser is logged in"
        service.http.cookies.set("pellucid", "forged.cookie.value")
        assert service.http.get("/inspections").status_code == 401
        text = service.log() + keys["file"].read_text()
        assert keys["operator"] not in text
        assert keys["engineer"] not in text


def test_other_sites_stay_out(service, good):
    files = {"files": {"files": good.read_bytes()}}
    refused = service.http.post("/inspect", **files, headers={"origin": "http://evil.example"})
    assert refused.status_code == 403
    assert "evil.example" in refused.json()["detail"]
    assert service.http.post("/inspect", **files, headers={"origin": service.url}).status_code == 200
    rebound = service.http.get("/inspections", headers={"host": "evil.example"})
    assert rebound.status_code == 403, "a name that was pointed at this machine"
    answer = service.http.get("/inspections")
    for header in ("content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy"):
        assert header in answer.headers


def test_the_token_of_the_environment(model, cache, tmp_path):
    folder = place(tmp_path, model)
    token = "a-token-of-the-environment"
    with served(folder, "--no-pages", env={**cache, "PELLUCID_TOKEN": token}, ready=False) as service:
        assert service.http.get("/models").status_code == 401
        assert service.http.get("/models", headers={"authorization": f"Bearer {token}"}).status_code == 200
        assert token not in service.log()


# --- the watched folder ---------------------------------------------------------------------------------------------


def test_a_watched_folder_is_inspected_once(model, cache, tmp_path, glass):
    folder = place(tmp_path, model)
    watched = tmp_path / "camera"
    watched.mkdir()
    files = image_files(glass / "normal_test")[:4] + image_files(glass / "abnormal_test")[:2]
    for file in files[:3]:
        shutil.copy(file, watched / file.name)
    with served(folder, "--no-pages", "--watch", str(watched), env=cache):
        wait_until(lambda: len(rows_of(folder)) == 3)
        slow = watched / "slow.png"
        content = files[3].read_bytes()
        with slow.open("wb") as stream:  # a camera that writes in pieces
            for k in range(0, len(content), len(content) // 4 + 1):
                stream.write(content[k : k + len(content) // 4 + 1])
                stream.flush()
                time.sleep(0.5)
        (watched / ".hidden.png").write_bytes(content)
        (watched / "notes.txt").write_text("no image")
        (watched / "broken.png").write_bytes(b"\x89PNG broken")
        (watched / "lot 7").mkdir()
        shutil.copy(files[4], watched / "lot 7" / "a.png")
        wait_until(lambda: len(rows_of(folder)) == 5)
        time.sleep(1.5)
        rows = rows_of(folder)
    assert sorted(r["file"] for r in rows) == sorted([*(f.name for f in files[:3]), "slow.png", "lot 7/a.png"])
    assert {r["source"] for r in rows} == {"watch"}
    shutil.copy(files[5], watched / "next.png")
    with served(folder, "--no-pages", "--watch", str(watched), env=cache) as service:
        wait_until(lambda: len(rows_of(folder)) == 6)
        time.sleep(1.5)
        assert len(rows_of(folder)) == 6, "a restart inspects none again"
        assert "Traceback" not in service.log()


# --- the whole interface --------------------------------------------------------------------------------------------


def test_schemathesis_accepts_the_interface(service):
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program, "schemathesis belongs to the extra [dev]"
    config = service.folder / "schemathesis.toml"
    config.write_text(  # no schema says that bytes are an image: those that are none may be refused
        '[[operations]]\ninclude-path = "/inspect"\n'
        'checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 413, 415, 422, 429]\n'
    )
    command = [program, "--config-file", str(config), "run", f"{service.url}/openapi.json"]
    command += ["--max-examples", "15", "--seed", "1", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=service.folder)
    assert done.returncode == 0, done.stdout[-6000:]


def test_nothing_listens_beyond_this_machine(service):
    port = int(service.url.rsplit(":", 1)[1])
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)} - {
        "127.0.0.1",
        "127.0.1.1",
    }
    for address in addresses:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((address, port)) != 0


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a", b"", "empty"),
        ("b", b"II*\0" + bytes(8), "TIFF"),
        ("c", _png(np.zeros((2, 40_000), np.uint8)), "40000 x 2"),
    ],
)
def test_uploads_are_checked_by_their_head(name, content, words):
    with pytest.raises(RefusedError, match=words):
        check_upload(content, name, 50)


def test_what_is_missing_is_said_at_the_start(tmp_path, service):
    taken = service.url.rsplit(":", 1)[1]
    for options, words in (
        (["--watch", "nowhere"], "'nowhere' is not a folder"),
        (["--host", "0.0.0.0"], "needs accounts"),
        (["--port", taken], f"Port {taken} of '127.0.0.1' cannot be listened on"),
    ):
        command = [sys.executable, "-m", "pellucid", "serve", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert words in " ".join(done.stderr.split())
    command = [sys.executable, "-m", "pellucid", "account", "line-1", "-f", "accounts.toml", "--role", "engineer"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    key = done.stdout.splitlines()[-1]
    account = Accounts.read(tmp_path / "accounts.toml").with_key(key)
    assert account is not None
    assert account.role == "engineer"
    assert json.dumps(key)[1:-1] not in (tmp_path / "accounts.toml").read_text()
