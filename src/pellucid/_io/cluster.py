"""A Ray cluster: that of the environment variable ``RAY_ADDRESS``, or one that is started here."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from pellucid.errors import ParameterError, missing_extra

Engine = Literal["local", "ray"]


class Machine(NamedTuple):
    """A machine of the cluster: Ray's name of it, and its cores."""

    node: str
    cores: int


@contextmanager
def connected() -> Iterator[Any]:
    """Be connected to the cluster while it is open; gives the module ``ray``.

    A connection that is there already is used, and stays.

    Raises:
        ParameterError: Ray is not installed, or its cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise ParameterError(missing_extra("ray", "ray", "The engine ray")) from None
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS")
    if address not in (None, "auto", "local"):
        _check_reachable(address)
    ray.init(include_dashboard=None if address else False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


def machines() -> list[Machine]:
    """List the machines of the cluster that are alive and compute, at least one."""
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    found = [Machine(node["NodeID"], int(node["Resources"].get("CPU", 0))) for node in nodes]
    return [one for one in found if one.cores > 0] or found


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError):
        raise ParameterError(f"No Ray cluster at {address}: start one, or unset RAY_ADDRESS for one here.") from None
