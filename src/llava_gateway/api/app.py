"""The composition root of the service: `create_app(settings)` puts the HTTP doors around a gateway, which runs as long as the app."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from llava_gateway import __version__
from llava_gateway.api import archives, context, models, native, openapi, ops, read_ahead, view, votes
from llava_gateway.api.deps import provide
from llava_gateway.api.errors import add_error_handlers
from llava_gateway.api.head import HeadMiddleware
from llava_gateway.api.options import check_presets
from llava_gateway.api.security import SecurityMiddleware
from llava_gateway.engines.base import Engine
from llava_gateway.gateway.build import build_gateway
from llava_gateway.settings import Settings
from llava_gateway.votes import Votes

# A machine's own table can be wrong (Windows often says text/plain), and a browser refuses modules of the wrong type.
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("text/javascript", ".mjs")
mimetypes.add_type("image/svg+xml", ".svg")


def create_app(settings: Settings, engines: Sequence[Engine] | None = None) -> FastAPI:
    """The whole service; its engines (None: those that the settings name) and workers run between start-up and shutdown of the app."""
    check_presets(settings)
    gateway = build_gateway(settings, engines)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    app = FastAPI(
        title="llava_gateway", version=__version__, description=openapi.DESCRIPTION, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    provide(app, gateway, Votes())
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
