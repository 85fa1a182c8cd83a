"""How the images of a question are sent to the real demo model, and which notes the answer carries."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.answers import Answer
from llava_gateway.chat import EngineEvent, EngineRequest, Finish, TextDelta, Timings, Usage, user_request
from llava_gateway.engines.base import ModelInfo
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.facts import VisionFacts
from llava_gateway.notes import note
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Sight, TextPart, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings, VisionOverride
from tests.gateways import ask, open_gateway
from tests.sample_images import encoded, shape
from tests.scripted_engine import ScriptedEngine, says
from tests.session_values import a_session, changing

pytestmark = pytest.mark.real

LARGE = Upload(encoded(shape("circle", "red", size=(400, 400))))
SQUARE = Upload(encoded(shape("square", "blue", size=(400, 400))))
DESCRIBE = TextPart("Describe this image.")


def demo(vision: dict[str, VisionOverride], **settings: Any) -> AbstractAsyncContextManager[Gateway]:
    return open_gateway(Settings(engine="embedded", image_workers=1, vision=vision, **settings))


def codes(answer: Answer) -> list[str]:
    return [warning.code for warning in answer.warnings]


async def test_auto_shows_tiles_once_the_models_speed_is_known() -> None:
    async with demo({"demo": VisionOverride(tiles=True)}) as gateway:
        first = await ask(gateway, LARGE, DESCRIBE)
        assert (first.images[0].sent.detail, codes(first)) == ("low", ["detail_auto_unmeasured"])
        again = await ask(gateway, LARGE, DESCRIBE)
        assert (again.images[0].sent.detail, again.warnings) == ("low", first.warnings), "told each time"
        second = await ask(gateway, SQUARE, DESCRIBE)
        assert (second.images[0].sent.detail, second.images[0].sent.pieces, codes(second)) == ("high", 5, [])
        assert second.usage.prompt_tokens
        assert second.usage.prompt_tokens > 5 * 64


async def test_what_was_chosen_for_an_image_stays_so_that_the_engine_finds_it_in_its_cache() -> None:
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
        assert (narrow.images[0].sent.detail, codes(narrow)[0]) == ("low", "detail_auto_context")
        assert narrow.warnings[0].values["limit"] == 512


def seeing(facts: VisionFacts, **settings: Any) -> AbstractAsyncContextManager[Gateway]:
    """Open a gateway whose model has this vision encoder, reads fast, and has the requested context (2048 tokens by default)."""

    async def answer(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        tokens = sum(rendition.tokens or 0 for rendition in request.shown)
        yield TextDelta("Yes.")
        yield Finish("stop", Usage(tokens + 20, 2, 0), Timings(prompt_ms=10.0))

    engine = OneContext(answer, model_names=())
    engine.installed = (ModelInfo("eye", "ollama", True, facts),)
    return open_gateway(Settings(image_workers=1, **settings), [engine])


class OneContext(ScriptedEngine):
    async def context_length(self, request: EngineRequest) -> int:
        return request.options.num_ctx or 2048


def upload(colour: str, side: int = 1300, sight: Sight = Sight()) -> Upload:
    return Upload(encoded(shape("circle", colour, size=(side, side))), sight)


async def test_what_was_chosen_for_one_context_is_not_taken_for_another() -> None:
    tiles, wide = {"eye": VisionOverride(tiles=True)}, Options(num_ctx=32768)
    async with seeing(VisionFacts("mlp", 336, 14), vision=tiles) as gateway:
        await ask(gateway, upload("blue"), DESCRIBE, options=wide)  # from now on the model's speed is known
        for colour, contexts in (("red", (wide, Options())), ("green", (Options(), wide))):
            for options in contexts:
                answer = await ask(gateway, upload(colour), DESCRIBE, options=options)
                tokens, warned = (2880, []) if options == wide else (576, ["detail_auto_context"])
                assert (answer.images[0].sent.tokens, codes(answer)) == (tokens, warned)


async def test_what_was_read_ahead_is_what_is_asked_about_in_the_session_that_begins_then() -> None:
    tiles, four = {"eye": VisionOverride(tiles=True)}, Options(num_ctx=4096)
    async with seeing(VisionFacts("mlp", 336, 14), vision=tiles) as gateway:
        await ask(gateway, upload("blue"), DESCRIBE, options=four)
        red = upload("red")
        await gateway.read_ahead(user_request(red, options=four))
        answer = await ask(gateway, red, DESCRIBE, options=four, session=gateway.sessions.create(Session()))
        assert (answer.images[0].sent.tokens, codes(answer)) == (2880, [])
        green = await ask(gateway, upload("green"), DESCRIBE, options=four, session=gateway.sessions.create(Session()))
        assert (green.images[0].sent.tokens, codes(green)) == (576, ["detail_auto_context"])


@pytest.mark.parametrize(
    ("facts", "count", "tokens"),
    [
        (VisionFacts("pixtral", 1540, 14, merge=2), 4, 240),
        (VisionFacts("qwen25vl", 560, 14, merge=2, least_tokens=1024), 1, 1026),
    ],
)
async def test_images_without_tiles_do_not_shrink_in_silence(facts: VisionFacts, count: int, tokens: int) -> None:
    async with seeing(facts) as gateway:
        session = gateway.sessions.create(Session())
        images = [upload(colour) for colour in ("red", "green", "blue", "yellow")[:count]]
        answer = await ask(gateway, *images, DESCRIBE, session=session, options=Options(num_ctx=4096 if count > 1 else 2048))
        assert codes(answer) == ["detail_auto_context"]
        sent = answer.images[0].sent.tokens
        assert answer.warnings[0].values["tokens"] == sent
        assert sent == tokens
        info = gateway.images.get(answer.images[0].id)
        seen = await gateway.image_requests.seen(info, None, Sight())
        assert seen.plan.notes == seen.rendition.notes == answer.warnings[:1]


async def test_a_model_that_takes_one_image_gets_several_on_one_sheet() -> None:
    async with demo({"demo": VisionOverride(max_images=1)}) as gateway:
        answer = await ask(gateway, LARGE, SQUARE, TextPart("Describe these images."))
        assert codes(answer) == ["contact_sheet"]
        assert len(answer.images) == 1
        assert answer.context.images == 64


async def test_wishes_for_all_images_hold_for_their_sheet_and_others_are_said() -> None:
    async with seeing(VisionFacts("qwen25vl", 560, 14, merge=2), vision={"eye": VisionOverride(max_images=1)}) as gateway:
        red, blue = (upload(colour, 600, Sight("low", region=(0.5, 0, 0.5, 0.5))) for colour in ("red", "blue"))
        alike = await ask(gateway, red, blue, DESCRIBE)
        assert alike.warnings == (note("contact_sheet", model="eye", count=2), note("sight_ignored_on_sheet", fields=("region",)))
        assert alike.images[0].sent.tokens
        assert alike.images[0].sent.tokens <= 578
        red, blue = upload("red", 600), upload("blue", 600, Sight("high", (280, 280)))
        free = await ask(gateway, red, blue, DESCRIBE, options=Options(num_ctx=1024))
        assert codes(free) == ["contact_sheet", "sight_ignored_on_sheet", "detail_auto_context"]
        assert free.warnings[1].values["fields"] == ("detail", "image_size")


async def test_of_earlier_images_it_is_told_in_words() -> None:
    async with demo({"demo": VisionOverride(max_images=1)}) as gateway:
        session = gateway.sessions.create(Session())
        await ask(gateway, LARGE, DESCRIBE, session=session)
        later = await ask(gateway, TextPart("What color is the circle?"), session=session)
        assert (later.context.images, later.text) == (64, "The circle is red.")
        second = await ask(gateway, SQUARE, DESCRIBE, session=session)
        assert (second.context.images, second.text) == (64, "A blue square on a white background.")
        assert [item.image_id is not None for item in second.context.dropped] == [True]
        assert gateway.sessions.get(session.id).prompt_state.window.gone == frozenset(), "another model may be told of it again"


async def test_an_image_whose_question_got_no_answer_does_not_come_beside_the_next_one() -> None:
    async with seeing(VisionFacts("mlp", 336, 14), vision={"eye": VisionOverride(max_images=1)}) as gateway:
        engine = gateway.pool.engine("ollama")
        assert isinstance(engine, ScriptedEngine)
        session, answers, engine.script = gateway.sessions.create(Session()), engine.script, says()
        for colour in ("red", "green"):
            await ask(gateway, upload(colour), TextPart("What is it?"), session=session)
        counted = await gateway.count_tokens(user_request(upload("blue"), DESCRIBE, session_id=session.id))
        assert [(image.number, image.sent, image.tokens) for image in gateway.forecast(counted).turns[-1].images] == [
            (1, False, None),
            (2, False, None),
            (3, True, 576),
        ]
        engine.script = answers
        told = await ask(gateway, upload("blue"), DESCRIBE, session=session)
        assert codes(told) == ["image_left_out"]
        (message,) = engine.requests[-1].messages
        assert message.text.split("\n")[:2] == ["(Picture 1 is no longer shown.)", "What is it?"]
        assert [part.image_id for part in message.images] == ["new:0"]
        later = await ask(gateway, TextPart("And now?"), session=session)
        assert codes(later) == []
        assert [part.image_id for part in engine.requests[-1].messages[0].images] == [told.images[0].id]


async def test_the_image_of_a_question_that_got_no_answer_is_told_with_the_next_one() -> None:
    async with seeing(VisionFacts("mlp", 336, 14), vision={"eye": VisionOverride(max_images=1)}) as gateway:
        engine = gateway.pool.engine("ollama")
        assert isinstance(engine, ScriptedEngine)
        session, answers, engine.script = gateway.sessions.create(Session()), engine.script, says()
        await ask(gateway, upload("red"), TextPart("What is it?"), session=session)
        engine.script = answers
        assert codes(await ask(gateway, TextPart("Well?"), session=session)) == []
        assert len(engine.requests[-1].messages[0].images) == 1


@pytest.mark.parametrize("wish", [Sight(max_image_tokens=3000), Sight(region=(0.1, 0.1, 0.6, 0.6))], ids=["a cap", "a part"])
async def test_other_wishes_do_not_undo_the_bounds_of_auto(wish: Sight) -> None:
    """A context of 2048 tokens has no room for the best grid."""
    async with seeing(VisionFacts("mlp", 336, 14), vision={"eye": VisionOverride(tiles=True)}) as gateway:
        answer = await ask(gateway, upload("red", sight=wish), DESCRIBE)
        low = await ask(gateway, upload("red", sight=replace(wish, detail="low")), DESCRIBE)
        assert (answer.images[0].sent.tokens, codes(answer)) == (low.images[0].sent.tokens, ["detail_auto_context"])
        seen = await gateway.image_requests.seen(gateway.images.get(answer.images[0].id), "eye", wish)
        assert seen.rendition.tokens == answer.images[0].sent.tokens


async def test_a_lower_cap_is_the_persons_own_and_no_bound_of_auto() -> None:
    async with seeing(VisionFacts("mlp", 336, 14), vision={"eye": VisionOverride(tiles=True)}) as gateway:
        await ask(gateway, upload("blue"), DESCRIBE)
        wide = Options(num_ctx=32768)
        answer = await ask(gateway, upload("red", sight=Sight(max_image_tokens=2000)), DESCRIBE, options=wide)
        assert (answer.images[0].sent.tokens, codes(answer)) == (576, [])


async def test_auto_leaves_room_for_what_is_told_beside_the_image() -> None:
    async with seeing(VisionFacts("qwen2vl_merger", 560, 14)) as gateway:
        four = Options(num_ctx=4096)
        alone = await ask(gateway, upload("red", 1400), DESCRIBE, options=four)
        beside = await ask(gateway, upload("red", 1400), DESCRIBE, options=four, system="Be brief. " * 800)
        told = a_session(policy="strict", model="eye", engine="ollama")
        for _ in range(3):
            told = told.with_turn(Turn((TextPart("word " * 600),), "Yes."))
        after = await ask(gateway, upload("red", 1400), DESCRIBE, options=four, session=gateway.sessions.create(told))
        tokens = [answer.images[0].sent.tokens or 0 for answer in (alone, beside, after)]
        assert tokens[0] > 1900
        assert tokens[1] < 4096 - 2000
        assert tokens[2] < (4096 - 1800) / 2
        assert [codes(answer) for answer in (alone, beside, after)][1:] == [["detail_auto_context"]] * 2


async def test_auto_for_an_earlier_image_is_decided_as_for_a_new_one() -> None:
    async with seeing(VisionFacts("mlp", 336, 14), vision={"eye": VisionOverride(tiles=True)}) as gateway:
        session = gateway.sessions.create(Session())
        first = await ask(gateway, upload("red", sight=Sight("low")), DESCRIBE, session=session)
        gateway.sessions.change(session.id, changing(sights={first.images[0].id: Sight("auto")}))
        assert (await ask(gateway, DESCRIBE, session=session)).context.images == 576
        wide = Options(num_ctx=32768)
        assert (await ask(gateway, DESCRIBE, session=session, options=wide)).context.images == 2880
        asked = await ask(gateway, ImagePart(first.images[0].id), DESCRIBE, options=Options(num_ctx=1024))
        assert asked.images[0].sent.tokens == 576
        assert (await ask(gateway, DESCRIBE, session=session, options=wide)).context.images == 2880


async def test_images_found_in_the_cache_do_not_make_a_model_look_fast_where_the_engine_does_not_tell() -> None:
    """Ollama before 0.34 reports how long the prompt took, but not how much of it was cached."""
    known: set[Any] = set()

    async def answer(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        images = tuple(piece.data for rendition in request.shown for piece in rendition.pieces)
        tokens = sum(rendition.tokens or 0 for rendition in request.shown)
        took = 20.0 if images in known else tokens * 60.0
        known.add(images)
        yield TextDelta("Yes.")
        yield Finish("stop", Usage(tokens + 20, 2, None), Timings(prompt_ms=took))

    engine = OneContext(answer, model_names=())
    engine.installed = (ModelInfo("eye", "ollama", True, VisionFacts("mlp", 336, 14)),)
    async with open_gateway(Settings(image_workers=1, vision={"eye": VisionOverride(tiles=True)}), [engine]) as gateway:
        for colour in ("red", "blue", "green"):
            for _ in range(2):
                answered = await ask(gateway, upload(colour), DESCRIBE, options=Options(num_ctx=32768))
                assert answered.images[0].sent.tokens == 576


async def test_a_model_that_became_faster_is_learned_to_be_fast_where_the_engine_does_not_tell() -> None:
    speed = [250.0]

    async def answer(request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        tokens = sum(rendition.tokens or 0 for rendition in request.shown)
        yield TextDelta("Yes.")
        yield Finish("stop", Usage(tokens + 20, 2, None), Timings(prompt_ms=tokens * speed[0]))

    engine = OneContext(answer, model_names=())
    engine.installed = (ModelInfo("eye", "ollama", True, VisionFacts("mlp", 336, 14)),)
    async with open_gateway(Settings(image_workers=1, vision={"eye": VisionOverride(tiles=True)}), [engine]) as gateway:
        seen = []
        for side in range(1300, 1312):
            answered = await ask(gateway, upload("red", side), DESCRIBE, options=Options(num_ctx=32768))
            seen.append(answered.images[0].sent.tokens)
            speed[0] = 2.0
        assert (seen[0], seen[-1]) == (576, 2880)


SCREENSHOT = Upload(encoded(shape("circle", "red", size=(270, 2250))))
LLAVA = VisionFacts("mlp", 336, 14)


async def test_auto_warns_about_a_long_image_and_high_sends_as_many_parts_as_fit() -> None:
    async with seeing(LLAVA) as gateway:
        auto = await ask(gateway, SCREENSHOT, DESCRIBE)
        assert (auto.images[0].sent.pieces, codes(auto)) == (1, ["long_image"])
        values = auto.warnings[0].values
        high = await ask(gateway, replace(SCREENSHOT, sight=Sight("high")), DESCRIBE)
        assert codes(high) == ["long_image_parts"]
        assert (high.warnings[0].values["parts"], high.warnings[0].values["text"]) == (values["parts"], values["parts_text"])
        assert high.images[0].sent.tokens
        assert 1 < high.images[0].sent.pieces <= 3
        assert high.images[0].sent.tokens <= 2048 - 256
        wider = await ask(gateway, replace(SCREENSHOT, sight=Sight("high")), DESCRIBE, options=Options(num_ctx=8192))
        assert wider.images[0].sent.pieces > high.images[0].sent.pieces


async def test_later_questions_get_the_same_parts() -> None:
    async with seeing(LLAVA) as gateway:
        session = gateway.sessions.create(Session())
        await ask(gateway, replace(SCREENSHOT, sight=Sight("high")), DESCRIBE, session=session, options=Options(num_ctx=8192))
        await ask(gateway, TextPart("And then?"), session=session, options=Options(num_ctx=8192))
        engine = gateway.pool.engines[0]
        assert isinstance(engine, ScriptedEngine)
        first, second = ([piece.data for rendition in request.shown for piece in rendition.pieces] for request in engine.requests)
        assert len(first) > 2
        assert first == second


async def test_the_demo_model_reads_a_long_image_in_parts() -> None:
    """The real engine counts the prompt with its numbers and parts as the gateway does."""
    async with demo({}) as gateway:
        closely = replace(SCREENSHOT, sight=Sight("high", max_image_tokens=768))
        answer = await ask(gateway, closely, DESCRIBE, options=Options(num_predict=8))
        assert answer.images[0].sent.pieces > 5
        assert answer.images[0].sent.tokens == 64 * answer.images[0].sent.pieces
        assert answer.usage.prompt_tokens
        assert answer.usage.prompt_tokens > answer.images[0].sent.tokens
        assert "image_ignored" not in codes(answer)
