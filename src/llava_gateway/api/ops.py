"""What is there and how it does: options, health, figures, documentation, and the page itself."""

from __future__ import annotations

from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from llava_gateway import __version__
from llava_gateway.api import openapi
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.native_json import note_json
from llava_gateway.api.options import presets
from llava_gateway.api.response import JSONResponse
from llava_gateway.api.security import OWN_FILES_CSP
from llava_gateway.engines.pool import PoolState
from llava_gateway.options import OPTION_LIMITS
from llava_gateway.telemetry import CONTENT_TYPE

router = APIRouter(responses=openapi.ERRORS)

WEB = resources.files("llava_gateway") / "web"
# The documentation page is Swagger UI, which styles itself inline and makes markup from strings; it shows nothing but our own OpenAPI file.
DOCS_CSP = OWN_FILES_CSP.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


@router.get("/options", tags=["models"], summary="Options with their ranges, presets, limits")
async def options(request: Request) -> Response:
    settings = gateway_of(request).settings
    limits = {
        name: {"low": o.low, "high": o.high, "unit": o.unit, "about": o.about, "whole": o.whole, "reloads": o.reloads}
        for name, o in OPTION_LIMITS.items()
    }
    images = {
        "images_per_turn": settings.images_per_turn,
        "image_max_bytes": settings.image_max_bytes,
        "image_formats": list(settings.image_formats),
    }
    return JSONResponse({"options": limits, "presets": {k: dict(v) for k, v in presets(settings).items()}, "limits": images})


@router.get("/healthz", tags=["health"], summary="Whether the process lives")
async def healthz() -> Response:
    return JSONResponse({"ok": True, "version": __version__})


@router.get("/readyz", tags=["health"], summary="Whether any engine can answer, and which one does")
async def readyz(request: Request) -> Response:
    gateway = gateway_of(request)
    state = gateway.pool.state
    ready = state.ready and not gateway.closing
    return JSONResponse(ready_json(state, ready=ready), 200 if ready else 503, None if ready else {"Retry-After": "2"})


@router.get("/metrics", tags=["health"], summary="Figures for Prometheus")
async def metrics(request: Request) -> Response:
    return Response(gateway_of(request).telemetry.exposition(), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    return FileResponse(str(WEB / "index.html"), headers={"Cache-Control": "no-cache"})


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    html = (WEB / "docs" / "index.html").read_text("utf-8")
    return HTMLResponse(html, headers={"Content-Security-Policy": DOCS_CSP, "Cache-Control": "no-cache"})


def ready_json(state: PoolState, *, ready: bool) -> dict[str, Any]:
    model = state.default.model
    return {
        "ready": ready,
        "engine": model.engine if model else None,
        "model": model.name if model else None,
        "reason": note_json(state.default.reason),
        "engines": [
            {"name": engine.name, "ok": engine.health.ok, "version": engine.health.version, "detail": engine.health.detail}
            for engine in state.engines
        ],
    }
