"""Prometheus metrics of the server.

With several workers each process counts in files of a common folder (the environment variable
PROMETHEUS_MULTIPROC_DIR), and every worker reports the sums over all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from landbridge.core.types import Record
from landbridge.serving.engine.messages import Recommendations

OTHER = "other"  # the route, in log and metrics, of an unknown path and of what is no request
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
ONLY = ""  # the run, where there is no A/B test: for Prometheus an empty label is none
# seconds, fine where most responses lie
BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters, histograms and gauges of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        to: Record = {"namespace": "landbridge", "registry": self._registry}
        self._seconds = Histogram("request_seconds", "Response time", ["route"], buckets=BUCKETS, **to)
        self._requests = Counter("requests", "Responses sent", ["route", "status"], **to)
        self._answers = Counter(
            "answers",
            "Recommendation lists, by whether the model knows the user",
            ["user", "source", "run"],
            **to,
        )
        self._stored = Counter("events_stored", "Events acknowledged", **to)
        self._age = Gauge(
            "model_age_seconds",
            "Seconds since the model was fitted",
            ["run"],
            multiprocess_mode="mostrecent",
            **to,
        )
        self._swaps = Counter("swaps", "New models loaded", ["run"], **to)
        self._rollbacks = Counter("rollbacks", "New models rejected by their check", ["run"], **to)
        self._impressions = Counter(
            "impressions",
            "Listed items for the log of impressions, by whether it has them",
            ["outcome"],
            **to,
        )
        self._store_failures = Counter("store_failures", "Failures of the event store", **to)
        self._store_up = Gauge(
            "store_up", "Whether the event store could be read last", multiprocess_mode="livemin", **to
        )

    def store_failed(self) -> None:
        """Count a failure of the event store."""
        self._store_failures.inc()

    def store_answers(self, answers: bool) -> None:
        """Whether the event store can be read now."""
        self._store_up.set(answers)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count a response and its time."""
        self._seconds.labels(route).observe(seconds)
        self._requests.labels(route, str(status)).inc()

    def observe_response(self, answers: Iterable[Recommendations]) -> None:
        """Count recommendation lists."""
        for answer in answers:
            user = "known" if answer.known else "new"
            self._answers.labels(user, answer.source, answer.run or ONLY).inc()

    def impressions(self, outcome: str, rows: int) -> None:
        """Count items that the log of impressions got, or had to leave out."""
        self._impressions.labels(outcome).inc(rows)

    def stored(self, events: int) -> None:
        """Count acknowledged events."""
        self._stored.inc(events)

    def serves(self, run: str | None) -> None:
        """Begin to count for a run."""
        for each in (self._swaps, self._rollbacks):
            each.labels(run or ONLY)

    def swapped(self, run: str | None) -> None:
        """Count a new model that serves."""
        self._swaps.labels(run or ONLY).inc()

    def rolled_back(self, run: str | None) -> None:
        """Count a new model that was rejected."""
        self._rollbacks.labels(run or ONLY).inc()

    def text(self, ages: Mapping[str | None, float] = MappingProxyType({})) -> bytes:
        """All metrics in Prometheus' text format; ``ages``: run -> seconds since its model was fitted."""
        for run, age in ages.items():
            self._age.labels(run or ONLY).set(age)
        registry = self._registry
        # with several workers the files of all processes are read and summed for each report
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
