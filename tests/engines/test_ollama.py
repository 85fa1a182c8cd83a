"""The Ollama engine: its promises beyond the contract suite on a real Ollama, and on a fake one the faults that a real one can't be
made to produce."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from llava_gateway.chat import (
    EngineEvent,
    EngineRequest,
    Finish,
    Loading,
    Message,
    Piece,
    ReasoningDelta,
    Rendition,
    TextDelta,
    Timings,
    ToolCall,
    Usage,
)
from llava_gateway.engines import ollama
from llava_gateway.engines.modelfile import parse_modelfile
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.ollama_library import OllamaLibrary
from llava_gateway.engines.ollama_prompt import chat_body
from llava_gateway.errors import (
    GatewayError,
    ImageParseError,
    InvalidRequest,
    ModelLacksVision,
    ModelLoadFailed,
    ModelNotFound,
    ModelOutOfMemory,
    Overloaded,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamProtocolError,
    UpstreamUnavailable,
)
from llava_gateway.images.facts import VisionFacts
from llava_gateway.notes import note
from llava_gateway.parts import ImagePart, TextPart
from llava_gateway.settings import Settings
from tests.engines.fake_upstream import Exchange, FakeUpstream, Script, fake_upstream
from tests.gateways import until_it_fails
from tests.ollama_server import RealOllama
from tests.sample_images import ask, image_id, rendition, shape
from tests.serving import until
from tests.synthetic_llava import ENDLESS, PINPOINTS_16, UNHURRIED, write_pair

DEMO_FILES = Path(__file__).parents[2] / "src" / "llava_gateway" / "demo"
RED_CIRCLE = shape("circle", "red")
GREEN_SQUARE = shape("square", "green")
YELLOW_CIRCLE = shape("circle", "yellow")
GO_TEMPLATE = 'TEMPLATE "{{ range .Messages }}USER: {{ .Content }} {{ end }}ASSISTANT:"'
ONE_THREAD = "PARAMETER num_thread 1"


@pytest.fixture(scope="module")
def stocked(real_ollama: RealOllama, tmp_path_factory: pytest.TempPathFactory) -> RealOllama:
    """Return a real Ollama with more models.

    `tiles` sees as LLaVA-1.6 does, `blind` can't see, llama.cpp writes the prompt of `jinja`, and `stutter` repeats one letter at
    temperature 0.
    """
    pair = write_pair(tmp_path_factory.mktemp("tiles"), pinpoints=PINPOINTS_16, inner=UNHURRIED)
    stutter = write_pair(tmp_path_factory.mktemp("stutter"), name="stutter")

    async def create() -> None:
        library = OllamaLibrary(real_ollama.url)
        for name, modelfile, folder in (
            (
                "tiles",
                f"FROM {pair.gguf.name}\nFROM {pair.mmproj.name}\n{GO_TEMPLATE}\nPARAMETER num_ctx 8192\n{ONE_THREAD}",
                pair.gguf.parent,
            ),
            ("stutter", f"FROM {stutter.gguf.name}\n{GO_TEMPLATE}\n{ONE_THREAD}", stutter.gguf.parent),
            ("blind", f"FROM demo.gguf\n{GO_TEMPLATE}\n{ONE_THREAD}", DEMO_FILES),
            ("jinja", f"FROM demo.gguf\nFROM demo-mmproj.gguf\n{ONE_THREAD}", DEMO_FILES),
        ):
            async for _ in library.create(name, parse_modelfile(modelfile), folder):
                pass
        await library.aclose()

    asyncio.run(create())
    return real_ollama


@pytest.fixture
async def engine(stocked: RealOllama) -> AsyncIterator[OllamaEngine]:
    engine = OllamaEngine(Settings(ollama_host=stocked.url))
    yield engine
    await engine.aclose()


@pytest.fixture
async def own_engine(own_ollama: RealOllama) -> AsyncIterator[OllamaEngine]:
    engine = OllamaEngine(Settings(ollama_host=own_ollama.url))
    yield engine
    await engine.aclose()


@pytest.fixture
async def engine_for() -> AsyncIterator[Callable[[FakeUpstream], OllamaEngine]]:
    engines = []

    def make(fake: FakeUpstream) -> OllamaEngine:
        engines.append(OllamaEngine(Settings(ollama_host=fake.url)))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.aclose()


async def events_until_failure(engine: OllamaEngine, request: EngineRequest) -> tuple[list[EngineEvent], GatewayError]:
    """Return the events of an answer that fails, and its error."""
    async with engine.chat(request) as answer:
        return await until_it_fails(answer)


async def events_of(engine: OllamaEngine, request: EngineRequest) -> list[EngineEvent]:
    async with engine.chat(request) as events:
        return [event async for event in events]


async def said(engine: OllamaEngine, request: EngineRequest) -> str:
    events = await events_of(engine, request)
    assert isinstance(events[-1], Finish)
    return "".join(event.text for event in events if isinstance(event, TextDelta)).strip()


async def finish_of(engine: OllamaEngine, request: EngineRequest) -> Finish:
    last = (await events_of(engine, request))[-1]
    assert isinstance(last, Finish)
    return last


def describe(**options: Any) -> EngineRequest:
    return ask("Describe this image.", RED_CIRCLE, temperature=0.0, **options)


def mixed(*parts: str | Any, system: str = "", model: str = "demo") -> EngineRequest:
    """Return a request with text and images in this order."""
    renditions = [rendition(part) for part in parts if not isinstance(part, str)]
    images = iter(renditions)
    ordered = tuple(TextPart(part) if isinstance(part, str) else ImagePart(image_id(next(images))) for part in parts)
    before = (Message("system", (TextPart(system),)),) if system else ()
    pairs = {ImagePart(image_id(image)): image for image in renditions}
    return replace(describe(), model=model, messages=(*before, Message("user", ordered)), renditions=pairs)


def call(server: RealOllama, path: str, body: Any = None) -> Any:
    """Call Ollama directly, without our code."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(server.url + path, data, {"Content-Type": "application/json"})) as answer:  # noqa: S310 (our own server)
        return json.load(answer)


