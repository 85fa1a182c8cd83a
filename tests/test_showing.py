"""How the pictures of a question are shown to the real demo model, and what is said about it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from llava_gateway.chat import Answer, ImagePart, Options, Sight, TextPart, Upload
from llava_gateway.gateway import Gateway
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings, VisionOverride
from tests.gateways import ask, open_gateway
from tests.pictures import encoded, shape

LARGE = Upload(encoded(shape("circle", "red", size=(400, 400))))
SQUARE = Upload(encoded(shape("square", "blue", size=(400, 400))))
DESCRIBE = TextPart("Describe this image.")


def demo(vision: dict[str, VisionOverride], **settings: Any) -> AbstractAsyncContextManager[Gateway]:
    return open_gateway(Settings(engine="embedded", image_workers=1, vision=vision, **settings))


def codes(answer: Answer) -> list[str]:
    return [warning.partition(":")[0] for warning in answer.warnings]


async def test_auto_shows_tiles_once_the_models_speed_is_known() -> None:
    async with demo({"demo": VisionOverride(tiles=True)}) as gateway:
        first = await ask(gateway, LARGE, DESCRIBE)
        assert (first.images[0].sent.detail, codes(first)) == ("low", ["detail_auto"])
        second = await ask(gateway, SQUARE, DESCRIBE)
        assert (second.images[0].sent.detail, second.images[0].sent.pieces, codes(second)) == ("high", 5, [])
        assert second.usage.prompt_tokens
        assert second.usage.prompt_tokens > 5 * 64


async def test_what_was_chosen_for_a_picture_stays_so_that_the_engine_finds_it_in_its_cache() -> None:
    async with demo({"demo": VisionOverride(tiles=True)}) as gateway:
        first = await ask(gateway, LARGE, DESCRIBE)
        again = await ask(gateway, ImagePart(first.images[0].id), DESCRIBE)
        assert again.images[0].sent == first.images[0].sent
        assert again.usage.cached_tokens
        assert again.usage.cached_tokens >= 64
        closer = await ask(gateway, ImagePart(first.images[0].id, Sight("high")), DESCRIBE)
        assert closer.images[0].sent.pieces == 5


async def test_auto_shows_one_tile_where_the_context_has_no_room_for_more() -> None:
    async with demo({"demo": VisionOverride(tiles=True)}) as gateway:
        await ask(gateway, SQUARE, DESCRIBE)
        session = gateway.sessions.create(Session())
        narrow = await ask(gateway, LARGE, DESCRIBE, session=session, options=Options(num_ctx=512))
        assert (narrow.images[0].sent.detail, codes(narrow)[0]) == ("low", "detail_auto")
        assert "512 tokens of context" in narrow.warnings[0]


async def test_a_model_that_takes_one_picture_gets_several_on_one_sheet() -> None:
    async with demo({"demo": VisionOverride(max_pictures=1)}) as gateway:
        answer = await ask(gateway, LARGE, SQUARE, TextPart("Describe these images."))
        assert codes(answer) == ["contact_sheet"]
        assert len(answer.images) == 1
        assert answer.context.images == 64


async def test_of_earlier_pictures_it_is_told_in_words() -> None:
    async with demo({"demo": VisionOverride(max_pictures=1)}) as gateway:
        session = gateway.sessions.create(Session())
        await ask(gateway, LARGE, DESCRIBE, session=session)
        later = await ask(gateway, TextPart("What color is the circle?"), session=session)
        assert (later.context.images, later.text) == (64, "The circle is red.")
        second = await ask(gateway, SQUARE, DESCRIBE, session=session)
        assert (second.context.images, second.text) == (64, "A blue square on a white background.")
        assert [item.image_id is not None for item in second.context.dropped] == [True]
        assert gateway.sessions.get(session.id).window.gone == frozenset(), "another model may be told of it again"
