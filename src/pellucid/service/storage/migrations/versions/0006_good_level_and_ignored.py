"""Where the scale of colours begins, what pixels of good parts usually score; and defects that do not count."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; for earlier inspections the scale begins where it does for models that do not know the level."""
    op.add_column("inspections", sa.Column("good_level", sa.Double, nullable=False, server_default="0"))
    op.add_column("inspections", sa.Column("ignored", sa.JSON, nullable=False, server_default="[]"))
    op.execute("UPDATE inspections SET good_level = 2 * pixel_limit WHERE pixel_limit < 0")