def rendered(server: RealOllama, body: bytes) -> str:
    """Return the prompt that Ollama makes of a chat request."""
    info = call(server, "/api/chat", {**json.loads(body), "_debug_render_only": True})["_debug_info"]
    return str(info["rendered_template"])


# Facts about models


async def test_models_carry_what_the_engine_says_of_them(engine: OllamaEngine) -> None:
    models = {model.name: model for model in await engine.models()}
    demo = models["demo:latest"]
    assert (demo.engine, demo.vision, demo.context_length, demo.family) == ("ollama", True, 4096, "llama")
    assert (demo.parameters, demo.quantization) == ("1.38M", "F16")
    assert demo.size_bytes is not None
    assert demo.size_bytes > 5_000_000
    assert demo.facts == VisionFacts("mlp", 112, 14)
    assert not models["blind:latest"].vision
    assert models["blind:latest"].facts == VisionFacts()
    pairs = tuple(zip(PINPOINTS_16[::2], PINPOINTS_16[1::2], strict=True))
    assert models["tiles:latest"].facts == VisionFacts("mlp", 112, 14, pairs)


async def test_a_loaded_model_is_told_with_the_context_it_runs_with(own_engine: OllamaEngine) -> None:
    assert [(model.loaded, model.loaded_context) for model in await own_engine.models() if model.name == "demo:latest"] == [(False, None)]
    await said(own_engine, describe(num_ctx=3000))
    assert [(model.loaded, model.loaded_context) for model in await own_engine.models() if model.name == "demo:latest"] == [(True, 3000)]


async def test_health_tells_the_version(engine: OllamaEngine, stocked: RealOllama) -> None:
    health = await engine.health()
    assert health.ok
    assert health.version == call(stocked, "/api/version")["version"]


def show(**more: Any) -> dict[str, Any]:
    return {"model_info": {"general.architecture": "llama", "llama.context_length": 4096}, "capabilities": ["completion", "vision"], **more}


def library_of(rows: list[dict[str, Any]], shows: dict[str, Any], ps: list[dict[str, Any]] | None = None, *, broken: int = 500) -> Script:
    """Return a server with these models. It answers with the status `broken` for a model that is not in `shows`."""

    async def answer(exchange: Exchange) -> None:
        match exchange.request.path:
            case "/api/tags":
                await exchange.reply(200, {"models": rows})
            case "/api/ps":
                await exchange.reply(200, {"models": ps or []})
            case _:
                found = shows.get(exchange.request.json["model"])
                await exchange.reply(200 if found else broken, found or {"error": "broken"})

    return answer


async def test_polling_asks_for_details_only_of_what_is_new(engine_for: Callable[[FakeUpstream], OllamaEngine]) -> None:
    rows = [{"name": "one:latest", "digest": "d1"}, {"name": "alias:latest", "digest": "d1"}, {"name": "two:latest", "digest": "d2"}]
    async with fake_upstream(library_of(rows, {name: show() for name in ("one:latest", "alias:latest", "two:latest")})) as fake:
        engine = engine_for(fake)
        await engine.models()
        fake.requests.clear()
        await engine.models()
        assert sorted(request.path for request in fake.requests) == ["/api/ps", "/api/tags"]
        rows[2]["digest"] = "d3"
        fake.requests.clear()
        await engine.models()
        assert [request.json for request in fake.requests if request.path == "/api/show"] == [{"model": "two:latest"}]


