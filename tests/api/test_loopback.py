"""The addresses of loopback on which a gateway listens by default: 127.0.0.1 and, where there is IPv6, [::1]."""

from __future__ import annotations

import errno
import socket
from contextlib import closing

import httpx2
import pytest

from llava_gateway.api import server
from llava_gateway.api.server import bound, listening
from llava_gateway.settings import Settings
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine
from tests.serving import NEEDS_IPV6


async def status_at(port: int, address: str, host: str | None = None) -> int:
    headers = {"Host": f"{host}:{port}"} if host else {}
    async with httpx2.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://{address}:{port}/options", headers=headers)).status_code


@NEEDS_IPV6
async def test_both_addresses_answer_on_the_same_port_by_every_name(serve: Serve) -> None:
    port = (await serve(ScriptedEngine())).port
    found = {
        (address, host): await status_at(port, address, host)
        for address in ("127.0.0.1", "[::1]")
        for host in (None, "localhost", "127.0.0.1", "[::1]", "evil.example")
    }
    assert found == {key: 403 if key[1] == "evil.example" else 200 for key in found}


@NEEDS_IPV6
async def test_its_addresses_are_allowed_whatever_hosts_the_settings_allow(serve: Serve) -> None:
    port = (await serve(ScriptedEngine(), allowed_hosts=("box.example",))).port
    assert [await status_at(port, address) for address in ("127.0.0.1", "[::1]")] == [200, 200]


@NEEDS_IPV6
async def test_an_address_that_was_given_is_the_only_one(serve: Serve) -> None:
    port = (await serve(ScriptedEngine(), host="127.0.0.1")).port
    assert await status_at(port, "127.0.0.1") == 200
    with pytest.raises(httpx2.ConnectError):
        await status_at(port, "[::1]")


@NEEDS_IPV6
async def test_localhost_means_both(serve: Serve) -> None:
    port = (await serve(ScriptedEngine(), host="localhost")).port
    assert [await status_at(port, address) for address in ("127.0.0.1", "[::1]")] == [200, 200]


@pytest.mark.parametrize("error", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_without_ipv6_it_listens_on_the_other_one(serve: Serve, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def only_ipv4(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(error, "no IPv6")
        return bound(family, address, port)

    monkeypatch.setattr(server, "bound", only_ipv4)
    assert await status_at((await serve(ScriptedEngine())).port, "127.0.0.1") == 200


@NEEDS_IPV6
def test_a_free_port_must_be_free_on_both(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def taken_at_first(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            tried.append(port)
            if len(tried) == 1:
                raise OSError(errno.EADDRINUSE, "taken")
        return bound(family, address, port)

    monkeypatch.setattr(server, "bound", taken_at_first)
    sockets = listening(Settings(port=0))
    assert sockets
    one, other = sockets
    with closing(one), closing(other):
        assert one.getsockname()[1] == other.getsockname()[1] == tried[1]
