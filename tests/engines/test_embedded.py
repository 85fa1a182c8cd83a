"""The embedded engine: which model it serves, when it loads it, and what happens when its child process dies.

tests/contract shows its answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from llava_gateway.chat import EngineRequest, Finish, Loading, PromptProgress, TextDelta
from llava_gateway.engines.embedded import EmbeddedEngine, restart_pause
from llava_gateway.engines.llama_process import LlamaCommand, LlamaProcess
from llava_gateway.engines.openai_errors import out_of_memory
from llava_gateway.errors import (
    GatewayError,
    InvalidOption,
    ModelLacksVision,
    ModelLoadFailed,
    ModelNotFound,
    ModelOutOfMemory,
    ShuttingDown,
    UpstreamDisconnected,
    UpstreamUnavailable,
)
from llava_gateway.notes import note
from llava_gateway.settings import MiB, ModelPins, Settings
from tests.contract.worlds import kill_llama_children, llama_children
from tests.sample_images import ask, shape, words
from tests.synthetic_llava import ENDLESS, SyntheticPair, write_pair

pytestmark = pytest.mark.real

DEMO = Path(__file__).parents[2] / "src" / "llava_gateway" / "demo"
RED_CIRCLE = shape("circle", "red")
DESCRIBE = ask("Describe this image.", RED_CIRCLE, temperature=0.0)


@asynccontextmanager
async def embedded(**settings: Any) -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(Settings.load(**settings))
    try:
        yield engine
    finally:
        await engine.aclose()
    assert llama_children() == []


@pytest.fixture
async def demo() -> AsyncIterator[EmbeddedEngine]:
    async with embedded() as engine:
        yield engine


@pytest.fixture(scope="module")
def endless_pair(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPair:
    return write_pair(tmp_path_factory.mktemp("endless"))


async def answer(engine: EmbeddedEngine, request: EngineRequest = DESCRIBE) -> tuple[str, Finish]:
    async with asyncio.timeout(60), engine.chat(request) as events:
        found = [event async for event in events]
    end = found[-1]
    assert isinstance(end, Finish)
    return "".join(event.text for event in found if isinstance(event, TextDelta)).strip(), end


async def loaded_context(engine: EmbeddedEngine) -> int | None:
    (model,) = await engine.models()
    assert model.loaded == (model.loaded_context is not None)
    return model.loaded_context


async def test_the_built_in_model_loads_at_the_first_question(demo: EmbeddedEngine) -> None:
    assert await demo.health() == await demo.health()
    assert (await demo.health()).ok
    assert (await demo.health()).version.startswith("llama.cpp b")
    assert await loaded_context(demo) is None
    assert await demo.loading(DESCRIBE) == Loading("demo", note("model_not_loaded", model="demo"), None)
    assert llama_children() == []

    text, end = await answer(demo)

    assert text == "A red circle on a white background."
    assert end.timings.load_ms is not None
    assert await demo.loading(DESCRIBE) is None
    assert await loaded_context(demo) == 4096
    assert (await answer(demo))[1].timings.load_ms is None


@pytest.mark.parametrize("limit", [4 * MiB, None])
async def test_the_engine_does_not_grow_with_every_question(limit: int | None) -> None:
    """Each of these prompts takes 1.4 MB in llama.cpp's prompt cache, whose own limit is 8 GiB."""
    async with embedded(embedded_prompt_cache_bytes=limit) as engine:
        for number in range(16):  # fill the 16 MiB that are the default for so small a model
            await answer(engine, long_question(number))
        warm = size_of_the_engine()
        for number in range(16, 40):
            await answer(engine, long_question(number))
        assert size_of_the_engine() - warm < 10_000_000


@pytest.mark.parametrize(("limit", "again"), [(None, False), (0, True)])
async def test_a_conversation_is_kept_while_another_is_answered(limit: int | None, *, again: bool) -> None:
    async with embedded(embedded_prompt_cache_bytes=limit) as engine:
        await answer(engine, long_question(1))
        await answer(engine, long_question(2))
        _, end = await answer(engine, long_question(1))
        assert end.usage.prompt_tokens is not None
        assert end.usage.cached_tokens is not None
        read = end.usage.prompt_tokens - end.usage.cached_tokens
        assert (read > 400) == again


