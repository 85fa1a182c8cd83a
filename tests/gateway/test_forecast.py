"""The forecast of a long conversation is quick, because the page asks for it while the user types."""

from __future__ import annotations

from dataclasses import replace

from llava_gateway.chat import user_request
from llava_gateway.parts import ImagePart, TextPart, Upload
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings
from tests.gateways import open_gateway
from tests.sample_images import encoded, shape
from tests.scripted_engine import ScriptedEngine
from tests.session_values import a_session
from tests.work import counted

TURNS = 1000


async def work_of_a_forecast(turns: int) -> int:
    """Return the number of calls of a forecast in the worst case: all turns are sent, so all of them may be dropped next."""
    engine = ScriptedEngine()
    engine.context = 1_000_000
    async with open_gateway(Settings(image_workers=1), [engine]) as gateway:
        image, *_ = await gateway.image_requests.store(Upload(encoded(shape("circle", "red"))), None)
        first, *others = (Turn((TextPart(f"And {n}?"),), "A circle.", id=n + 1, parent=n) for n in range(turns))
        first = replace(first, parts=(ImagePart(image), *first.parts))
        session = gateway.sessions.create(a_session(turns=(first, *others)))
        prompt = await gateway.count_tokens(user_request(TextPart("Why?"), session_id=session.id))
        forecast, calls = counted(lambda: gateway.forecast(prompt))
        assert len(forecast.turns) == turns + 1
        assert [item.turn for item in forecast.next if item.image_id is None] == [*range(1, turns), 0]
        return calls


async def test_the_forecast_on_twice_as_many_turns_takes_twice_the_work() -> None:
    """Not four times, which would hold up everybody else who asks."""
    assert await work_of_a_forecast(TURNS) < 2.2 * await work_of_a_forecast(TURNS // 2)
