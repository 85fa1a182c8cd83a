"""No trick makes the fetcher dial anything but public addresses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from llava_gateway.fetching.addresses import NotFetched
from llava_gateway.fetching.fetcher import Fetcher
from tests.fetching.attack import Dials, NameServer
from tests.fetching.tricks import SITE, TRICKS, Trick, redirecting


async def fetched(fetcher: Fetcher, address: str) -> bytes:
    """Return the file, b"" for none."""
    try:
        async with fetcher.fetch(address) as data:
            return data
    except NotFetched:
        return b""


def fetcher(trick: Trick) -> Fetcher:
    return Fetcher(hosts=None, most_bytes=2**20, most_held=2**20, resolve=NameServer(trick).resolve)


def test_there_are_enough_tricks() -> None:
    assert len(TRICKS) >= 120
    assert len({str(trick) for trick in TRICKS}) == len(TRICKS)


@pytest.mark.parametrize("trick", TRICKS, ids=str)
async def test_a_trick_reaches_nothing(trick: Trick, dials: Dials) -> None:
    assert await fetched(fetcher(trick), trick.address) == b""
    assert dials.others == []


async def test_the_same_host_is_fetched_from_without_a_trick(dials: Dials) -> None:
    for address, hops in ((f"http://{SITE}/a.png", 1), (redirecting(*["/a.png"] * 3), 4)):
        before = dials.count
        assert await fetched(fetcher(Trick("")), address)
        assert dials.count - before == hops


async def test_without_the_check_tricks_reach_the_inside(dials: Dials) -> None:
    """Otherwise the tests above could not fail."""
    reached = 0
    for trick in TRICKS:
        unguarded = Fetcher(hosts=None, most_bytes=2**20, most_held=2**20, resolve=NameServer(trick).resolve, public=lambda _: True)
        before = len(dials.others)
        await fetched(unguarded, trick.address)
        reached += len(dials.others) > before
    assert reached > 60


def test_no_packet_reaches_the_inside_in_a_namespace_of_its_own() -> None:
    """The same with real sockets: in a network namespace that has all those addresses, and records what arrives there."""
    unshare = shutil.which("unshare")
    possible = unshare and subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode == 0
    if not possible:
        pytest.skip("this system lets no user make a network namespace (unshare -rn); the record of dials above stands in for it")
    command = [str(unshare), "-rn", sys.executable, "-m", "tests.fetching.namespace"]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:8080")
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **proxies, "NO_PROXY": ""}, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert told["tricks"] == len(TRICKS)
    assert told["fetched"] == []
    assert told["packets"] == []
    assert told["connections"] == []
    assert told["control"] > 0, "a plain connection must be recorded, or the record proves nothing"
    assert told["site"] > 0, "the attacker's host must be reached, or the redirects prove nothing"