async def test_the_memory_of_the_engine_is_told() -> None:
    async with embedded(embedded_slots=2) as engine:
        (model,) = await engine.models()
        assert model.cache_bytes_per_token == 2 * 4 * 160 * 2 * 2  # slots, layers, width, key and value, half precision
        assert (model.own_context, model.prompt_cache_bytes) == (4096, 16 * MiB)
    async with embedded(embedded_prompt_cache_bytes=3 * MiB) as engine:
        assert [model.prompt_cache_bytes for model in await engine.models()] == [3 * MiB]


def long_question(number: int) -> EngineRequest:
    """Return a question of more than 500 tokens with an image of its own, so that no two prompts begin alike."""
    image = shape("circle", "red", background="white", size=(32 + number, 64))
    return ask("red " * 450, image, num_predict=1)


def size_of_the_engine() -> int:
    """Return the bytes of main memory that the engine holds."""
    (pid,) = llama_children()
    return int(psutil.Process(pid).memory_info().rss)


async def test_start_loads_without_being_waited_for(demo: EmbeddedEngine) -> None:
    await demo.start()
    assert await demo.loading(DESCRIBE) == Loading("demo", note("model_loading", model="demo"), None)
    await answer(demo)
    assert len(llama_children()) == 1


async def test_progress_is_reported_before_the_first_word(demo: EmbeddedEngine) -> None:
    async with demo.chat(DESCRIBE) as events:
        kinds = [type(event) async for event in events]
    assert kinds.index(PromptProgress) < kinds.index(TextDelta)


async def test_a_pair_of_files_is_named_by_its_stem(endless_pair: SyntheticPair) -> None:
    async with embedded(gguf=endless_pair.gguf, mmproj=endless_pair.mmproj) as engine:
        (model,) = await engine.models()
        assert (model.name, model.vision, model.context_length) == ("endless", True, 65536)
        assert (model.facts.image_size, model.family) == (112, "llama")
        _, end = await answer(engine, ask("Hello", RED_CIRCLE, model="endless", num_predict=1, **ENDLESS))
        assert end.usage.prompt_tokens is not None
        assert end.usage.prompt_tokens > 64
        assert await loaded_context(engine) == 8192


async def test_a_model_without_a_projector_cannot_see() -> None:
    async with embedded(gguf=DEMO / "demo.gguf") as engine:
        (model,) = await engine.models()
        assert not model.vision
        with pytest.raises(ModelLacksVision):
            await answer(engine)
        assert (await answer(engine, ask("Hello")))[0]


async def test_every_slot_has_the_whole_context() -> None:
    async with embedded(embedded_slots=2, models={"demo": ModelPins(num_ctx=1024)}) as engine:
        answers = await asyncio.gather(answer(engine), answer(engine))
        assert {text for text, _ in answers} == {"A red circle on a white background."}
        assert await loaded_context(engine) == 1024
        fits = ask("red " * 600, num_predict=1)
        _, end = await answer(engine, fits)
        assert end.usage.prompt_tokens is not None
        assert end.usage.prompt_tokens > 512


async def test_another_num_ctx_loads_the_model_again_and_says_so() -> None:
    async with embedded(models={"demo": ModelPins(num_ctx=2048)}) as engine:
        await answer(engine)
        small = ask("Describe this image.", RED_CIRCLE, temperature=0.0, num_ctx=1000)
        loading = await engine.loading(small)
        assert loading is not None
        assert loading.reason == note("option_changed", option="num_ctx", old=2048, new=1024)  # llama.cpp rounds up to a multiple of 256
        assert loading.last_load_ms is not None
        assert loading.last_load_ms > 0
        assert (await answer(engine, small))[1].timings.load_ms is not None
        assert await loaded_context(engine) == 1024
        same = ask("Describe this image.", RED_CIRCLE, temperature=0.0, num_ctx=1024)
        assert (await answer(engine, same))[1].timings.load_ms is None


async def test_more_context_than_was_trained_is_no_change(demo: EmbeddedEngine) -> None:
    await answer(demo)
    assert await demo.loading(ask("Hello", num_ctx=100_000)) is None


async def test_num_gpu_loads_the_model_again(demo: EmbeddedEngine) -> None:
    await answer(demo)
    on_the_cpu = ask("Describe this image.", RED_CIRCLE, temperature=0.0, num_gpu=0)
    loading = await demo.loading(on_the_cpu)
    assert loading is not None
    assert loading.reason == note("option_changed", option="num_gpu", old=-1, new=0)
    assert (await answer(demo, on_the_cpu))[0] == "A red circle on a white background."


