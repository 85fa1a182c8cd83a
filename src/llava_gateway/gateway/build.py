"""Builds a gateway from its settings: the engines, the stores and the metrics. `async with gateway.running():` then runs it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llava_gateway.engines.base import Engine
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.openai import OpenAIEngine
from llava_gateway.engines.pool import EnginePool
from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.store import ImageStore
from llava_gateway.journal.journal import Journal
from llava_gateway.sessions.memory import SessionStore
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry


def build_engines(settings: Settings) -> list[Engine]:
    """Make the engines that the settings name; for `auto`, all that are configured."""
    engines: list[Engine] = []
    if settings.engine_choice in ("auto", "ollama"):
        engines.append(OllamaEngine(settings))
    if settings.engine_choice == "openai" or (settings.engine_choice == "auto" and settings.openai_base_url):
        engines.append(OpenAIEngine.from_settings(settings))
    if settings.engine_choice in ("auto", "embedded"):
        engines.append(EmbeddedEngine(settings))
    return engines


def build_gateway(settings: Settings, engines: Sequence[Engine] | None = None, fetcher: Fetcher | None = None) -> Gateway:
    """Make a gateway with these engines and this fetcher (None: those that the settings name). Opens the journal, if sessions are kept
    on disk; starts no process and opens no connection yet.

    Raises DataError if the data directory can't be used.
    """
    journal = Journal(settings.data_folder, settings.keep_max_bytes) if settings.keep == "sqlite" else None
    images = ImageStore(settings, journal)
    if journal:
        journal.forget_image = images.forget
    pool = EnginePool(settings, build_engines(settings) if engines is None else engines)
    telemetry = Telemetry()
    gateway = Gateway(settings, pool, images, SessionStore(settings, images, disk=journal), telemetry, journal, fetcher)
    for name, queue in gateway.queues.items():
        telemetry.gauge("active", "Requests that an engine is working on", partial(getattr, queue, "active"), engine=name)
        telemetry.gauge("waiting", "Requests that are waiting for an engine", partial(getattr, queue, "waiting"), engine=name)
    telemetry.gauge("sessions", "Sessions, in memory or on disk", lambda: len(gateway.sessions))
    telemetry.gauge("store_bytes", "Bytes used by images and sessions", lambda: images.bytes_used + images.reserved)
    if journal:
        telemetry.gauge("data_bytes", "Bytes on disk", lambda: journal.size)
    return gateway
