"""Sessions of browsers: signed names in cookies."""

from __future__ import annotations

import secrets
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

from pellucid._io.files import write_text
from pellucid.service.access.accounts import Account, Accounts

SESSION_COOKIE = "pellucid"
SESSION_S = 12 * 3600  # that a browser stays logged in: a shift


class Sessions:
    """Signs names for cookies, and reads them.

    Args:
        folder: where the key that signs is kept, so that a restart logs nobody out.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / "session.key"
        if not file.exists():
            write_text(file, secrets.token_urlsafe(32))
            file.chmod(0o600)
        self._signer = URLSafeTimedSerializer(file.read_text("utf-8"), salt="pellucid-session")

    def issue(self, account: Account) -> str:
        """Make the value of a cookie; it ends with a change of the account's key."""
        return self._signer.dumps([account.name, account.key_sha256[:16]])

    def read(self, value: str, accounts: Accounts) -> Account | None:
        """Find whose cookie this is."""
        try:
            name, key = self._signer.loads(value, max_age=SESSION_S)
        except (BadSignature, ValueError, TypeError):
            return None
        account = accounts.named(name)
        return account if account is not None and account.key_sha256[:16] == key else None
