"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pellucid.service.storage.tables import InspectionRow

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts what one service does.

    Args:
        under_way: called for how many requests are under way.
    """

    def __init__(self, under_way: Callable[[], float]) -> None:
        self.collectors = CollectorRegistry()
        self.inspected = Counter(
            "pellucid_inspections", "Images inspected and kept", ["model", "verdict"], registry=self.collectors
        )
        self.not_judged = Counter(
            "pellucid_not_judged", "Images rejected without being judged", ["model"], registry=self.collectors
        )
        self.warned = Counter("pellucid_warned", "Images judged with a warning", ["model"], registry=self.collectors)
        self.graded = Counter(
            "pellucid_graded", "Images graded by a rule", ["model", "rules", "grade"], registry=self.collectors
        )
        self.failed = Counter(
            "pellucid_failures", "Images that could not be inspected or kept", ["error"], registry=self.collectors
        )
        self.refused = Counter("pellucid_refused", "Requests answered by 429", registry=self.collectors)
        self.seconds = Histogram(
            "pellucid_inspection_seconds",
            "From a free thread to the record",
            registry=self.collectors,
            buckets=LATENCY_BUCKETS_S,
        )
        self.thread_failures = Counter(
            "pellucid_thread_failures", "Errors of threads, which go on", ["thread"], registry=self.collectors
        )
        self._thread_works = Gauge(
            "pellucid_thread_works",
            "1 while a thread's work gets done, 0 while it does not",
            ["thread"],
            registry=self.collectors,
        )
        Gauge("pellucid_requests_under_way", "Requests being answered", registry=self.collectors).set_function(
            under_way
        )

    def count(self, row: InspectionRow) -> None:
        """Count an inspection that was kept."""
        self.inspected.labels(row.model, row.verdict).inc()
        if row.grade is not None:
            self.graded.labels(row.model, row.grade["rules"], row.grade["verdict"]).inc()
        if row.reason:
            self.not_judged.labels(row.model).inc()
        elif row.warnings:
            self.warned.labels(row.model).inc()

    def show_threads(self, works: Mapping[str, bool]) -> None:
        """Take in whether each thread's work gets done now."""
        for thread, does in works.items():
            self._thread_works.labels(thread).set(does)
