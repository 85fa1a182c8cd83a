"""Behind a reverse proxy: whose headers are trusted, what they change, and the hint about missing headers."""

from __future__ import annotations

import logging
import subprocess
import sys

import httpx2
import pytest
from starlette.datastructures import Headers

from llava_gateway.api.proxies import ClientRequest, TrustedProxies
from llava_gateway.settings import Settings
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

NAME = "pictures.example"
HERE = ("127.0.0.1", "::1")


def look(headers: dict[str, str], *, peer: str | None = "127.0.0.1", trusted: tuple[str, ...] = HERE) -> ClientRequest:
    fields = [(name.lower().encode(), value.encode()) for name, value in {"Host": NAME, **headers}.items()]
    scope = {"type": "http", "scheme": "http", "headers": fields, "client": (peer, 4711) if peer else None}
    return TrustedProxies(trusted).look(scope, Headers(scope=scope))


@pytest.mark.parametrize(
    ("headers", "scheme", "host", "client"),
    [
        ({}, "http", NAME, "127.0.0.1"),
        ({"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.5"}, "https", NAME, "203.0.113.5"),
        ({"X-Forwarded-Proto": "HTTPS, http", "X-Forwarded-Host": "a.example:8443"}, "https", "a.example:8443", "127.0.0.1"),
        ({"X-Forwarded-Proto": "gopher"}, "http", NAME, "127.0.0.1"),
        ({"X-Forwarded-For": "1.1.1.1, 203.0.113.5"}, "http", NAME, "203.0.113.5"),
        ({"X-Forwarded-For": "203.0.113.5, 127.0.0.1"}, "http", NAME, "203.0.113.5"),
        ({"X-Forwarded-For": "203.0.113.5:4711"}, "http", NAME, "203.0.113.5"),
        ({"X-Forwarded-For": "[2001:db8::1]:4711"}, "http", NAME, "2001:db8::1"),
        ({"X-Forwarded-For": "127.0.0.1, unknown"}, "http", NAME, None),
        ({"Forwarded": 'for="[2001:db8::1]:4711";proto=https;host=a.example'}, "https", "a.example", "2001:db8::1"),
        ({"Forwarded": "for=203.0.113.5;proto=https, for=127.0.0.1"}, "https", NAME, "203.0.113.5"),
        ({"Forwarded": "proto=http", "X-Forwarded-Proto": "https"}, "https", NAME, "127.0.0.1"),
    ],
    ids=str,
)
def test_a_trusted_proxy_tells_what_the_client_used(headers: dict[str, str], scheme: str, host: str, client: str | None) -> None:
    seen = look(headers)
    assert (seen.scheme, seen.host, seen.client, seen.untrusted) == (scheme, host, client, False)
    assert {NAME, host} <= set(seen.hosts)


@pytest.mark.parametrize("peer", ["203.0.113.9", "10.0.0.9", "::ffff:203.0.113.9", "2001:db8::9", "a-socket-file", None])
def test_nobody_else_is_believed(peer: str | None) -> None:
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example", "X-Forwarded-For": "127.0.0.1", "Forwarded": "host=b.example"}
    assert look(told, peer=peer) == ClientRequest("http", NAME, peer, (NAME,), untrusted=True)


@pytest.mark.parametrize(
    ("peer", "trusted"), [("10.1.2.3", ("10.0.0.0/8",)), ("::ffff:10.1.2.3", ("10.1.2.3",)), ("2001:db8::9", ("2001:db8::/32",))]
)
def test_proxies_are_named_by_address_or_network(peer: str, trusted: tuple[str, ...]) -> None:
    assert look({"X-Forwarded-Proto": "https"}, peer=peer, trusted=trusted).scheme == "https"