@pytest.mark.parametrize("status", [404, 500])
async def test_a_model_ollama_cannot_describe_hides_no_other(engine_for: Callable[[FakeUpstream], OllamaEngine], status: int) -> None:
    rows: list[dict[str, Any]] = [
        {"name": "broken:latest", "digest": "d1", "capabilities": ["vision"]},
        {"name": "fine:latest", "digest": "d2"},
    ]
    async with fake_upstream(library_of(rows, {"fine:latest": show()}, broken=status)) as fake:
        models = await engine_for(fake).models()
    assert [(model.name, model.vision, model.context_length) for model in models] == [
        ("broken:latest", True, None),
        ("fine:latest", True, 4096),
    ]


@pytest.mark.parametrize(
    ("shown", "vision", "facts"),
    [
        pytest.param(
            show(
                model_info={
                    "general.architecture": "gemma3",
                    "gemma3.vision.image_size": 896,
                    "gemma3.vision.patch_size": 14,
                }
            ),
            True,
            VisionFacts("gemma3", 896, 14),
            id="the eye is in the model",
        ),
        pytest.param(
            show(projector_info={"clip.has_llava_projector": True, "clip.vision.image_size": 336, "clip.vision.patch_size": 14}),
            True,
            VisionFacts("mlp", 336, 14),
            id="an early LLaVA file names no projector type",
        ),
        pytest.param(
            {"projector_info": {"clip.projector_type": "mlp"}, "model_info": {}},
            True,
            VisionFacts("mlp"),
            id="an early Ollama lists no capabilities",
        ),
        pytest.param(show(capabilities=["completion"]), False, VisionFacts(), id="text only"),
        pytest.param({}, False, VisionFacts(), id="nothing said"),
    ],
)
async def test_the_eye_is_read_wherever_it_is_described(
    engine_for: Callable[[FakeUpstream], OllamaEngine], shown: dict[str, Any], vision: bool, facts: VisionFacts
) -> None:
    script = library_of([{"name": "m:latest", "digest": "d"}], {"m:latest": shown or {"license": "x"}})
    async with fake_upstream(script) as fake:
        (model,) = await engine_for(fake).models()
    assert (model.vision, model.facts) == (vision, facts)


async def test_long_lists_are_asked_for_where_they_matter(engine_for: Callable[[FakeUpstream], OllamaEngine]) -> None:
    """Ollama sends lists of more than a few items empty unless asked for everything."""

    async def answer(exchange: Exchange) -> None:
        if exchange.request.path != "/api/show":
            rows = [{"name": "m:latest", "digest": "d"}] if exchange.request.path == "/api/tags" else []
            return await exchange.reply(200, {"models": rows})
        points = [336, 672, 672, 336] if exchange.request.json.get("verbose") else []
        return await exchange.reply(200, show(projector_info={"clip.vision.image_grid_pinpoints": points}))

    async with fake_upstream(answer) as fake:
        (model,) = await engine_for(fake).models()
    assert model.facts.pinpoints == ((336, 672), (672, 336))


@pytest.mark.parametrize("model", ["llava:cloud", "llava:34b-cloud", "LLaVA:Cloud", "someone/llava:cloud "])
async def test_no_image_goes_to_the_cloud(engine_for: Callable[[FakeUpstream], OllamaEngine], model: str) -> None:
    """Ollama would send the image there, even for a model that is not installed."""
    rows = [
        {"name": "local:latest", "digest": "d1"},
        {"name": "far:latest", "digest": "d2", "remote_host": "https://ollama.com"},
        {"name": model, "digest": "d3"},
    ]
    async with fake_upstream(library_of(rows, {"local:latest": show()})) as fake:
        engine = engine_for(fake)
        assert [found.name for found in await engine.models()] == ["local:latest"]
        fake.requests.clear()
        with pytest.raises(ModelNotFound):
            await events_of(engine, ask("Describe this image.", RED_CIRCLE, model=model))
        assert fake.requests == []


# Requests


