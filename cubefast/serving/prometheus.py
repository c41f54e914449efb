"""The server's metrics in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one server, in a registry of their own. A kind is query, document or question."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter("cubefast_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "cubefast_request_seconds",
            "Seconds from the end of a request's head to the end of its response.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "cubefast_batch_size",
            "Texts that the model was given at once.",
            ["kind"],
            buckets=_SIZES,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "cubefast_waiting_texts", "Texts that wait for the model.", ["kind"], registry=self.registry
        )
