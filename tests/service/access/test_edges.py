"""The edge of HTTP: hosts, origins, bodies, headers, and one shape for every error."""

from __future__ import annotations

import logging
import re

import pytest

from pellucid.service.access.accounts import add_account
from pellucid.service.app import create_app, create_service
from pellucid.service.logs import MAX_TRACEBACKS, TracebackLimit
from pellucid.service.settings import read_settings
from service.access.asking import LOCAL_HOST, ask, bearer

JSON = {"content_type": "application/json"}


def _app(folder, **more):
    options = {"models": folder / "models", "record": folder / "record", "pages": False, "runtime": "torch"}
    return create_app(create_service(read_settings({**options, **more})))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return _app(tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def with_accounts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("accounts")
    keys = {name: add_account(folder / "accounts.toml", name, name) for name in ("operator", "engineer")}
    return _app(folder, accounts=folder / "accounts.toml"), keys


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        ([b"127.0.0.1:8000"], 200),
        ([b"localhost"], 200),
        ([b"LOCALHOST:80"], 200),
        ([b"[::1]:8000"], 200),
        ([b"[::1"], 400),
        ([b"[[::1]]"], 400),
        ([b"evil@127.0.0.1"], 400),
        ([b"127.0.0.1/evil"], 400),
        ([b"127.0.0.1#evil"], 400),
        ([b"127.0.0.1:port"], 400),
        ([b"127.0.0.1:80:80"], 400),
        ([b"127.0.0.1 evil"], 400),
        ([b""], 400),
        (["lόcalhost".encode()], 400),
        ([b"127.0.0.1", b"127.0.0.1"], 400),
        ([b"127.0.0.1", b"evil.example"], 400),
        ([], 403),
        ([b"evil.example"], 403),
        ([b"127.0.0.1.evil.example"], 403),
        ([b"127.1"], 403),
        ([b"2130706433"], 403),
        ([b"localhost."], 403),
        ([b"[::ffff:8.8.8.8]"], 403),
    ],
)
def test_hosts(local, hosts, status):
    answer = ask(local, headers=[(b"host", host) for host in hosts])
    assert answer.status == status
    assert status == 200 or isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://[::1", 400),
        ("http://evil@127.0.0.1:8000", 400),
        ("not an origin", 400),
        ("127.0.0.1:8000", 400),
        ("http://", 400),
        ("null", 403),
        ("http://evil.example", 403),
        ("http://127.0.0.1:9000", 403),
        ("http://127.0.0.1:8000.evil.example", 400),
        ("http://127.0.0.1:8000", None),
    ],
)
def test_origins(local, method, origin, status):
    answer = ask(local, "/models", method, origin=origin)
    assert answer.status == (status or (200 if method == "GET" else 405))
    assert status is None or isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("path", "headers", "is_let_in"),
    [
        ("/models", {"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, True),
        ("/models", {"sec_fetch_site": "none", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}, True),
        ("/models", {}, True),
        ("/models", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, False),
        ("/models", {"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors"}, False),
        ("/models", {"sec_fetch_site": "nonsense"}, False),
        ("/inspections/1/picture", {"sec_fetch_site": "cross-site", "sec_fetch_dest": "image"}, False),
        (
            "/decisions.zip?accepted=9",
            {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
            False,
        ),
        (
            "/login",
            {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
            True,
        ),
        ("/login", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}, False),
        ("/ui/inspect", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}, False),
    ],
)
def test_other_sites_ask_for_nothing(local, path, headers, is_let_in):
    answer = ask(local, path, **headers)
    assert (answer.status != 403) == is_let_in
    assert is_let_in or "another site" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/models", {}),
        ("/nowhere", {}),
        ("/health", {"method": "HEAD"}),
        ("/models", {"origin": "http://evil.example"}),
        ("/login", {}),
        ("/static/login.js", {}),
        ("/static/nothing.js", {}),
    ],
)
def test_every_answer_has_the_security_headers(local, path, more):
    answer = ask(local, path, **more)
    is_page = answer.headers.get("content-type", "").startswith("text/html")
    assert ("script-src 'self'" in answer.headers["content-security-policy"]) == is_page
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_balancers_may_ask_by_head(local, path):
    assert ask(local, path, "HEAD").status == ask(local, path).status


