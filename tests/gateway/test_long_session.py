"""A session of 150 turns in a context of 2048 tokens, on both real engines: nothing that should stay is forgotten."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from llava_gateway.answers import Answer
from llava_gateway.chat import TokenCount, user_request
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.options import Options
from llava_gateway.parts import TextPart, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.settings import ModelPins, Settings
from tests.gateways import ask, open_gateway
from tests.sample_images import encoded, shape

pytestmark = pytest.mark.real

TURNS = 150
IMAGES = {0: shape("circle", "red"), 45: shape("square", "blue"), 90: shape("square", "green")}
ABOUT_THE_FIRST = "What color is the circle in the first picture?"
TALK = ("What is in this picture?", "What color is the background?", "Describe this image.", "What do you see?")
ROOM = 256
SOBER = Options(temperature=0, num_predict=ROOM)


@dataclass(frozen=True)
class Told:
    """One turn: the predicted token count, and the answer."""

    predicted: TokenCount
    answer: Answer
    start: int

    @property
    def prompt(self) -> int:
        assert self.answer.usage.prompt_tokens
        return self.answer.usage.prompt_tokens


async def next_turn(gateway: Gateway, session: Session, *parts: TextPart | Upload) -> Told:
    predicted = (await gateway.count_tokens(user_request(*parts, session_id=session.id, options=SOBER))).fitted.count
    assert predicted
    answer = await ask(gateway, *parts, session=session, options=SOBER)
    return Told(predicted, answer, gateway.sessions.get(session.id).prompt_state.window.start)


@pytest.fixture(params=["embedded", "ollama"])
def settings(request: pytest.FixtureRequest) -> Settings:
    pins = {"demo": ModelPins(num_ctx=2048)}
    if request.param == "embedded":
        return Settings(engine="embedded", model="demo", models=pins, image_workers=1)
    return Settings(engine="ollama", model="demo", ollama_host=request.getfixturevalue("real_ollama").url, models=pins, image_workers=1)


async def test_150_turns_with_3_images(settings: Settings) -> None:
    told: list[Told] = []
    async with open_gateway(settings) as gateway:
        await ask(gateway, TextPart("Hello"), options=SOBER)  # Ollama counts exactly only for a loaded model
        session = gateway.sessions.create(Session())
        for number in range(TURNS):
            if number in IMAGES:
                parts = (Upload(encoded(IMAGES[number])), TextPart("Describe this image."))
                told.append(await next_turn(gateway, session, *parts))
            else:
                about = number % 10 == 9 or number == TURNS - 1
                told.append(await next_turn(gateway, session, TextPart(ABOUT_THE_FIRST if about else TALK[number % len(TALK)])))
        told.append(await next_turn(gateway, session, TextPart("Describe the first picture.")))
        kept = gateway.sessions.get(session.id)

    answers = [one.answer.text for one in told]
    assert [answers[turn] for turn in IMAGES] == [
        "A red circle on a white background.",
        "A blue square on a white background.",
        "A green square on a white background.",
    ]
    assert answers[TURNS - 1] == "The circle is red."
    assert answers[-1] == "A red circle on a white background."
    by_the_way = [answers[turn] == "The circle is red." for turn in range(9, TURNS, 10)]
    assert sum(by_the_way) >= 0.75 * len(by_the_way), "the demo model is right in 88 % of questions by number"

    assert [one.predicted.total for one in told] == pytest.approx([one.prompt for one in told], rel=0.01)
    assert all(one.answer.context.limit == 2048 and one.prompt <= 2048 - ROOM for one in told)

    moved = [turn for turn in range(1, len(told)) if told[turn].start != told[turn - 1].start]
    assert 2 <= len(moved) <= len(told) // 10
    for turn in range(1, len(told)):
        if turn not in moved:  # the engine had the whole previous turn in its cache, images included
            cached = told[turn].answer.usage.cached_tokens
            assert cached is not None
            assert cached >= told[turn - 1].prompt - 8, turn
    gone = told[-1].answer.context.dropped
    assert gone
    assert all(item.image_id is None for item in gone)
    assert len(kept.turns) == TURNS + 1
    assert sum(warning.code == "context_trimmed" for one in told for warning in one.answer.warnings) == len(moved)
