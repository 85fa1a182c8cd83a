"""Talks to a gateway over HTTP: to a running one, or to one that is started in this process and ends with it."""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import httpx2
from pydantic import SecretStr

from llava_gateway.cli.address_files import published_addresses
from llava_gateway.cli.console import Failure, console, printable, wrong_use
from llava_gateway.cli.flags import load_settings
from llava_gateway.cli.messages import failure_from_body
from llava_gateway.cli.serve import address
from llava_gateway.settings import Settings

Fields: TypeAlias = list[tuple[str, str | bytes]]
"""Form fields in order; bytes are files."""
JSONObject: TypeAlias = dict[str, Any]

_CONNECT_SECONDS = 5.0
_PROBE_SECONDS = 2.0
_STOP_SECONDS = 5.0


class GatewayClient:
    """A client of the gateway at `url`. Its methods raise `Failure` with the gateway's error message."""

    def __init__(self, url: str, api_key: str | None, *, is_ours: bool = False) -> None:
        self.url = url.rstrip("/") if "://" in url else f"http://{url}".rstrip("/")
        self.is_ours = is_ours
        """Whether it ends with this program."""
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._http = httpx2.Client(
                base_url=self.url,
                headers=self._headers,
                timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),  # the gateway has its own timers
                trust_env=False,
            )
        except httpx2.InvalidURL:
            wrong_use(f"{url} is not an address.", "Addresses are like http://127.0.0.1:8000.")

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> JSONObject:
        return self._call("GET", path)

    def readiness(self) -> JSONObject:
        """Return the body of /readyz, for status 200 and 503."""
        with self._errors():
            response = self._http.get("/readyz")
            if response.status_code not in (200, 503):
                raise self._failure(response)
            found: JSONObject = response.json()
            return found

    def post(self, path: str, body: JSONObject) -> JSONObject:
        return self._call("POST", path, json=body)

    async def ask_once(self, body: JSONObject) -> JSONObject:
        """Return the whole answer to a question, for a program with an event loop. Being cancelled stops the answer. Raises Failure, with
        the gateway's own words.
        """
        timeout = httpx2.Timeout(None, connect=_CONNECT_SECONDS)
        with self._errors():
            async with httpx2.AsyncClient(base_url=self.url, headers=self._headers, timeout=timeout, trust_env=False) as http:
                response = await http.post("/ask", json=body)
                if response.is_error:
                    error = response.json()["error"]
                    raise Failure(error["message"], error["hint"])
                found: JSONObject = response.json()
                return found

    def patch(self, path: str, body: JSONObject) -> JSONObject:
        return self._call("PATCH", path, json=body)

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def send(self, path: str, file: bytes) -> JSONObject:
        """Post a file; the gateway recognises its format by its content."""
        return self._call("POST", path, content=file, headers={"Content-Type": "application/octet-stream"})

    def download(self, path: str) -> tuple[str, bytes]:
        """Download a file. Returns (content, the gateway's name for it without any folder)."""
        with self._errors():
            response = self._http.get(path)
            if response.is_error:
                raise self._failure(response)
            name = unquote(response.headers.get("content-disposition", "").partition("filename*=UTF-8''")[2])
            return Path(name).name or "session", response.content

    def upload(self, image: bytes) -> JSONObject:
        """Store an image; questions can then name it by the result's "id"."""
        return self._call("POST", "/images", files=_form([("image", image)]))

    def read_ahead(self, session: str | None, fields: Fields) -> None:
        """Let the engine begin to read the prompt of a question with these fields."""
        where = f"/sessions/{session}" if session else ""
        self._call("POST", f"{where}/read_ahead?wait=false", files=_form(fields))

    def ask(self, path: str, fields: Fields) -> Generator[tuple[str, JSONObject]]:
        """Yield the events of an answer as (name, data); the last one is "done". Closing the generator stops the answer."""
        return self._events("the answer", path, files=_form(fields))

    def go_on(self, session: str, options: JSONObject) -> Generator[tuple[str, JSONObject]]:
        """Yield the events of the rest of the session's last answer, as `ask` does. The deltas are new words only."""
        return self._events("the answer", f"/sessions/{session}/continue", json={"options": options})

    def stop(self, session: str) -> bool:
        """Stop the running answer of a session. Returns False if there is none, or if the gateway does not say so in time.

        Uses a connection of its own, so that a signal handler may call it in the middle of another request.
        """
        try:
            answer = httpx2.post(
                f"{self.url}/sessions/{session}/cancel", headers=self._headers, timeout=_STOP_SECONDS, trust_env=False
            ).json()
            return bool(answer["cancelled"])
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return False

    def install(self, path: str, body: JSONObject) -> Generator[tuple[str, JSONObject]]:
        """Yield the events of a model install as (name, data); the last one is "done"."""
        return self._events("it", path, json=body)

    def _events(self, what: str, path: str, **content: Any) -> Generator[tuple[str, JSONObject]]:
        with self._errors(), self._http.stream("POST", path, headers={"Accept": "text/event-stream"}, **content) as response:
            if response.is_error:
                response.read()
                raise self._failure(response)
            for event in httpx2.EventSource(response, max_event_size=None):
                data: JSONObject = json.loads(event.data)
                if event.event == "error":
                    raise failure_from_body(data)
                yield event.event, data
                if event.event == "done":
                    return
        raise Failure(f"The gateway stopped answering in the middle of {what}.", "Ask again when it is back.")

    def _call(self, method: str, path: str, **content: Any) -> JSONObject:
        with self._errors():
            response = self._http.request(method, path, **content)
            if response.is_error:
                raise self._failure(response)
            found: JSONObject = response.json() if response.content else {}
            return found

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            raise Failure(f"No gateway answers at {self.url}.", "Start one with `llava-gateway serve`, or leave out --url.") from error
        except UnicodeEncodeError:  # `Commands` reports it
            raise
        except (httpx2.HTTPError, ValueError) as error:
            raise Failure(f"The gateway at {self.url} no longer answers.", "Check that it is still running, then ask again.") from error

    def _failure(self, response: httpx2.Response) -> Failure:
        try:
            return failure_from_body(response.json())
        except (ValueError, KeyError, TypeError):
            return Failure(
                f"{self.url} answers with status {response.status_code}.", "Check that a llava_gateway listens there: GET /healthz."
            )


