"""The shared HTTP code against a server that misbehaves: each fault becomes the one error that names it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from llava_gateway.engines.http import Client
from llava_gateway.engines.upstream import MAX_ERROR_BODY, MAX_LINE, error_body, get_json, json_object, lines, new_client, stream
from llava_gateway.errors import (
    GatewayError,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from tests.clock import time_passes
from tests.engines.fake_upstream import Exchange, fake_upstream
from tests.serving import until

LIMIT = 20


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with new_client(connect_timeout=2, max_connections=10) as client:
        yield client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def read_all(client: Client, url: str) -> list[bytes]:
    async with stream(client, "POST", url, content=b"{}") as response:
        return [line async for line in lines(response)]


async def test_lines_are_put_together_however_the_body_is_cut(client: Client) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.head()
        for piece in (b"on", b"e\r\ntwo\n\n\r\nth", "ré".encode()[:2], "ré".encode()[2:], b"e\nlast"):
            await exchange.chunk(piece)
        await exchange.end()

    async with fake_upstream(answer) as fake:
        assert await read_all(client, fake.url) == [b"one", b"two", "thrée".encode(), b"last"]


async def test_a_line_comes_as_soon_as_it_is_whole(client: Client) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.chunk(b"first\nsec")
        await exchange.hung_up()

    async with fake_upstream(answer) as fake, stream(client, "POST", fake.url) as response, aclosing(lines(response)) as got:
        assert await anext(got) == b"first"


async def test_a_line_up_to_the_limit_is_read(client: Client) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.chunk(b"x" * MAX_LINE + b"\n")
        await exchange.end()

    async with fake_upstream(answer) as fake:
        assert [len(line) for line in await read_all(client, fake.url)] == [MAX_LINE]


async def test_an_endless_line_is_given_up(client: Client) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.head()
        while True:
            await exchange.chunk(b"x" * 65536)

    async with fake_upstream(answer) as fake:
        with pytest.raises(UpstreamProtocolError):
            await read_all(client, fake.url)


async def reset(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.chunk(b"one\n")
    exchange.reset()


async def cut_in_a_chunk(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.send(b"ff\r\n" + b"half of it")


async def cut_between_chunks(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.chunk(b"one\n")


async def hang_up(exchange: Exchange) -> None:
    """Close the connection without sending a byte."""


async def short_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")


async def bad_chunk_size(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.send(b"zz\r\nwhat\r\n")


async def not_http(exchange: Exchange) -> None:
    await exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n")


async def huge_header(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nX-Big: ")
    for _ in range(160):
        await exchange.send(b"x" * 65536)


async def many_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"X-More: " + b"x" * 4096 + b"\r\n")


async def redirect(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (reset, UpstreamDisconnected),
        (cut_in_a_chunk, UpstreamDisconnected),
        (cut_between_chunks, UpstreamDisconnected),
        (hang_up, UpstreamDisconnected),
        (short_body, UpstreamDisconnected),
        (bad_chunk_size, UpstreamProtocolError),
        (not_http, UpstreamProtocolError),
        (huge_header, UpstreamProtocolError),
        (many_headers, UpstreamProtocolError),
        (redirect, UpstreamProtocolError),
    ],
)
async def test_each_fault_has_its_error(client: Client, fault: object, error: type[GatewayError]) -> None:
    async with fake_upstream(fault) as fake:  # type: ignore[arg-type]
        with pytest.raises(UpstreamError) as caught:
            await read_all(client, fake.url)
        assert type(caught.value) is error
        assert [request.path for request in fake.requests] == ["/"]


async def test_nobody_there(client: Client) -> None:
    with pytest.raises(UpstreamUnavailable):
        await read_all(client, f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize("url", ["http://no such host", "ftp://127.0.0.1", "http://name.invalid"])
async def test_an_address_that_leads_nowhere(client: Client, url: str) -> None:
    with pytest.raises(UpstreamUnavailable):
        await read_all(client, url)


async def test_leaving_closes_the_connection_at_once(client: Client) -> None:
    closed = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.chunk(b"one\n")
        await exchange.hung_up()
        closed.set()

    async with fake_upstream(answer) as fake:
        async with stream(client, "POST", fake.url) as response, aclosing(lines(response)) as got:
            await anext(got)
            assert not closed.is_set()
        await until(closed.is_set)


async def test_cancelling_before_the_answer_closes_the_connection_too(client: Client) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        asked.set()
        await exchange.hung_up()
        closed.set()

    async with fake_upstream(hang) as fake:
        task = asyncio.create_task(read_all(client, fake.url))
        await until(asked.is_set)
        task.cancel()
        await until(closed.is_set)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_many_cancelled_streams_leave_room_for_the_next(client: Client) -> None:
    async def drip(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.chunk(b"one\n")
        if exchange.request.path == "/":
            await exchange.hung_up()
        else:
            await exchange.end()

    async def first_line(url: str) -> None:
        async with stream(client, "POST", url) as response, aclosing(lines(response)) as got:
            await anext(got)

    async with fake_upstream(drip) as fake:
        for _ in range(10):
            tasks = [asyncio.create_task(first_line(fake.url)) for _ in range(20)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LIMIT)
        assert await asyncio.wait_for(read_all(client, f"{fake.url}/last"), LIMIT) == [b"one"]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b'{"half":',
        b"[1]",
        b'"text"',
        b"null",
        b'{"a": "\xff\xfe"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\\ud83d"}',
        b'{"a": "\\uDE00 alone"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_object_is_refused_and_its_start_logged(line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UpstreamProtocolError) as caught:
        json_object(line)
    assert repr(line[:20])[2:-1] not in caught.value.message
    assert len(caplog.messages[0]) < 400
    assert caplog.messages[0].isascii()


def test_json_objects_are_read() -> None:
    assert json_object('{"a": "圆 \\ud83d\\ude00"}'.encode()) == {"a": "圆 😀"}


async def test_an_error_body_is_read_only_so_far(client: Client) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.head(500)
        while True:
            await exchange.chunk(b"e" * 10_000)

    async with fake_upstream(endless) as fake, stream(client, "POST", fake.url) as response:
        assert len(await error_body(response)) == MAX_ERROR_BODY


async def test_small_requests(client: Client) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(200, {"got": exchange.request.json if exchange.request.body else None})

    async with fake_upstream(answer) as fake:
        assert await get_json(client, "GET", fake.url, within=LIMIT) == {"got": None}
        assert await get_json(client, "POST", fake.url, within=LIMIT, json={"a": 1}) == {"got": {"a": 1}}
        assert {request.headers["accept-encoding"] for request in fake.requests} == {"identity"}


@pytest.mark.parametrize(
    ("status", "body", "error", "shown"),
    [
        (500, b"secret", UpstreamError, 502),
        (404, b"{}", UpstreamError, 404),
        (401, b"{}", UpstreamError, 502),
        (302, b"", UpstreamProtocolError, 502),
        (200, b"<html>", UpstreamProtocolError, 502),
        (200, b"\xff", UpstreamProtocolError, 502),
        (200, b"[" * 100_000, UpstreamProtocolError, 502),
        (200, b'"' + b"x" * (33 * 1024 * 1024) + b'"', UpstreamProtocolError, 502),
    ],
    ids=["500", "404", "401", "302", "html", "not-utf8", "deep", "33-MiB"],
)
async def test_small_requests_gone_wrong(client: Client, status: int, body: bytes, error: type[GatewayError], shown: int) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(status, body)

    async with fake_upstream(answer) as fake:
        with pytest.raises(UpstreamError) as caught:
            await get_json(client, "GET", fake.url, within=LIMIT)
    assert (type(caught.value), caught.value.status) == (error, shown)
    assert "secret" not in caught.value.message


async def test_a_small_request_takes_no_longer_than_it_may_even_when_bytes_keep_coming(client: Client) -> None:
    seconds = 0

    async def drip(exchange: Exchange) -> None:
        nonlocal seconds
        await exchange.head()
        while seconds < 1000:
            await exchange.chunk(b" ")
            await time_passes(10)
            seconds += 10
        await exchange.end()

    async with fake_upstream(drip) as fake:
        with pytest.raises(UpstreamTimeout):
            await get_json(client, "GET", fake.url, within=95)
    assert 90 <= seconds <= 110


async def test_no_connection_is_kept_that_could_go_stale(client: Client) -> None:
    async def answer_once(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        exchange.reset()

    async with fake_upstream(answer_once) as fake:
        for _ in range(5):
            assert await get_json(client, "GET", fake.url, within=LIMIT) == {}
            assert await read_all(client, fake.url) == [b"{}"]


async def test_the_environment_names_no_proxy_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(200, json.dumps({"ok": True}).encode())

    async with new_client(connect_timeout=LIMIT, max_connections=2) as client, fake_upstream(answer) as fake:
        assert await get_json(client, "GET", fake.url, within=LIMIT) == {"ok": True}
