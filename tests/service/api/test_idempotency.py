"""A key stands for one request: the same one is answered again, another one never gets its answer."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient
from serving import an_inspection_row, rows_of, serving_folder
from sqlalchemy import create_engine

from pellucid.acquisition.folders import image_files
from pellucid.service.app import create_app, create_service
from pellucid.service.settings import read_settings
from pellucid.service.storage import engine
from pellucid.service.storage.record import Database


def _send(service, key, *files, **query):
    sent = [("files", (name, content)) for name, content in files]
    return service.http.post(
        "/inspect", files=sent, params={"model": "pane", **query}, headers={"Idempotency-Key": key}
    )


@pytest.fixture
def images(good, bad):
    return good.read_bytes(), bad.read_bytes()


@pytest.mark.parametrize(
    ("files", "query"),
    [
        ([("a.png", "bad")], {}),
        ([("a.png", b"garbage")], {}),
        ([("a.png", b"")], {}),
        ([("b.png", "good")], {}),
        ([("a.png", "good")], {"part_id": "P-2"}),
        ([("a.png", "good")], {"part_id": "a.png"}),
        ([("a.png", "good with a byte more")], {}),
        ([("a.png", "good"), ("b.png", "good")], {}),
        ([("b.png", "good"), ("a.png", "good")], {}),
    ],
)
def test_a_key_answers_for_no_other_request(service, images, files, query):
    good, bad = images
    contents = {"good": good, "bad": bad, "good with a byte more": good + b"\0"}
    key = f"{files} {query}"[:200]
    before = len(rows_of(service.folder))
    first = _send(service, key, ("a.png", good))
    other = _send(service, key, *((name, contents.get(content, content)) for name, content in files), **query)
    assert other.status_code == 422, other.text
    assert "stands for another request" in other.json()["detail"]
    assert str(first.json()["items"][0]["id"]) in other.json()["detail"]
    assert _send(service, key, ("a.png", good)).json() == first.json(), "the first one still has its answer"
    assert len(rows_of(service.folder)) == before + 1, "a request is refused whole"


def test_fewer_or_exchanged_files_are_another_request(service, images):
    good, bad = images
    _send(service, "two", ("a.png", good), ("b.png", bad))
    for files in ([("a.png", good)], [("a.png", bad), ("b.png", good)], [("b.png", bad), ("a.png", good)]):
        assert _send(service, "two", *files).status_code == 422
    assert _send(service, "two", ("a.png", good), ("b.png", bad)).status_code == 200


def test_another_model_is_another_request(service, images):
    assert (
        _send(service, "model", ("a.png", images[0])).json()
        == _send(service, "model", ("a.png", images[0]), model="pane").json()
    ), "the only model, named or not"
    copied = service.folder / "models" / "second.pellucid"
    copied.write_bytes((service.folder / "models" / "pane.pellucid").read_bytes())
    try:
        assert _send(service, "model", ("a.png", images[0]), model="second").status_code == 422
    finally:
        copied.unlink()


def test_a_request_that_failed_leaves_its_key_free(service, images):
    good, bad = images
    assert _send(service, "failed", ("a.png", b"no image")).status_code == 415
    assert _send(service, "failed", ("a.png", good), model="nobody").status_code == 404
    assert _send(service, "failed", ("a.png", bad)).json()["items"][0]["verdict"] == "reject"
    assert _send(service, "failed", ("a.png", good)).status_code == 422


@pytest.mark.parametrize("headers", [[("Idempotency-Key", "a"), ("Idempotency-Key", "b")], [("Idempotency-Key", "")]])
def test_keys_that_are_none(service, images, headers):
    sent = {"files": {"files": ("a.png", images[0])}, "params": {"model": "pane"}}
    refused = service.http.post("/inspect", **sent, headers=headers)
    assert refused.status_code == 422
    assert "dempotency" in refused.json()["detail"]


def test_keys_of_the_watched_folder_cannot_be_reached(service, images):
    """Whatever a person sends, the row's key is below "http:" and the account."""
    for key in ("watch:a.png:1:1", "../watch:a.png", "a:0", "http:local:a"):
        _send(service, key, ("a.png", images[0]))
    with sqlite3.connect(service.folder / "record" / "record.db") as connection:
        keys = [key for (key,) in connection.execute("SELECT key FROM inspections WHERE key IS NOT NULL")]
    assert "http:local:watch:a.png:1:1:0" in keys
    assert all(key.startswith("http:local:") for key in keys)


