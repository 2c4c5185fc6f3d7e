"""The accounts in force: their file is read again when it changes, and a broken edit keeps the last good ones."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from pellucid.errors import DataError
from pellucid.service.access.accounts import Account, Accounts, token_account

log = logging.getLogger("pellucid.service")
LOOK_PERIOD_S = 1.0  # between looks whether the file has changed


class LiveAccounts:
    """Holds who may use the service now.

    Args:
        file: of accounts; None for none.
        token: key of a single account beside them; None for none.

    Raises:
        DataError: the file cannot be read or understood, or holds no account.
        ParameterError: the token could be guessed.
    """

    def __init__(self, file: Path | None, token: str | None) -> None:
        self._file = file
        self._always: tuple[Account, ...] = () if token is None else (token_account(token),)
        self._lock = threading.Lock()
        self._looked_at = time.monotonic()
        self._state = self._look()
        self._current = Accounts(self._always)
        self._warning: str | None = None
        if file is not None:
            self._read(file)
            if len(self._current.members) == len(self._always):
                raise DataError(f"There are no accounts in '{file}': 'pellucid account NAME -f {file}' makes one.")
        self.required = bool(self._current)  # stays so: a service for many never becomes one for whoever is there

    @property
    def current(self) -> Accounts:
        """The accounts as the file has them, at most a second ago."""
        if self._file is None or time.monotonic() - self._looked_at < LOOK_PERIOD_S:
            return self._current
        with self._lock:
            self._looked_at = time.monotonic()
            state = self._look()
            if state != self._state:
                self._state = state
                self._read_again(self._file)
            return self._current

    def warnings(self) -> list[str]:
        """Tell why the accounts are not those of the file; nothing if they are."""
        return [] if self._warning is None else [self._warning]

    def _read(self, file: Path) -> None:
        self._current = Accounts((*Accounts.read(file).members, *self._always))

    def _read_again(self, file: Path) -> None:
        try:
            if self._state is None:
                raise DataError(f"The accounts' file '{file}' is not there.")
            self._read(file)
        except DataError as error:
            self._warning = f"{error} The accounts that were read before stay in force."
            log.warning("%s", self._warning)
        else:
            self._warning = None
            log.info("the accounts were read again: %s", ", ".join(a.name for a in self._current.members) or "none")

    def _look(self) -> tuple[int, int, int] | None:
        """Tell one state of the file from another; None when it is not there."""
        if self._file is None:
            return None
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
