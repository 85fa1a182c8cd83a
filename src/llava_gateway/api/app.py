"""The composition root: `create_app(settings)` builds every room and passes each what it needs."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from llava_gateway import __version__
from llava_gateway.api import archives, context, models, native, openapi, ops, read_ahead, view, votes
from llava_gateway.api.errors import add_error_handlers
from llava_gateway.api.head import HeadMiddleware
from llava_gateway.api.native_json import check_presets
from llava_gateway.api.security import SecurityMiddleware
from llava_gateway.engines.base import Engine
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.openai import OpenAIEngine
from llava_gateway.engines.pool import EnginePool
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.store import PictureStore
from llava_gateway.sessions.memory import SessionStore
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry
from llava_gateway.votes import Votes

# A machine's own table can be wrong (Windows often says text/plain), and a browser refuses modules of the wrong type.
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("text/javascript", ".mjs")
mimetypes.add_type("image/svg+xml", ".svg")


def build_engines(settings: Settings) -> list[Engine]:
    """The engines that the settings name; `auto` has all that are configured."""
    engines: list[Engine] = []
    if settings.engine_choice in ("auto", "ollama"):
        engines.append(OllamaEngine(settings))
    if settings.engine_choice == "openai" or (settings.engine_choice == "auto" and settings.openai_base_url):
        engines.append(OpenAIEngine.from_settings(settings))
    if settings.engine_choice in ("auto", "embedded"):
        engines.append(EmbeddedEngine(settings))
    return engines


def build_gateway(settings: Settings, engines: Sequence[Engine]) -> Gateway:
    pictures = PictureStore(settings)
    pool = EnginePool(settings, engines)
    telemetry = Telemetry()
    gateway = Gateway(settings, pool, pictures, SessionStore(settings, pictures), telemetry)
    for name, admission in gateway.admissions.items():
        telemetry.gauge("active", "Requests an engine works on now", partial(getattr, admission, "active"), engine=name)
        telemetry.gauge("waiting", "Requests that wait for an engine", partial(getattr, admission, "waiting"), engine=name)
    telemetry.gauge("sessions", "Sessions in memory", lambda: len(gateway.sessions))
    telemetry.gauge("store_bytes", "Bytes that pictures and sessions take", lambda: pictures.bytes_used + pictures.reserved)
    return gateway


def create_app(settings: Settings, engines: Sequence[Engine] | None = None) -> FastAPI:
    """The whole service; its engines (None: those that the settings name) and workers run between start-up and shutdown of the app."""
    check_presets(settings)
    gateway = build_gateway(settings, build_engines(settings) if engines is None else engines)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(gateway.pictures.aclose)
            await gateway.pictures.start()
            stack.push_async_callback(gateway.pool.aclose)
            await gateway.pool.start()
            stack.push_async_callback(gateway.installer.aclose)
            stack.push_async_callback(gateway.drain)
            yield

    app = FastAPI(
        title="llava_gateway", version=__version__, description=openapi.DESCRIPTION, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.gateway = gateway
    app.state.votes = Votes()
    app.include_router(native.router)
    app.include_router(archives.router)
    app.include_router(view.router)
    app.include_router(context.router)
    app.include_router(read_ahead.router)
    app.include_router(models.router)
    app.include_router(votes.router)
    app.include_router(ops.router)
    app.mount("/static", GZipMiddleware(StaticFiles(directory=str(ops.WEB)), compresslevel=6), name="static")
    add_error_handlers(app)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(SecurityMiddleware, settings=settings)
    return app
