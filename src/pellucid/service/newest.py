"""Which model a service offers first."""

from __future__ import annotations

from pellucid.service.registry import ModelRegistry


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
