"""Who asks: found out from a key or a cookie, and whether it is still so."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from pellucid.service.access.accounts import LOCAL_ACCOUNT, Account
from pellucid.service.access.brake import WrongKeyBrake
from pellucid.service.access.live_accounts import LiveAccounts
from pellucid.service.access.sessions import SESSION_COOKIE, Login, Sessions

LOCAL_LOGIN = Login(LOCAL_ACCOUNT)


class Logins:
    """Lets people and programs in.

    Args:
        accounts: that there are; with none, whoever sits at this machine is an engineer.
        sessions: of browsers.
    """

    def __init__(self, accounts: LiveAccounts, sessions: Sessions) -> None:
        self.accounts = accounts
        self._sessions = sessions
        self._brake = WrongKeyBrake()

    @property
    def required(self) -> bool:
        """Whether an account is needed."""
        return self.accounts.required

    def of_request(self, headers: Headers, address: str) -> Login | None:
        """Find out who asks; None for nobody.

        Raises:
            BrakedError: too many wrong keys came from this address.
        """
        if not self.required:
            return LOCAL_LOGIN
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            account = self.of_key(key.strip(), address)
            return None if account is None else Login(account)
        cookie = cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE)
        return self._sessions.read(cookie, self.accounts.current) if cookie else None

    def of_key(self, key: str, address: str) -> Account | None:
        """Find whose key this is.

        Raises:
            BrakedError: too many wrong ones came from this address.
        """
        self._brake.check(address, key)
        account = self.accounts.current.with_key(key)
        self._brake.note(address, key, right=account is not None)
        return account

    def holds(self, login: Login) -> bool:
        """Find out whether a login goes on: its session has not ended, and its account is as it was."""
        if not self.required:
            return True
        return login.account in self.accounts.current.members and self._sessions.holds(login)

    def begin(self, account: Account) -> str:
        """Make the cookie of a new session."""
        return self._sessions.issue(account)

    def end(self, login: Login) -> None:
        """End a session; a key has none."""
        self._sessions.end(login)
