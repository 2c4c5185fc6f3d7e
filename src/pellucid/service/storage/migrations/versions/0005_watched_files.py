"""Files of watched folders that were dealt with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make their table."""
    op.create_table("watched_files", sa.Column("digest", sa.BigInteger, primary_key=True, autoincrement=False))