async def test_a_template_that_closes_the_answer_is_known(engine: OllamaEngine, own_engine: OllamaEngine) -> None:
    request = EngineRequest("blind", (Message("user", (TextPart("Hi"),)), Message("assistant", (TextPart("It is"),))))
    assert not await engine.continues(request)
    assert await engine.continues(replace(request, model="jinja"))
    assert await engine.continues(replace(request, model="jinja"))  # known by now
    assert not await own_engine.continues(replace(request, model="nowhere"))


async def test_images_stand_where_the_person_put_them(engine: OllamaEngine, stocked: RealOllama) -> None:
    request = mixed("Picture 1:", GREEN_SQUARE, "Picture 2:", RED_CIRCLE, "Describe the second picture.")
    prompt = rendered(stocked, chat_body(request, placed=True))
    assert prompt == "USER: Picture 1:\n[img-0]\nPicture 2:\n[img-1]\nDescribe the second picture. ASSISTANT:"
    assert await said(engine, request) == "A red circle on a white background."
    other_way = mixed("Picture 1:", RED_CIRCLE, "Picture 2:", GREEN_SQUARE, "Describe the second picture.")
    assert await said(engine, other_way) == "A green square on a white background."


async def test_one_image_before_its_text_goes_the_plain_way(stocked: RealOllama) -> None:
    """Other clients send it like this, so the model knows this prompt best."""
    assert rendered(stocked, chat_body(describe(), placed=True)) == "USER: [img-0]Describe this image. ASSISTANT:"


async def test_a_prompt_that_ollama_does_not_write_gets_no_markers(engine: OllamaEngine, stocked: RealOllama) -> None:
    request = mixed("Look:", GREEN_SQUARE, "Describe this image.", model="jinja")
    await engine.models()
    assert "square" in await said(engine, request) or "正方形" in await said(engine, request)
    assert "[img" not in rendered(stocked, chat_body(request, placed=False))


async def test_a_model_is_loaded_without_a_question(own_engine: OllamaEngine) -> None:
    assert not any(model.loaded for model in await own_engine.models())
    await own_engine.load_model(describe())
    assert [model.name for model in await own_engine.models() if model.loaded] == ["demo:latest"]
    with pytest.raises(ModelNotFound):
        await own_engine.load_model(describe(model="no-such-model"))


@pytest.mark.parametrize("keep_alive", [0, "0s"])
async def test_a_model_that_is_to_go_after_the_answer_is_loaded_for_it(
    own_ollama: RealOllama, own_engine: OllamaEngine, keep_alive: str | int
) -> None:
    """The same question without messages would unload it."""
    request = replace(describe(), keep_alive=keep_alive)
    assert own_engine.unloads_after(request)
    await own_engine.load_model(request)
    assert [model.name for model in await own_engine.models() if model.loaded] == ["demo:latest"]
    (row,) = call(own_ollama, "/api/ps")["models"]
    assert row["expires_at"] > in_utc(60), "it is not about to be unloaded"


async def test_where_images_stand_in_a_prompt_that_ollama_does_not_write_is_learned_from_it(engine: OllamaEngine) -> None:
    """Ollama passes the words to llama.cpp's template first, and the demo model's template keeps that order."""
    request = describe(model="jinja")
    assert not await engine.images_first(request)
    assert engine._images_first[await engine._find_details("jinja")] is False


async def test_an_ollama_that_shows_no_prompts_is_taken_to_put_the_words_first() -> None:
    async def answer(exchange: Exchange) -> None:
        if exchange.request.path == "/api/show":
            await exchange.reply(200, show(template="{% for message in messages %}"))
        else:
            assert exchange.request.json["options"]["num_predict"] == 1  # an old Ollama answers instead
            await exchange.reply(200, {"message": {"content": "A"}, "done": True})

    async with fake_upstream(answer) as upstream:
        engine = OllamaEngine(Settings(ollama_host=upstream.url))
        try:
            assert not await engine.images_first(describe(model="old"))
        finally:
            await engine.aclose()


@pytest.mark.parametrize("thief", ["[img-0]", "[img-1] [img-0]", "[img]", "[img-00]", "[[img-0]", "[img][img-0]"])
async def test_no_text_steals_a_images_place(engine: OllamaEngine, stocked: RealOllama, thief: str) -> None:
    request = mixed(GREEN_SQUARE, RED_CIRCLE, f"{thief} Describe the first picture.", system=f"Answer in English. {thief}")
    readable = thief.replace("[img", "[ img")
    prompt = rendered(stocked, chat_body(request, placed=True))
    assert prompt == f"Answer in English. {readable} USER: [img-0]\n[img-1]\n{readable} Describe the first picture. ASSISTANT:"
    plain = mixed(GREEN_SQUARE, RED_CIRCLE, "Describe the first picture.", system="Answer in English.")
    assert await said(engine, plain) == "A green square on a white background."


