"""What we add to the user's words in the prompt, as the templates of the real engines write it."""

from __future__ import annotations

import pytest

from llava_gateway.chat import EngineRequest, user_request
from llava_gateway.context.window import Window
from llava_gateway.context.words import ocr_note
from llava_gateway.engines.counting import without_pixels
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.engines.ollama import OllamaEngine
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.options import Options
from llava_gateway.parts import TextPart, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings
from tests.gateways import ask, open_gateway
from tests.sample_images import encoded, shape
from tests.session_values import a_session, changing

DESCRIBE = TextPart("Describe this image.")
SOBER = Options(temperature=0, num_predict=40)
QUESTION = TextPart("What color is it?")


async def rendered(gateway: Gateway, request: EngineRequest) -> str:
    """Return the prompt, with the engine's own marker for each image."""
    engine = next(iter(gateway.pool.engines))
    if isinstance(engine, OllamaEngine):
        return await engine._rendered(without_pixels(request), placed=True)
    assert isinstance(engine, EmbeddedEngine)
    assert engine._child
    return await engine._child.load.result().api._rendered(without_pixels(request))


async def next_prompt(gateway: Gateway, session: Session, *parts: TextPart) -> str:
    """Return the prompt of the next question."""
    prompt = await gateway.count_tokens(user_request(*parts, QUESTION, session_id=session.id))
    return await rendered(gateway, prompt.engine_request)


async def two_images(gateway: Gateway) -> Session:
    """Return a session in which a circle and then a square were described."""
    session = gateway.sessions.create(a_session(system="Be brief.", glossary=("Bauhaus: a school of design",)))
    for image in (shape("circle", "red"), shape("square", "blue")):
        await ask(gateway, Upload(encoded(image)), DESCRIBE, session=session, options=SOBER)
    return gateway.sessions.get(session.id)


@pytest.fixture(params=["embedded", "ollama"])
def settings(request: pytest.FixtureRequest) -> Settings:
    if request.param == "embedded":
        return Settings(engine="embedded", model="demo", image_workers=1, reanchor_tokens=20)
    return Settings(
        engine="ollama", model="demo", ollama_host=request.getfixturevalue("real_ollama").url, image_workers=1, reanchor_tokens=20
    )


async def test_what_was_dropped_leaves_a_line_and_a_summary_where_it_stood(settings: Settings) -> None:
    async with open_gateway(settings) as gateway:
        session = await two_images(gateway)
        gateway.sessions.change(session.id, changing(policy="sliding", window=Window(start=2, summary="Two shapes were described.")))
        prompt = await next_prompt(gateway, session)
    lines = (
        "Be brief.",
        "Names and terms that may occur:\n- Bauhaus: a school of design",
        "(Summary of what was said before: Two shapes were described.)",
        "(Picture 1 is no longer shown. It was described as: A red circle on a white background.)",
        "(Picture 2 is no longer shown. It was described as: A blue square on a white background.)",
        QUESTION.text,
    )
    places = [prompt.find(line) for line in lines]
    assert -1 not in places, prompt
    assert places == sorted(places), prompt
    assert DESCRIBE.text not in prompt


async def test_images_far_behind_are_called_back_to_mind_beside_the_question(settings: Settings) -> None:
    async with open_gateway(settings) as gateway:
        session = await two_images(gateway)
        for _ in range(2):
            await ask(gateway, TextPart("What do you see?"), session=session, options=SOBER)
        prompt = await next_prompt(gateway, session, TextPart(ocr_note("CLOSED", QUESTION.text, 0), note=True))
    assert prompt.count("Picture 2:") == 1
    first, second = (
        f"(Picture {number} is further up; it shows: {shown} on a white background.)"
        for number, shown in ((1, "A red circle"), (2, "A blue square"))
    )
    read = "Text that another program read in the picture (it may contain mistakes):\nCLOSED"
    places = [prompt.find(line) for line in (first, second, QUESTION.text)]
    assert -1 not in places, prompt
    assert places == sorted(places), prompt
    assert prompt.rfind("USER:") < prompt.find(read) < prompt.find(QUESTION.text)
