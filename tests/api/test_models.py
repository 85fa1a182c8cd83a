"""Models over HTTP: listed with their memory, pulled from a registry on loopback, created, deleted; permissions and errors."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llava_gateway.api import models
from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.modelfile import Modelfile, ModelfileError
from llava_gateway.settings import ModelPins, Settings
from tests.api.conftest import Serve
from tests.engines.fake_upstream import Exchange, FakeUpstream, fake_upstream
from tests.engines.test_upstream import free_port
from tests.ollama_server import RealOllama
from tests.real_ollama.registry import Registry
from tests.scripted_engine import ScriptedEngine
from tests.serving import Events, Served, served_in_thread, serving, until

EVENTS = {"Accept": "text/event-stream"}
PAUSE = 1_000_000
"""Bytes after which the registry waits, so that Ollama reports progress: it reports nothing that arrives within 60 ms."""


@pytest.fixture
def registry(real_ollama: RealOllama) -> Iterator[Registry]:
    with Registry(real_ollama.models).serving() as registry:
        yield registry


@pytest.fixture
async def bare(ollama_binary: Path, tmp_path: Path) -> AsyncIterator[Served]:
    """Start the service with an Ollama that has no model yet."""
    server = RealOllama.start(ollama_binary, tmp_path)
    try:
        async with serving(Settings(port=0, engine="ollama", ollama_host=server.url, pull_registries=("127.0.0.1",))) as served:
            yield served
    finally:
        server.stop()


@pytest.fixture(scope="module")
def stocked(real_ollama: RealOllama) -> Iterator[httpx2.Client]:
    """Start the service with an Ollama that has the demo model."""
    settings = Settings(port=0, engine="ollama", ollama_host=real_ollama.url)
    with served_in_thread(settings) as url, httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


@asynccontextmanager
async def pulling(served: Served, model: str) -> AsyncIterator[Events]:
    async with served.client.stream("POST", "/models/pull", json={"model": model}, headers=EVENTS) as response:
        yield Events(response)


async def reaches(events: Events, completed: int) -> dict[str, Any]:
    """Return the first event with this many bytes."""
    async for name, data in events:
        assert name == "progress"
        if data["completed"] == completed:
            return data
    raise AssertionError(f"never came to {completed} bytes")


def listed(client: httpx2.Client) -> list[str]:
    return [model["name"] for model in client.get("/models").json()["models"]]


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_models_are_listed_with_what_a_person_wants_to_know(demo: httpx2.Client) -> None:
    demo.post("/ask", json={"prompt": "Hello"})
    listing = demo.get("/models").json()
    (model,) = listing["models"]
    assert (model["name"], model["engine"], model["vision"]) == ("demo", "embedded", True)
    assert (model["context_length"], model["loaded"]) == (4096, True)
    assert listing["default"]["model"] == "demo"
    assert listing["default"]["reason"]["values"]["model"] == "demo"


async def test_a_pull_tells_how_far_it_is_and_ends_with_the_model(bare: Served, registry: Registry) -> None:
    registry.pause_at = PAUSE
    async with pulling(bare, registry.demo) as events:
        assert await anext(events) == (
            "progress",
            {"step": "manifest", "status": "pulling manifest", "digest": None, "completed": None, "total": None},
        )
        data = await reaches(events, PAUSE)
        assert (data["step"], data["total"] > PAUSE, data["digest"].startswith("sha256:")) == ("download", True, True)

        (running,) = (await bare.client.get("/models")).json()["installing"]
        assert (running["model"], running["kind"]) == (registry.demo, "pull")
        assert running["progress"]["completed"] == PAUSE

        registry.go_on.set()
        rest = await events.rest()
    assert [name for name, _ in rest].count("done") == 1
    name, done = rest[-1]
    assert (name, done["model"]["name"], done["model"]["vision"]) == ("done", f"{registry.demo}:latest", True)
    assert done["default"]["model"] == f"{registry.demo}:latest"
    assert (await bare.client.get("/models")).json()["installing"] == []


async def test_leaving_stops_a_pull_and_asking_again_goes_on_where_it_was(bare: Served, registry: Registry) -> None:
    registry.pause_at = PAUSE
    async with pulling(bare, registry.demo) as events:
        await reaches(events, PAUSE)
    await until(lambda: not bare.gateway.installer.running)
    assert (await bare.client.get("/models")).json()["models"] == []

    registry.pause_at = PAUSE // 2
    async with pulling(bare, registry.demo) as events:
        await reaches(events, PAUSE + PAUSE // 2)
        registry.go_on.set()
        assert (await events.rest())[-1][0] == "done"
    first, second, *_ = registry.ranges
    assert (first, second) == ((0, first[1]), (PAUSE, first[1]))


async def test_two_pulls_of_one_model_are_one_and_go_on_when_one_leaves(bare: Served, registry: Registry) -> None:
    registry.pause_at = PAUSE
    other_spelling = f"{registry.demo.replace('demo', 'Demo')}:latest"
    async with pulling(bare, registry.demo) as first, pulling(bare, other_spelling) as second:
        await reaches(first, PAUSE)
        await reaches(second, PAUSE)
        assert len(bare.gateway.installer.running) == 1
        await first.response.aclose()
        (installing,) = bare.gateway.installer.running
        registry.go_on.set()
        assert (await second.rest())[-1][0] == "done"
    assert installing.kind == "pull"
    assert [start for start, _ in registry.ranges] == [0] * len(registry.ranges)  # each file once, from its start
    assert len({size for _, size in registry.ranges}) == len(registry.ranges)


async def test_a_pull_as_json_and_as_text(bare: Served, registry: Registry) -> None:
    answer = await bare.client.post("/models/pull", json={"model": registry.demo})
    assert (answer.status_code, answer.json()["model"]["name"]) == (200, f"{registry.demo}:latest")
    text = await bare.client.post("/models/pull", json={"model": registry.demo}, headers={"Accept": "text/plain"})
    lines = text.text.splitlines()
    assert (lines[0], lines[-1]) == ("pulling manifest", "success")
    assert all(line.endswith(" 100 %") for line in lines if line.startswith("pulling ") and line != "pulling manifest")
    assert len(lines) == len(set(lines))


async def test_what_the_registry_does_not_have(bare: Served, registry: Registry) -> None:
    missing = registry.demo.replace("demo", "no-such-model")
    assert code(await bare.client.post("/models/pull", json={"model": missing})) == (404, "model_not_found")
    async with pulling(bare, missing) as events:
        assert (await anext(events))[1]["step"] == "manifest"
        name, data = await anext(events)
        assert (name, data["error"]["code"], data["status"]) == ("error", "model_not_found", 404)
        assert await events.rest() == []
    nowhere = f"127.0.0.1:{free_port()}/library/demo"
    assert code(await bare.client.post("/models/pull", json={"model": nowhere})) == (502, "registry_unavailable")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("a b", "invalid_model_name"),
        ("", "invalid_model_name"),
        ("../../etc/passwd", "invalid_model_name"),
        ("http://127.0.0.1/library/x", "invalid_model_name"),
        ("gpt-oss:120b-cloud", "cloud_model_refused"),
        ("llava:cloud", "cloud_model_refused"),
        ("x" * 601, "invalid_request"),
    ],
)
def test_names_that_are_none(stocked: httpx2.Client, name: str, wrong: str) -> None:
    for path, body in (("/models/pull", {"model": name}), ("/models", {"model": name, "modelfile": "FROM demo"})):
        assert code(stocked.post(path, json=body)) == (422, wrong)


def test_a_model_is_made_from_a_modelfile_and_deleted(stocked: httpx2.Client) -> None:
    recipe = {"model": "me/brief:v1", "modelfile": "FROM demo\nPARAMETER num_ctx 2048\nSYSTEM Be brief.\n"}
    text = stocked.post("/models", json=recipe, headers=EVENTS).text
    events = [(name, json.loads(data)) for name, data in re.findall(r"event: (.*)\ndata: (.*)\n", text)]
    assert {data["step"] for name, data in events if name == "progress"} >= {"build", "write", "success"}
    name, done = events[-1]
    assert (name, done["model"]["name"], done["model"]["vision"]) == ("done", "me/brief:v1", True)
    assert done["model"]["memory"]["context"] == 2048
    try:
        again = stocked.post("/models", json=recipe)
        assert code(again) == (409, "model_exists")
        for spelling in ("ME/brief:V1", "registry.ollama.ai/me/brief:v1"):
            assert code(stocked.post("/models", json={**recipe, "model": spelling})) == (409, "model_exists")
        assert (stocked.post("/models", json={**recipe, "replace": True})).status_code == 200
    finally:
        deleted = stocked.delete("/models/me/brief:v1")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert "me/brief:v1" not in listed(stocked)
    assert code(stocked.delete("/models/me%2Fbrief:v1")) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("text", "wrong", "line"),
    [
        ("FROM demo\nPARAMETER temperature hot", "invalid_modelfile", 2),
        ("FRUM demo", "invalid_modelfile", 1),
        ("", "invalid_modelfile", None),
        ("FROM demo\nTEMPLATE {{ .Broken", "invalid_modelfile", None),
        ("FROM ./demo.gguf", "modelfile_names_files", None),
        ("FROM /etc/passwd", "modelfile_names_files", None),
        ("FROM demo\nADAPTER /etc/passwd", "modelfile_names_files", None),
        ("FROM gpt-oss:cloud", "cloud_model_refused", None),
    ],
)
def test_modelfiles_that_are_not_taken(stocked: httpx2.Client, text: str, wrong: str, line: int | None) -> None:
    response = stocked.post("/models", json={"model": "made", "modelfile": text})
    assert code(response) == (422, wrong)
    error = response.json()["error"]
    assert error["param"] in ("modelfile", "model")
    assert error["values"].get("line") == line
    assert "passwd" not in response.text
    assert "made:latest" not in listed(stocked)


async def test_a_long_modelfile_is_read_off_the_event_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(ScriptedEngine())
    readers: list[bool] = []

    def read(_: str) -> Modelfile:
        readers.append(threading.current_thread() is threading.main_thread())
        raise ModelfileError("modelfile_no_from")

    monkeypatch.setattr(models, "parse_modelfile", read)
    for text in ("FROM demo", "FROM demo\n" + "#\n" * 100_000):
        response = await served.client.post("/models", json={"model": "made", "modelfile": text})
        assert response.json()["error"]["code"] == "invalid_modelfile"
    assert readers == [True, False]


def test_a_modelfile_that_names_files_is_refused_with_the_way_that_takes_them(stocked: httpx2.Client) -> None:
    response = stocked.post("/models", json={"model": "made", "modelfile": "FROM ./x.gguf"})
    assert response.json()["error"]["code"] == "modelfile_names_files"


def test_examples_have_no_files_in_them_and_parse(demo: httpx2.Client) -> None:
    examples = demo.get("/models/examples").json()["examples"]
    assert {example["base"] for example in examples} == {"llava:7b", "llava:13b", "llava:34b"}
    for example in examples:
        assert example["about"].startswith("LLaVA")
        assert example["about"].endswith(".")
        assert f"\nFROM {example['base']}\n" in example["modelfile"]


async def test_what_a_model_takes_is_estimated_for_the_context_that_is_pinned(serve: Serve) -> None:
    engine = ScriptedEngine()
    mine = ModelInfo("mine:latest", "ollama", vision=True, context_length=32768, size_bytes=10**9, cache_bytes_per_token=1000)
    engine.installed = (mine,)
    served = await serve(engine, models={"mine": ModelPins(num_ctx=16384)})
    (model,) = (await served.client.get("/models")).json()["models"]
    assert model["memory"]["context"] == 16384


def test_what_a_model_takes_is_estimated_before_it_is_loaded(stocked: httpx2.Client) -> None:
    def memory() -> dict[str, Any]:
        (model,) = [model for model in stocked.get("/models").json()["models"] if model["name"] == "demo:latest"]
        assert model["loaded"] == (model["memory"]["verdict"] == "loaded")
        found: dict[str, Any] = model["memory"]
        return found

    stocked.post("/ask", json={"prompt": "Hi", "model": "demo", "keep_alive": 0})
    due = time.monotonic() + 20
    while (before := memory())["verdict"] == "loaded" and time.monotonic() < due:
        time.sleep(0.02)  # Ollama unloads at a time of its own choice
    assert (before["verdict"], before["estimated"], before["gpu"]) == ("fits", True, None)
    stocked.post("/ask", json={"prompt": "Hi", "model": "demo"})
    after = memory()
    assert after["verdict"] == "loaded"
    assert after["estimated"] == (after["gpu"] is None)  # an Ollama whose server log can't be read has measured nothing
    assert before["needed"] > 0
    assert after["needed"] > 0
    listing = stocked.get("/models").json()
    assert 0 < listing["memory"]["available"] <= listing["memory"]["total"]


@pytest.mark.parametrize("proxy", [{"X-Forwarded-For": "203.0.113.5"}, {"Forwarded": "for=203.0.113.5"}, {"Via": "1.1 proxy"}])
async def test_behind_a_proxy_models_can_be_seen_but_not_changed(serve: Serve, proxy: dict[str, str]) -> None:
    served = await serve(ScriptedEngine(), allowed_hosts=("127.0.0.1", "box.lan"))
    for headers in (proxy, {"Host": "box.lan"}):
        assert (await served.client.get("/models", headers=headers)).json()["may_change"] is False
        for method, path, body in (
            ("POST", "/models/pull", {"model": "llava:7b"}),
            ("POST", "/models", {"model": "x", "modelfile": "FROM llava:7b"}),
            ("DELETE", "/models/scripted", None),
        ):
            response = await served.client.request(method, path, json=body, headers=headers)
            assert code(response) == (403, "local_only")
    assert (await served.client.get("/models")).json()["may_change"] is True


async def test_another_page_can_not_change_models(serve: Serve) -> None:
    served = await serve(ScriptedEngine())
    for method, path in (("POST", "/models/pull"), ("POST", "/models"), ("DELETE", "/models/scripted")):
        response = await served.client.request(method, path, headers={"Origin": "http://evil.example"})
        assert code(response) == (403, "origin_not_allowed")
    plain = await served.client.post("/models/pull", content=b'{"model":"llava:7b"}', headers={"Content-Type": "text/plain"})
    assert code(plain) == (415, "unsupported_media_type")


async def test_without_ollama_nothing_can_be_changed(demo: httpx2.Client, serve: Serve) -> None:
    assert code(demo.post("/models/pull", json={"model": "llava:7b"})) == (409, "ollama_not_used")
    assert code(demo.delete("/models/demo")) == (409, "ollama_not_used")
    gone = await serve(ScriptedEngine(), ollama_host=f"127.0.0.1:{free_port()}")
    assert code(await gone.client.post("/models/pull", json={"model": "llava:7b"})) == (503, "upstream_unavailable")
    assert code(await gone.client.delete("/models/llava:7b")) == (503, "upstream_unavailable")


Pull = Callable[[Exchange], Awaitable[None]]


async def first_step_then(exchange: Exchange, *lines: dict[str, Any]) -> None:
    await exchange.head()
    for line in ({"status": "pulling manifest"}, *lines):
        await exchange.line(line)


async def waiting(exchange: Exchange) -> None:
    await first_step_then(exchange)
    await exchange.hung_up()


@asynccontextmanager
async def before(serve: Serve, script: Pull) -> AsyncIterator[tuple[Served, FakeUpstream]]:
    """Start the service with a running engine and a library that fails."""
    async with fake_upstream(script) as fake:
        yield await serve(ScriptedEngine(), ollama_host=fake.url), fake


async def test_a_full_disk_ends_a_pull_with_what_to_do(serve: Serve) -> None:
    async def full(exchange: Exchange) -> None:
        await first_step_then(exchange, {"error": "write /models/blobs/sha256-1-partial: no space left on device"})
        await exchange.end()

    async with before(serve, full) as (served, _), pulling(served, "llava:7b") as events:
        name, data = (await events.rest())[-1]
    assert (name, data["status"], data["error"]["code"]) == ("error", 507, "disk_full")


async def test_an_ollama_that_dies_ends_a_pull(serve: Serve) -> None:
    async with before(serve, first_step_then) as (served, _), pulling(served, "llava:7b") as events:
        assert (await events.rest())[-1][1]["error"]["code"] == "upstream_disconnected"
        await until(lambda: not served.gateway.installer.running)


async def test_only_a_few_are_brought_in_at_once(serve: Serve) -> None:
    async with before(serve, waiting) as (served, _):
        async with pulling(served, "a") as a, pulling(served, "b") as b, pulling(served, "c") as c:
            for events in (a, b, c):
                await anext(events)
            refused = await served.client.post("/models/pull", json={"model": "d"})
            assert code(refused) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) > 0
            async with pulling(served, "A:latest") as joined:  # the same as a
                assert (await anext(joined))[1]["step"] == "manifest"
        await until(lambda: not served.gateway.installer.running)


async def test_a_model_on_its_way_in_is_neither_deleted_nor_made(serve: Serve) -> None:
    async with before(serve, waiting) as (served, fake), pulling(served, "llava:7b") as events:
        await anext(events)
        assert code(await served.client.delete("/models/llava:7b")) == (409, "model_busy")
        made = await served.client.post("/models", json={"model": "llava:7b", "modelfile": "FROM demo"})
        assert code(made) == (409, "model_busy")
        assert [request.path for request in fake.requests] == ["/api/pull"]


async def test_a_shutdown_ends_pulls_at_once_with_an_event(serve: Serve) -> None:
    async with before(serve, waiting) as (served, _), pulling(served, "llava:7b") as events:
        await anext(events)
        served.server.handle_exit(15, None)
        name, data = await anext(events)
        assert (name, data["error"]["code"], await events.rest()) == ("error", "shutting_down", [])


async def test_a_client_that_leaves_hangs_up_on_ollama(serve: Serve) -> None:
    left = asyncio.Event()

    async def watched(exchange: Exchange) -> None:
        await waiting(exchange)
        left.set()

    async with before(serve, watched) as (served, _):
        async with pulling(served, "llava:7b") as events:
            await anext(events)
        await until(left.is_set)


async def test_set_up_is_told_in_codes(demo: httpx2.Client, serve: Serve) -> None:
    found = demo.get("/setup").json()
    assert (found["state"], found["missing"], found["next"]) == ("demo", "ollama_not_used", "change_settings")
    assert (found["model"]["model"], found["may_change"]) == ("demo", True)
    assert [suggestion["model"] for suggestion in found["suggested"]] == ["llava:7b", "llava:13b", "llava:34b"]
    assert all(suggestion["memory"]["estimated"] for suggestion in found["suggested"])
    assert found["install"]["page"].startswith("https://ollama.com/")
    assert found["install"]["command"]

    blind = await serve(ScriptedEngine(vision=False))
    told = (await blind.client.get("/setup")).json()
    assert (told["state"], told["missing"], told["next"]) == ("no_model", "vision_model", "pull_model")
    assert (told["ollama"]["running"], told["ollama"]["version"]) == (True, "1.0")


async def test_the_demo_model_answers_no_more_when_a_pulled_one_can(ollama_binary: Path, tmp_path: Path, registry: Registry) -> None:
    server = RealOllama.start(ollama_binary, tmp_path)
    try:
        async with serving(Settings(port=0, ollama_host=server.url, pull_registries=("127.0.0.1",))) as served:
            told = (await served.client.get("/setup")).json()
            assert (told["state"], told["missing"]) == ("demo", "vision_model")
            done = (await served.client.post("/models/pull", json={"model": registry.demo})).json()
            assert done["default"]["engine"] == "ollama"
            told = (await served.client.get("/setup")).json()
            assert (told["state"], told["missing"], told["next"]) == ("ready", None, None)
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["SEEN", "library/seen", "registry.ollama.ai/library/seen:latest"])
async def test_every_route_takes_a_name_as_ollama_does(serve: Serve, red_circle: bytes, name: str) -> None:
    served = await serve(ScriptedEngine(model_names=("seen:latest",)))
    stored = (await served.client.post("/images", files={"image": red_circle}, data={"model": name})).json()
    view = {"model": name, "format": "json"}
    answers = [
        await served.ask(model=name),
        await served.client.post("/sessions", json={"model": name}),
        await served.client.post(f"/sessions/{await served.session(model=name)}/turns", json={"prompt": "Hi", "model": name}),
        await served.client.post("/count_tokens", json={"prompt": "Hi", "model": name}),
        await served.client.get(f"/images/{stored['id']}/view", params=view),
    ]
    assert [answer.json()["model"] for answer in answers] == ["seen:latest"] * len(answers)


async def test_models_come_only_from_registries_that_are_listed(bare: Served) -> None:
    for path, body in (
        ("/models/pull", {"model": "registry.example.org/a/b"}),
        ("/models", {"model": "mine", "modelfile": "FROM registry.example.org/a/b"}),
    ):
        response = await bare.client.post(path, json=body)
        assert code(response) == (403, "registry_not_allowed")
        assert response.json()["error"]["values"] == {"registry": "registry.example.org"}
