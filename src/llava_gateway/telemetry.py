"""Collect the Prometheus metrics for /metrics, and log one line per answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from llava_gateway.chat import Timings, Usage

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Telemetry:
    """The metrics of one gateway, in their own registry, so that two gateways in one process don't mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answers = Counter(
            "llava_gateway_answers",
            "Answers, by outcome (complete, cancelled, or an error code)",
            ["engine", "outcome"],
            registry=self.registry,
        )
        self._tokens = Counter(
            "llava_gateway_tokens",
            "Tokens, as counted by the engine, by kind (prompt, cached, completion)",
            ["engine", "kind"],
            registry=self.registry,
        )
        self._first_token = Histogram(
            "llava_gateway_first_token_seconds",
            "Seconds from the request to the first word",
            ["engine"],
            buckets=FIRST_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self._read_ahead = Counter(
            "llava_gateway_read_ahead",
            "Prompts to read ahead of their question, by outcome (read, the reason why not, or an error code)",
            ["engine", "outcome"],
            registry=self.registry,
        )
        self._images = Counter("llava_gateway_images", "Images, by outcome (ready, or an error code)", ["outcome"], registry=self.registry)

    def gauge(self, name: str, about: str, read: Callable[[], float], **labels: str) -> None:
        """Add a gauge whose value `read` returns on each request to /metrics."""
        full = f"llava_gateway_{name}"
        known = self.registry._names_to_collectors.get(full)
        gauge = known if isinstance(known, Gauge) else Gauge(full, about, list(labels), registry=self.registry)
        (gauge.labels(**labels) if labels else gauge).set_function(read)

    def image(self, outcome: str) -> None:
        """Count an image. `outcome` is "ready" or an error code."""
        self._images.labels(outcome).inc()

    def read_ahead(self, engine: str, outcome: str) -> None:
        """Count a read-ahead. `outcome` is "read", the reason for not reading, or an error code; `engine` is "" if none was chosen."""
        self._read_ahead.labels(engine, outcome).inc()

    def answer(self, *, answer_id: str, engine: str, model: str, outcome: str, usage: Usage, timings: Timings) -> None:
        self._answers.labels(engine, outcome).inc()
        for kind, count in (("prompt", usage.prompt_tokens), ("cached", usage.cached_tokens), ("completion", usage.completion_tokens)):
            if count:
                self._tokens.labels(engine, kind).inc(count)
        if timings.first_token_ms is not None:
            self._first_token.labels(engine).observe(timings.first_token_ms / 1000)
        log.info(
            "%s %s %s/%s first_token_ms=%s total_ms=%s prompt=%s cached=%s completion=%s",
            answer_id, outcome, engine, model, _whole(timings.first_token_ms), _whole(timings.total_ms),
            usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens,
        )  # fmt: skip

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
