"""An index for every query, and the counts of each hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

DROPPED = ("time", "part_id", "model_sha256", "verdict", "decision")
IS_DECIDED = "decision IS NOT NULL"
INDEXES: dict[str, tuple[tuple[str, ...], str | None]] = {
    "part": (("part_id", "id"), None),
    "verdict": (("verdict", "id"), None),
    "model": (("model", "id"), None),
    "model_verdict": (("model", "verdict", "id"), None),
    "sha256": (("model_sha256", "id"), None),
    "time": (("time", "id"), None),
    "verdict_time": (("verdict", "time", "id"), None),
    "model_time": (("model", "time", "verdict", "id"), None),
    "decided": (("id",), IS_DECIDED),
    "decision": (("decision", "id"), IS_DECIDED),
    "verdict_decision": (("verdict", "decision", "id"), IS_DECIDED),
    "model_decided": (("model", "id"), IS_DECIDED),
    "sha256_decided": (("model_sha256", "id"), IS_DECIDED),
    "undecided": (("id",), "decision IS NULL AND (verdict = 'reject' OR p_value <= 0.1)"),
    "type": (("type",), "type IS NOT NULL"),
    "pictures": (("verdict", "time"), "picture IS NOT NULL"),
}


def upgrade() -> None:
    """Replace the indexes of single columns, and count what is there."""
    for column in DROPPED:
        op.drop_index(f"ix_inspections_{column}", "inspections")
    for name, (columns, condition) in INDEXES.items():
        where = None if condition is None else sa.text(condition)
        op.create_index(
            f"ix_inspections_{name}", "inspections", list(columns), sqlite_where=where, postgresql_where=where
        )
    op.create_table(
        "hours",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("hour", sa.String(13), primary_key=True),
        sa.Column("inspected", sa.Integer, nullable=False),
        sa.Column("rejected", sa.Integer, nullable=False),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    hour = "strftime('%Y-%m-%dT%H', time)" if is_sqlite else "to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24')"
    op.execute(
        sa.text(
            "INSERT INTO hours (model, hour, inspected, rejected)"
            f" SELECT model, {hour}, count(*), sum(CASE WHEN verdict = 'reject' THEN 1 ELSE 0 END)"
            " FROM inspections GROUP BY 1, 2"
        )
    )
