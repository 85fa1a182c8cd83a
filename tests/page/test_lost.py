"""What a gateway loses when it starts again without a disk is brought back by the page: pictures that were not sent, and whole chats."""

from __future__ import annotations

import io
from contextlib import AsyncExitStack

import pytest
from PIL import Image
from playwright.async_api import expect

from llava_gateway.settings import Settings
from tests import sample_images
from tests.page.visit import Visit, file
from tests.scripted_engine import ScriptedEngine, says
from tests.serving import serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red", size=(320, 240))), "circle.png")


def settings(port: int = 0) -> Settings:
    return Settings(port=port, image_workers=1, read_ahead=False, engine_poll_interval=0.1)


def colour_of(data: bytes) -> tuple[int, ...]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    found: tuple[int, ...] = image.getpixel((image.width // 2, image.height // 2))  # type: ignore[assignment]
    return found


async def test_a_draft_survives_a_reload_after_a_restart(visit: Visit) -> None:
    async with serving(settings(), [ScriptedEngine()]) as served:
        visitor = await visit(served.url)
        await visitor.pick(RED_CIRCLE)
        await visitor.prepared()
        await visitor.words.fill("What is it?")
        visitor.refused = {404}
    engine = ScriptedEngine(says("A red circle."))
    async with serving(settings(served.port), [engine]):
        await visitor.page.reload()
        await expect(visitor.words).to_have_value("What is it?")
        await expect(visitor.chips).to_contain_text(["circle.png"])
        await visitor.prepared()
        await visitor.words.press("Enter")
        await expect(visitor.answer).to_have_text("A red circle.")
        (shown,) = engine.requests[-1].shown
        assert colour_of(shown.pieces[0].data) == pytest.approx((214, 39, 40), abs=10)


async def test_a_picture_in_the_composer_is_sent_again_when_the_gateway_is_back(visit: Visit) -> None:
    async with serving(settings(), [ScriptedEngine()]) as served:
        visitor = await visit(served.url)
        await visitor.pick(RED_CIRCLE)
        await visitor.prepared()
        visitor.refused = {404}
    await expect(visitor.page.get_by_text("The gateway does not answer")).to_be_visible()
    engine = ScriptedEngine(says("A red circle."))
    async with AsyncExitStack() as stack:
        async with visitor.page.expect_request(lambda request: request.method == "POST" and request.url.endswith("/images")):
            await stack.enter_async_context(serving(settings(served.port), [engine]))
        await visitor.prepared()
        await visitor.ask("What is it?")
        await expect(visitor.answer).to_have_text("A red circle.")


async def test_a_chat_that_the_gateway_lost_is_brought_back(visit: Visit) -> None:
    async with serving(settings(), [ScriptedEngine(says("A red circle."))]) as served:
        visitor = await visit(served.url)
        await visitor.pick(RED_CIRCLE)
        await visitor.prepared()
        await visitor.ask("What is it?")
        await visitor.ask("Sure?")
        visitor.refused = {404}
    engine = ScriptedEngine(says("Still red."))
    async with serving(settings(served.port), [engine]) as again:
        alert = visitor.page.get_by_role("alert")
        await expect(alert).to_contain_text("This chat is gone.")
        await visitor.words.fill("And now?")
        await alert.get_by_role("button", name="Bring this chat back").click()
        await expect(visitor.page.locator(".toast")).to_contain_text("The chat is back.")
        await expect(visitor.turns).to_have_count(2)
        await expect(visitor.words).to_have_value("And now?")
        (listed,) = again.gateway.sessions.list()
        turns = again.gateway.sessions.get(listed.id).turns
        assert [(turn.prompt, turn.answer, len(turn.images)) for turn in turns] == [
            ("What is it?", "A red circle.", 1),
            ("Sure?", "A red circle.", 0),
        ]
        await visitor.words.press("Enter")
        await expect(visitor.turns.last).to_contain_text("Still red.")
        (shown,) = engine.requests[-1].shown
        assert colour_of(shown.pieces[0].data) == pytest.approx((214, 39, 40), abs=10)
