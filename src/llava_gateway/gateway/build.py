"""Builds a gateway from its settings: the engines, the stores and the metrics. `async with gateway.running():` then runs it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llava_gateway.engines.base import Engine
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.openai import OpenAIEngine
from llava_gateway.engines.pool import EnginePool
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.store import ImageStore
from llava_gateway.sessions.memory import SessionStore
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry


def build_engines(settings: Settings) -> list[Engine]:
    """Make the engines that the settings name; for `auto` all that are configured."""
    engines: list[Engine] = []
    if settings.engine_choice in ("auto", "ollama"):
        engines.append(OllamaEngine(settings))
    if settings.engine_choice == "openai" or (settings.engine_choice == "auto" and settings.openai_base_url):
        engines.append(OpenAIEngine.from_settings(settings))
    if settings.engine_choice in ("auto", "embedded"):
        engines.append(EmbeddedEngine(settings))
    return engines


def build_gateway(settings: Settings, engines: Sequence[Engine] | None = None) -> Gateway:
    """Make a gateway with these engines (None: those that the settings name). No process and no connection is opened yet."""
    images = ImageStore(settings)
    pool = EnginePool(settings, build_engines(settings) if engines is None else engines)
    telemetry = Telemetry()
    gateway = Gateway(settings, pool, images, SessionStore(settings, images), telemetry)
    for name, queue in gateway.queues.items():
        telemetry.gauge("active", "Requests an engine works on now", partial(getattr, queue, "active"), engine=name)
        telemetry.gauge("waiting", "Requests that wait for an engine", partial(getattr, queue, "waiting"), engine=name)
    telemetry.gauge("sessions", "Sessions in memory", lambda: len(gateway.sessions))
    telemetry.gauge("store_bytes", "Bytes that images and sessions take", lambda: images.bytes_used + images.reserved)
    return gateway
