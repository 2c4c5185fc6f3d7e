"""What a grading rule says, where one graded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; earlier inspections were not graded."""
    op.add_column("inspections", sa.Column("grade", sa.JSON, nullable=True))
