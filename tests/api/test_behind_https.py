"""API clients behind HTTPS, through real nginx and Caddy that are configured as in docs/operations.md."""

from __future__ import annotations

import random
import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from llava_gateway.settings import Settings
from tests import reverse_proxies, sample_images
from tests.api.conftest import Serve
from tests.reverse_proxies import FRONTS, NAME, Front, documented_block
from tests.scripted_engine import ScriptedEngine, Speaker
from tests.serving import Events

KEY = {"Authorization": "Bearer s3cret"}


def through(url: str, prefix: str) -> httpx2.AsyncClient:
    """Create a client of the proxy that needs no name lookup and trusts the self-signed certificate."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    headers = {**KEY, "Host": f"{NAME}:{urlsplit(url).port}", "Origin": url, "Sec-Fetch-Site": "same-origin"}
    base = f"https://127.0.0.1:{urlsplit(url).port}{prefix}"

    async def named(request: httpx2.Request) -> None:
        request.extensions = {**request.extensions, "sni_hostname": NAME}

    hooks = {"request": [named]}
    return httpx2.AsyncClient(base_url=base, headers=headers, verify=trusting, timeout=20, trust_env=False, event_hooks=hooks)


@FRONTS
async def test_words_come_as_they_are_written_and_large_images_go_in(serve: Serve, in_front: Front, prefix: str) -> None:
    speaker = Speaker()
    served = await serve(ScriptedEngine(speaker), allowed_hosts=(NAME,), api_key="s3cret")
    with in_front(served.port) as url:
        async with through(url, prefix) as client:
            image = sample_images.encoded(sample_images.noise(1000, 800, random.Random(1)))
            assert len(image) > 2**20  # above nginx's default limit
            assert (await client.post("/images", files={"image": image})).status_code == 201
            for accept in ("text/event-stream", "text/plain"):
                speaker.say("First words, ")
                async with client.stream("POST", "/ask", json={"prompt": "Hi"}, headers={"Accept": accept}) as response:
                    if accept == "text/plain":
                        pieces = response.aiter_text()
                        assert await anext(pieces) == "First words, "
                        speaker.say("then the rest.")
                        speaker.end()
                        assert "".join([piece async for piece in pieces]) == "then the rest.\n"
                    else:
                        events = Events(response)
                        async for name, data in events:
                            if name == "delta":
                                assert data == {"text": "First words, "}
                                break
                        speaker.say("then the rest.")
                        speaker.end()
                        assert (await events.rest())[-1][0] == "done"


@FRONTS
async def test_a_block_says_who_asks_and_how(serve: Serve, in_front: Front, prefix: str) -> None:
    """Requests need the key, which also lets models be changed, and an extra slash redirects to an address under the prefix."""
    served = await serve(ScriptedEngine(), allowed_hosts=(NAME, "127.0.0.1"), api_key="s3cret")
    with in_front(served.port) as url:
        async with through(url, prefix) as client:
            assert (await client.get("/models")).json()["may_change"] is True
            assert (await client.get("/models", headers={"Authorization": ""})).status_code == 401
            assert (await client.get("/models", headers={"Origin": "https://evil.example"})).status_code == 403
            moved = await client.get("/docs/", follow_redirects=True)
            assert (moved.status_code, moved.url.path) == (200, f"{prefix}/docs")


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [("proxy_set_header X-Forwarded-Proto $scheme;", "proxy_without_scheme"), ("proxy_set_header Host $http_host;", "proxy_without_host")],
)
async def test_a_block_that_lacks_a_line_is_told_which(serve: Serve, nginx_binary: Path, tmp_path: Path, lacking: str, reason: str) -> None:
    served = await serve(ScriptedEngine(), allowed_hosts=(NAME,))
    block = documented_block("nginx")
    assert lacking in block
    with reverse_proxies.nginx(nginx_binary, block.replace(lacking, ""), served.port, tmp_path) as url:
        async with through(url, "") as client:
            response = await client.get("/static/js/main.js")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["reason"]) == (403, "origin_not_allowed", reason)


@pytest.mark.parametrize("prefix", [False, True])
def test_the_limits_in_the_documented_blocks_are_those_of_the_settings(prefix: bool) -> None:
    block, settings = documented_block("nginx", prefix=prefix), Settings()
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", block)
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", block)
    assert int(megabytes) * 2**20 == settings.body_max_bytes
    assert int(seconds) == settings.first_token_timeout