async def test_num_thread_loads_the_model_again_with_so_many_threads(demo: EmbeddedEngine) -> None:
    await answer(demo)
    on_two = ask("Describe this image.", RED_CIRCLE, temperature=0.0, num_thread=2)
    loading = await demo.loading(on_two)
    assert loading is not None
    assert loading.reason == note("option_changed", option="num_thread", old=0, new=2)
    assert (await answer(demo, on_two))[0] == "A red circle on a white background."
    assert await demo.loading(on_two) is None
    assert demo.ignored_options(on_two.options) == ()


async def test_far_more_threads_than_processors_are_refused(demo: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    await answer(demo)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(InvalidOption) as refused:
        await answer(demo, ask("Hello", num_thread=9))
    assert (refused.value.reason, refused.value.place) == ("too_many_threads", ("options", "num_thread"))
    assert refused.value.values == {"given": 9, "most": 8, "each": 4, "processors": 2}
    assert (await answer(demo, ask("Describe this image.", RED_CIRCLE, temperature=0.0)))[0] == "A red circle on a white background."


async def test_requests_for_different_contexts_take_turns(endless_pair: SyntheticPair) -> None:
    """The running request is not cut off, waiting ones are served in order, and none waits forever."""
    async with embedded(gguf=endless_pair.gguf, mmproj=endless_pair.mmproj, embedded_slots=2) as engine:
        await engine.models()  # reads the files, so that from here on requests arrive in the order they are sent
        done: list[int] = []

        async def one(number: int, num_ctx: int) -> None:
            _, end = await answer(engine, ask("Hello", model="endless", num_ctx=num_ctx, num_predict=20, **ENDLESS))
            assert end.usage.completion_tokens == 20
            done.append(number)

        await asyncio.gather(*(one(number, num_ctx) for number, num_ctx in enumerate([1024, 2048, 1024, 2048])))
        assert done == [0, 1, 2, 3]


async def test_a_reload_waits_for_the_running_answer(endless_pair: SyntheticPair) -> None:
    async with embedded(gguf=endless_pair.gguf, mmproj=endless_pair.mmproj, embedded_slots=2) as engine:
        running = engine.chat(ask("Hello", model="endless", num_ctx=1024, **ENDLESS))
        async with running as events:
            while not isinstance(await anext(events), TextDelta):
                pass
            other = asyncio.create_task(answer(engine, ask("Hello", model="endless", num_ctx=2048, num_predict=2, **ENDLESS)))
            for _ in range(5):
                assert isinstance(await anext(events), TextDelta)
            assert not other.done()
        await other


async def test_a_crash_in_the_middle_fails_this_answer_and_spares_the_next(endless_pair: SyntheticPair) -> None:
    async with embedded(gguf=endless_pair.gguf, mmproj=endless_pair.mmproj) as engine:
        request = ask("Hello", model="endless", **ENDLESS)
        async with engine.chat(request) as events:
            await anext(events)
            kill_llama_children()
            with pytest.raises(UpstreamDisconnected):
                async for _ in events:
                    pass
        loading = await engine.loading(request)
        assert loading is not None
        assert loading.reason == note("engine_restarts")
        _, end = await answer(engine, ask("Hello", model="endless", num_predict=3, **ENDLESS))
        assert end.usage.completion_tokens == 3


async def test_a_child_that_has_just_died_is_replaced_unnoticed(demo: EmbeddedEngine) -> None:
    await answer(demo)
    await crash()
    assert (await answer(demo))[0] == "A red circle on a white background."


async def test_an_engine_that_keeps_dying_is_left_alone_for_a_moment(demo: EmbeddedEngine) -> None:
    for _ in range(3):
        await answer(demo)
        await crash()
    with pytest.raises(UpstreamUnavailable) as caught:
        await answer(demo)
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 5
    assert not (await demo.health()).ok


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition that another process causes."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def crash() -> None:
    """Kill the engine and wait until it has ended."""
    pids = llama_children()
    kill_llama_children()
    await until(lambda: not any(runs(pid) for pid in pids))


def runs(pid: int) -> bool:
    """Return whether any thread of the process is still running: the last one to end closes its sockets."""
    with suppress(FileNotFoundError):  # it may end in between
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            with suppress(OSError):
                if "State:\tZ" not in status.read_text():
                    return True
    return False


def readable_by_others(pid: int) -> str:
    """Return what every user of the machine (command line) and every program of this user (environment) can read of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()


def test_the_pause_grows_with_the_deaths_and_passes() -> None:
    assert restart_pause([], 100) == 0
    assert restart_pause([98, 99], 100) == 0
    assert restart_pause([97, 98, 99], 100) == 4
    assert restart_pause([96, 97, 98, 99], 100) == 9
    assert restart_pause([90] * 16, 100) == 50
    assert restart_pause([97, 98, 99], 104) == 0
    assert restart_pause([1, 2, 99], 100) == 0


def damaged(path: Path, source: Path) -> Path:
    """Write a file with a complete header and half of the weights."""
    whole = source.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: {"gguf": folder / "absent.gguf"}, "model_file_unread"),
        (lambda folder: {"gguf": Path(__file__)}, "gguf_none"),
        (lambda folder: {"gguf": DEMO / "demo-mmproj.gguf"}, "gguf_is_projector"),
        (lambda folder: {"gguf": DEMO / "demo.gguf", "mmproj": DEMO / "demo.gguf"}, "gguf_no_projector"),
    ],
)
async def test_wrong_files_are_told_before_anything_is_started(
    tmp_path: Path, make: Callable[[Path], dict[str, Path]], reason: str
) -> None:
    async with embedded(**make(tmp_path)) as engine:
        health = await engine.health()
        assert not health.ok
        with pytest.raises(ModelLoadFailed) as refused:
            await answer(engine)
        assert refused.value.reason == reason
        assert health.detail.startswith(refused.value.message)
        with pytest.raises(ModelLoadFailed):
            await engine.models()
        assert str(tmp_path) not in health.detail


async def test_a_file_that_does_not_load_is_an_error_for_each_who_asks(tmp_path: Path) -> None:
    async with embedded(gguf=damaged(tmp_path / "half.gguf", DEMO / "demo.gguf")) as engine:
        await engine.start()
        for _ in range(2):
            with pytest.raises(ModelLoadFailed) as caught:
                await answer(engine, ask("Hello", model="half"))
            assert "half.gguf" not in caught.value.message + caught.value.hint


async def test_a_child_that_the_system_kills_while_it_loads_ran_out_of_memory(demo: EmbeddedEngine) -> None:
    """The out-of-memory killer sends SIGKILL."""
    asking = asyncio.create_task(answer(demo))
    await until(lambda: bool(llama_children()))
    os.kill(llama_children()[0], signal.SIGKILL)
    with pytest.raises(ModelOutOfMemory):
        await asking


@pytest.mark.parametrize(
    "line",
    [
        "0.16.945.863 E ggml_aligned_malloc: insufficient memory (attempted to allocate 244140.62 MB)",
        "alloc_tensor_range: failed to allocate CUDA0 buffer of size 256000000000",
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8192.00 MiB on device 0: cudaMalloc failed: out of memory",
        "ggml_vulkan: Device memory allocation of size 1 failed. vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_the_words_of_engines_that_ran_out_of_memory_are_known(line: str) -> None:
    assert out_of_memory(line)
    assert not out_of_memory("llama_model_load: error loading model: tensor 'output.weight' data is not within the file bounds")


async def start_process(command: LlamaCommand) -> None:
    await (await LlamaProcess.start(command)).stop()


async def test_another_name_is_not_found(demo: EmbeddedEngine) -> None:
    with pytest.raises(ModelNotFound):
        await answer(demo, ask("Hello", model="llava:7b"))
    assert llama_children() == []


async def test_without_the_wheel_health_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, demo: EmbeddedEngine) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    assert UpstreamUnavailable("embedded_not_installed").hint in (await demo.health()).detail


async def test_who_leaves_while_the_model_loads_leaves_it_loading(demo: EmbeddedEngine) -> None:
    asking = asyncio.create_task(answer(demo))
    await until(lambda: bool(llama_children()))
    (pid,) = llama_children()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await answer(demo)
    assert llama_children() == [pid]


async def test_closing_ends_a_load_and_those_who_wait_for_it(demo: EmbeddedEngine) -> None:
    asking = [asyncio.create_task(answer(demo)) for _ in range(2)]
    await until(lambda: bool(llama_children()))
    await demo.aclose()
    assert all(isinstance(error, GatewayError) for error in await asyncio.gather(*asking, return_exceptions=True))
    assert llama_children() == []
    with pytest.raises(ShuttingDown):
        await answer(demo)


async def test_the_child_answers_only_its_parent_and_no_web_page() -> None:
    server = await LlamaProcess.start(
        LlamaCommand("demo", str(DEMO / "demo.gguf"), str(DEMO / "demo-mmproj.gguf"), 1024, num_gpu=-1, slots=1, threads=1)
    )
    page = {"Origin": "http://evil.example"}
    try:
        assert server.address.startswith("http://127.0.0.1:")
        async with httpx2.AsyncClient(base_url=server.address, trust_env=False) as client:
            for path in ("/props", "/slots", "/v1/chat/completions", "/completion"):
                method = "GET" if path in ("/props", "/slots") else "POST"
                assert (await client.request(method, path, json={}, headers=page)).status_code == 401
            mine = await client.get("/props", headers={**page, "Authorization": f"Bearer {server.api_key}"})
            assert mine.status_code == 200
            preflight = await client.options("/v1/chat/completions", headers={**page, "Access-Control-Request-Method": "POST"})
            for response in (mine, preflight):
                assert response.headers.get("Access-Control-Allow-Origin", "") not in ("*", "null", page["Origin"])
                assert not response.headers.get("Access-Control-Allow-Origin")
            assert (await client.get("/")).status_code == 404  # it serves no page of its own
        assert server.api_key not in readable_by_others(server.pid)
    finally:
        await server.stop()


async def test_an_inherited_media_marker_does_not_reach_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the marker is known, a user's text could pass for an image."""
    monkeypatch.setenv("LLAMA_MEDIA_MARKER", "<__media__>")
    server = await LlamaProcess.start(
        LlamaCommand("demo", str(DEMO / "demo.gguf"), str(DEMO / "demo-mmproj.gguf"), 1024, num_gpu=-1, slots=1, threads=1)
    )
    try:
        async with httpx2.AsyncClient(base_url=server.address, trust_env=False) as client:
            props = (await client.get("/props", headers={"Authorization": f"Bearer {server.api_key}"})).json()
        assert props["media_marker"] not in ("", "<__media__>")
    finally:
        await server.stop()


PARENT = """
import asyncio, os, sys
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.settings import Settings

async def main():
    engine = EmbeddedEngine(Settings())
    await engine.start()
    server = await engine._child.load
    print(server.process.pid, flush=True)
    os.kill(os.getpid(), 9)

{run}(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_the_child_does_not_outlive_its_parent(loop: str) -> None:
    script = f"import {loop}\n" + PARENT.format(run=f"{loop}.run")
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    out, _ = await parent.communicate()
    assert parent.returncode == -signal.SIGKILL
    pid = int(out)
    await until(lambda: not runs(pid))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_child_that_is_dead_before_it_is_told_anything_is_an_error(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without free memory kills it at once. Then uvloop refuses to write to the pipe."""
    start = asyncio.create_subprocess_exec

    async def dead(*_: str, **pipes: Any) -> asyncio.subprocess.Process:
        process = await start(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)", **pipes)
        await process.wait()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", dead)
    with pytest.raises(ModelOutOfMemory):
        pytest.importorskip(loop).run(LlamaProcess.start(LlamaCommand("demo", "demo.gguf", None, 1024, num_gpu=-1, slots=1, threads=1)))


@pytest.mark.parametrize("to_the_whole_group", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_to_the_whole_group_is_for_the_parent_to_act_on(to_the_whole_group: signal.Signals) -> None:
    server = await LlamaProcess.start(LlamaCommand("demo", str(DEMO / "demo.gguf"), None, 1024, num_gpu=-1, slots=1, threads=1))
    os.kill(server.pid, to_the_whole_group)
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{server.address}/health")).status_code == 200
    async with asyncio.timeout(60):
        await server.stop()
        assert await server.wait() == -signal.SIGKILL


async def test_what_the_engine_prints_goes_to_the_log_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = damaged(tmp_path / "half.gguf", DEMO / "demo.gguf")
    with pytest.raises(ModelLoadFailed) as caught:
        await start_process(LlamaCommand("half", str(path), None, 1024, num_gpu=-1, slots=1, threads=1))
    assert "half.gguf" in caplog.text
    assert "half.gguf" not in json.dumps([caught.value.message, caught.value.hint])


async def test_the_demo_model_leaves_nothing_to_chance_unless_asked_to(demo: EmbeddedEngine) -> None:
    """The model is not sure of letters this small, so random sampling would often misread them."""
    image, question = words("F7", size=(320, 240)), "What does it say?"
    assert all("F7" in text for text in [(await answer(demo, ask(question, image)))[0] for _ in range(12)])
    assert len({(await answer(demo, ask(question, image, temperature=1.5)))[0] for _ in range(12)}) > 1
