"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters of one service.

    Args:
        under_way: says how many requests are under way.
    """

    def __init__(self, under_way: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.inspected = Counter(
            "pellucid_inspections", "Images inspected and kept", ["model", "verdict"], registry=self.registry
        )
        self.failed = Counter(
            "pellucid_failures", "Images that could not be inspected or kept", ["error"], registry=self.registry
        )
        self.refused = Counter("pellucid_refused", "Requests answered by 429", registry=self.registry)
        self.seconds = Histogram(
            "pellucid_inspection_seconds", "From a free thread to the record", registry=self.registry, buckets=SECONDS
        )
        Gauge("pellucid_requests_under_way", "Requests being answered", registry=self.registry).set_function(under_way)