async def ask(client: httpx2.AsyncClient, **headers: str) -> tuple[int, str]:
    """Ask a question. Returns the status and the reason of the error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.post("/ask", json={"prompt": "Hi"}, headers={"Host": NAME, "Sec-Fetch-Site": "same-origin", **named})
    return response.status_code, response.json().get("error", {}).get("reason", "")


async def test_behind_https_the_page_may_ask(serve: Serve) -> None:
    client = (await serve(ScriptedEngine(), allowed_hosts=(NAME,))).client
    origin = f"https://{NAME}"
    assert await ask(client, Origin=origin, X_Forwarded_Proto="https") == (200, "")
    assert await ask(client, Origin=origin, Forwarded="proto=https") == (200, "")
    assert await ask(client, Origin="https://evil.example", X_Forwarded_Proto="https") == (403, "origin_not_allowed")
    assert await ask(client, Origin=f"http://{NAME}", X_Forwarded_Proto="https") == (403, "origin_not_allowed")


@pytest.mark.parametrize(
    ("trusted", "headers", "reason"),
    [
        (HERE, {"Origin": f"https://{NAME}"}, "proxy_without_scheme"),
        ((), {"Origin": f"https://{NAME}", "X_Forwarded_Proto": "https"}, "proxy_not_trusted"),
        (("10.0.0.0/8",), {"Origin": f"https://{NAME}", "Forwarded": "proto=https"}, "proxy_not_trusted"),
        (HERE, {"Origin": f"https://{NAME}:8443", "X_Forwarded_Proto": "https"}, "proxy_without_host"),
        (HERE, {"Origin": f"http://{NAME}", "Host": "127.0.0.1"}, "proxy_without_host"),
        (HERE, {"Origin": "https://evil.example", "X_Forwarded_Proto": "https"}, "origin_not_allowed"),
    ],
    ids=str,
)
async def test_a_refusal_names_what_the_proxy_lacks(
    serve: Serve, trusted: tuple[str, ...], headers: dict[str, str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = (await serve(ScriptedEngine(), allowed_hosts=(NAME, "127.0.0.1"), trusted_proxies=trusted)).client
    with caplog.at_level(logging.WARNING, "llava_gateway.api.security"):
        assert [await ask(client, **headers) for _ in range(3)] == 3 * [(403, reason)]
    assert len(caplog.records) == (reason != "origin_not_allowed")  # once: the page has many scripts


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example", "X_Forwarded_Host": NAME},
        {"Host": "evil.example", "Forwarded": f"host={NAME}"},
        {"X_Forwarded_Host": "evil.example"},
        {"X_Forwarded_Host": f"{NAME}, evil.example"},
        {"Forwarded": f"host={NAME}, host=evil.example"},
    ],
    ids=str,
)
async def test_no_header_of_a_proxy_hides_a_foreign_name(serve: Serve, headers: dict[str, str]) -> None:
    """A page at evil.example whose name resolves to this machine (DNS rebinding) may send any header, but not another name in all of
    them.
    """
    client = (await serve(ScriptedEngine(), allowed_hosts=(NAME,))).client
    assert await ask(client, **headers) == (403, "host_not_allowed")


async def test_a_proxy_may_name_the_host_beside_its_own(serve: Serve) -> None:
    """Apache does so unless it is configured to preserve Host."""
    client = (await serve(ScriptedEngine(), allowed_hosts=("127.0.0.1", NAME))).client
    told = {"Host": "127.0.0.1:8000", "X_Forwarded_Host": NAME, "X_Forwarded_Proto": "https"}
    assert await ask(client, Origin=f"https://{NAME}", **told) == (200, "")
    assert await ask(client, Origin="http://127.0.0.1:8000", **told) == (403, "origin_not_allowed")


@pytest.mark.parametrize("chain", ["127.0.0.1", "203.0.113.5, 127.0.0.1", "::1"])
async def test_through_a_trusted_proxy_models_are_not_changed(serve: Serve, chain: str) -> None:
    client = (await serve(ScriptedEngine())).client
    for headers in ({"X-Forwarded-For": chain}, {"Forwarded": f'for="{chain}"'}, {"X-Forwarded-Proto": "https"}):
        told = (await client.get("/models", headers={"Host": "localhost", **headers})).json()
        assert told["may_change"] is False, headers


@pytest.mark.parametrize(
    ("path", "location"), [("/docs/", "../docs"), ("/sessions/?q=a%2Fb", "../sessions?q=a%2Fb"), ("/sessions/x/", "../x")]
)
async def test_redirects_hold_under_any_prefix(serve: Serve, path: str, location: str) -> None:
    client = (await serve(ScriptedEngine())).client
    response = await client.get(path, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (307, location)


LONG = """
from llava_gateway.api.proxies import _PAIR

for filling in ("a", " ", "a ", 'a="', "a=", "\\\\", 'a="\\\\"', "=", '"'):
    _PAIR.findall(filling * (60_000 // len(filling)))
"""


def test_a_long_header_is_read_in_no_time() -> None:
    """In milliseconds; in time that grows with the square of the length, it would take minutes, and everyone would wait."""
    subprocess.run([sys.executable, "-c", LONG], check=True, timeout=45)


def test_what_is_no_address_is_refused_by_name() -> None:
    good = ("10.0.0.0/8", "10.0.0.1/8", "::1")
    assert Settings(trusted_proxies=good).trusted_proxies == good
    for wrong in ("proxy.local", "*", "10.0.0.0/33", ""):
        with pytest.raises(ValueError, match="not an address or a network"):
            Settings(trusted_proxies=(wrong,))
