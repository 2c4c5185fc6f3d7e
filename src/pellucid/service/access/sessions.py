"""Sessions of browsers: signed cookies that end with the shift, at log-out, and with a change of their account."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

from pellucid._io.files import make_private, write_text
from pellucid.errors import PellucidError
from pellucid.service.access.accounts import Account, Accounts

log = logging.getLogger("pellucid.service")
SESSION_COOKIE = "pellucid"
SESSION_S = 12 * 3600  # that a browser stays logged in: a shift
KEY_FILE, ENDED_FILE = "session.key", "ended-sessions.json"
MIN_KEY_CHARS = 32
MAX_ENDED_SESSIONS = 10_000  # that are remembered: whoever logs in and out all day fills no memory


@dataclass(frozen=True)
class Login:
    """Somebody who was let in: by a key, by a browser's session, or by sitting at this machine."""

    account: Account
    session: str | None = None  # number of a browser's session
    ends_at: float = math.inf  # time.time()


class Sessions:
    """Signs names for cookies, and reads them.

    Args:
        folder: where the key that signs and the sessions that were ended are kept, so that a restart logs nobody out
            and lets nobody in again.
    """

    def __init__(self, folder: Path) -> None:
        make_private(folder, folder=True)
        file = folder / KEY_FILE
        if not file.exists() or len(file.read_text("utf-8").strip()) < MIN_KEY_CHARS:
            write_text(file, secrets.token_urlsafe(32), private=True)
        make_private(file, folder=False)
        self._signer = URLSafeTimedSerializer(file.read_text("utf-8"), salt="pellucid-session")
        self._ended_file = folder / ENDED_FILE
        self._ended = _read_ended(self._ended_file)
        self._lock = threading.Lock()

    def issue(self, account: Account) -> str:
        """Make the value of a new session's cookie."""
        return self._signer.dumps([account.name, account.key_sha256[:16], secrets.token_urlsafe(12)])

    def read(self, value: str, accounts: Accounts) -> Login | None:
        """Find whose cookie this is; None when it was forged, is over, or its account has changed."""
        try:
            content, signed_at = self._signer.loads(value, max_age=SESSION_S, return_timestamp=True)
            name, key, session = content
        except (BadSignature, ValueError, TypeError):
            return None
        account = accounts.named(name)
        if account is None or account.key_sha256[:16] != key or session in self._ended:
            return None
        return Login(account, session, signed_at.timestamp() + SESSION_S)

    def holds(self, login: Login) -> bool:
        """Find out whether a session goes on."""
        return login.session not in self._ended and time.time() < login.ends_at

    def end(self, login: Login) -> None:
        """End a session: its cookie opens nothing any more, here and after a restart."""
        if login.session is None:
            return
        with self._lock:
            others = {**_read_ended(self._ended_file), **self._ended}  # another process may serve the same record
            kept = {number: end for number, end in others.items() if end > time.time()}
            kept = dict(sorted(kept.items(), key=lambda item: item[1])[-MAX_ENDED_SESSIONS:])
            self._ended = {**kept, login.session: login.ends_at}
            try:
                write_text(self._ended_file, json.dumps(self._ended), private=True)
            except PellucidError as error:  # it has ended here all the same
                log.warning("a session that was ended may be open again after a restart: %s", error)


def _read_ended(file: Path) -> dict[str, float]:
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {str(number): float(end) for number, end in json.loads(file.read_text("utf-8")).items()}
    return {}
