"""The pane that an image shows, in mm, where the scale is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; of earlier inspections nobody knows it."""
    op.add_column("inspections", sa.Column("sheet", sa.JSON, nullable=True))