def test_at_once_with_different_pictures_one_wins(service, glass):
    """Twelve senders with one key: those with the winner's picture get its answer, the others none."""
    contents = [file.read_bytes() for file in image_files(glass / "normal_test")[:3]]

    def send(k: int):
        sent = {"files": {"files": ("a.png", contents[k % 3])}, "params": {"model": "pane"}}
        return k % 3, httpx.post(f"{service.url}/inspect", **sent, headers={"Idempotency-Key": "race"}, timeout=300)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, range(12)))
    winners = {k for k, answer in answers if answer.status_code == 200}
    assert len(winners) == 1
    assert {answer.status_code for k, answer in answers if k not in winners} == {422}
    assert len({answer.text for _, answer in answers if answer.status_code == 200}) == 1


def _service(folder, **more):
    options = {"models": folder / "models", "record": folder / "record", "pages": False, "runtime": "torch"}
    return create_service(read_settings({**options, **more}))


def test_two_services_on_one_record(model, tmp_path, images):
    folder = serving_folder(tmp_path, model)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(TestClient(create_app(_service(folder)), base_url="http://127.0.0.1")) for _ in range(2)
        ]
        for client in clients:  # FastAPI reads routes at the first request, and not in two threads of one process
            assert client.post("/inspect").status_code == 422

        def send(k: int):
            files = {"files": ("a.png", images[k // 2 % 2])}
            return clients[k % 2].post("/inspect", files=files, headers={"Idempotency-Key": "both"})

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(send, range(16)))
        by_picture = [{answers[k].status_code for k in range(16) if k // 2 % 2 == picture} for picture in range(2)]
        assert sorted(map(tuple, by_picture)) == [(200,), (422,)]
        assert len({answer.json()["items"][0]["id"] for answer in answers if answer.status_code == 200}) == 1


def test_a_key_is_free_again_when_its_time_is_over(model, tmp_path, images):
    folder = serving_folder(tmp_path, model)
    service = _service(folder, key_hours=1)
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:

        def send(content):
            return client.post("/inspect", files={"files": ("a.png", content)}, headers={"Idempotency-Key": "k"})

        def age(hours):
            moment = (datetime.now(UTC) - timedelta(hours=hours)).replace(tzinfo=None)
            with sqlite3.connect(folder / "record" / "record.db") as connection:
                connection.execute("UPDATE inspections SET time = ?", [moment.isoformat(sep=" ")])

        first = send(images[0]).json()
        age(0.9)
        assert send(images[0]).json()["items"][0]["id"] == first["items"][0]["id"]
        assert send(images[1]).status_code == 422
        age(1.1)
        again = send(images[1])
        assert again.json()["items"][0]["verdict"] == "reject"
        assert send(images[1]).json() == again.json()
        assert client.get(f"/inspections/{first['items'][0]['id']}").status_code == 200, "the old row stays"


def test_keys_from_before_are_free_and_those_of_the_watched_folder_stay(tmp_path):
    url = f"sqlite:///{tmp_path / 'r.db'}"
    config = Config()
    config.set_main_option("script_location", engine.__file__.replace("engine.py", "migrations"))
    with create_engine(url).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    row = an_inspection_row()
    names = [column for column in row.__dataclass_fields__ if column not in ("id", "request_sha256")]
    with sqlite3.connect(tmp_path / "r.db") as connection:
        there = {column[1] for column in connection.execute("PRAGMA table_info(inspections)")}
        names = [name for name in names if name in there]
        for key in ("http:ann:1:0", "watch:a.png:1:2"):
            values = {**{name: getattr(row, name) for name in names}, "key": key, "defects": "[]"}
            values["time"] = row.time.isoformat(sep=" ")
            columns = ", ".join(f'"{name}"' for name in values)
            connection.execute(
                f"INSERT INTO inspections ({columns}) VALUES ({', '.join('?' * len(values))})", list(values.values())
            )
    database = Database(url)
    assert database.with_key("http:ann:1:0") is None
    assert database.with_key("watch:a.png:1:2") is not None
    database.close()
