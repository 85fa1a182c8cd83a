"""Counting for Ollama: on a real one without loading anything, and on a scripted one with unusual answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llava_gateway.chat import JSON, EngineRequest, Finish, Message, TokenCount
from llava_gateway.engines.modelfile import parse_modelfile
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.ollama_counting import VOCABULARIES_KEPT, OllamaCounter, Vocabulary, segments
from llava_gateway.engines.ollama_library import OllamaLibrary
from llava_gateway.engines.tokenizer import Tokenizer
from llava_gateway.options import Options
from llava_gateway.parts import TextPart
from llava_gateway.settings import Settings
from tests.engines.fake_upstream import Exchange, fake_upstream
from tests.ollama_server import RealOllama
from tests.sample_images import ask, shape
from tests.synthetic_vocabulary import by_merges, gemma_4

DEMO_FILES = Path(__file__).parents[2] / "src" / "llava_gateway" / "demo"
RED_CIRCLE, BLUE_SQUARE = shape("circle", "red"), shape("square", "blue")
MODELFILES = {
    "jinja": "FROM demo.gguf\nFROM demo-mmproj.gguf\nPARAMETER num_thread 1",
    "roomy": "FROM demo.gguf\nFROM demo-mmproj.gguf\nTEMPLATE {{ .System }} {{ .Prompt }}\nSYSTEM You see shapes.\nMESSAGE user Hi\n"
    "MESSAGE assistant Hello\nPARAMETER num_ctx 3000\nPARAMETER num_thread 1",
}


@pytest.fixture(scope="module")
def stocked(real_ollama: RealOllama) -> RealOllama:
    """Return a real Ollama with a model whose prompt llama.cpp writes, and one with its own context, system prompt and messages."""

    async def create() -> None:
        library = OllamaLibrary(real_ollama.url)
        for name, modelfile in MODELFILES.items():
            async for _ in library.create(name, parse_modelfile(modelfile), DEMO_FILES):
                pass
        await library.aclose()

    asyncio.run(create())
    return real_ollama


@pytest.fixture
async def own_engine(stocked: RealOllama, own_ollama: RealOllama) -> AsyncIterator[OllamaEngine]:
    engine = OllamaEngine(Settings(ollama_host=own_ollama.url))
    yield engine
    await engine.aclose()


async def prompt_tokens(engine: OllamaEngine, request: EngineRequest) -> int | None:
    request = replace(request, options=replace(request.options, temperature=0, num_predict=1))
    async with engine.chat(request) as events:
        last = [event async for event in events][-1]
    assert isinstance(last, Finish)
    return last.usage.prompt_tokens


async def loaded(engine: OllamaEngine) -> list[dict[str, Any]]:
    rows = (await engine._get("/api/ps"))["models"]
    assert isinstance(rows, list)
    return rows


@pytest.mark.parametrize("model", MODELFILES)
async def test_a_prompt_of_any_writer_is_counted(own_engine: OllamaEngine, model: str) -> None:
    """Runs on its own server: for two models with the same file, Ollama lists only the name under which it loaded the file."""
    first = ask("Look: what is it?", RED_CIRCLE, model=model)
    second = ask(
        "它们是什么？", RED_CIRCLE, BLUE_SQUARE, model=model, earlier=first, history=(Message("assistant", (TextPart("A circle."),)),)
    )
    await own_engine.load_model(first)
    for request in (first, second):
        count = await own_engine.count(request)
        assert count is not None
        assert (count.total, count.label) == (await prompt_tokens(own_engine, request), "exact")


async def test_to_count_nothing_is_loaded(own_engine: OllamaEngine) -> None:
    request = ask("Describe this image.", RED_CIRCLE)
    count = await own_engine.count(request)
    assert count is not None
    assert await loaded(own_engine) == []
    assert count.label == "estimated"
    assert count.images == (64,)
    counted = await prompt_tokens(own_engine, request)
    assert counted is not None
    assert abs(count.total - counted) <= 5


async def test_what_a_modelfile_says_before_is_counted_too(own_engine: OllamaEngine) -> None:
    request = ask("Describe this image.", RED_CIRCLE, model="roomy")
    counted = await own_engine.count(request)
    assert counted
    assert counted.label == "estimated"
    prompt = await prompt_tokens(own_engine, request)
    assert prompt is not None
    assert prompt <= counted.total <= prompt + 5 * 4


async def test_what_a_template_writes_around_a_message_is_learned(own_engine: OllamaEngine) -> None:
    """The estimate for a model that is no longer loaded is exact if its template is regular."""
    request = ask("Describe this image.", RED_CIRCLE)
    counted = await prompt_tokens(own_engine, request)
    await own_engine.count(request)
    async with own_engine.chat(EngineRequest(request.model, (), keep_alive=0)) as events:
        assert [type(event) async for event in events] == [Finish]
    async with asyncio.timeout(60):
        while await loaded(own_engine):
            pass
    count = await own_engine.count(request)
    assert count is not None
    assert (count.total, count.label) == (counted, "estimated")


async def test_to_count_nothing_is_loaded_again(own_engine: OllamaEngine) -> None:
    """Another num_ctx, num_gpu or num_thread causes no load, and the time at which the model is unloaded does not change."""
    request = ask("Describe this image.", RED_CIRCLE, num_ctx=3000)
    await own_engine.load_model(replace(request, keep_alive="2h"))
    before = await loaded(own_engine)
    for options in (Options(), Options(num_ctx=4096), Options(num_ctx=2048, num_gpu=0, num_thread=2)):
        count = await own_engine.count(replace(request, options=options, keep_alive=0))
        assert count is not None
        assert count.label == "exact"
    after = await loaded(own_engine)
    assert [(row["context_length"], row["size"]) for row in after] == [(row["context_length"], row["size"]) for row in before]
    assert datetime.fromisoformat(after[0]["expires_at"]) - datetime.now(UTC) > timedelta(hours=1)


async def test_the_context_is_what_the_request_will_have(own_engine: OllamaEngine) -> None:
    request, roomy = ask("Hello"), ask("Hello", model="roomy")
    assert await own_engine.context_length(request) is None
    assert await own_engine.context_length(roomy) == 3000
    for asked, given in ((100, 2048), (2500, 2500), (100_000, 4096)):  # a model never gets more than it was trained for
        assert await own_engine.context_length(replace(request, options=Options(num_ctx=asked))) == given
    await prompt_tokens(own_engine, replace(request, options=Options(num_ctx=2500)))
    assert await own_engine.context_length(request) is None  # Ollama would load it again
    await prompt_tokens(own_engine, request)
    assert await own_engine.context_length(request) == (await loaded(own_engine))[0]["context_length"]


def test_a_prompt_is_cut_at_its_images() -> None:
    assert segments("USER: hi", 0) == ["USER: hi"]
    assert segments("a[img-1]b[img-0]c[img-0]", 2) == ["a", "b", "c[img-0]"]  # as in Ollama, the first of each marker counts
    assert segments("a<__ollama_media_0a1b__>b<__ollama_media_0a1b__>", 2) == ["a", "b", ""]
    assert segments("a<__media__>b", 1) == ["a", "b"]
    assert segments("a[img-0]b", 2) is None
    assert segments("a", 1) is None


@pytest.mark.parametrize(
    ("more", "prompt", "counted"),
    [
        ({}, "<s>hello", "hello"),  # spelled by a renderer; llama.cpp's own BOS would double it
        ({"renderer": ""}, "<s>hello", "<s>hello"),
        ({"add": False}, "<s>hello", "<s>hello"),
    ],
)
def test_a_beginning_that_ollama_does_not_send_is_not_counted(more: dict[str, Any], prompt: str, counted: str) -> None:
    info = by_merges("gpt-2") | {"tokenizer.ggml.add_bos_token": more.get("add", True)}
    vocabulary = Vocabulary.from_show({"model_info": info, "renderer": more.get("renderer", "some")})
    assert vocabulary is not None
    assert vocabulary.count(prompt, 0) == vocabulary.tokenizer.count_prompt([counted])


def test_gemma_4_has_its_bos_once() -> None:
    vocabulary = Vocabulary.from_show({"model_info": gemma_4()})
    assert vocabulary is not None
    assert vocabulary.count("<bos><|turn>user\n[img-0]", 1) == vocabulary.tokenizer.count_prompt(["<|turn>user\n", ""])


class Library:
    """An Ollama with one loaded model, `m`. It counts the requests for the vocabulary and for prompts."""

    def __init__(self, info: dict[str, Any], debug: dict[str, Any] | None) -> None:
        self.shown = self.chats = 0
        self.asked = asyncio.Event()
        self._info = info
        self._debug = debug

    async def __call__(self, exchange: Exchange) -> None:
        row = {"name": "m:latest", "digest": "d", "context_length": 4096}
        match exchange.request.path:
            case "/api/tags" | "/api/ps":
                await exchange.reply(200, {"models": [row]})
            case "/api/show":
                verbose = bool(exchange.request.json.get("verbose"))
                self.shown += verbose
                if verbose:
                    self.asked.set()
                await exchange.reply(200, {"model_info": self._info if verbose else {}, "capabilities": ["vision"]})
            case _:
                self.chats += 1
                await exchange.reply(200, {"message": {"content": "x"}, "done": True, "_debug_info": self._debug})


HELLO = ask("hello", model="m")
SHOWN = {"rendered_template": "hello", "image_count": 0}


async def test_a_vocabulary_is_built_once_for_all_who_wait() -> None:
    """Even if the first of them gives up."""
    library = Library(by_merges("gpt-2"), SHOWN)
    async with fake_upstream(library) as fake:
        engine = OllamaEngine(Settings(ollama_host=fake.url))
        first = asyncio.create_task(engine.count(HELLO))
        await library.asked.wait()
        first.cancel()
        counts = await asyncio.gather(*(engine.count(HELLO) for _ in range(3)))
        await engine.aclose()
    assert first.cancelled()
    assert library.shown == 1
    assert {count.label for count in counts if count} == {"exact"}


async def test_a_vocabulary_that_others_took_the_place_of_still_comes_to_those_who_wait_for_it() -> None:
    counter, shown = OllamaCounter(), asyncio.Event()

    async def show() -> JSON:
        await shown.wait()
        return {"model_info": by_merges("gpt-2")}

    waiting = [asyncio.create_task(counter.vocabulary(f"digest {number}", show)) for number in range(VOCABULARIES_KEPT + 2)]
    await asyncio.sleep(0)  # all have begun
    shown.set()
    assert None not in await asyncio.gather(*waiting)
    await counter.aclose()


async def test_nothing_is_built_any_more_after_the_end() -> None:
    counter = OllamaCounter()

    async def show() -> JSON:
        await asyncio.Event().wait()
        return {}

    waiting = [asyncio.create_task(counter.vocabulary(f"digest {number}", show)) for number in range(VOCABULARIES_KEPT + 2)]
    await asyncio.sleep(0)
    await counter.aclose()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"tokenizer.ggml.model": "rwkv", "tokenizer.ggml.tokens": ["a"]},
        by_merges("gpt-2") | {"tokenizer.ggml.token_type": [1]},
        by_merges("gpt-2") | {"tokenizer.ggml.merges": []},
    ],
)
async def test_a_vocabulary_that_makes_no_sense_is_no_count(info: dict[str, Any]) -> None:
    assert await counted(Library(info, SHOWN)) == [None]


async def test_a_prompt_without_a_place_for_the_image_is_no_count() -> None:
    assert await counted(Library(by_merges("gpt-2"), SHOWN), ask("hello", RED_CIRCLE, model="m")) == [None]


@pytest.mark.parametrize("debug", [None, {"rendered_template": None}])
async def test_an_ollama_that_answers_instead_of_showing_a_prompt_is_not_asked_again(debug: dict[str, Any] | None) -> None:
    library = Library(by_merges("gpt-2"), debug)
    counts = await counted(library, times=3)
    assert {count.label for count in counts if count} == {"estimated"}
    assert library.chats == 1


@pytest.mark.parametrize("debug", [SHOWN, None])
async def test_nobody_waits_while_a_long_text_is_counted(debug: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the system prompt nor any other text is counted on the event loop's thread."""
    threads: list[threading.Thread] = []
    count = Tokenizer.count

    def watched(tokenizer: Tokenizer, text: str) -> int:
        threads.append(threading.current_thread())
        return count(tokenizer, text)

    monkeypatch.setattr(Tokenizer, "count", watched)
    request = replace(HELLO, messages=(Message("system", (TextPart("Be brief."),)), *HELLO.messages))
    (found,) = await counted(Library(by_merges("gpt-2"), debug), request)
    assert found is not None
    assert found.system > 0
    assert threads
    assert threading.main_thread() not in threads


async def counted(library: Library, request: EngineRequest = HELLO, times: int = 1) -> list[TokenCount | None]:
    async with fake_upstream(library) as fake:
        engine = OllamaEngine(Settings(ollama_host=fake.url))
        counts = [await engine.count(request) for _ in range(times)]
        await engine.aclose()
    return counts