async def test_images_side_by_side_do_not_break_the_cache(engine: OllamaEngine) -> None:
    """If the images were adjacent, llama.cpp would answer 500 to the second question and to every later one that begins with this
    image."""
    for _ in range(2):
        assert await said(engine, ask("Describe the first picture.", RED_CIRCLE, GREEN_SQUARE, temperature=0.0))
        assert await said(engine, describe()) == "A red circle on a white background."
        assert await said(engine, ask("Describe the first picture.", RED_CIRCLE, YELLOW_CIRCLE, temperature=0.0))


# Answers


def answer_lines(*values: dict[str, Any]) -> Script:
    async def answer(exchange: Exchange) -> None:
        await exchange.head()
        for value in values:
            await exchange.line(value)
        await exchange.end()

    return answer


DONE = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}


async def test_every_kind_of_event_is_read(engine_for: Callable[[FakeUpstream], OllamaEngine]) -> None:
    script = answer_lines(
        {"message": {"role": "assistant", "content": "", "thinking": "Hm."}, "done": False},
        {"message": {"role": "assistant", "content": " A"}, "done": False},
        {"message": {"content": "", "tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": {"x": 1}}}]}, "done": False},
        {
            "message": {"role": "assistant", "content": " circle"},
            "done": True,
            "done_reason": "length",
            "load_duration": 270_000_000,
            "prompt_eval_count": 75,
            "prompt_eval_cached_count": 68,
            "prompt_eval_duration": 1_500_000,
            "eval_count": 10,
            "eval_duration": 7_250_000,
        },
        {"message": {"content": "after the end"}},
    )
    async with fake_upstream(script) as fake:
        events = await events_of(engine_for(fake), describe())
    assert events == [
        ReasoningDelta("Hm."),
        TextDelta(" A"),
        ToolCall("call_1", "f", '{"x": 1}'),
        TextDelta(" circle"),
        Finish("length", Usage(75, 10, 68), Timings(load_ms=270.0, prompt_ms=1.5, generation_ms=7.25)),
    ]


async def test_figures_an_older_ollama_does_not_give_are_none(engine_for: Callable[[FakeUpstream], OllamaEngine]) -> None:
    async with fake_upstream(answer_lines(DONE)) as fake:
        assert await events_of(engine_for(fake), describe()) == [Finish("stop")]


async def test_a_word_is_passed_on_before_the_next_one_comes(engine_for: Callable[[FakeUpstream], OllamaEngine]) -> None:
    more = asyncio.Event()

    async def drip(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.line({"message": {"content": "one"}})
        await more.wait()
        await exchange.line(DONE)
        await exchange.end()

    async with fake_upstream(drip) as fake, engine_for(fake).chat(describe()) as events:
        assert await anext(events) == TextDelta("one")
        more.set()
        assert await anext(events) == Finish("stop")


# Faults before the first word are raised on entering


def refusing(status: int, error: Any, content_type: str = "application/json") -> Script:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(status, error if isinstance(error, bytes) else {"error": error}, content_type)

    return answer


def inside(code: int, message: str, kind: str = "server_error", **more: Any) -> str:
    """Wrap an error of llama.cpp as Ollama does: as JSON in the text of its own error."""
    return json.dumps({"error": {"code": code, "message": message, "type": kind, **more}})


SECRET = "/usr/share/ollama/.ollama/models/blobs/sha256-0"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (refusing(404, "model 'x' not found"), ModelNotFound),
        (refusing(500, f"model requires more system memory (8.4 GiB) than is available (2.1 GiB) {SECRET}"), ModelOutOfMemory),
        (refusing(500, inside(500, "x") + f"\ncudaMalloc failed: out of memory {SECRET}"), ModelOutOfMemory),
        (refusing(500, f"llama-server process has terminated: error loading model {SECRET}"), ModelLoadFailed),
        (refusing(500, "model runner has unexpectedly stopped, this may be due to resource limitations"), UpstreamError),
        (refusing(400, inside(400, "Failed to load image or audio file")), ImageParseError),
        (refusing(400, inside(400, "Multimodal data provided, but model does not support multimodal requests.")), ModelLacksVision),
        (refusing(500, inside(500, "image input is not supported - hint: if this is unexpected")), ModelLacksVision),
        (refusing(400, '"bge-m3" does not support chat'), InvalidRequest),
        (refusing(400, 'invalid format: "x"; expected "json" or a valid JSON Schema object'), InvalidRequest),
        (refusing(500, inside(500, "got exception: Chunk not found")), UpstreamError),
        (refusing(500, f"anything else {SECRET}"), UpstreamError),
        (refusing(500, {"message": "not a text"}), UpstreamError),
        (refusing(413, b""), UpstreamProtocolError),
        (refusing(502, b"<html>Bad Gateway</html>", "text/html"), UpstreamProtocolError),
        (refusing(200, b"<html>Hello</html>", "text/html"), UpstreamProtocolError),
        (refusing(204, b""), UpstreamProtocolError),
        (refusing(500, b"[" * 60_000), UpstreamProtocolError),
    ],
)
async def test_a_refusal_is_raised_and_says_nothing_of_the_engines_words(
    engine_for: Callable[[FakeUpstream], OllamaEngine], script: Script, error: type[GatewayError]
) -> None:
    async with fake_upstream(script) as fake:
        with pytest.raises(GatewayError) as caught:
            await events_of(engine_for(fake), describe())
        assert type(caught.value) is error
        assert len(fake.requests) == 1
    for words in (caught.value.message, caught.value.hint):
        assert SECRET not in words
        assert "GiB" not in words


