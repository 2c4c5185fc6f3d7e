"""Keys, sessions and accounts: who gets in, and for how long."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import time

import pytest

from pellucid.errors import DataError, ParameterError
from pellucid.service.access import brake, live_accounts
from pellucid.service.access.accounts import Account, Accounts, add_account, sentence_for, token_account
from pellucid.service.access.brake import MAX_WRONG_KEYS, BrakedError, WrongKeyBrake
from pellucid.service.access.live_accounts import LiveAccounts
from pellucid.service.access.sessions import SESSION_S, Sessions
from pellucid.service.app import create_app, create_service
from pellucid.service.settings import read_settings
from service.access.asking import ask, bearer

JSON = {"content_type": "application/json"}


@pytest.fixture
def app(tmp_path, keys, monkeypatch):
    monkeypatch.setattr(live_accounts, "LOOK_PERIOD_S", 0.0)
    settings = {"models": tmp_path / "models", "record": tmp_path / "record", "pages": False, "accounts": keys["file"]}
    return create_app(create_service(read_settings(settings)))


def _log_in(app, key: str):
    return ask(app, "/session", "POST", body=json.dumps({"key": key}).encode(), **JSON)


def _cookie(answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def test_logging_out_ends_the_cookie_wherever_it_is_and_after_a_restart(app, keys, tmp_path):
    cookie, other = (_cookie(_log_in(app, keys["operator"])) for _ in range(2))
    assert ask(app, cookie=cookie).status == 200
    out = ask(app, "/session", "DELETE", cookie=cookie)
    assert out.status == 204
    assert ask(app, cookie=cookie).status == 401
    assert ask(app, cookie=other).status == 200, "another browser of the same account goes on"
    again = create_app(
        create_service(
            read_settings(
                {"models": tmp_path / "models", "record": tmp_path / "record", "pages": False, "accounts": keys["file"]}
            )
        )
    )
    assert ask(again, cookie=cookie).status == 401
    assert ask(again, cookie=other).status == 200


def test_a_session_ends_with_the_shift(app, keys, monkeypatch):
    cookie = _cookie(_log_in(app, keys["operator"]))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SESSION_S - 60)
    assert ask(app, cookie=cookie).status == 200
    monkeypatch.setattr(time, "time", lambda: now + SESSION_S + 60)
    assert ask(app, cookie=cookie).status == 401


def _remove(file):
    accounts = Accounts.read(file).members
    file.write_text("".join(_block(account) for account in accounts if account.name != "operator"))


def _block(account, **change):
    return "[[account]]\n" + "".join(f'{k} = "{v}"\n' for k, v in (account.model_dump() | change).items())


def _promote(file):
    accounts = Accounts.read(file).members
    file.write_text("".join(_block(account, role="engineer") for account in accounts))


@pytest.mark.parametrize(
    ("edit", "key_works", "cookie_works"),
    [
        (_remove, False, False),
        (lambda file: add_account(file, "operator", "operator"), False, False),
        (lambda file: file.write_text(""), False, False),
        (_promote, True, True),
        (lambda file: file.write_text("[[account"), True, True),
        (lambda file: file.write_text("[[account]]\nname = 'operator'"), True, True),
        (lambda file: file.write_bytes(b"\xff\xfe\x00"), True, True),
        (lambda file: file.write_text("x = " + "[" * 100_000), True, True),
        (lambda file: file.write_text(file.read_text() * 2), True, True),
        (lambda file: file.unlink(), True, True),
    ],
    ids=["removed", "new key", "emptied", "promoted", "no TOML", "half", "no text", "deep", "twice", "deleted"],
)
def test_the_accounts_in_force_are_those_of_the_file(app, keys, edit, key_works, cookie_works, caplog):
    caplog.set_level(logging.INFO)
    cookie = _cookie(_log_in(app, keys["operator"]))
    edit(keys["file"])
    assert (ask(app, authorization=bearer(keys["operator"])).status == 200) == key_works
    assert (ask(app, cookie=cookie).status == 200) == cookie_works
    is_broken = any("stay in force" in record.getMessage() for record in caplog.records)
    assert is_broken == (key_works and edit is not _promote)
    if is_broken:
        warnings = ask(app, "/ready", authorization=bearer(keys["engineer"])).json()["warnings"]
        assert any("stay in force" in warning for warning in warnings)


def test_a_service_with_accounts_never_becomes_one_without(app, keys):
    for edit in (lambda: keys["file"].write_text(""), keys["file"].unlink):
        edit()
        assert ask(app).status == 401
    key = add_account(keys["file"], "sara", "operator")
    assert ask(app, authorization=bearer(key)).status == 200, "an account that is added opens at once"
    assert ask(app, "/ready", authorization=bearer(key)).json()["warnings"] == []


def test_a_file_without_accounts_is_no_reason_to_let_everybody_in(tmp_path):
    for file in (tmp_path / "typo.toml", tmp_path / "empty.toml"):
        (tmp_path / "empty.toml").touch()
        with pytest.raises(DataError, match=r"There are no accounts in .* 'pellucid account NAME"):
            LiveAccounts(file, None)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([("local", "a")], "the name 'local' is the service's own"),
        ([("Watch", "a")], "the name 'Watch' is the service's own"),
        ([("token", "a")], "the name 'token' is the service's own"),
        ([("ann", "a"), ("ann", "b")], "several accounts 'ann'"),
        ([("ann", "a"), ("Ann", "b")], "several accounts 'ann'"),
        ([("ann", "a"), ("bob", "a")], "two accounts have the same key"),
        ([("a b", "a")], "name"),
        ([("a\\nb", "a")], "name"),
    ],
)
def test_accounts_that_say_two_things_are_refused(tmp_path, blocks, words):
    file = tmp_path / "accounts.toml"
    file.write_text(
        "".join(f'[[account]]\nname = "{name}"\nrole = "operator"\nkey_sha256 = "{key * 64}"\n' for name, key in blocks)
    )
    with pytest.raises(DataError, match=words):
        Accounts.read(file)


@pytest.mark.parametrize(
    "name", ["local", "Local", "watch", "token", "Service", "TOKEN", "", "a b", "a" * 65, "a\n", "<b>"]
)
def test_names_that_no_account_may_have(tmp_path, name):
    with pytest.raises(ParameterError, match="is not allowed"):
        add_account(tmp_path / "a.toml", name, "operator")


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "shorter than 16"),
        ("a" * 15, "shorter than 16"),
        ("a" * 16, "different characters"),
        ("1234" * 8, "different characters"),
        ("aaaaaaaaaaaaaabcdef", "different characters"),
        ("a-token with a space", "no space"),
        ("a-token-with-an-end\n", "no space"),
        ("a-token-of-\u0637\u0644\u0627-letters", "ASCII"),
        ("a-token-with-a-nul\0", "ASCII"),
    ],
)
def test_tokens_that_could_be_guessed_or_not_be_sent(token, words):
    with pytest.raises(ParameterError, match=words):
        token_account(token)


# --- guessing -------------------------------------------------------------------------------------------------------


def test_guessing_is_braked_and_the_line_goes_on(app, keys):
    """From one address: the known key goes on, a new one waits; from another address nothing has changed."""
    assert ask(app, authorization=bearer(keys["operator"])).status == 200
    answers = [ask(app, authorization=bearer(f"wrong-{k}")) for k in range(MAX_WRONG_KEYS + 3)]
    assert [answer.status for answer in answers] == [401] * MAX_WRONG_KEYS + [429] * 3
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert "Too many wrong keys" in answers[-1].json()["detail"]
    assert _log_in(app, "wrong").status == 429, "it is one brake for both ways in"
    assert ask(app, authorization=bearer(keys["engineer"])).status == 429, "a right guess is not told from a wrong one"
    assert ask(app, authorization=bearer(keys["operator"])).status == 200
    assert ask(app, "/health", authorization="Bearer wrong").status == 200
    assert ask(app, authorization=bearer(keys["engineer"]), client="192.0.2.9").status == 200


def test_the_brake_lets_go(monkeypatch):
    made = WrongKeyBrake()
    for k in range(MAX_WRONG_KEYS):
        made.note("192.0.2.1", f"{k}", right=False)
    with pytest.raises(BrakedError):
        made.check("192.0.2.1", "right")
    now = time.monotonic()
    monkeypatch.setattr(brake.time, "monotonic", lambda: now + brake.PERIOD_S)
    made.check("192.0.2.1", "right")


def test_the_brake_knows_networks_and_keeps_little(monkeypatch):
    monkeypatch.setattr(brake, "MAX_ADDRESSES", 50)
    made = WrongKeyBrake()
    for k in range(MAX_WRONG_KEYS):
        made.note(f"2001:db8::{k:x}", "wrong", right=False)
    with pytest.raises(BrakedError):
        made.check("2001:db8::ffff", "right")
    made.check("2001:db8:1::1", "right")
    for k in range(200):
        made.note(f"10.0.0.{k}", "wrong", right=False)
        made.note(f"10.0.0.{k}", "right", right=True)
    assert len(made._wrong) == 50


# --- what others on this machine may read -----------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_what_the_service_keeps_is_its_users_own(tmp_path, keys):
    """Folders that an earlier version left open are closed; nothing is open for a moment, whatever the mask."""
    record = tmp_path / "record"
    record.mkdir(mode=0o755)
    record.chmod(0o755)
    for name in ("session.key", "record.db"):
        (record / name).write_text("k" * 43 if name == "session.key" else "")
        (record / name).chmod(0o644)
    mask = os.umask(0)
    try:
        settings = {"models": tmp_path / "models", "record": record, "pages": False, "accounts": keys["file"]}
        elsewhere = tmp_path / "elsewhere.db"
        for database in (None, f"sqlite:///{elsewhere}"):
            service = create_service(read_settings({**settings, "database": database}))
            cookie = _cookie(_log_in(create_app(service), keys["operator"]))
            ask(create_app(service), "/session", "DELETE", cookie=cookie)
            service.database.close()
        add_account(tmp_path / "new.toml", "ann", "operator")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(record.stat().st_mode) == 0o700
    private = [*record.iterdir(), elsewhere, tmp_path / "new.toml"]
    assert {"session.key", "ended-sessions.json", "record.db"} <= {path.name for path in private}
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode) & 0o077) for path in private} == {
        path.name: "0o0" for path in private
    }


def test_a_key_that_signs_is_never_empty(tmp_path):
    (tmp_path / "session.key").write_text("")
    account = Account(name="ann", role="operator", key_sha256="a" * 64)
    cookie = Sessions(tmp_path).issue(account)
    assert len((tmp_path / "session.key").read_text()) >= 32
    assert Sessions(tmp_path).read(cookie, Accounts((account,))) is not None


@pytest.mark.parametrize(
    "content", ["", "[]", "null", "{", '{"a": "b"}', '{"a": null}', '{"a": [1]}', "[" * 100_000, "\udcff"]
)
def test_a_damaged_list_of_ended_sessions_stops_nothing(tmp_path, content):
    (tmp_path / "ended-sessions.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    account = Account(name="ann", role="operator", key_sha256="a" * 64)
    sessions = Sessions(tmp_path)
    login = sessions.read(sessions.issue(account), Accounts((account,)))
    sessions.end(login)
    assert not sessions.holds(login)


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("'/srv/glass/models/pane.pellucid' is truncated.", "'pane.pellucid' is truncated."),
        ("There are no models in '/srv/glass/models'.", "There are no models in 'models'."),
        (r"'C:\glass\models\pane.pellucid' is truncated.", "'pane.pellucid' is truncated."),
        (
            "The record at sqlite:////srv/record.db cannot be used now.",
            "The record at the database cannot be used now.",
        ),
        (
            "The record at postgresql+psycopg://ann:***@db.example/record cannot be used now.",
            "The record at the database cannot be used now.",
        ),
        ("Cannot read '/a/b.png': see '/c/d.png'.", "Cannot read 'b.png': see 'd.png'."),
        ("'pane.png' is empty (0 bytes).", "'pane.png' is empty (0 bytes)."),
        ("A page of 'x' takes 1/2 s.", "A page of 'x' takes 1/2 s."),
    ],
)
def test_sentences_for_operators(sentence, told):
    operator, engineer = (Account(name="a", role=role, key_sha256="a" * 64) for role in ("operator", "engineer"))
    assert sentence_for(operator, sentence) == told
    assert sentence_for(None, sentence) == told
    assert sentence_for(engineer, sentence) == sentence
