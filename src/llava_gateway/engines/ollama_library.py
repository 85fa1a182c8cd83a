"""Pulls, creates and deletes models in Ollama, through the `ollama` package.

A Modelfile may name files of this machine. One that comes from a client must pass `without_files` first, and is created without a
folder. Messages with images never go through this package: if an image is given as text, it reads the file of that name from the
disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httpx
import ollama

from llava_gateway.chat import JSON
from llava_gateway.engines.modelfile import Modelfile, ModelfileError
from llava_gateway.engines.ollama_library_errors import Step, StillStopping, error_from, step_of
from llava_gateway.engines.ollama_names import ModelName, parse_name
from llava_gateway.engines.upstream import error_body, json_object, lines, new_client, stream, tls_context
from llava_gateway.errors import (
    InvalidModelName,
    InvalidRequest,
    ModelfileNamesFiles,
    UpstreamDisconnected,
    UpstreamProtocolError,
    UpstreamUnavailable,
)

log = logging.getLogger(__name__)

STOPPING_PAUSES = (0.05, 0.2, 0.5, 1.0)
"""Seconds to wait, try after try, until Ollama has stopped the earlier pull that this one continues."""
_FILE_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".zip")


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a pull or a create. During a download, `completed` of `total` bytes of the file `digest` have arrived."""

    status: str
    completed: int | None = None
    total: int | None = None
    digest: str | None = None

    @property
    def step(self) -> Step:
        """What Ollama's `status` means."""
        return step_of(self.status)