async def test_a_busy_ollama_is_asked_once_more(
    engine_for: Callable[[FakeUpstream], OllamaEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama, "BUSY_PAUSE", (0.0, 0.01))
    busy = refusing(503, "server busy, please try again.  maximum pending requests exceeded")
    free = answer_lines(DONE)

    async def busy_once(exchange: Exchange) -> None:
        await (busy if len(fake.requests) == 1 else free)(exchange)

    async with fake_upstream(busy_once) as fake:
        assert await events_of(engine_for(fake), describe()) == [Finish("stop")]
        assert len(fake.requests) == 2
    async with fake_upstream(busy) as fake:
        with pytest.raises(Overloaded) as caught:
            await events_of(engine_for(fake), describe())
        assert len(fake.requests) == 2
    assert caught.value.retry_after == 5


async def test_leaving_before_the_first_word_hangs_up(engine_for: Callable[[FakeUpstream], OllamaEngine]) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        asked.set()
        await exchange.hung_up()
        closed.set()

    async with fake_upstream(hang) as fake:
        task = asyncio.create_task(events_of(engine_for(fake), describe()))
        await until(asked.is_set)
        task.cancel()
        await until(closed.is_set)
        with suppress(asyncio.CancelledError):
            await task


# Later faults are raised after the events before them


async def cut_line(exchange: Exchange) -> None:
    await exchange.chunk(b'{"message": {"content": " A re')
    await exchange.end()


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def cut_chunk(exchange: Exchange) -> None:
    await exchange.send(b'ff\r\n{"message"')


async def end(exchange: Exchange) -> None:
    await exchange.end()


def then(*data: bytes) -> Script:
    async def answer(exchange: Exchange) -> None:
        for piece in data:
            await exchange.chunk(piece)
        await exchange.end()

    return answer


def error_line(value: Any) -> Script:
    return then(json.dumps({"error": value}).encode() + b"\n")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (reset, UpstreamDisconnected),
        (cut_chunk, UpstreamDisconnected),
        (cut_line, UpstreamProtocolError),
        (end, UpstreamIncomplete),
        (then(b"not json\n"), UpstreamProtocolError),
        (then(b'{"message": {"content": "\xff"}}\n'), UpstreamProtocolError),
        (then(b'{"message": {"content": "\\ud83d"}}\n'), UpstreamProtocolError),
        (then(b'{"message": {"content": 5}}\n'), UpstreamProtocolError),
        (then(b'{"message": {"tool_calls": 5}}\n'), UpstreamProtocolError),
        (then(b'{"message": {"tool_calls": [{}]}}\n'), UpstreamProtocolError),
        (then(b'{"x": "', *[b"x" * 65536] * 17), UpstreamProtocolError),
        (error_line("prediction aborted, token repeat limit reached"), UpstreamIncomplete),
        (error_line("an error was encountered while running the model: unexpected EOF"), UpstreamError),
        (error_line(inside(500, f"something {SECRET}")), UpstreamError),
        (error_line("ggml_cuda: out of memory"), ModelOutOfMemory),
        (error_line(None), UpstreamError),
    ],
)
async def test_a_fault_in_the_middle_is_one_failed_at_the_end(
    engine_for: Callable[[FakeUpstream], OllamaEngine], fault: Script, error: type[GatewayError]
) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.head()
        await exchange.line({"message": {"content": " A"}})
        await fault(exchange)

    async with fake_upstream(answer) as fake:
        events, failed = await events_until_failure(engine_for(fake), describe())
    assert events == [TextDelta(" A")]
    assert type(failed) is error
    assert SECRET not in failed.message + failed.hint


