"""Which model a service offers first."""

from __future__ import annotations

from pellucid.service.registry import ModelRegistry
from pellucid.service.storage.record import Database, Filter


def newest_model(registry: ModelRegistry) -> str | None:
    """Name the model to offer first: what the newest comparison recommends, or else the first that can be used."""
    names = list(registry.paths())
    recommended = (
        f"{name}.{row['name']}"
        for name in registry.comparisons()
        for row in registry.leaderboard(name)
        if row["recommended"]
    )
    usable = (name for name in (*recommended, *names) if name in names and registry.is_usable(name))
    return next(usable, names[0] if names else None)


def last_used_model(registry: ModelRegistry, database: Database) -> str | None:
    """Name the model that inspected last; while there is none that can still be used, the one to offer first."""
    latest = database.values(("model",), Filter(), 1)
    used = (name for (name,) in latest if name in registry.paths() and registry.is_usable(name))
    return next(used, None) or newest_model(registry)
