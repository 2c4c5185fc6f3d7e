"""Settings: options, environment, file, messages, document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.errors import DataError, ParameterError
from pellucid.service.access.accounts import Accounts, add_account, is_loopback, token_account
from pellucid.service.settings import Settings, option_name, read_settings, settings_document


def test_elsewhere_needs_accounts(tmp_path):
    with pytest.raises(ParameterError, match="needs accounts"):
        read_settings({"host": "0.0.0.0"})
    with pytest.raises(ParameterError, match="--max-requests 0 is not allowed: give a number above zero"):
        read_settings({"max_requests": 0})
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("192.168.1.5")
    assert not is_loopback("example.org")
    with pytest.raises(ParameterError, match="guessed"):
        token_account("short")
    (tmp_path / "bad.toml").write_text("[[account]]\nname = 'a'\n")
    with pytest.raises(DataError, match="cannot be understood"):
        Accounts.read(tmp_path / "bad.toml")
    with pytest.raises(ParameterError, match="not allowed"):
        add_account(tmp_path / "a.toml", "a b", "operator")


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


@pytest.fixture
def clean_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PELLUCID_{name.upper()}", raising=False)


def _config(tmp_path, text: str) -> Path:
    file = tmp_path / "pellucid.toml"
    file.write_text(text, "utf-8")
    return file


@pytest.mark.usefixtures("clean_environment")
def test_option_beats_environment_beats_file_beats_default(tmp_path, monkeypatch):
    config = _config(tmp_path, "port = 1\nmax_requests = 1\nkeep_ok = 1\n")
    monkeypatch.setenv("PELLUCID_PORT", "2")
    monkeypatch.setenv("PELLUCID_MAX_REQUESTS", "2")
    monkeypatch.setenv("PELLUCID_DATABASE", "postgresql://user@host/name")
    monkeypatch.setenv("PELLUCID_TOKEN", "a-token-of-the-environment")
    monkeypatch.setenv("PELLUCID_WATCH", "")  # as good as unset
    found = read_settings({"port": 3}, config)
    assert (found.port, found.max_requests, found.keep_ok, found.keep_reject) == (3, 2, 1, 365)
    assert found.database_url() == "postgresql://user@host/name"
    assert found.watch is None
    assert found.live_accounts().current.with_key("a-token-of-the-environment") is not None
    assert "a-token" not in repr(found)


@pytest.mark.usefixtures("clean_environment")
@pytest.mark.parametrize(
    ("options", "environment", "text", "sentence"),
    [
        ({}, {}, "max_request = 3", "Unknown setting 'max_request': did you mean 'max_requests'?"),
        ({"prot": 3}, {}, "", "Unknown setting 'prot': did you mean 'port'?"),
        ({}, {}, 'port = "high"', "port = 'high' in '{config}' is not allowed: give a whole number."),
        ({}, {"PELLUCID_TIMEOUT": "long"}, "", "PELLUCID_TIMEOUT=long is not allowed: give a number."),
        ({}, {"PELLUCID_PAGES": "perhaps"}, "", "PELLUCID_PAGES=perhaps is not allowed: give true or false."),
        ({"keep_ok": 0}, {}, "", "--keep-ok 0 is not allowed: give a number above zero."),
        ({"memory_mb": 0}, {}, "", "--memory-mb 0 is not allowed: give a number above zero."),
        ({}, {}, 'memory_mb = "half"', "memory_mb = 'half' in '{config}' is not allowed: give a whole number."),
        ({"max_models": 0}, {}, "", "--max-models 0 is not allowed: give a number above zero."),
        ({"megapixels": float("nan")}, {}, "", "--megapixels nan is not allowed: give a number above zero."),
        ({"port": 70000}, {}, "", "--port 70000 is not allowed: give a number from 1 to 65535."),
        ({"device": "gpu"}, {}, "", "--device gpu is not allowed: give auto, cpu, cuda, cuda:N or mps."),
        ({}, {}, 'runtime = "fast"', "is not allowed: give auto, torch, openvino, onnx."),
        ({}, {}, 'host = "0.0.0.0"', "Listening on 0.0.0.0 lets other machines in, so it needs accounts"),
    ],
)
def test_a_wrong_setting_gets_one_sentence(tmp_path, monkeypatch, options, environment, text, sentence):
    config = _config(tmp_path, text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ParameterError) as raised:
        read_settings(options, config)
    assert sentence.format(config=config) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_settings(config=tmp_path / "missing.toml")
    with pytest.raises(DataError, match="cannot be understood"):
        read_settings(config=_config(tmp_path, "port ="))


def test_the_document_is_current():
    document = Path(__file__).parents[2] / "docs" / "settings.md"
    assert document.read_text("utf-8") == settings_document(), (
        "run: python -m pellucid.service.settings > docs/settings.md"
    )


def test_the_command_has_an_option_for_every_setting():
    done = subprocess.run(
        [sys.executable, "-m", "pellucid", "serve", "--help"],
        env={**os.environ, "COLUMNS": "300", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    for name, field in Settings.model_fields.items():
        assert (option_name(name) in done.stdout) == (name != "token"), name
        assert (field.description in done.stdout) == (name != "token"), name
        assert field.description.endswith("."), "a sentence that stands alone"
    assert "--waiting" not in done.stdout


@pytest.mark.usefixtures("clean_environment")
def test_old_option_names_go_on_with_a_note(monkeypatch):
    started = []
    monkeypatch.setattr("pellucid.service.app.serve", started.append)
    result = CliRunner().invoke(app, ["serve", "--waiting", "2", "--waiting-mb", "5", "--no-pages"])
    assert result.exit_code == 0, result.output
    (settings,) = started
    assert (settings.max_requests, settings.max_queued_mb, settings.pages) == (2, 5, False)
    assert "'--waiting' is called '--max-requests' now" in result.stderr
    assert "'--waiting-mb' is called '--max-queued-mb' now" in result.stderr


@pytest.mark.parametrize("missing", ["pydantic_settings", "fastapi"])
def test_without_the_extra_the_command_says_what_to_install(monkeypatch, missing):
    for name in list(sys.modules):
        if name.startswith("pellucid.service"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    result = CliRunner().invoke(app, ["serve"])
    assert isinstance(result.exception, ParameterError)
    assert (
        str(result.exception) == f"The service needs {missing}, which is not installed: pip install 'pellucid[serve]'."
    )
