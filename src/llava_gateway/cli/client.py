"""Speaks with a gateway over HTTP: one that runs already, or one that is started in this process and ends with it."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import httpx2
from pydantic import SecretStr

from llava_gateway.cli.console import Failure, wrong_use
from llava_gateway.cli.flags import load_settings
from llava_gateway.cli.serve import address
from llava_gateway.error_sentences import hint_of
from llava_gateway.errors import InvalidOption, InvalidRequest
from llava_gateway.settings import Settings

Fields: TypeAlias = list[tuple[str, str | bytes]]
"""Form fields in order; bytes are files."""
JSONObject: TypeAlias = dict[str, Any]

_CONNECT_SECONDS = 5.0
_PROBE_SECONDS = 2.0


class GatewayClient:
    """A gateway at `url`. Its methods raise `Failure` with what the gateway says went wrong."""

    def __init__(self, url: str, api_key: str | None, *, is_ours: bool = False) -> None:
        self.url = url.rstrip("/") if "://" in url else f"http://{url}".rstrip("/")
        self.is_ours = is_ours
        """Whether it ends with this program."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._http = httpx2.Client(
                base_url=self.url,
                headers=headers,
                timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),  # the gateway has the timers
                trust_env=False,
            )
        except httpx2.InvalidURL:
            wrong_use(f"{url} is not an address.", "Addresses are like http://127.0.0.1:8000.")

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> JSONObject:
        return self._call("GET", path)

    def post(self, path: str, body: JSONObject) -> JSONObject:
        return self._call("POST", path, json=body)

    def patch(self, path: str, body: JSONObject) -> JSONObject:
        return self._call("PATCH", path, json=body)

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def send(self, path: str, file: bytes) -> JSONObject:
        """Posts a file whose kind the gateway tells by its content."""
        return self._call("POST", path, content=file, headers={"Content-Type": "application/octet-stream"})

    def download(self, path: str) -> tuple[str, bytes]:
        """A file and the name that the gateway gives it, without any folder."""
        with self._errors():
            response = self._http.get(path)
            if response.is_error:
                raise self._failure(response)
            name = unquote(response.headers.get("content-disposition", "").partition("filename*=UTF-8''")[2])
            return Path(name).name or "session", response.content

    def upload(self, image: bytes) -> JSONObject:
        """Stores an image; its "id" stands for it from then on."""
        return self._call("POST", "/images", files=_form([("image", image)]))

    def read_ahead(self, session: str | None, fields: Fields) -> None:
        """Has the engine begin to read what a question with these fields begins with."""
        where = f"/sessions/{session}" if session else ""
        self._call("POST", f"{where}/read_ahead?wait=false", files=_form(fields))

    def ask(self, path: str, fields: Fields) -> Generator[tuple[str, JSONObject]]:
        """The events of an answer as (name, data); the last one is "done". Closing the generator stops the answer."""
        return self._events("the answer", path, files=_form(fields))

    def install(self, path: str, body: JSONObject) -> Generator[tuple[str, JSONObject]]:
        """The events of a model on its way in, likewise."""
        return self._events("it", path, json=body)

    def _events(self, what: str, path: str, **content: Any) -> Generator[tuple[str, JSONObject]]:
        with self._errors(), self._http.stream("POST", path, headers={"Accept": "text/event-stream"}, **content) as response:
            if response.is_error:
                response.read()
                raise self._failure(response)
            for event in httpx2.EventSource(response, max_event_size=None):
                data: JSONObject = json.loads(event.data)
                if event.event == "error":
                    raise _told(data)
                yield event.event, data
                if event.event == "done":
                    return
        raise Failure(f"The gateway went away in the middle of {what}.", "Ask again when it is back.")

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
        except UnicodeEncodeError as error:  # Python keeps bytes of the command line that are no text
            hint = "Look at the encoding of the terminal (LANG), or pipe the text in as UTF-8."
            raise Failure("A text that was typed is not in the encoding of this terminal.", hint) from error
        except (httpx2.HTTPError, ValueError) as error:
            raise Failure(f"The gateway at {self.url} went away.", "Look whether it still runs, and ask again.") from error

    def _failure(self, response: httpx2.Response) -> Failure:
        try:
            return _told(response.json())
        except (ValueError, KeyError, TypeError):
            return Failure(f"{self.url} answers with status {response.status_code}.", "Is it a llava_gateway? /healthz tells.")


_OF_ROUTES = (InvalidRequest.code, InvalidOption.code, "unknown_field")
"""Errors whose usual hint is about routes and their fields, which the program has no words for."""
"""Errors whose usual hint is about routes and their fields, which the program has no words for."""


_OF_ROUTES = (InvalidRequest.code, InvalidOption.code, "unknown_field")
"""Errors whose usual hint is about routes and their fields, which the program has no words for."""


def _told(body: JSONObject) -> Failure:
    error = body["error"]
    hint = error["hint"]
    if error["code"] == "invalid_api_key":
        hint = "Give the key with --api-key or LLAVA_GATEWAY_API_KEY."
    elif error["code"] in _OF_ROUTES and not hint_of(error["reason"], error["values"]):
        hint = "With --help, each command tells what its flags take."
    return Failure(error["message"], hint, param=error["param"] or "")


def _form(fields: Fields) -> list[tuple[str, tuple[str | None, str | bytes]]]:
    """Multipart even where there are texts only. A file's own name is nobody's business."""
    return [(name, ("image" if isinstance(value, bytes) else None, value)) for name, value in fields]


@contextmanager
def connect(url: str | None, api_key: str | None, config: Path | None, *, own: bool = True) -> Iterator[GatewayClient]:
    """The gateway at `url`; else the one where the settings say that it listens; where none does, one of our own (unless `own` is False)
    until this is left."""
    if url is not None:
        client = GatewayClient(url, api_key)
    else:
        settings = load_settings(config)
        here = address(settings.host, settings.port)
        if gateway_version(here) is None:
            if not own:
                raise Failure(f"No gateway answers at {here}.", "Start one with `llava-gateway serve`, or name one with --url.")
            with _own_gateway(settings) as client:
                yield client
            return
        known = settings.api_key.get_secret_value() if settings.api_key else None
        client = GatewayClient(here, api_key or known)
    try:
        yield client
    finally:
        client.close()


def gateway_version(url: str) -> str | None:
    """The version of the gateway that answers at `url`; None where nothing does, or something else."""
    try:
        response = httpx2.get(f"{url}/healthz", timeout=_PROBE_SECONDS, trust_env=False)
        body = response.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return None
    # The request id tells it from others that have a /healthz.
    is_one = isinstance(body, dict) and body.get("ok") is True and response.headers.get("x-request-id", "").startswith("req_")
    return str(body.get("version", "")) if is_one else None


@contextmanager
def _own_gateway(settings: Settings) -> Iterator[GatewayClient]:
    """On a free loopback port, with a key that nobody else knows."""
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
            raise Failure("The gateway could not be started.", "`llava-gateway doctor` looks for the reason.")
        client = GatewayClient(address(own.host, ports[0]), key, is_ours=True)
        try:
            yield client
        finally:
            client.close()
    finally:
        server.should_exit = True
        thread.join()
