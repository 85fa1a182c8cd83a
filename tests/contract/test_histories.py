"""Conversations in every order of roles, as the engines' own templates write them: what a client sends reaches the model as it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from llava_gateway.chat import ChatRequest, EngineRequest, Finish, Message, NamedTool, TextDelta, Tool, ToolCall
from llava_gateway.engines.counting import without_pixels
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.engines.modelfile import parse_modelfile
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.engines.ollama_library import OllamaLibrary
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.notes import note
from llava_gateway.options import Options
from llava_gateway.parts import ReasoningPart, TextPart, ToolCallPart, ToolResultPart, Upload
from llava_gateway.settings import Settings
from tests.gateways import open_gateway
from tests.ollama_server import RealOllama
from tests.sample_images import encoded, shape
from tests.synthetic_llava import SyntheticPair, write_pair
from tests.tool_template import CALL_BEGINS, NO_THOUGHT, TOOL_TEMPLATE

ENGINES = ("embedded", "ollama")
DEMO = Path(__file__).parents[2] / "src" / "llava_gateway" / "demo"
SOBER = Options(temperature=0, num_predict=20)
WEATHER = Tool(
    "weather",
    "Tells the weather of a city.",
    {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]},
)
LEGACY_TEMPLATE = "{{ .System }}\nUSER: {{ .Prompt }}\nASSISTANT: "
"""That of llava:7b in Ollama's library."""


