"""The composition root of the service: `create_app(settings)` puts the HTTP APIs around a gateway, which runs as long as the app."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from llava_gateway import __version__
from llava_gateway.api import archives, context, events, model_lists, models, native, openapi, ops, read_ahead, running, view, votes
from llava_gateway.api.anthropic import messages as anthropic_messages
from llava_gateway.api.body_limits import BodyBudget
from llava_gateway.api.deps import provide
from llava_gateway.api.description import DescribedApp
from llava_gateway.api.head import HeadMiddleware
from llava_gateway.api.mcp import http as mcp
from llava_gateway.api.ollama import router as ollama
from llava_gateway.api.openai.routes import add_openai
from llava_gateway.api.options import check_presets
from llava_gateway.api.page_files import PageFiles
from llava_gateway.api.refusals import add_error_handlers
from llava_gateway.api.security import SecurityMiddleware
from llava_gateway.engines.base import Engine
from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.gateway.build import build_gateway
from llava_gateway.settings import Settings
from llava_gateway.votes import Votes

# The system's own table can be wrong (Windows often says text/plain), and a browser rejects modules of the wrong type.
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("text/javascript", ".mjs")
mimetypes.add_type("image/svg+xml", ".svg")


def create_app(settings: Settings, engines: Sequence[Engine] | None = None, fetcher: Fetcher | None = None) -> FastAPI:
    """Build the whole service. Its engines (None: those that the settings name) and its workers run from start-up to shutdown of the
    app; `fetcher` None is the usual one.

    Raises DataError if sessions are kept on disk and the data directory can't be used.
    """
    check_presets(settings)
    gateway = build_gateway(settings, engines, fetcher)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    app = DescribedApp(
        title="llava_gateway",
        version=__version__,
        description=openapi.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,  # the function names in generated clients
    )
    bodies = BodyBudget(settings)
    gateway.telemetry.gauge("body_bytes", "Bytes of request bodies that are arriving or wait for their response", lambda: bodies.held)
    provide(app, gateway, Votes(gateway.journal.votes() if gateway.journal else ()), bodies)
    # Registered before the same route in `native.router`, which only describes it: what FastAPI does for parameters takes a twentieth of a
    # request's time.
    app.add_route("/ask", native.ask, methods=["POST"], include_in_schema=False)
    add_openai(app, settings)
    app.add_route("/v1/models", model_lists.list_models, methods=["GET"], include_in_schema=False)
    app.add_route("/v1/models/{name:path}", model_lists.get_model, methods=["GET"], include_in_schema=False)
    app.include_router(archives.router)  # before the router that has /sessions/{session_id}
    app.include_router(native.router)
    app.include_router(running.router)
    app.include_router(events.router)
    app.include_router(view.router)
    app.include_router(context.router)
    app.include_router(read_ahead.router)
    app.include_router(models.router)
    app.include_router(votes.router)
    app.include_router(anthropic_messages.router)
    app.include_router(mcp.router)
    app.include_router(ops.router)
    app.include_router(ollama.router)
    app.mount("/static", GZipMiddleware(PageFiles(directory=str(ops.WEB)), compresslevel=6), name="static")
    add_error_handlers(app)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(SecurityMiddleware, settings=settings, bodies=bodies)
    return app
