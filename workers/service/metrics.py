"""What Prometheus reads: jobs, units, checkpoints, and how long requests take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from time import perf_counter

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.service.index import Index

SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class Metrics(Collector):
    """The registry of one service; what jobs have done is read from the index when asked."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "slt_request_seconds",
            "Time until an answer begins.",
            ("method", "route", "status"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Counts over all jobs, those of before the last start included."""
        states = GaugeMetricFamily("slt_jobs", "Jobs by state.", labels=["state"])
        for state, count in self.index.counts().items():
            states.add_metric([state], count)
        units: Counter[str] = Counter({"computed": 0, "reused": 0, "failed": 0})
        estimated = 0
        for job in self.index.find():
            units.update({name: count for name, count in job.units.items() if name in ("computed", "reused", "failed")})
            estimated += job.done if job.phase in ("", "estimating", "following") else job.checkpoints
        outcomes = CounterMetricFamily("slt_units", "Units of work by outcome.", labels=["outcome"])
        for outcome, count in units.items():
            outcomes.add_metric([outcome], count)
        checkpoints = CounterMetricFamily("slt_checkpoints_estimated", "Checkpoints with an estimate.", value=estimated)
        yield from (states, outcomes, checkpoints)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)


class Timing:
    """ASGI middleware: how long until the answer begins, by route and not by address, so that series stay few."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Time one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                labels = (scope["method"] if scope["method"] in METHODS else "other", route, str(message["status"]))
                self.metrics.requests.labels(*labels).observe(perf_counter() - begun)
            await send(message)

        await self.app(scope, receive, timed)


METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
