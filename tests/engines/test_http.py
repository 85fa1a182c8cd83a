"""The HTTP client against servers that are odd but right; those that are wrong are in test_upstream.py."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llava_gateway.engines.http import _AHEAD, CannotConnect, Client, HungUp, Response
from tests.engines.fake_upstream import Exchange, Script, fake_upstream
from tests.reverse_proxies import self_made_certificate


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(connect_timeout=2, max_connections=2) as client:
        yield client


def sending(*pieces: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.send(piece)

    return script


async def body_of(response: Response) -> bytes:
    pieces = []
    while piece := await response.read():
        pieces.append(piece)
    return b"".join(pieces)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ((OK + b"Content-Length: 4\r\n\r\nbody",), b"body"),
        ((OK + b"Content-Length: 4\r\n\r\nbody and more",), b"body"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n", b"2;name=value\r\nbo\r\n", b"2\r\ndy\r\n0\r\nTrailer: x\r\n\r\n"), b"body"),
        ((OK + b"\r\nbo", b"dy"), b"body"),  # it ends with the connection
        ((b"HTTP/1.0 200 OK\r\n\r\nbody",), b"body"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hint\r\nX: 1\r\n\r\n", OK + b"Content-Length: 4\r\n\r\nbody"), b"body"),
        ((OK + b"Content-Length: 0\r\n\r\n",), b""),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b""),
    ],
    ids=["length", "more", "chunks", "until-closed", "http-1.0", "interim", "empty", "no-content"],
)
async def test_every_way_to_end_a_body_is_known(client: Client, pieces: tuple[bytes, ...], body: bytes) -> None:
    async with fake_upstream(sending(*pieces)) as fake:
        response = await client.send("GET", fake.url)
        assert response.status_code in (200, 204)
        assert await body_of(response) == body
        response.close()


async def test_a_server_behind_https_is_known_by_its_certificate(tmp_path: Path) -> None:
    certificate, key = self_made_certificate(tmp_path, "localhost")
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(certificate))
    serving.load_cert_chain(certificate, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 4\r\n\r\nbody")

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving) as server:
        port = server.sockets[0].getsockname()[1]
        async with Client(connect_timeout=20, max_connections=1, tls=lambda: trusting) as client:
            response = await client.send("GET", f"https://localhost:{port}/")
            assert await body_of(response) == b"body"
            response.close()
        async with Client(connect_timeout=20, max_connections=1) as client:
            with pytest.raises(CannotConnect):
                await client.send("GET", f"https://localhost:{port}/")


async def test_a_head_has_no_body_whatever_its_length_says(client: Client) -> None:
    async with fake_upstream(sending(OK + b"Content-Length: 1000\r\n\r\n")) as fake:
        response = await client.send("HEAD", fake.url)
        assert await body_of(response) == b""
        response.close()


async def test_what_goes_out(client: Client) -> None:
    async with fake_upstream(sending(OK + b"Content-Length: 0\r\n\r\n")) as fake:
        at = fake.url.replace("http://", "http://me:pass%20word@")
        (await client.send("POST", f"{at}/v1/a b/é?q=1 2", content=b"{}", headers={"Content-Type": "application/json"})).close()
        (request,) = fake.requests
    assert (request.method, request.path, request.body) == ("POST", "/v1/a%20b/%C3%A9?q=1%202", b"{}")
    assert request.headers == {
        "host": f"127.0.0.1:{fake.port}",
        "authorization": f"Basic {base64.b64encode(b'me:pass word').decode()}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": "llava-gateway",
        "connection": "close",
        "content-type": "application/json",
        "content-length": "2",
    }


async def test_a_header_can_not_begin_another_one(client: Client) -> None:
    with pytest.raises(ValueError, match="line break"):
        await client.send("GET", "http://127.0.0.1:1", headers={"X": "a\r\nHost: b"})


async def test_the_next_request_waits_for_a_connection() -> None:
    events: list[str] = []

    async def script(exchange: Exchange) -> None:
        events.append(exchange.request.path)
        await exchange.send(OK + b"Content-Length: 0\r\n\r\n")

    async with Client(connect_timeout=2, max_connections=1) as client, fake_upstream(script) as fake:
        first = await client.send("GET", f"{fake.url}/first")
        second = asyncio.create_task(client.send("GET", f"{fake.url}/second"))
        await asyncio.sleep(0)
        events.append("closed")
        first.close()
        (await second).close()
        for _ in range(3):  # a connection that failed takes no room
            with pytest.raises(CannotConnect):
                await client.send("GET", "http://127.0.0.1:1")
    assert events == ["/first", "closed", "/second"]


async def test_a_server_waits_while_nobody_reads(client: Client) -> None:
    size = 16 * 1024 * 1024

    async def script(exchange: Exchange) -> None:
        await exchange.send(OK + b"Content-Length: %d\r\n\r\n" % size)
        await exchange.send(b"x" * size)

    async with fake_upstream(script) as fake:
        response = await client.send("GET", fake.url)
        while not response._paused:  # noqa: ASYNC110 (nobody tells of it)
            await asyncio.sleep(0)
        assert response._size < 4 * _AHEAD
        assert len(await body_of(response)) == size
        response.close()


async def test_closing_the_client_ends_what_is_under_way(client: Client) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.hung_up()

    async with fake_upstream(script) as fake:
        response = await client.send("GET", fake.url)
        reading = asyncio.create_task(response.read())
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(HungUp):
            await reading
