"""A conversation that a client sends as a whole is cut where a session with the same turns is, and finds the engine's cache."""

from __future__ import annotations

import pytest

from llava_gateway.answers import Answer
from llava_gateway.chat import ChatRequest, Message
from llava_gateway.options import Options
from llava_gateway.parts import TextPart, Upload
from llava_gateway.settings import ModelPins, Settings
from tests.gateways import ask, open_gateway
from tests.ollama_server import RealOllama
from tests.sample_images import encoded, shape
from tests.session_values import a_session

pytestmark = pytest.mark.real

TURNS = 30
IMAGES = {0: shape("circle", "red"), 8: shape("square", "blue"), 16: shape("square", "green")}
TALK = ("What is in this picture?", "What color is the background?", "Describe this image.", "What do you see?")

PLEASE = "Please look at it once more, take all the time that you need, and then answer in one short sentence."


def user_request(turn: int) -> tuple[Upload | TextPart, ...]:
    about = TextPart(f"{TALK[turn % len(TALK)]} {PLEASE}")
    return (Upload(encoded(IMAGES[turn])), about) if turn in IMAGES else (about,)


@pytest.fixture(params=["embedded", "ollama"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """Return settings whose context is too small for thirty turns. Ollama gives vision models at least 2048 tokens, so there the
    answers reserve more of them."""
    if request.param == "embedded":
        return Settings(engine="embedded", model="demo", models={"demo": ModelPins(num_ctx=1024)}, image_workers=1)
    url = request.getfixturevalue("real_ollama").url
    return Settings(engine="ollama", model="demo", ollama_host=url, models={"demo": ModelPins(num_ctx=2048)}, image_workers=1)


def options(settings: Settings) -> Options:
    """Return options that leave about the same room in both contexts: `num_predict` tokens of the context stay reserved for the answer."""
    return Options(temperature=0, num_predict=64 if settings.engine == "embedded" else 1024)


async def test_a_stateless_conversation_is_cut_where_the_session_is(settings: Settings) -> None:
    stateless: list[Answer] = []
    async with open_gateway(settings) as gateway:
        await ask(gateway, TextPart("Hello"), options=options(settings))  # Ollama counts exactly only for a loaded model
        session = gateway.sessions.create(a_session(policy="pin_images"))
        in_session = [await ask(gateway, *user_request(turn), session=session, options=options(settings)) for turn in range(TURNS)]
        history: tuple[Message, ...] = ()
        for turn in range(TURNS):
            request = ChatRequest((*history, Message("user", user_request(turn))), options=options(settings), policy="pin_images")
            stateless.append(await gateway.answer(request))
            # A client repeats the answers that it got. Here it repeats the session's answers, so that both have the same turns.
            history = (*request.messages, Message("assistant", (TextPart(in_session[turn].text),)))

    cuts = [dropped(answer) for answer in in_session]
    assert [dropped(answer) for answer in stateless] == cuts
    moved = [turn for turn in range(1, TURNS) if cuts[turn] != cuts[turn - 1]]
    assert 2 <= len(moved) <= TURNS // 3, "it had to be cut, in large steps"
    assert all(image_id is None for _, image_id in cuts[-1]), "the images stay"
    for turn in set(range(1, TURNS)) - set(moved):
        cached, before = stateless[turn].usage.cached_tokens, stateless[turn - 1].usage.prompt_tokens
        assert cached is not None
        assert before is not None
        assert cached >= before - 8, f"turn {turn} found the prompt of the turn before it in the engine's cache"
    assert [answer.usage.prompt_tokens for answer in stateless] == [answer.usage.prompt_tokens for answer in in_session]


def dropped(answer: Answer) -> list[tuple[int, str | None]]:
    """Return what is no longer sent: the text of a turn, or one of its images."""
    return [(item.turn, item.image_id) for item in answer.context.dropped]


async def test_a_model_that_is_not_loaded_is_sent_what_it_gets_when_it_is(own_ollama: RealOllama) -> None:
    """Ollama reports the context of loaded models only, so its rejection reveals it. The next turn finds the same prompt in the cache."""
    history: tuple[Message, ...] = ()
    for turn in range(100):
        words = f"{turn} " + TALK[turn % len(TALK)] * (5 + turn * 7 % 11)
        history += (Message("user", (TextPart(words),)), Message("assistant", (TextPart("A red circle."),)))
    question = Message("user", (Upload(encoded(IMAGES[0])), TextPart("Describe this image.")))
    brief = Options(temperature=0, num_predict=16)
    async with open_gateway(Settings(engine="ollama", model="demo", ollama_host=own_ollama.url, image_workers=1)) as gateway:
        first = await gateway.answer(ChatRequest((*history, question), options=brief, policy="pin_images"))
        then = (question, Message("assistant", (TextPart(first.text),)), Message("user", (TextPart("What color is it?"),)))
        ahead = await gateway.read_ahead(ChatRequest((*history, *then), options=brief, policy="pin_images"))
        second = await gateway.answer(ChatRequest((*history, *then), options=brief, policy="pin_images"))
    assert dropped(second) == dropped(first) != []
    assert ahead.status == "read"
    assert first.usage.prompt_tokens
    assert ahead.usage.cached_tokens
    assert ahead.usage.cached_tokens >= first.usage.prompt_tokens - 8
    assert second.usage.cached_tokens
    assert second.usage.prompt_tokens
    assert second.usage.cached_tokens >= second.usage.prompt_tokens - 8
