"""What a service is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import ParameterError
from pellucid.service.access import Accounts, is_loopback

NOBODY = Accounts()


@dataclass(frozen=True)
class Settings:
    """Everything that ``pellucid serve`` can be told.

    Raises:
        ParameterError: it would listen to other machines without accounts, or a number is not allowed.
    """

    models: Path  # folder of model files, exported models and results of compare
    record: Path  # folder of the database, unless ``database`` is given, and of the pictures
    database: str | None = None  # an SQLAlchemy URL
    host: str = "127.0.0.1"
    port: int = 8000
    runtime: str = "auto"
    watch: Path | None = None  # folder whose new images are inspected
    watch_model: str | None = None
    data: Path | None = None  # folder of data sets that the pages may train on
    accounts: Accounts = NOBODY
    waiting: int = 64  # requests under way; one more is answered by 429
    waiting_mb: int = 256  # of uploads under way
    request_mb: int = 64  # of one request
    megapixels: float = 50.0  # of one image
    timeout: float = 30.0  # seconds until a request is given up
    keep_ok: int = 30  # days that pictures of accepted parts are kept
    keep_reject: int = 365  # days that pictures of rejected and of reviewed parts are kept
    pages: bool = True

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.accounts:
            raise ParameterError(
                f"Listening on {self.host} lets other machines in, so it needs accounts: 'pellucid account NAME"
                " -f accounts.toml' makes one, --accounts accounts.toml uses it (or set PELLUCID_TOKEN)."
            )
        allowed: dict[str, float] = {
            "--waiting": self.waiting,
            "--waiting-mb": self.waiting_mb,
            "--request-mb": self.request_mb,
            "--megapixels": self.megapixels,
            "--timeout": self.timeout,
            "--keep-ok": self.keep_ok,
            "--keep-reject": self.keep_reject,
        }
        for option, value in allowed.items():
            if not value > 0:
                raise ParameterError(f"{option} {value:g} is not allowed: give a number above zero.")

    def database_url(self) -> str:
        """The database's URL; a file in the record's folder unless another was named."""
        return self.database or f"sqlite:///{(self.record / 'record.db').resolve().as_posix()}"
