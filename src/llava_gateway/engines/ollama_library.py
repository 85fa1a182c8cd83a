"""Pulls, creates and deletes models in Ollama, through the `ollama` package.

Only for whoever runs the gateway: a Modelfile names files of this machine, so none that comes from a client may get here. No message
with pictures goes this way either, since the package reads a picture given as text from the disk if a file of that name exists.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import ollama

from llava_gateway.engines.modelfile import Modelfile, ModelfileError
from llava_gateway.engines.upstream import new_client, upstream_errors
from llava_gateway.errors import (
    InvalidRequest,
    ModelNotFound,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamUnavailable,
)


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a pull or a create. While a file comes in, `completed` of `total` bytes are here."""

    status: str
    completed: int | None = None
    total: int | None = None


class OllamaLibrary:
    """The models of the Ollama at `url`. Its methods raise `errors.GatewayError`s."""

    def __init__(self, url: str, *, connect_timeout: float = 2.0) -> None:
        self._url = url
        self._http = new_client(connect_timeout=connect_timeout, max_connections=1)
        self._client = ollama.AsyncClient(
            url, timeout=httpx.Timeout(None, connect=connect_timeout), follow_redirects=False, trust_env=False
        )

    async def aclose(self) -> None:
        await self._http.aclose()
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _blob(self, path: Path) -> str:
        """Copies a file to Ollama; its digest. One that is there already is not sent: Ollama would hang up in the middle of it."""
        digest = await asyncio.to_thread(_digest, path)
        with upstream_errors():
            known = await self._http.head(f"{self._url}/api/blobs/{digest}")
        return digest if known.status_code == 200 else await self._client.create_blob(path)

    async def pull(self, name: str, *, insecure: bool = False) -> AsyncIterator[Progress]:
        """Downloads a model; the last status is "success". Leaving the iterator stops it (what is here already is kept).

        `insecure` allows a registry without TLS. Raises ModelNotFound where the registry has no such model.
        """
        with _library_errors():
            async for step in await self._client.pull(name, insecure=insecure, stream=True):
                yield Progress(step.status or "", step.completed, step.total)

    async def create(self, name: str, modelfile: Modelfile, folder: Path) -> AsyncIterator[Progress]:
        """Makes a model; files in the Modelfile are looked for from `folder`. The last status is "success".

        Raises ModelfileError where FROM mixes a model's name with files or an adapter is missing, ModelNotFound where it names a model
        that is not installed.
        """
        with _library_errors():
            files: dict[str, str] = {}
            for path in _files(modelfile, folder):
                yield Progress(f"copying {path.name}", 0, path.stat().st_size)
                files[path.name] = await self._blob(path)
            adapters = {}
            for written in modelfile.adapters:
                adapters[Path(written).name] = await self._blob(_existing(written, folder))
            steps = await self._client.create(
                name,
                from_=None if files else modelfile.sources[-1],
                files=files or None,
                adapters=adapters or None,
                template=modelfile.template,
                system=modelfile.system,
                license=list(modelfile.licenses) or None,
                parameters={key: list(value) if isinstance(value, tuple) else value for key, value in modelfile.parameters.items()} or None,
                messages=[{"role": message.role, "content": message.content} for message in modelfile.messages] or None,
                stream=True,
            )
            async for step in steps:
                yield Progress(step.status or "", step.completed, step.total)

    async def delete(self, name: str) -> None:
        """Raises ModelNotFound."""
        with _library_errors():
            await self._client.delete(name)


def _files(modelfile: Modelfile, folder: Path) -> list[Path]:
    """The files FROM names; none where it names a model, as it does when there is no such file (Ollama's own rule)."""
    paths = {source: folder / Path(source).expanduser() for source in modelfile.sources}
    missing = [source for source, path in paths.items() if not path.is_file()]
    if missing and len(paths) > 1:
        raise ModelfileError(f"FROM names {', '.join(missing)}, but there is no such file")
    return [] if missing else list(paths.values())


def _existing(written: str, folder: Path) -> Path:
    path = folder / Path(written).expanduser()
    if not path.is_file():
        raise ModelfileError(f"ADAPTER names {written}, but there is no such file")
    return path


@contextmanager
def _library_errors() -> Iterator[None]:
    """Turns what the package raises into a GatewayError; Ollama's words stay behind, but for what they mean."""
    try:
        yield
    except ollama.ResponseError as error:
        words = error.error.lower()
        # A registry's answer for a model it does not have comes as an error line without a status.
        if error.status_code == 404 or "file does not exist" in words or "not found" in words:
            raise ModelNotFound(param="model") from error
        if "invalid model name" in words:
            raise InvalidRequest("This is not a name for a model.", hint="Names are like llava:7b.", param="model") from error
        raise UpstreamError("Ollama could not do it.") from error
    except (httpx.ConnectError, httpx.ConnectTimeout, ConnectionError) as error:
        raise UpstreamUnavailable from error
    except httpx.TransportError as error:
        raise UpstreamDisconnected("Ollama went away in the middle of the work.") from error
    except ValueError as error:
        if isinstance(error, ModelfileError):
            raise
        raise UpstreamProtocolError from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