def user(*parts: str | Upload) -> Message:
    return Message("user", tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def assistant(text: str) -> Message:
    return Message("assistant", (TextPart(text),))


def system(text: str) -> Message:
    return Message("system", (TextPart(text),))


@pytest.fixture(scope="session")
def tool_pair(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPair:
    """A model whose template knows tools and thoughts."""
    return write_pair(tmp_path_factory.mktemp("tools"), name="tools", template=TOOL_TEMPLATE)


@pytest.fixture(scope="session")
def taught_ollama(real_ollama: RealOllama, tool_pair: SyntheticPair) -> RealOllama:
    """A real Ollama with that model, whose prompts llama.cpp writes, and with `legacy`, which has the template of llava:7b."""

    async def create() -> None:
        library = OllamaLibrary(real_ollama.url)
        models = (
            ("tools", tool_pair.gguf.parent, f"FROM {tool_pair.gguf.name}\nFROM {tool_pair.mmproj.name}\nPARAMETER num_thread 1"),
            ("legacy", DEMO, f'FROM demo.gguf\nFROM demo-mmproj.gguf\nTEMPLATE """{LEGACY_TEMPLATE}"""\nPARAMETER num_thread 1'),
        )
        for name, folder, modelfile in models:
            async for _ in library.create(name, parse_modelfile(modelfile), folder):
                pass
        await library.aclose()

    asyncio.run(create())
    return real_ollama


@dataclass(frozen=True)
class Place:
    """A gateway with one engine; `renders` gives the prompt that the engine makes of a request."""

    gateway: Gateway

    async def request(self, request: ChatRequest) -> EngineRequest:
        return (await self.gateway.count_tokens(replace(request, annotate=False))).engine_request

    async def renders(self, request: ChatRequest) -> str:
        sent = without_pixels(await self.request(request))
        engine = next(iter(self.gateway.pool.engines))
        if isinstance(engine, OllamaEngine):
            suited, placed = await engine._suited(sent)
            return await engine._rendered(suited, placed=placed)
        assert isinstance(engine, EmbeddedEngine)
        assert engine._child
        return await engine._child.load.result().api._rendered(sent)

    async def continues(self, request: ChatRequest) -> bool:
        """Whether the engine says that the model goes on behind the beginning of an answer."""
        return await next(iter(self.gateway.pool.engines)).continues(await self.request(request))

    async def counts_as_answered(self, request: ChatRequest) -> None:
        """Assert that, once the model is loaded, the engine's count equals that of its answer."""
        engine = next(iter(self.gateway.pool.engines))
        sent = await self.request(replace(request, options=Options(num_predict=1)))
        async with engine.chat(sent) as answer:
            end = [event async for event in answer][-1]
        assert isinstance(end, Finish)
        count = await engine.count(sent)
        assert count is not None
        assert (count.total, count.label) == (end.usage.prompt_tokens, "exact")

    async def answer(self, request: ChatRequest) -> tuple[str, list[ToolCall]]:
        """The words of the answer, as the engine gives them, and its calls of tools."""
        sent = await self.request(replace(request, options=request.options.over(SOBER)))
        async with next(iter(self.gateway.pool.engines)).chat(sent) as answer:
            events = [event async for event in answer]
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        return text, [event for event in events if isinstance(event, ToolCall)]


@pytest.fixture(params=ENGINES)
def demo_settings(request: pytest.FixtureRequest) -> Settings:
    if request.param == "embedded":
        return Settings(engine="embedded", model="demo", image_workers=1)
    return Settings(engine="ollama", model="demo", ollama_host=request.getfixturevalue("real_ollama").url, image_workers=1)


@pytest.fixture(params=ENGINES)
def tools_settings(request: pytest.FixtureRequest, tool_pair: SyntheticPair) -> Settings:
    if request.param == "embedded":
        return Settings(engine="embedded", gguf=tool_pair.gguf, mmproj=tool_pair.mmproj, image_workers=1)
    return Settings(engine="ollama", model="tools", ollama_host=request.getfixturevalue("taught_ollama").url, image_workers=1)


@pytest.fixture
async def demo(demo_settings: Settings) -> AsyncIterator[Place]:
    async with open_gateway(demo_settings) as gateway:
        yield Place(gateway)


@pytest.fixture
async def tools(tools_settings: Settings) -> AsyncIterator[Place]:
    async with open_gateway(tools_settings) as gateway:
        yield Place(gateway)


def in_order(prompt: str, *texts: str) -> bool:
    """Whether each text is in the prompt once, one behind the other."""
    places = [prompt.find(text) for text in texts]
    return -1 not in places and places == sorted(places) and all(prompt.count(text) == 1 for text in texts)


HISTORIES = {
    "assistant first": (assistant("Ask me."), user("One?")),
    "system in the middle": (user("One?"), assistant("Yes."), system("Be brief."), user("Two?")),
    "two systems": (system("Be brief."), user("One?"), assistant("Yes."), system("Be loud."), user("Two?")),
    "users in a row": (user("One?"), user("Two?"), assistant("Yes."), user("Three?"), user("Four?")),
    "assistants in a row": (user("One?"), assistant("Yes."), assistant("Sure."), user("Two?")),
    "system last": (user("One?"), system("Be brief.")),
    "a begun answer": (user("One?"), assistant("Yes."), user("Two?"), assistant("It is")),
    "nothing but a begun answer": (assistant("It is"),),
}


@pytest.mark.parametrize("name", HISTORIES)
async def test_a_history_reaches_the_model_in_its_order(demo: Place, name: str) -> None:
    prompt = await demo.renders(ChatRequest(HISTORIES[name]))
    assert in_order(prompt, *(message.text for message in HISTORIES[name])), prompt


@pytest.mark.parametrize("name", HISTORIES)
async def test_a_history_reaches_a_model_with_tools_in_its_order(tools: Place, name: str) -> None:
    prompt = await tools.renders(ChatRequest(HISTORIES[name]))
    assert in_order(prompt, *(message.text for message in HISTORIES[name])), prompt


async def test_images_stay_in_their_messages(demo: Place) -> None:
    red, blue = (Upload(encoded(shape("circle", colour))) for colour in ("red", "blue"))
    prompt = await demo.renders(ChatRequest((user("First:", red), assistant("Yes."), user(blue, "Second."))))
    marks = ("[img-0]", "[img-1]") if "[img-0]" in prompt else ("<__media",)
    assert sum(map(prompt.count, marks)) == 2
    first, second = (prompt.find(marks[0]), prompt.rfind(marks[-1]))
    assert prompt.find("First:") < first < prompt.find("Yes.") < second < prompt.find("Second."), prompt


async def test_a_begun_answer_ends_the_prompt(demo: Place) -> None:
    question = user(Upload(encoded(shape("circle", "red"))), "Describe this image.")
    request = ChatRequest((question, assistant("A red")))
    assert (await demo.renders(request)).endswith("A red")
    assert await demo.continues(request)
    assert (await demo.answer(request))[0] == " circle on a white background."
    answer = await demo.gateway.answer(replace(request, options=SOBER))
    assert answer.text == " circle on a white background."


async def test_a_begun_answer_ends_the_prompt_of_a_model_that_thinks(tools: Place) -> None:
    """llama.cpp has it think no more; Ollama, where llama.cpp writes the prompt, does the same."""
    prompt = await tools.renders(request := ChatRequest((user("One?"), assistant("It is"))))
    assert await tools.continues(request)
    assert prompt.endswith(f"<|im_start|>assistant\n{NO_THOUGHT}It is")


async def test_a_begun_answer_ends_the_prompt_of_llava(taught_ollama: RealOllama) -> None:
    async with open_gateway(Settings(engine="ollama", model="legacy", ollama_host=taught_ollama.url, image_workers=1)) as gateway:
        place = Place(gateway)
        assert (await place.renders(request := ChatRequest((user("One?"), assistant("It is"))))).endswith("ASSISTANT: It is")
        assert await place.continues(request)
        prompt = await place.renders(ChatRequest((assistant("Ask me."), user("One?"))))
    assert in_order(prompt, "Ask me.", "One?")


CALLED = (
    user("How is Rome?"),
    Message("assistant", (ReasoningPart("I should look."), ToolCallPart("c1", "weather", '{"city": "Rome"}'))),
    Message("tool", (ToolResultPart("c1", "weather"), TextPart("Sunny."))),
)


async def test_tools_calls_and_results_reach_the_model(tools: Place) -> None:
    prompt = await tools.renders(ChatRequest((system("Be brief."), *CALLED), tools=(WEATHER,)))
    assert in_order(prompt, "Be brief.", "Tells the weather of a city.", "How is Rome?", '"Rome"', "<tool_response>\nSunny."), prompt


async def test_what_tools_take_is_counted(tools: Place) -> None:
    result = Message("tool", (ToolResultPart("c1", "weather"), TextPart("Sunny."), Upload(encoded(shape("circle", "red")))))
    await tools.counts_as_answered(ChatRequest((*CALLED[:2], result), tools=(WEATHER,)))


@pytest.mark.usefixtures("taught_ollama")
async def test_what_tools_take_is_estimated_before_the_model_is_loaded(own_ollama: RealOllama) -> None:
    request = EngineRequest("tools", CALLED, tools=(WEATHER,), options=Options(num_predict=1))
    engine = OllamaEngine(Settings(ollama_host=own_ollama.url))
    try:
        estimate = await engine.count(request)
        async with engine.chat(request) as answer:
            async for _ in answer:
                pass
        count = await engine.count(request)
    finally:
        await engine.aclose()
    assert estimate is not None
    assert count is not None
    assert (estimate.label, count.label) == ("estimated", "exact")
    assert 0.5 * count.total < estimate.total < 1.5 * count.total


@pytest.mark.parametrize("name", ["assistant first", "system in the middle", "users in a row", "a begun answer"])
async def test_any_history_is_counted(demo: Place, name: str) -> None:
    await demo.counts_as_answered(ChatRequest(HISTORIES[name]))


async def test_calls_told_in_words_are_counted(demo: Place) -> None:
    await demo.counts_as_answered(ChatRequest(CALLED))


async def test_an_earlier_thought_reaches_the_model(tools: Place) -> None:
    """Ollama leaves it out where llama.cpp writes the prompt."""
    prompt = await tools.renders(ChatRequest(CALLED, tools=(WEATHER,)))
    assert ("I should look." in prompt) == isinstance(next(iter(tools.gateway.pool.engines)), EmbeddedEngine), prompt


async def test_the_image_of_a_result_stands_in_the_result(tools: Place) -> None:
    result = Message("tool", (ToolResultPart("c1", "weather"), TextPart("Sunny."), Upload(encoded(shape("circle", "red")))))
    prompt = await tools.renders(ChatRequest((*CALLED[:2], result), tools=(WEATHER,)))
    response = prompt.partition("<tool_response>")[2].partition("</tool_response>")[0]
    assert "Sunny." in response
    assert "<__" in response, prompt


async def test_calls_and_results_are_told_in_words_to_a_model_without_tools(demo: Place) -> None:
    prompt = await demo.renders(ChatRequest(CALLED))
    assert in_order(prompt, "USER: How is Rome?", 'ASSISTANT: weather({"city": "Rome"})', "USER: weather:\nSunny."), prompt


@pytest.mark.parametrize("think", [True, False])
async def test_the_template_is_told_whether_to_think(tools: Place, think: bool) -> None:
    request = ChatRequest((user("One?"),), think=think)
    assert (await tools.renders(request)).endswith(NO_THOUGHT) is not think
    await tools.answer(request)
    assert next(iter(tools.gateway.pool.engines)).ignored_fields(await tools.request(request)) == ()


async def test_a_call_of_a_tool_comes_as_one(tool_pair: SyntheticPair) -> None:
    """The answer is begun as a call, and the grammar of the tool leaves the model no other way to go on. (In Ollama no tool can be
    required.)"""
    request = ChatRequest((user("How is Rome?"), assistant(CALL_BEGINS)), tools=(WEATHER,), tool_choice=NamedTool("weather"))
    settings = Settings(engine="embedded", gguf=tool_pair.gguf, mmproj=tool_pair.mmproj, image_workers=1)
    async with open_gateway(settings) as gateway:
        text, calls = await Place(gateway).answer(replace(request, options=Options(num_predict=200)))
    assert text == ""
    assert {call.name for call in calls} == {"weather"}
    assert set(json.loads(calls[0].arguments)) == {"city"}


async def test_probabilities_are_told_as_ignored_beside_tools(tool_pair: SyntheticPair) -> None:
    """llama-server refuses both at once in a stream."""
    request = ChatRequest((user("Hello"),), tools=(WEATHER,), logprobs=1, options=SOBER)
    settings = Settings(engine="embedded", gguf=tool_pair.gguf, mmproj=tool_pair.mmproj, image_workers=1)
    async with open_gateway(settings) as gateway:
        answer = await gateway.answer(request)
    assert answer.logprobs == ()
    assert note("option_ignored", option="logprobs") in answer.warnings
