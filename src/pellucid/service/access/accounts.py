"""Who may use a service: accounts in a file.

An account is a name, a role and the SHA-256 of a key of 256 random bits; programs send the key, browsers log in with it
once. Without accounts the service listens to this machine only, and whoever sits at it is an engineer.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pellucid._io.files import write_text
from pellucid.errors import DataError, ParameterError
from pellucid.models.file import first_validation_error

Role = Literal["operator", "engineer"]
MIN_TOKEN_CHARS = 16


class Account(BaseModel):
    """One line of the accounts' file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.@-]{1,64}$")
    role: Role
    key_sha256: str = Field(pattern="^[0-9a-f]{64}$")


LOCAL_ACCOUNT = Account(name="local", role="engineer", key_sha256="0" * 64)  # whoever sits at this machine


class _AccountsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    account: list[Account] = []


@dataclass(frozen=True)
class Accounts:
    """Holds everybody who may use a service from elsewhere."""

    members: tuple[Account, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.members)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the accounts of a TOML file, none when it does not exist.

        Raises:
            DataError: the file cannot be read or understood.
        """
        try:
            content = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
            return cls(tuple(_AccountsFile.model_validate(content).account))
        except (OSError, ValueError) as error:
            reason = first_validation_error(error) if isinstance(error, ValidationError) else str(error)
            raise DataError(f"The accounts in '{path}' cannot be understood: {reason}.") from None

    def with_key(self, key: str) -> Account | None:
        """Find whose key this is; takes the same time for any wrong one."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        matching = [a for a in self.members if hmac.compare_digest(a.key_sha256, digest)]
        return matching[0] if matching else None

    def named(self, name: str) -> Account | None:
        """Find the account of a name."""
        return next((a for a in self.members if a.name == name), None)


def token_account(token: str) -> Account:
    """Make the account of a single token, as the environment variable PELLUCID_TOKEN gives it.

    Raises:
        ParameterError: it is so short that it could be guessed.
    """
    if len(token) < MIN_TOKEN_CHARS:
        raise ParameterError(f"PELLUCID_TOKEN is shorter than {MIN_TOKEN_CHARS} characters: it could be guessed.")
    return Account(name="token", role="engineer", key_sha256=hashlib.sha256(token.encode()).hexdigest())


def add_account(path: Path, name: str, role: Role) -> str:
    """Write an account to a file, in place of an earlier one of that name; returns its new key, which is kept nowhere.

    Raises:
        DataError: the file cannot be understood.
        OutputError: the file cannot be written.
        ParameterError: the name is not allowed.
    """
    key = secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    others = [a for a in Accounts.read(path).members if a.name != name]
    try:
        members = [*others, Account(name=name, role=role, key_sha256=digest)]
    except ValidationError:
        raise ParameterError(f"'{name}' is not allowed: give up to 64 letters, digits, '.', '_', '@' or '-'.") from None
    write_text(path, tomli_w.dumps({"account": [a.model_dump() for a in members]}))
    return key


def is_loopback(host: str) -> bool:
    """Find out whether an address is this machine's own, that no other machine reaches."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
