"""The fetcher with real hosts, over http and https; what leads inside is in test_tricks.py."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from llava_gateway import __version__
from llava_gateway.errors import Overloaded
from llava_gateway.fetching import fetcher as fetching
from llava_gateway.fetching.addresses import MAX_CHARS, REASONS, NotFetched, is_listed, is_public, target_of
from llava_gateway.fetching.fetcher import Dialled, Fetcher, resolve, user_agent
from tests.fetching.tricks import INSIDE, INSIDE_6
from tests.reverse_proxies import self_made_certificate

HOST = "pictures.example"
FILE = b"\x89PNG\r\n\x1a\n" + bytes(1000)
OK = b"HTTP/1.1 200 OK\r\n"
LIMIT = 2000


class Host:
    """A host on the internet: sends these bytes to every request, then closes the connection, or keeps it open."""

    def __init__(self, *responses: bytes, stays: bool = False) -> None:
        self.responses = [*responses]
        self.stays = stays
        self.requests: list[str] = []
        self.names: list[str | None] = []
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self.responses.pop(0) if len(self.responses) > 1 else self.responses[0])
        if self.stays:
            await reader.read()
            self.left.set()
        writer.close()


def whole(body: bytes = FILE, *fields: str) -> bytes:
    return OK + "".join(f"{field}\r\n" for field in (f"Content-Length: {len(body)}", *fields)).encode() + b"\r\n" + body


def to(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def fetch(host: Host, address: str, certificate: ssl.SSLContext | None = None, **options: Any) -> bytes:
    """Fetch an address at the host, which has a public IP address for the fetcher. Raises what the fetcher does."""
    async with await asyncio.start_server(host.serve, "127.0.0.1", 0, ssl=certificate) as server:
        port = server.sockets[0].getsockname()[1]

        async def at_the_host(name: str, _: int) -> Sequence[Dialled]:
            host.names.append(name)
            return [("127.0.0.1", port)]

        settings = {"hosts": None, "most_bytes": LIMIT, "most_held": LIMIT, "resolve": at_the_host, "public": lambda _: True, **options}
        async with Fetcher(**settings).fetch(address) as data:
            return data


async def why(fetching: Awaitable[bytes]) -> str:
    with pytest.raises(NotFetched) as caught:
        await fetching
    return caught.value.reason


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Callable[[], ssl.SSLContext]]:
    """A certificate for HOST: the context of a server that has it, and that of clients that trust it."""
    certificate, key = self_made_certificate(tmp_path_factory.mktemp("ca"), HOST)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    return server, lambda: ssl.create_default_context(cafile=str(certificate))


async def test_an_image_comes_over_https_from_the_address_that_was_checked(certified: Any) -> None:
    certificate, trusting = certified
    named: list[str | None] = []
    certificate.sni_callback = lambda _, name, __: named.append(name)
    host = Host(whole())
    assert await fetch(host, f"https://{HOST}/a/b.png?size=large#top", certificate, tls=trusting) == FILE
    request = host.requests[0].split("\r\n")
    assert request[0] == "GET /a/b.png?size=large HTTP/1.1"
    assert f"Host: {HOST}" in request
    assert named == [HOST]
    assert host.names == [HOST], "the name is looked up once"


@pytest.mark.parametrize("stated", [True, False])
async def test_the_first_bytes_decide_how_large_a_file_may_be(stated: bool) -> None:
    """A document may be larger than an image. An image that is too large is not read to its end."""

    def most_of(head: bytes) -> int:
        return 5000 if head.startswith(b"%PDF-") else LIMIT

    async def got(head: bytes, size: int) -> bytes:
        body = head + bytes(size - len(head))
        host = Host(whole(body) if stated else OK + b"\r\n" + body)
        return await fetch(host, f"http://{HOST}/", most_bytes=5000, most_held=9000, most_of=most_of)

    assert len(await got(b"%PDF-", 5000)) == 5000
    assert len(await got(FILE[:8], LIMIT)) == LIMIT
    for head, size in ((b"%PDF-", 5001), (FILE[:8], LIMIT + 1)):
        assert await why(got(head, size)) == "too_large"


async def test_certificates_are_verified(certified: Any) -> None:
    certificate, trusting = certified
    host = Host(whole())
    assert await why(fetch(host, f"https://{HOST}/", certificate)) == "certificate", "nobody vouches for it"
    assert await why(fetch(host, "https://other.example/", certificate, tls=trusting)) == "certificate", "it is another host's"
    assert host.requests == []


async def test_the_request_says_who_fetches_and_carries_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text(f"machine {HOST} login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    host = Host(whole(b"x", "Set-Cookie: a=b"), to("/again"), whole())
    await fetch(host, f"http://{HOST}/")
    await fetch(host, f"http://{HOST}/")
    names = {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}
    for request in host.requests:
        fields = dict(line.split(": ", 1) for line in request.split("\r\n")[1:] if line)
        assert set(fields) == names
        assert fields["Accept-Encoding"] == "identity"
        assert fields["User-Agent"] == user_agent()


def test_the_project_is_named_where_the_package_knows_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    class Metadata:
        def get_all(self, name: str) -> list[str]:
            return ["Changelog, https://code.example/llava/changes", "Repository, https://code.example/llava"]

    monkeypatch.setattr("importlib.metadata.metadata", lambda _: Metadata())
    user_agent.cache_clear()
    assert user_agent() == f"llava-gateway/{__version__} (+https://code.example/llava)"
    user_agent.cache_clear()


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "status"),
        (b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx", "status"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "status"),
        (b"HTTP/1.1 401 X\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", "status"),
        (OK + b"Content-Length: 2001\r\n\r\n", "too_large"),
        (OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", "broken"),
        (OK + b"\r\n" + bytes(LIMIT + 1), "too_large"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + bytes(1024) + b"\r\n400\r\n" + bytes(1024) + b"\r\n", "too_large"),
        (OK + b"Content-Length: 500\r\n\r\nshort", "broken"),
        (whole(gzip.compress(bytes(10**6)), "Content-Encoding: gzip"), "compressed"),
        (whole(FILE, "Content-Encoding: br"), "compressed"),
        (whole(FILE, "Content-Encoding: identity, deflate"), "compressed"),
        (OK + b"X: " + bytes(70_000) + b"\r\n\r\n", "broken"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 4000, "broken"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "broken"),
        (b"", "broken"),
    ],
)
async def test_other_responses_are_refused(response: bytes, reason: str) -> None:
    assert await why(fetch(Host(response), f"http://{HOST}/")) == reason


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 200 OK\r\n", OK + b"Content-Length: 9\r\n\r\nslow"], ids=["silent", "head", "body"])
async def test_the_time_is_limited_as_a_whole(response: bytes) -> None:
    host = Host(response, stays=True)
    assert await why(fetch(host, f"http://{HOST}/", seconds=0.2)) == "slow"
    await asyncio.wait_for(host.left.wait(), 60)


async def test_a_name_that_is_never_resolved_is_not_waited_for() -> None:
    async def never(_: str, __: int) -> Sequence[Dialled]:
        await asyncio.Event().wait()
        return []

    assert await why(fetch(Host(whole()), f"http://{HOST}/", resolve=never, seconds=0.05)) == "slow"


async def test_a_redirect_from_https_to_http_is_refused(certified: Any) -> None:
    certificate, trusting = certified
    assert await why(fetch(Host(to(f"http://{HOST}/")), f"https://{HOST}/", certificate, tls=trusting)) == "redirects"


async def test_the_list_of_hosts_holds_for_redirects_too() -> None:
    host = Host(to(f"http://cdn.{HOST}/a"), whole())
    assert await fetch(host, f"http://{HOST}/", hosts=(HOST, f"*.{HOST}")) == FILE
    host = Host(to("http://elsewhere.example/a"), whole())
    assert await why(fetch(host, f"http://{HOST}/", hosts=(HOST,))) == "not_listed"
    assert host.names == [HOST], "not even its name is looked up"


async def test_files_in_use_have_a_limit_together() -> None:
    host = Host(whole())
    async with await asyncio.start_server(host.serve, "127.0.0.1", 0) as server:

        async def at_the_host(_: str, __: int) -> Sequence[Dialled]:
            return [("127.0.0.1", server.sockets[0].getsockname()[1])]

        fetcher = Fetcher(hosts=None, most_bytes=LIMIT, most_held=len(FILE) + 10, resolve=at_the_host, public=lambda _: True)
        async with fetcher.fetch(f"http://{HOST}/1"):
            with pytest.raises(Overloaded):
                async with fetcher.fetch(f"http://{HOST}/2"):
                    pass
        async with fetcher.fetch(f"http://{HOST}/3") as data:
            assert data == FILE


async def test_the_system_resolves_names_in_threads_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("127.0.0.1", 80) in await resolve("127.0.0.1", 80)

    def fails(*_: object, **__: object) -> None:
        raise UnicodeError("label too long")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(OSError, match="label too long"):
        await resolve("x", 80)
    for _ in range(fetching.AT_ONCE):
        assert fetching._resolving.acquire(blocking=False)
    try:
        with pytest.raises(NotFetched) as caught:
            await resolve("x", 80)
    finally:
        fetching._resolving.release(fetching.AT_ONCE)
    assert caught.value.reason == "busy"


@pytest.mark.parametrize("ip", [*INSIDE, *INSIDE_6, "::1", "::", "fe80::1%1", "::ffff:8.8.8.8", "0.0.0.0", "255.255.255.255", "x", ""])
def test_addresses_inside_are_not_public(ip: str) -> None:
    assert not is_public(ip)


@pytest.mark.parametrize("ip", ["8.8.8.8", "93.184.215.14", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"])
def test_addresses_outside_are_public(ip: str) -> None:
    assert is_public(ip)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM./a%20b?c=d&e#f", "https://example.com/a%20b?c=d&e"),
        ("http://example.com:443/x", "http://example.com:443/x"),
        ("https://example.com?x=1", "https://example.com?x=1"),
        ("https://例え.jp/写真.png", "https://xn--r8jz45g.jp/写真.png"),
        ("https://8.8.8.8/x", "https://8.8.8.8/x"),
        ("https://[2606:4700::1111]:443/x", "https://[2606:4700::1111]:443/x"),
        ("https://a_b.example/x@y", "https://a_b.example/x@y"),
    ],
)
def test_plain_addresses_are_read_as_browsers_do(address: str, url: str) -> None:
    assert target_of(address).url == url
    assert len(address) <= MAX_CHARS


def test_a_list_of_hosts_names_them_exactly_or_all_below_one() -> None:
    listed = ("upload.wikimedia.org", "*.example.org")
    assert is_listed("upload.wikimedia.org", listed)
    assert is_listed("a.b.example.org", listed)
    assert not any(
        is_listed(host, listed) for host in ("wikimedia.org", "example.org", "badexample.org", "upload.wikimedia.org.evil.example")
    )


def test_every_reason_is_a_sentence() -> None:
    assert all(sentence.endswith(".") for sentence in REASONS.values())