def _form(fields: Fields) -> list[tuple[str, tuple[str | None, str | bytes]]]:
    """Build a multipart form even for texts only. It does not contain the local file names, which are private."""
    return [(name, ("image" if isinstance(value, bytes) else None, value)) for name, value in fields]


@contextmanager
def connect(
    url: str | None, api_key: str | None, config: Path | None, *, own: bool = True, verbose: bool = False
) -> Iterator[GatewayClient]:
    """Connect to the gateway at `url`; without `url`, to one that runs on this machine; if there is none, start our own (unless `own` is
    False) until this is left.

    Wrong settings end the command in any case. With `verbose`, prints to stderr which gateway it uses.
    """
    settings = load_settings(config)
    tried = [url] if url is not None else addresses(settings)
    found = url or next((here for here in tried if gateway_version(here) is not None), None)
    if found is None and not own:
        raise Failure(f"No gateway answers at {' or '.join(tried)}.", "Start one with `llava-gateway serve`, or name one with --url.")
    if found is None:
        if verbose or sys.stderr.isatty():
            _say(f"No gateway answers at {' or '.join(tried)}: one is started for this command.")
        with own_gateway(settings) as client:
            yield client
        return
    if verbose:
        _say(f"Asking the gateway at {found}.")
    known = settings.api_key.get_secret_value() if settings.api_key and url is None else None
    client = GatewayClient(found, api_key or known)
    try:
        yield client
    finally:
        client.close()


def names_of_models(url: str | None, api_key: str | None, config: Path | None) -> list[str]:
    """Return the models of the running gateway; if none runs, those of the Ollama in the settings. Raises Failure if neither answers."""
    try:
        with connect(url, api_key, config, own=False) as client:
            return [model["name"] for model in client.get("/models")["models"]]
    except Failure:
        if url is not None:
            raise
    try:
        found = httpx2.get(f"{load_settings(config).ollama_url}/api/tags", timeout=_PROBE_SECONDS, trust_env=False).json()
        return [str(model["name"]) for model in found["models"]]
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise Failure("Neither a gateway nor Ollama answers.") from error


def addresses(settings: Settings) -> list[str]:
    """Return the addresses at which a gateway may run on this machine: the one in the settings and, if they name none, those of other
    running gateways.
    """
    here = address(settings.host, settings.port)
    noted = [] if {"host", "port"} & settings.model_fields_set else published_addresses()
    return list(dict.fromkeys([here, *noted]))


def _say(text: str) -> None:
    console(sys.stderr).print(printable(text), style="dim")


def gateway_version(url: str) -> str | None:
    """Return the version of the gateway that answers at `url`; None if nothing or another program answers."""
    try:
        response = httpx2.get(f"{url}/healthz", timeout=_PROBE_SECONDS, trust_env=False)
        body = response.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return None
    # The request id distinguishes it from other programs with a /healthz.
    is_one = isinstance(body, dict) and body.get("ok") is True and response.headers.get("x-request-id", "").startswith("req_")
    return str(body.get("version", "")) if is_one else None


@contextmanager
def own_gateway(settings: Settings) -> Iterator[GatewayClient]:
    """Start a gateway on a free loopback port, with a key that nobody else knows."""
    from llava_gateway.api.server import build_server

    key = secrets.token_urlsafe(32)
    own = settings.model_copy(update={"host": "127.0.0.1", "port": 0, "api_key": SecretStr(key), "shutdown_grace": 0.0})
    listening = threading.Event()
    ports: list[int] = []

    def announce(port: int) -> None:
        ports.append(port)
        listening.set()

    server = build_server(own, announce)

    def serve() -> None:
        try:
            server.run()
        finally:
            listening.set()

    thread = threading.Thread(target=serve, name="gateway", daemon=True)
    thread.start()
    try:
        listening.wait()
        if not ports:
            raise Failure("The gateway could not be started.", "Run `llava-gateway doctor` to find the reason.")
        client = GatewayClient(address(own.host, ports[0]), key, is_ours=True)
        try:
            yield client
        finally:
            client.close()
    finally:
        server.should_exit = True
        thread.join()