# The same on a real Ollama


async def test_real_refusals(engine: OllamaEngine) -> None:
    with pytest.raises(ModelNotFound):
        await events_of(engine, ask("Hello", model="a b//c"))
    with pytest.raises(ModelLacksVision):
        await events_of(engine, ask("Describe this image.", RED_CIRCLE, model="blind"))
    request = describe()
    damaged = {key: Rendition((Piece(b"GIF89a and no image", "PNG", 112, 112),)) for key in request.renditions}
    with pytest.raises(ImageParseError):
        await events_of(engine, replace(request, renditions=damaged))
    assert await said(engine, request) == "A red circle on a white background."


async def test_an_answer_that_repeats_itself_is_not_whole(engine: OllamaEngine) -> None:
    _, failed = await events_until_failure(engine, ask("Hello", model="stutter", temperature=0.0, num_predict=2000))
    assert isinstance(failed, UpstreamIncomplete)


async def test_a_runner_that_crashes_is_told_from_an_ollama_that_is_gone(
    own_ollama: RealOllama, own_engine: OllamaEngine, stocked: RealOllama
) -> None:
    assert "tiles:latest" in [model.name for model in await own_engine.models()]
    async with own_engine.chat(ask("Hello", model="tiles", **ENDLESS)) as answer:
        await anext(answer)
        for pid in children(own_ollama.process.pid):
            os.kill(pid, signal.SIGKILL)
        _, failed = await until_it_fails(answer)
    assert type(failed) is UpstreamError
    assert await said(own_engine, describe()) == "A red circle on a white background."


async def test_a_restarted_ollama_answers_again(own_ollama: RealOllama, own_engine: OllamaEngine, tmp_path: Path) -> None:
    assert await said(own_engine, describe())
    own_ollama.kill()
    with pytest.raises(UpstreamUnavailable):
        await events_of(own_engine, describe())
    assert not (await own_engine.health()).ok
    again = RealOllama.start(own_ollama.binary, tmp_path, models=own_ollama.models, port=int(own_ollama.url.rpartition(":")[2]))
    try:
        assert (await own_engine.health()).ok
        assert await said(own_engine, describe()) == "A red circle on a white background."
    finally:
        again.stop()


async def test_leaving_stops_ollamas_work(engine: OllamaEngine) -> None:
    """Ollama works on one answer at a time: the next would wait for minutes for this one, 60,000 tokens long."""
    async with engine.chat(ask("Hello", model="tiles", **ENDLESS, num_predict=60_000)) as events:
        assert isinstance(await anext(events), TextDelta)
    async with asyncio.timeout(20):
        await said(engine, ask("Hello", model="tiles", **ENDLESS, num_predict=1))


async def test_the_second_turn_costs_only_its_own_words(engine: OllamaEngine) -> None:
    first = ask("Describe this image.", YELLOW_CIRCLE, temperature=0.0)
    answer = await said(engine, first)
    second = ask("What color is the circle?", earlier=first, history=(Message("assistant", (TextPart(answer),)),), temperature=0.0)
    usage = (await finish_of(engine, second)).usage
    assert usage.prompt_tokens is not None
    assert usage.cached_tokens is not None
    assert usage.cached_tokens >= 75
    assert usage.prompt_tokens - usage.cached_tokens < 25


# Loading


async def test_loading_is_announced_with_its_reason_and_how_long_it_took_last(own_engine: OllamaEngine, own_ollama: RealOllama) -> None:
    await own_engine.models()
    assert await own_engine.loading(describe()) == Loading("demo", note("model_not_loaded", model="demo"), None)
    first = (await finish_of(own_engine, describe())).timings.load_ms
    assert first is not None
    loaded = own_ollama.runners()
    assert await own_engine.loading(describe()) is None
    assert await own_engine.loading(describe(num_ctx=4096)) is None
    assert await own_engine.loading(describe(num_ctx=100_000)) is None, "Ollama takes no more than the trained context"
    assert await own_engine.loading(describe(num_ctx=3000)) == Loading(
        "demo", note("option_changed", option="num_ctx", old=4096, new=3000), first
    )

    second = (await finish_of(own_engine, describe(num_ctx=3000))).timings.load_ms
    assert second is not None
    again = own_ollama.runners()
    assert not again & loaded
    assert await own_engine.loading(describe(num_ctx=3000)) is None
    back = await own_engine.loading(describe())
    assert back is not None
    assert back.last_load_ms == second
    await said(own_engine, describe())
    assert not own_ollama.runners() & again, "the announcement was right: without num_ctx Ollama goes back to its own"