@pytest.mark.parametrize(
    ("path", "method", "body", "chunks", "declared", "status"),
    [
        ("/session", "POST", b'{"key": "wrong"}', 1, True, 401),
        ("/session", "POST", b" " * 5_000, 1, True, 413),
        ("/session", "POST", b" " * 1_000, 6, False, 413),
        ("/session", "POST", b"[" * 3_000, 1, True, 400),
        ("/session", "POST", b"", 1, True, 422),
        ("/health", "POST", b" " * 5_000, 1, True, 413),
        ("/inspect", "POST", b" " * 5_000, 1, True, 401),
        ("/nowhere", "POST", b" " * 5_000, 1, True, 401),
    ],
)
def test_strangers_send_little(with_accounts, path, method, body, chunks, declared, status):
    app, _ = with_accounts
    more = {"content_length": str(len(body) * chunks)} if declared else {}
    answer = ask(app, path, method, body=body, chunks=chunks, **JSON, **more)
    assert answer.status == status, answer.body
    assert isinstance(answer.json()["detail"], str)
    assert status != 413 or "0.004 MB" in answer.json()["detail"]


def test_strangers_learn_whether_it_is_ready_and_no_more(with_accounts):
    app, keys = with_accounts
    told = {key: ask(app, "/ready", authorization=bearer(keys.get(key, ""))).json() for key in ("engineer", "operator")}
    stranger = ask(app, "/ready").json()
    assert stranger.pop("status") == "not ready"
    assert set(map(str, stranger.values())) == {"[]"}
    assert told["engineer"]["threads"] or told["engineer"]["reasons"]
    assert ask(app, "/ready", authorization="Bearer wrong").json()["reasons"] == []
    assert told["engineer"]["reasons"] == told["operator"]["reasons"] != []


@pytest.mark.parametrize("role", ["operator", "engineer"])
def test_places_of_files_are_for_engineers(with_accounts, role):
    """Damaged model files and a damaged database: operators read what is wrong, not where it is."""
    app, keys = with_accounts
    settings = app.state.service.settings
    (settings.models / "broken.pellucid").write_bytes(b"nonsense")
    answers = [ask(app, "/models", authorization=bearer(keys[role])).body]
    answers.append(ask(app, "/models/broken/limit", authorization=bearer(keys[role])).body)
    answers.append(ask(app, "/comparisons/none/report", authorization=bearer(keys[role])).body)
    assert b"broken.pellucid' is not a pellucid model" in answers[0]
    assert b"broken.pellucid' is not a pellucid model" in answers[1]
    assert (str(settings.models).encode() in b"".join(answers)) == (role == "engineer")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nowhere", "GET", 404),
        ("/models", "PATCH", 405),
        ("/static/no.js", "GET", 404),
        ("/inspections/x", "GET", 422),
    ],
)
def test_one_shape_for_errors(local, path, method, status):
    answer = ask(local, path, method)
    assert answer.status == status
    assert list(answer.json()) == ["detail"]
    assert isinstance(answer.json()["detail"], str)


def _raise(*_: object) -> None:
    raise ZeroDivisionError("secret words")


def test_unforeseen_errors_have_the_same_shape_and_a_number(local, monkeypatch, caplog):
    service = local.state.service
    monkeypatch.setattr(service.registry, "paths", _raise)
    answer = ask(local)
    assert answer.status == 500
    detail = answer.json()["detail"]
    number = re.search(r"error ([0-9a-f]{8})\.", detail)[1]
    assert "secret words" not in detail
    (record,) = [record for record in caplog.records if number in record.getMessage()]
    assert record.exc_info[0] is ZeroDivisionError
    assert "x-content-type-options" in answer.headers


def test_unforeseen_errors_before_the_routes(local, monkeypatch):
    monkeypatch.setattr("pellucid.service.access.middleware._foreign_origin", _raise)
    answer = ask(local, headers=[LOCAL_HOST])
    assert answer.status == 500
    assert "its log says what" in answer.json()["detail"]


def test_errors_are_described(local):
    document = ask(local, "/openapi.json").json()
    for path, methods in document["paths"].items():
        for answers in (method["responses"] for method in methods.values()):
            if path not in ("/health", "/ready", "/metrics"):
                assert answers["500"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")


def test_tracebacks_do_not_fill_the_log():
    limit = TracebackLimit()
    try:
        _raise()
    except ZeroDivisionError as error:
        kept = error
    records = [
        logging.LogRecord("nicegui", logging.ERROR, "", 0, "it failed", (), (type(kept), kept, None))
        for _ in range(MAX_TRACEBACKS + 5)
    ]
    assert all(limit.filter(record) for record in records), "no line is lost"
    assert [bool(record.exc_info) for record in records] == [True] * MAX_TRACEBACKS + [False] * 5
    assert "ZeroDivisionError" in records[-1].getMessage()
