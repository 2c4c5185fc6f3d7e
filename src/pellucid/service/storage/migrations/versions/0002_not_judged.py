"""Why an image was rejected without being judged, and what is odd about it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add two columns; earlier inspections have nothing in them."""
    op.add_column("inspections", sa.Column("reason", sa.String, nullable=False, server_default=""))
    op.add_column("inspections", sa.Column("warnings", sa.JSON, nullable=False, server_default="[]"))