class OllamaLibrary:
    """The models of the Ollama at `url`. Its methods raise `errors.GatewayError`s."""

    def __init__(self, url: str, *, connect_timeout: float = 2.0) -> None:
        self._url = url
        # Most addresses need no certificates, and reading them would block the event loop.
        self._tls = tls_context() if url.lower().startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = new_client(connect_timeout=connect_timeout, max_connections=1)
        self._client = ollama.AsyncClient(
            url,
            timeout=httpx.Timeout(None, connect=connect_timeout),
            follow_redirects=False,
            trust_env=False,
            verify=self._tls,  # else the package would read the certificates each time
        )

    async def aclose(self) -> None:
        await self._http.aclose()
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _blob(self, path: Path) -> str:
        """Copy a file to Ollama and return its digest. Skips a file that Ollama already has, because Ollama would drop the connection
        midway."""
        digest = await asyncio.to_thread(_digest, path)
        return digest if await self.has_blob(digest) else await self._client.create_blob(path)

    async def has_blob(self, digest: str) -> bool:
        """Return whether Ollama has the file with this digest (`sha256:...`)."""
        async with stream(self._http, "HEAD", f"{self._url}/api/blobs/{digest}") as known:
            return known.status_code == 200

    async def add_blob(self, digest: str, chunks: AsyncIterable[bytes]) -> None:
        """Pass a file on to Ollama. It must not have the file yet. If the file turns out to have another digest, breaks off before the end,
        and Ollama forgets what it got. Raises InvalidRequest, DiskFull, UpstreamError.
        """
        with _library_errors():
            async with httpx.AsyncClient(timeout=httpx.Timeout(None), trust_env=False, verify=self._tls) as client:
                response = await client.post(f"{self._url}/api/blobs/{digest}", content=_checked(digest, chunks))
        if response.status_code not in (200, 201):
            raise error_from(response.status_code, response.text, making=False)

    async def pull(self, name: str) -> AsyncGenerator[Progress]:
        """Download a model. The last status is "success". Leaving the iterator stops it; what has arrived is kept for the next time.

        A registry on loopback may lack TLS. Raises InvalidModelName, CloudModelRefused, ModelNotFound if the registry has no such
        model, RegistryUnavailable, DownloadDamaged, DiskFull, OllamaOutdated.
        """
        parsed = parse_name(name)
        for pause in (*STOPPING_PAUSES, None):
            try:
                async with aclosing(self._pull(name, parsed)) as steps:
                    async for step in steps:
                        yield step
                return
            except StillStopping:
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    async def _pull(self, name: str, parsed: ModelName) -> AsyncGenerator[Progress]:
        with _library_errors():
            async with aclosing(_generator(await self._client.pull(name, insecure=parsed.from_this_machine, stream=True))) as steps:
                async for step in steps:
                    yield _progress(step)

    async def create(self, name: str, modelfile: Modelfile, folder: Path | None) -> AsyncGenerator[Progress]:
        """Create a model. The last status is "success". Ollama first pulls a model in FROM that is not installed.

        Looks for the files of the Modelfile in `folder`. If `folder` is None, reads no files; then the Modelfile must have passed
        `without_files`. Raises ModelfileError if FROM mixes a model's name with files or if an adapter is missing, InvalidModelfile
        if Ollama rejects the Modelfile, and what `pull` raises.
        """
        with _library_errors(making=True):
            files: dict[str, str] = {}
            for path in _files(modelfile, folder):
                yield Progress(f"copying {path.name}", 0, path.stat().st_size)
                files[path.name] = await self._blob(path)
            adapters = {}
            for written in modelfile.adapters:
                adapters[Path(written).name] = await self._blob(_existing(written, folder))
            created = await self._client.create(
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
            async with aclosing(_generator(created)) as steps:
                async for step in steps:
                    yield _progress(step)

    async def create_with(self, name: str, fields: JSON) -> AsyncGenerator[Progress]:
        """Create a model with the `fields` of POST /api/create, which must name no other machine. The last status is "success".

        Raises InvalidModelfile if Ollama rejects them, and what `pull` raises.
        """
        for digest in {**fields.get("files", {}), **fields.get("draft_files", {})}.values():
            if not await self.has_blob(digest.replace("-", ":")):
                raise InvalidRequest("blob_missing", values={"digest": digest})
        body = json.dumps({**fields, "model": name, "stream": True}).encode()
        url, headers = f"{self._url}/api/create", {"Content-Type": "application/json"}
        async with stream(self._http, "POST", url, content=body, headers=headers) as response:
            if response.status_code != 200:
                refusal = (await error_body(response)).decode("utf-8", "replace")
                log.warning("Ollama rejected a request: status %s, %.500r", response.status_code, refusal)
                raise error_from(response.status_code, refusal, making=True)
            async with aclosing(lines(response)) as steps:
                async for line in steps:
                    step = json_object(line)
                    if failure := step.get("error"):
                        log.warning("Ollama gave up on a model: %.500r", failure)
                        raise error_from(response.status_code, str(failure), making=True)
                    yield _progress(ollama.ProgressResponse(**step))

    async def copy(self, source: str, destination: str) -> None:
        """Copy a model under another name. Raises ModelNotFound."""
        with _library_errors():
            await self._client.copy(source, destination)

    async def delete(self, name: str) -> None:
        """Delete a model. Raises ModelNotFound."""
        with _library_errors():
            await self._client.delete(name)


def without_files(modelfile: Modelfile) -> Modelfile:
    """Return the Modelfile if it names one model and no files (pure). Raises ModelfileNamesFiles, CloudModelRefused.

    Rejects everything that looks like a path, so that a client can't find out which files exist.
    """
    if modelfile.adapters:
        raise ModelfileNamesFiles("modelfile_sent_adapter").at("modelfile")
    if len(modelfile.sources) > 1:
        raise ModelfileNamesFiles("modelfile_sent_sources").at("modelfile")
    (source,) = modelfile.sources
    try:
        parse_name(source)
    except InvalidModelName as error:
        raise ModelfileNamesFiles("modelfile_sent_name").at("modelfile") from error
    if source.lower().endswith(_FILE_SUFFIXES):
        raise ModelfileNamesFiles("modelfile_sent_file").at("modelfile")
    return modelfile


async def _checked(digest: str, chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """Pass the chunks on, the last one only if all of them together have the digest. Raises InvalidRequest."""
    found, held = hashlib.sha256(), b""
    async for chunk in chunks:
        found.update(chunk)
        if held:
            yield held
        held = chunk
    if f"sha256:{found.hexdigest()}" != digest:
        raise InvalidRequest("digest_differs", values={"digest": digest})
    yield held


def _files(modelfile: Modelfile, folder: Path | None) -> list[Path]:
    """Return the files that FROM names. Returns none for a model's name, which is any name without such a file (Ollama's own rule)."""
    if folder is None:
        return []
    paths = {source: folder / Path(source).expanduser() for source in modelfile.sources}
    missing = [source for source, path in paths.items() if not path.is_file()]
    if missing and len(paths) > 1:
        raise ModelfileError("modelfile_from_missing", files=tuple(missing))
    return [] if missing else list(paths.values())


def _existing(written: str, folder: Path | None) -> Path:
    if folder is None or not (path := folder / Path(written).expanduser()).is_file():
        raise ModelfileError("modelfile_adapter_missing", file=written)
    return path


def _generator(steps: AsyncIterator[ollama.ProgressResponse]) -> AsyncGenerator[ollama.ProgressResponse]:
    """Return the same object as a generator: the package declares less than it returns, and closing the generator closes the
    connection."""
    return cast("AsyncGenerator[ollama.ProgressResponse]", steps)


def _progress(step: ollama.ProgressResponse) -> Progress:
    """Convert a step. Ollama leaves out a zero."""
    return Progress(step.status or "", (step.completed or 0) if step.total else None, step.total or None, step.digest)


@contextmanager
def _library_errors(*, making: bool = False) -> Iterator[None]:
    """Convert the package's errors to GatewayErrors. Ollama's words go to the log and no further."""
    try:
        yield
    except ollama.ResponseError as error:
        log.warning("Ollama rejected a request: status %s, %.500r", error.status_code, error.error)
        raise error_from(error.status_code, error.error, making=making) from error
    except (httpx.ConnectError, httpx.ConnectTimeout, ConnectionError) as error:
        raise UpstreamUnavailable from error
    except httpx.TransportError as error:
        raise UpstreamDisconnected("ollama_went_away") from error
    except ValueError as error:
        if isinstance(error, ModelfileError):
            raise
        raise UpstreamProtocolError from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
