"""Options, health and metrics; engines that start and stop, as clients see them."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from llava_gateway import __version__
from llava_gateway.options import OPTION_LIMITS
from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine, says_then_waits


def test_options_are_told_with_their_ranges(demo: httpx2.Client) -> None:
    found = demo.get("/options").json()
    assert set(found["options"]) == set(OPTION_LIMITS)
    assert {name for name, option in found["options"].items() if option["reloads"]} == {"num_ctx", "num_gpu", "num_thread"}
    temperatures = {name: preset.get("temperature") for name, preset in found["presets"].items()}
    assert (temperatures["factual"], temperatures["creative"], "balanced" in temperatures) == (0.2, 0.7, True)
    assert found["limits"]["images_per_turn"] == 8


def test_the_process_lives_and_is_ready(demo: httpx2.Client) -> None:
    assert demo.get("/healthz").json() == {"ok": True, "version": __version__}
    ready = demo.get("/readyz")
    assert ready.status_code == 200
    assert (ready.json()["ready"], ready.json()["engine"], ready.json()["model"]) == (True, "embedded", "demo")


def test_files_of_the_page_go_compressed_to_whoever_takes_them_so(demo: httpx2.Client) -> None:
    packed, plain = (demo.get("/static/js/main.js", headers={"Accept-Encoding": coding}) for coding in ("gzip", "identity"))
    script = demo.get("/static/vendor/purify.js", headers={"Accept-Encoding": "gzip"})
    assert (script.headers["content-encoding"], script.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert packed.text == plain.text
    assert "content-encoding" not in plain.headers


def test_figures_are_those_of_prometheus(demo: httpx2.Client) -> None:
    demo.post("/ask", json={"prompt": "Hello"})
    response = demo.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(response.text)}
    assert {
        "llava_gateway_answers",
        "llava_gateway_tokens",
        "llava_gateway_first_token_seconds",
        "llava_gateway_images",
        "llava_gateway_active",
        "llava_gateway_waiting",
        "llava_gateway_sessions",
        "llava_gateway_store_bytes",
    } <= names


async def test_without_an_engine_the_process_lives_but_is_not_ready(serve: Serve) -> None:
    engine = ScriptedEngine()
    engine.up = False
    served = await serve(engine)
    assert (await served.client.get("/healthz")).status_code == 200
    unready = await served.client.get("/readyz")
    assert (unready.status_code, unready.json()["ready"], unready.headers["retry-after"]) == (503, False, "2")
    assert unready.json()["reason"]["values"]["silent"] == ["ollama"]
    session_id = await served.session()
    refused = await served.ask(session_id=session_id)
    assert (refused.status_code, refused.json()["error"]["code"], refused.headers["retry-after"]) == (503, "upstream_unavailable", "2")
    assert await served.turns(session_id) == []

    engine.up = True
    await served.gateway.pool.refresh()
    assert (await served.client.get("/readyz")).status_code == 200
    assert (await served.ask(session_id=session_id)).status_code == 200


@pytest.mark.parametrize("vision", [True, False])
async def test_who_answers_changes_when_an_engine_comes_and_goes(serve: Serve, vision: bool) -> None:
    ollama = ScriptedEngine(name="ollama", model_names=("llava:7b",), vision=vision)
    ollama.up = False
    served = await serve(ollama, ScriptedEngine(name="embedded", model_names=("demo",)))

    async def answering() -> tuple[str, dict[str, Any]]:
        answer = (await served.ask()).json()
        ready = (await served.client.get("/readyz")).json()
        assert ready["engine"] == answer["engine"]
        return answer["engine"], ready["reason"]["values"]

    assert (await answering())[0] == "embedded"
    ollama.up = True
    await served.gateway.pool.refresh()
    engine, values = await answering()
    assert engine == ("ollama" if vision else "embedded")
    assert vision or values["blind"] == ["ollama"]
    assert [model["name"] for model in (await served.client.get("/models")).json()["models"]] == ["llava:7b", "demo"]
    assert (await served.ask(model="demo")).json()["engine"] == "embedded"
    ollama.up = False
    await served.gateway.pool.refresh()
    assert (await answering())[1]["silent"] == ["ollama"]


async def test_running_and_waiting_requests_are_counted(serve: Serve) -> None:
    served = await serve(ScriptedEngine(says_then_waits("One")))
    async with served.stream() as first, served.stream() as second:
        await anext(first)
        assert await anext(second) == ("queued", {"position": 1})
        figures = (await served.client.get("/metrics")).text
        assert 'llava_gateway_active{engine="ollama"} 1.0' in figures
        assert 'llava_gateway_waiting{engine="ollama"} 1.0' in figures


def test_json_ends_with_a_newline_for_the_prompt_of_a_shell(demo: httpx2.Client) -> None:
    for path in ("/healthz", "/models", "/sessions", "/nowhere"):
        assert demo.get(path).content.endswith(b"}\n"), path
    for path in ("/ask", "/sessions"):
        assert demo.post(path, json={"prompt": "Hello"} if path == "/ask" else {}).content.endswith(b"}\n"), path
