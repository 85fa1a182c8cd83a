"""What a running Ollama says about its models, word for word: for clients that speak its API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from llava_gateway.chat import JSON
from llava_gateway.engines.ollama_models import rows_of
from llava_gateway.engines.upstream import get_json, new_client
from llava_gateway.errors import ModelNotFound, UpstreamError, UpstreamProtocolError
from llava_gateway.settings import Settings

VERBOSE_SECONDS = 10
"""More time for an answer with the whole vocabulary of a model."""


class OllamaCatalogue:
    """The lists of the Ollama of the settings. Its methods raise UpstreamErrors. Use it as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.ollama_url
        self._within = settings.connect_timeout + 1
        self._client = new_client(connect_timeout=settings.connect_timeout, max_connections=2)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def installed(self) -> Mapping[str, JSON]:
        """Return the rows of /api/tags by name."""
        return {row["name"]: row for row in rows_of(await self._ask("GET", "/api/tags"))}

    async def loaded(self) -> Mapping[str, JSON]:
        """Return the rows of /api/ps by name."""
        return {row["name"]: row for row in rows_of(await self._ask("GET", "/api/ps"))}

    async def show(self, model: str, *, verbose: bool) -> JSON:
        """Return the answer of /api/show. Raises ModelNotFound."""
        try:
            return await self._ask("POST", "/api/show", {"model": model, "verbose": verbose}, VERBOSE_SECONDS if verbose else 0)
        except UpstreamError as error:
            raise (ModelNotFound("model_not_found_named", values={"model": model}) if error.status == 404 else error) from error

    async def _ask(self, method: str, path: str, body: Any = None, more: float = 0) -> JSON:
        answer = await get_json(self._client, method, self._url + path, within=self._within + more, json=body)
        if not isinstance(answer, dict):
            raise UpstreamProtocolError
        return answer
