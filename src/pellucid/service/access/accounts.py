"""Who may use a service: accounts in a file.

An account is a name, a role and the SHA-256 of a key of 256 random bits; programs send the key, browsers log in with it
once. Without accounts the service listens to this machine only, and whoever sits at it is an engineer.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pellucid._io.files import write_text
from pellucid.errors import DataError, ParameterError, PellucidError
from pellucid.models.file import first_validation_error

Role = Literal["operator", "engineer"]
MIN_TOKEN_CHARS = 16
MIN_TOKEN_DISTINCT_CHARS = 8
RESERVED_NAMES = ("local", "watch", "token", "service")  # the record's words for the machine itself
_PLACES = re.compile(r"""'(?:/|[A-Za-z]:\\)[^']*[/\\]|\b\w+(?:\+\w+)?:///?[^\s'")]+""")  # of files; of databases


class RoleError(PellucidError):
    """Something that an account's role does not allow."""


class Account(BaseModel):
    """One line of the accounts' file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.@-]{1,64}$")
    role: Role
    key_sha256: str = Field(pattern="^[0-9a-f]{64}$")

    def require_engineer(self) -> None:
        """Check the role: what changes models asks for it first, whoever calls.

        Raises:
            RoleError: it is an operator's.
        """
        if self.role != "engineer":
            raise RoleError(f"'{self.name}' is an operator: an engineer has to do this.")


def sentence_for(account: Account | None, sentence: str) -> str:
    """Return a sentence as somebody may read it: where files and databases are is for engineers."""
    if account is not None and account.role == "engineer":
        return sentence
    return _PLACES.sub(lambda place: "'" if place[0].startswith("'") else "the database", sentence)


LOCAL_ACCOUNT = Account(name="local", role="engineer", key_sha256="0" * 64)  # whoever sits at this machine


def _check_members(members: list[Account]) -> list[Account]:
    """Refuse names of the machine itself, and names or keys that say two things."""
    names = [account.name.casefold() for account in members]
    for account, name in zip(members, names, strict=True):
        if name in RESERVED_NAMES:
            raise ValueError(f"the name '{account.name}' is the service's own: choose another one")
        if names.count(name) > 1:
            raise ValueError(f"there are several accounts '{account.name}': keep one")
    if len({account.key_sha256 for account in members}) < len(members):
        raise ValueError("two accounts have the same key: give each its own")
    return members


class _AccountsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    account: Annotated[list[Account], AfterValidator(_check_members)] = []


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
        except (OSError, ValueError, RecursionError) as error:
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
        ParameterError: it could be guessed, or cannot be sent.
    """
    if len(token) < MIN_TOKEN_CHARS:
        raise ParameterError(f"PELLUCID_TOKEN is shorter than {MIN_TOKEN_CHARS} characters: it could be guessed.")
    if len(set(token)) < MIN_TOKEN_DISTINCT_CHARS:
        raise ParameterError(
            f"PELLUCID_TOKEN has fewer than {MIN_TOKEN_DISTINCT_CHARS} different characters: it could be guessed."
            " 'openssl rand -base64 32' makes one that cannot."
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ParameterError("PELLUCID_TOKEN may hold ASCII letters, digits and signs, and no space or line end.")
    return Account(name="token", role="engineer", key_sha256=hashlib.sha256(token.encode()).hexdigest())


def add_account(path: Path, name: str, role: Role) -> str:
    """Write an account to a file, in place of an earlier one of that name; returns its new key, which is kept nowhere.

    Raises:
        DataError: the file cannot be understood.
        OutputError: the file cannot be written.
        ParameterError: the name is not allowed.
    """
    if name.casefold() in RESERVED_NAMES:
        raise ParameterError(f"'{name}' is not allowed: the record calls the machine itself so. Choose another name.")
    key = secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    others = [a for a in Accounts.read(path).members if a.name.casefold() != name.casefold()]
    try:
        members = [*others, Account(name=name, role=role, key_sha256=digest)]
    except ValidationError:
        raise ParameterError(f"'{name}' is not allowed: give up to 64 letters, digits, '.', '_', '@' or '-'.") from None
    write_text(path, tomli_w.dumps({"account": [a.model_dump() for a in members]}), private=True)
    return key


def is_loopback(host: str) -> bool:
    """Find out whether an address is this machine's own, that no other machine reaches."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
