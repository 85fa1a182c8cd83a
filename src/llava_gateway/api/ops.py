"""Operational routes: options, health, metrics, documentation, and the page itself."""

from __future__ import annotations

from importlib import resources
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from llava_gateway import __version__
from llava_gateway.api import openapi
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.native_json import note_json
from llava_gateway.api.options import presets
from llava_gateway.api.response import JSONResponse
from llava_gateway.api.security import OWN_FILES_CSP, has_key
from llava_gateway.engines.pool import PoolState
from llava_gateway.options import OPTION_LIMITS
from llava_gateway.telemetry import CONTENT_TYPE

router = APIRouter(responses=openapi.ERRORS)

WEB = resources.files("llava_gateway") / "web"
# The documentation page is Swagger UI, which uses inline styles and builds HTML from strings; it shows only our own OpenAPI file.
DOCS_CSP = OWN_FILES_CSP.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
PAGE_HEADERS = {"Cache-Control": "no-cache", "Vary": "Accept"}
OLLAMA_RUNS = "Ollama is running"
NOT_TOLD: dict[str, Any] = {"ready": False, "engine": None, "model": None, "reason": None, "engines": []}
"""The body of /readyz for a client without the key: no facts about engines."""


@router.get("/options", tags=["models"], summary="List options with their ranges, presets and limits")
async def options(request: Request) -> Response:
    settings = gateway_of(request).settings
    limits = {
        name: {"low": o.low, "high": o.high, "unit": o.unit, "about": o.about, "whole": o.whole, "reloads": o.reloads}
        for name, o in OPTION_LIMITS.items()
    }
    images = {
        "images_per_turn": settings.images_per_turn,
        "image_max_bytes": settings.image_max_bytes,
        "document_max_bytes": settings.document_max_bytes,
        "image_formats": list(settings.image_formats),
    }
    named = {name: dict(preset) for name, preset in presets(settings).items()}
    kept = {"keep": settings.keep or "memory", "fetch": settings.fetch != "off"}
    return JSONResponse({"options": limits, "presets": named, "limits": images, **kept})


@router.get("/healthz", tags=["health"], summary="Report whether the process runs")
async def healthz() -> Response:
    return JSONResponse({"ok": True, "version": __version__})


@router.get("/readyz", tags=["health"], summary="Report whether an engine can answer, and which one does", openapi_extra=openapi.READY)
async def readyz(request: Request) -> Response:
    """Report readiness. Probes need no key: without it the response has only `ready`, and null for the rest."""
    gateway = gateway_of(request)
    state = gateway.pool.state
    ready = state.ready and not gateway.closing
    known = ready_json(state, ready=ready) if has_key(request) else {**NOT_TOLD, "ready": ready}
    return JSONResponse(known, 200 if ready else 503, None if ready else {"Retry-After": "2"})


@router.get("/metrics", tags=["health"], summary="Return metrics for Prometheus", openapi_extra=openapi.METRICS)
async def metrics(request: Request) -> Response:
    return Response(gateway_of(request).telemetry.exposition(), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """Return the page to browsers. Clients of Ollama look here whether it runs."""
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(OLLAMA_RUNS, headers=PAGE_HEADERS)
    return FileResponse(str(WEB / "index.html"), headers=PAGE_HEADERS)


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
