"""Tests of the routes that change Ollama's models: with a real Ollama, from a registry on loopback, and where there is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llava_gateway import demo
from llava_gateway.api.ollama.bodies import CreateBody
from llava_gateway.settings import Settings
from tests.api.conftest import Serve
from tests.api.ollama.test_questions import lines
from tests.ollama_server import RealOllama
from tests.real_ollama.registry import Registry
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, serving

DEMO = Path(demo.__file__).parent
MISSING = f"sha256:{'0' * 64}"
ROUTES = [
    ("POST", "/api/pull", {"model": "demo"}),
    ("POST", "/api/create", {"model": "mine", "from": "demo"}),
    ("POST", "/api/copy", {"source": "a", "destination": "b"}),
    ("DELETE", "/api/delete", {"model": "a"}),
    ("POST", f"/api/blobs/{MISSING}", {}),
    ("HEAD", f"/api/blobs/{MISSING}", None),
    ("POST", "/api/push", {"model": "a"}),
]


@pytest.fixture
async def managed(ollama_binary: Path, real_ollama: RealOllama, tmp_path: Path) -> AsyncIterator[Served]:
    """Serve in front of an Ollama of its own, which has no models."""
    server = RealOllama.start(ollama_binary, tmp_path)
    settings = Settings(
        port=0, engine="ollama", ollama_host=server.url, pull_registries=("127.0.0.1",), blob_max_bytes=20_000_000, image_workers=1
    )
    try:
        async with serving(settings) as served:
            yield served
    finally:
        server.stop()


@pytest.fixture
def registry(real_ollama: RealOllama) -> Iterator[Registry]:
    with Registry(real_ollama.models).serving() as registry:
        yield registry


async def names(served: Served) -> list[str]:
    return sorted(row["name"] for row in (await served.client.get("/api/tags")).json()["models"])


async def delete(served: Served, **body: Any) -> httpx2.Response:
    return await served.client.request("DELETE", "/api/delete", json=body)


async def test_a_model_is_pulled_copied_changed_and_deleted(managed: Served, registry: Registry) -> None:
    pulled = lines(await managed.client.post("/api/pull", json={"model": "", "name": registry.demo}))
    assert (pulled[0], pulled[-1]) == ({"status": "pulling manifest"}, {"status": "success"})
    assert all(list(line) in (["status"], ["status", "digest", "total"], ["status", "digest", "total", "completed"]) for line in pulled)
    again = await managed.client.post("/api/pull", json={"model": registry.demo, "stream": False})
    assert again.json() == {"status": "success"}
    copied = await managed.client.post("/api/copy", json={"source": registry.demo, "destination": "mine"})
    assert (copied.status_code, copied.content) == (200, b"")
    created = await managed.client.post(
        "/api/create", json={"model": "kind", "from": "mine", "system": "Be kind.", "parameters": {"num_predict": 3}}
    )
    assert lines(created)[-1] == {"status": "success"}
    shown = (await managed.client.post("/api/show", json={"model": "kind"})).json()
    assert (shown["system"], "num_predict" in shown["parameters"]) == ("Be kind.", True)
    assert await names(managed) == [f"{registry.demo}:latest", "kind:latest", "mine:latest"]
    for name in ("kind", "mine", registry.demo):
        assert (await delete(managed, name=name)).content == b""
    assert await names(managed) == []


async def test_files_are_uploaded_and_made_into_a_model(managed: Served) -> None:
    model, projector = (DEMO / "demo.gguf").read_bytes(), (DEMO / "demo-mmproj.gguf").read_bytes()
    digests = {}
    for name, data in (("model.gguf", model), ("projector.gguf", projector)):
        digest = digests[name] = f"sha256:{hashlib.sha256(data).hexdigest()}"
        statuses = [(await managed.client.head(f"/api/blobs/{digest}")).status_code]
        statuses += [(await managed.client.post(f"/api/blobs/{digest}", content=data)).status_code for _ in range(2)]
        statuses.append((await managed.client.head(f"/api/blobs/{digest}")).status_code)
        assert statuses == [404, 201, 200, 200]
    created = await managed.client.post("/api/create", json={"model": "uploaded", "files": digests, "stream": False})
    assert created.json() == {"status": "success"}
    (row,) = (await managed.client.get("/api/tags")).json()["models"]
    assert (row["name"], row["capabilities"]) == ("uploaded:latest", ["completion", "vision"])


@pytest.mark.wording
async def test_a_file_with_another_digest_is_rejected(managed: Served) -> None:
    for data in (b"abc", b"abc" * 1_000_000):
        response = await managed.client.post(f"/api/blobs/{MISSING}", content=data)
        assert response.status_code == 400
        assert MISSING in response.json()["error"]
    true = f"sha256:{hashlib.sha256(b'abc').hexdigest()}"
    assert (await managed.client.head(f"/api/blobs/{true}")).status_code == 404  # Ollama forgot what it got


@pytest.mark.wording
async def test_files_have_a_limit_of_their_own(managed: Served) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(21):
            yield bytes(1_000_000)

    for content in (parts(), bytes(20_000_001)):
        response = await managed.client.post(f"/api/blobs/{MISSING}", content=content)
        assert response.status_code == 413
        assert "20,000,000" in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/create", {"model": "mine"}, 400),
        ("/api/create", {"model": "mine", "from": "demo", "remote_host": "https://example.org"}, 400),
        ("/api/create", {"model": "mine", "from": "example.org/a/b"}, 403),
        ("/api/create", {"model": "mine", "from": "/etc/passwd"}, 400),
        ("/api/create", {"model": "mine", "from": "demo:cloud"}, 400),
        ("/api/create", {"model": "mine", "files": {"a": MISSING}}, 400),
        ("/api/create", {"model": "mine", "files": {"a": "../../a"}}, 400),
        ("/api/create", {"model": "mine", "from": "demo", "adapters": {"a": "../../a"}}, 400),
        ("/api/create", {"model": "mine", "modelfile": "FROM demo"}, 400),
        ("/api/create", {"from": "demo"}, 400),
        ("/api/copy", {"source": "nope", "destination": "mine"}, 404),
        ("/api/copy", {"source": "nope"}, 400),
        ("/api/copy", {"source": "nope", "destination": "a b"}, 400),
        ("/api/pull", {"model": "example.org/a/b"}, 403),
        ("/api/pull", {"model": "registry.ollama.ai/library/llava"}, 403),
        ("/api/pull", {"model": "a b"}, 400),
        ("/api/pull", {"model": "llava:cloud"}, 400),
        ("/api/pull", {}, 400),
        ("/api/push", {"model": "mine"}, 403),
        ("/api/blobs/abc", {}, 400),
        ("/api/blobs/sha256:..%2f..%2fa", {}, 404),
    ],
)
async def test_what_is_refused(managed: Served, path: str, body: dict[str, Any], status: int) -> None:
    response = await managed.client.post(path, json=body)
    assert (response.status_code, list(response.json())) == (status, ["error"])
    assert isinstance(response.json()["error"], str)


async def test_what_the_registry_lacks_is_the_last_line(managed: Served, registry: Registry) -> None:
    name = registry.demo.replace("demo", "none")
    first, last = lines(await managed.client.post("/api/pull", json={"model": name}))
    assert (first, list(last)) == ({"status": "pulling manifest"}, ["error"])
    whole = await managed.client.post("/api/pull", json={"model": name, "stream": False})
    assert whole.status_code == 404


async def test_deleting_a_model_that_is_not_there(managed: Served) -> None:
    response = await delete(managed, model="nope")
    assert (response.status_code, response.json()) == (404, {"error": "model 'nope' not found"})


@pytest.mark.wording
async def test_a_model_of_another_engine_can_not_be_changed(serve: Serve) -> None:
    served = await serve(ScriptedEngine(name="openai"))
    response = await delete(served, model="scripted")
    assert response.status_code == 400
    assert "scripted" in response.json()["error"]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_without_ollama_the_error_says_so(serve: Serve, method: str, path: str, body: Any) -> None:
    for engine, settings in ((ScriptedEngine(name="openai"), {}), (ScriptedEngine(), {"ollama_host": "127.0.0.1:1"})):
        served = await serve(engine, **settings)
        response = await served.client.request(method, path, json=body)
        assert response.status_code in (409, 503) if path != "/api/push" else response.status_code == 403


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_only_this_machine_may_change_models(serve: Serve, method: str, path: str, body: Any) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.request(method, path, json=body, headers={"X-Forwarded-For": "192.0.2.1"})
    assert response.status_code == 403
    assert not response.content or json.loads(response.content)["error"]


def test_adapters_and_the_old_quantization_reach_ollama() -> None:
    given = {"model": "mine", "from": "demo", "adapters": {"a.gguf": MISSING}, "quantization": "q4_0"}
    assert CreateBody.model_validate(given).passed_on == {key: value for key, value in given.items() if key != "model"}