async def test_num_ctx_below_what_ollama_gives_a_model_with_vision_is_no_change(own_engine: OllamaEngine, own_ollama: RealOllama) -> None:
    await own_engine.models()
    await said(own_engine, describe(num_ctx=512))
    loaded = own_ollama.runners()
    assert await own_engine.loading(describe(num_ctx=1024)) is None
    await said(own_engine, describe(num_ctx=1024))
    assert own_ollama.runners() == loaded


async def test_a_change_of_num_thread_loads_again(own_engine: OllamaEngine, own_ollama: RealOllama) -> None:
    await own_engine.models()
    await said(own_engine, describe())
    loaded = own_ollama.runners()
    assert await own_engine.loading(describe(num_thread=1)) is None  # as its Modelfile says
    loading = await own_engine.loading(describe(num_thread=2))
    assert loading is not None
    assert loading.reason == note("option_changed", option="num_thread", old=1, new=2)
    await said(own_engine, describe(num_thread=2))
    assert not own_ollama.runners() & loaded
    assert await own_engine.loading(describe(num_thread=2)) is None
    back = await own_engine.loading(describe())
    assert back is not None
    assert back.reason == note("option_changed", option="num_thread", old=2, new=1)


async def test_a_change_of_num_gpu_loads_again(own_engine: OllamaEngine, own_ollama: RealOllama) -> None:
    await said(own_engine, describe())
    loaded = own_ollama.runners()
    assert await own_engine.loading(describe(num_gpu=-1)) is None
    loading = await own_engine.loading(describe(num_gpu=0))
    assert loading is not None
    assert loading.reason == note("option_changed", option="num_gpu", new=0)
    await said(own_engine, describe(num_gpu=0))
    assert not own_ollama.runners() & loaded
    assert await own_engine.loading(describe(num_gpu=0)) is None


async def test_sampling_options_load_nothing(own_engine: OllamaEngine, own_ollama: RealOllama) -> None:
    await said(own_engine, describe())
    loaded = own_ollama.runners()
    request = ask("Describe this image.", RED_CIRCLE, temperature=1.0, top_k=5, seed=3, stop=("x",), num_predict=3)
    assert await own_engine.loading(request) is None
    await said(own_engine, request)
    assert own_ollama.runners() == loaded


@pytest.mark.parametrize(("keep_alive", "stays"), [("-1", True), ("1h", True), (0, False)])
async def test_keep_alive_is_heeded(own_ollama: RealOllama, own_engine: OllamaEngine, keep_alive: str | int, stays: bool) -> None:
    await said(own_engine, replace(describe(), keep_alive=keep_alive))
    if stays:
        assert call(own_ollama, "/api/ps")["models"]
    else:  # it unloads a moment after the answer
        await until(lambda: not call(own_ollama, "/api/ps")["models"])
    running = call(own_ollama, "/api/ps")["models"]
    assert all(row["expires_at"] > in_utc(3000) for row in running)


async def test_what_was_seen_loaded_a_moment_ago_is_asked_for_only_where_a_load_is_likely(
    engine_for: Callable[[FakeUpstream], OllamaEngine],
) -> None:
    loaded = [{"name": "demo:latest", "digest": "d1", "context_length": 4096}]
    async with fake_upstream(library_of(loaded, {"demo:latest": show()}, loaded)) as fake:
        engine = engine_for(fake)
        await engine.models()
        fake.requests.clear()
        assert await engine.loading(describe()) is None
        assert fake.requests == []
        assert await engine.loading(describe(num_ctx=3000)) is not None
        assert await engine.loading(describe()) is None
        assert [request.path for request in fake.requests] == ["/api/ps"] * 2, "what was seen before a load may not be true after it"


async def test_loading_never_fails(engine_for: Callable[[FakeUpstream], OllamaEngine]) -> None:
    for script in (refusing(500, "x"), refusing(200, b"[]"), refusing(200, b'{"models": 5}'), refusing(200, b"{}")):
        async with fake_upstream(script) as fake:
            loading = await engine_for(fake).loading(describe())
            assert loading is None or loading.reason == note("model_not_loaded", model="demo")


def in_utc(seconds: float) -> str:
    """The time that it will be in so many seconds, as Ollama writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + seconds))


def children(parent: int) -> Iterator[int]:
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it may end in between
            if f"\nPPid:\t{parent}\n" in status.read_text():
                yield int(status.parent.name)
