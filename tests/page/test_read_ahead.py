"""While a question is typed the page has its pictures read: once they are all there, never while an answer runs."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Request, expect

from llava_gateway.errors import UpstreamDisconnected
from tests import sample_images
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine, says, says_then_waits
from tests.serving import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red", size=(320, 240))), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue", size=(320, 240))), "square.png")


def read_aheads(visitor: Visitor) -> list[Any]:
    """The bodies that are sent to be read ahead, as they come."""
    found: list[Any] = []

    def note(request: Request) -> None:
        if request.url.endswith("/read_ahead"):
            found.append((request.url.removeprefix(visitor.url), request.post_data_json))

    visitor.page.on("request", note)
    return found


async def test_the_picture_is_read_before_the_question_comes(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE)
    await expect(visitor.chips).to_contain_text("64 tokens · already read")
    await visitor.ask("Describe this image.")
    await expect(visitor.answer).to_have_text("A red circle on a white background.")
    session = visitor.page.url.rpartition("=")[2]
    turn = (await (await visitor.page.request.get(f"{demo_url}/sessions/{session}")).json())["turns"][0]
    assert turn["usage"]["cached_tokens"] >= 64


async def test_it_is_said_in_chinese_too(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, locale="zh-CN")
    await visitor.pick(RED_CIRCLE)
    await expect(visitor.chips).to_contain_text("已读")


async def test_several_pictures_are_read_together_and_again_when_one_goes(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    asked = read_aheads(visitor)
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await expect(visitor.chips.first).to_contain_text("already read")
    assert [(path, len(body["images"])) for path, body in asked] == [("/read_ahead", 2)]
    await visitor.chips.first.get_by_role("button", name="Remove circle.png").click()
    await expect(visitor.chips).to_contain_text("already read")
    assert [len(body["images"]) for _, body in asked] == [2, 1]


async def test_nothing_is_read_ahead_while_an_answer_runs(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    served = await scripted(engine, read_ahead=True)
    visitor = await visit(served.url)
    asked = read_aheads(visitor)
    await visitor.words.fill("Count.")
    await visitor.words.press("Enter")
    await expect(visitor.answer).to_contain_text("One")
    await visitor.page.clock.install()
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.page.clock.run_for(10_000)  # longer than the page lets pass before it asks
    await visitor.seen()
    assert asked == []
    engine.script = says("A")
    await visitor.page.locator(".send.stop").click()
    await expect(visitor.chips).to_contain_text("already read")
    ((path, body),) = asked
    assert path.startswith("/sessions/")
    assert len(body["images"]) == 1
    assert len(engine.requests) == 2


async def test_a_question_goes_before_what_is_read_ahead(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(says_then_waits())
    served = await scripted(engine, read_ahead=True)
    visitor = await visit(served.url)
    await visitor.pick(RED_CIRCLE)
    await until(lambda: engine.running == 1)
    await expect(visitor.chips).not_to_contain_text("already read")
    engine.script = says("A red circle.")
    await visitor.ask("What is it?")
    await expect(visitor.answer).to_have_text("A red circle.")


async def test_what_goes_wrong_ahead_of_a_question_is_not_shown(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    engine.refusal = UpstreamDisconnected()
    served = await scripted(engine, read_ahead=True)
    visitor = await visit(served.url)
    visitor.refused.add(UpstreamDisconnected.status)
    asked = read_aheads(visitor)
    async with visitor.page.expect_response("**/read_ahead") as answer:
        await visitor.pick(RED_CIRCLE)
        assert (await answer.value).status == UpstreamDisconnected.status
    assert len(asked) == 1
    await expect(visitor.chips).to_contain_text("320 × 240")
    await expect(visitor.chips).not_to_contain_text("already read")
    await expect(visitor.page.get_by_role("alert")).to_have_count(0)
