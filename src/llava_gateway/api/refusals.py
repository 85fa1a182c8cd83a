"""Sends an error as the API that a request speaks writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from llava_gateway.api import errors
from llava_gateway.api.anthropic import errors as anthropic
from llava_gateway.api.dialects import Dialect, dialect_of
from llava_gateway.api.errors import from_http, from_validation
from llava_gateway.api.ollama import errors as ollama
from llava_gateway.api.openai import errors as openai
from llava_gateway.errors import GatewayError

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
Writer: TypeAlias = Callable[[GatewayError, str], Response]
WRITERS: dict[Dialect, Writer] = {
    "native": errors.error_response,
    "ollama": ollama.error_response,
    "openai": openai.error_response,
    "anthropic": anthropic.error_response,
}


def refusal(error: GatewayError, scope: Scope) -> Response:
    """Return the response for an error of a request."""
    return WRITERS[dialect_of(scope)](error, scope["state"]["request_id"])


def add_error_handlers(app: FastAPI) -> None:
    async def gateway_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)  # noqa: S101 - registered for nothing else
        return refusal(error, request.scope)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
        headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else {}
        response = refusal(from_http(error, headers, request.url.path), request.scope)
        response.headers.update(headers)
        return response

    async def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
        errors = [{**one, "loc": one["loc"][1:]} for one in error.errors()]  # the first step is "query" or "path"
        return refusal(from_validation(errors), request.scope)

    app.add_exception_handler(GatewayError, gateway_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)


def _allowed(request: Request) -> list[str]:
    """Return the methods of an address. The framework names those of only one of its routes, and does not know HEAD (`api/head.py`)."""
    scope, routes = request.scope, request.app.routes
    found = [method for method in METHODS if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)]
    found = found or ["GET"]  # files are in a mounted folder, which matches no route here
    return [*found, "HEAD"] if "GET" in found else found
