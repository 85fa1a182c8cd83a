"""Access to the service: Host, Origin, Sec-Fetch-Site, the key; and the headers of every response."""

from __future__ import annotations

import re

import httpx2
import pytest
from starlette.requests import Request

from llava_gateway.api.security import may_change_models
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine

ROUTES = ["/", "/docs", "/openapi.json", "/models", "/options", "/healthz", "/readyz", "/metrics", "/sessions", "/static/icon.svg", "/x"]

BROWSER = {"Accept-Language": "en"}
"""A header that every browser sends and no script can remove."""


def code(response: httpx2.Response) -> str:
    found: str = response.json()["error"]["code"]
    return found


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.com", "localhost.evil:80", "", "[::2]", "127.0.0.1@evil", "localhost:x"])
@pytest.mark.parametrize("path", ROUTES)
def test_a_foreign_host_is_refused_on_every_route(demo: httpx2.Client, path: str, host: str) -> None:
    response = demo.get(path, headers={"Host": host})
    assert (response.status_code, code(response)) == (403, "host_not_allowed")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "LOCALHOST", "[::1]:8000"])
def test_our_own_names_are_allowed(demo: httpx2.Client, host: str) -> None:
    assert demo.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "http://[", "file://", "chrome-extension://x", ""]
)
@pytest.mark.parametrize("path", ["/ask", "/images", "/sessions", "/analyze_image"])
def test_a_foreign_origin_is_refused(demo: httpx2.Client, path: str, origin: str) -> None:
    response = demo.post(path, json={"prompt": "Hello"}, headers={"Origin": origin})
    assert (response.status_code, code(response)) == (403, "origin_not_allowed")


def test_our_own_origin_is_allowed(demo: httpx2.Client) -> None:
    own = str(demo.base_url).rstrip("/")
    assert demo.post("/ask", json={"prompt": "Hello"}, headers={"Origin": own, "Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_what_another_site_sends_is_refused(demo: httpx2.Client, site: str) -> None:
    for response in (
        demo.post("/ask", data={"prompt": "Hello"}, headers={"Sec-Fetch-Site": site}),
        demo.get("/sessions", headers={"Sec-Fetch-Site": site}),
        demo.get("/images/" + "0" * 64, headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}),
        demo.get("/sessions", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}),
    ):
        assert (response.status_code, code(response)) == (403, "origin_not_allowed")


def test_a_link_to_the_page_may_be_followed(demo: httpx2.Client) -> None:
    assert demo.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
@pytest.mark.parametrize("path", ["/ask", "/sessions"])
def test_what_a_form_of_another_page_could_send_is_no_body_of_ours(demo: httpx2.Client, path: str, kind: str | None) -> None:
    response = demo.post(path, content=b'{"prompt":"Hello"}', headers={"Content-Type": kind} if kind else {})
    assert (response.status_code, code(response)) == (415, "unsupported_media_type")


def test_there_is_no_cors(demo: httpx2.Client) -> None:
    response = demo.options("/ask", headers={"Origin": str(demo.base_url).rstrip("/"), "Access-Control-Request-Method": "POST"})
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ROUTES)
def test_every_response_carries_the_headers(demo: httpx2.Client, path: str) -> None:
    headers = demo.get(path).headers
    assert re.fullmatch(r"req_[0-9a-f]{24}", headers["x-request-id"])
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy  # nothing inline, nothing from other sites
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static/..%2fapi/app.py", "/static//etc/passwd"])
def test_nothing_outside_the_page_is_served(demo: httpx2.Client, path: str) -> None:
    assert demo.get(httpx2.URL(str(demo.base_url)).copy_with(raw_path=path.encode())).status_code == 404


async def test_with_a_key_only_the_page_the_documentation_and_the_probes_are_open(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), api_key="secret")
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/static/icon.svg"):
        assert (await served.client.get(path)).status_code == 200
    for path in ("/models", "/metrics", "/sessions", "/docs/x", "/static/../metrics"):
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}, {"Authorization": "secret"}):
            response = await served.client.get(path, headers=given)
            assert (response.status_code, code(response)) == (401, "invalid_api_key")
            assert response.headers["www-authenticate"] == "Bearer"
    assert (await served.client.get("/models", headers={"Authorization": "Bearer secret"})).status_code == 200
    refused = await served.ask()
    assert refused.status_code == 401
    assert "secret" not in refused.text


async def test_without_the_key_readiness_is_a_yes_or_no(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), api_key="secret")
    told = (await served.client.get("/readyz")).json()
    assert told == {"ready": True, "engine": None, "model": None, "reason": None, "engines": []}
    assert (await served.client.get("/readyz", headers={"Authorization": "Bearer wrong"})).json() == told
    whole = (await served.client.get("/readyz", headers={"Authorization": "Bearer secret"})).json()
    assert (whole["ready"], whole["model"], whole["reason"]["code"]) == (True, "scripted", "default_only_one")


async def test_prometheus_gets_in_with_the_key_as_bearer_token(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), api_key="secret")
    figures = await served.client.get("/metrics", headers={"Authorization": "Bearer secret"})
    assert figures.status_code == 200
    assert "llava_gateway_" in figures.text


async def test_other_names_can_be_allowed(serve: Serve) -> None:
    served = await serve(ScriptedEngine(), allowed_hosts=("box.lan",))
    assert (await served.client.get("/healthz", headers={"Host": "box.lan:8000"})).status_code == 200
    assert (await served.client.get("/healthz", headers={"Host": "localhost", **BROWSER})).status_code == 403


@pytest.mark.parametrize(
    ("client", "host", "headers", "may"),
    [
        ("127.0.0.1", "127.0.0.1:8000", {}, True),
        ("127.8.8.8", "localhost", {}, True),
        ("::1", "[::1]:8000", {}, True),
        ("::ffff:127.0.0.1", "LOCALHOST:1", {}, True),
        ("192.168.1.5", "127.0.0.1:8000", {}, False),
        ("::ffff:192.168.1.5", "localhost", {}, False),
        ("127.0.0.1", "box.lan:8000", {}, False),
        ("127.0.0.1", "localhost.evil.example", {}, False),
        ("127.0.0.1", "localhost", {"x-real-ip": "203.0.113.5"}, False),
        ("a-socket-file", "localhost", {}, False),
        (None, "localhost", {}, False),
    ],
)
def test_models_are_changed_from_this_machine_only(client: str | None, host: str, headers: dict[str, str], may: bool) -> None:
    fields = [(name.encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
    scope = {"type": "http", "headers": fields, "client": (client, 1) if client else None}
    assert may_change_models(Request(scope)) is may
