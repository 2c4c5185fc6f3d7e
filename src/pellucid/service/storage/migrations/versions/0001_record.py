"""Inspections, decisions and changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "inspections",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("time", moment, nullable=False, index=True),
        sa.Column("file", sa.String, nullable=False),
        sa.Column("part_id", sa.String, nullable=False, index=True),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False, index=True),
        sa.Column("runtime", sa.String, nullable=False),
        sa.Column("milliseconds", sa.Double, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("limit", sa.Double, nullable=False),
        sa.Column("pixel_limit", sa.Double, nullable=False),
        sa.Column("p_value", sa.Double, nullable=False),
        sa.Column("verdict", sa.String(6), nullable=False, index=True),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("defects", sa.JSON, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("key", sa.String, unique=True),
        sa.Column("picture", sa.String),
        sa.Column("map", sa.String),
        sa.Column("map_low", sa.Double, nullable=False),
        sa.Column("map_high", sa.Double, nullable=False),
        sa.Column("decision", sa.String(8), index=True),
        sa.Column("type", sa.String),
        sa.Column("decided_by", sa.String),
        sa.Column("decided_at", moment),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("inspection_id", sa.Integer, sa.ForeignKey("inspections.id"), nullable=False, index=True),
        sa.Column("time", moment, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("decision", sa.String(8)),
        sa.Column("type", sa.String),
    )
    op.create_table(
        "changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("time", moment, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False, index=True),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("before", sa.String, nullable=False),
        sa.Column("after", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
