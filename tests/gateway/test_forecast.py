"""What a long conversation is made of and what goes next is told at once: the page asks for it while somebody types."""

from __future__ import annotations

import time
from dataclasses import replace

from llava_gateway.chat import ImagePart, TextPart, Upload, asked
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings
from tests.gateways import open_gateway
from tests.sample_images import encoded, shape
from tests.scripted_engine import ScriptedEngine
from tests.session_values import a_session

TURNS = 1000


async def test_the_forecast_on_a_long_talk_takes_no_time() -> None:
    """All turns are told, so that all of them may go next: the worst case."""
    engine = ScriptedEngine()
    engine.context = 1_000_000
    async with open_gateway(Settings(image_workers=1), [engine]) as gateway:
        image, *_ = await gateway.store(Upload(encoded(shape("circle", "red"))), None)
        turns = tuple(Turn((TextPart(f"And {n}?"),), "A circle.", id=n + 1, parent=n) for n in range(TURNS))
        session = gateway.sessions.create(a_session(turns=(replace(turns[0], parts=(ImagePart(image), *turns[0].parts)), *turns[1:])))
        prompt = await gateway.count_tokens(asked(TextPart("Why?"), session_id=session.id))
        began = time.process_time()
        forecast = gateway.forecast(prompt)
        took = time.process_time() - began
        assert len(forecast.turns) == TURNS + 1
        assert [item.turn for item in forecast.next if item.image_id is None] == [*range(1, TURNS), 0]
        assert took < 0.5, "it holds everybody up"
