"""pydantic-ai with OpenAI's API: images, results of a type, tools, streams and several turns."""

from __future__ import annotations

import os

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.sample_images import encoded, shape

IMAGE = BinaryContent(encoded(shape("circle", "red", size=(640, 480))), media_type="image/png")
QUESTION = "What is in this image?"
Model = OpenAIChatModel | OpenAIResponsesModel


class Found(BaseModel):
    name: str
    count: int


@pytest.fixture(params=[OpenAIChatModel, OpenAIResponsesModel], ids=["chat", "responses"])
def model(request: pytest.FixtureRequest) -> Model:
    provider = OpenAIProvider(base_url=f"{os.environ['GATEWAY_URL']}/v1", api_key="none")
    made: Model = request.param(os.environ["GATEWAY_MODEL"], provider=provider)
    return made


async def test_an_image(model: Model) -> None:
    assert "There is an image" in (await Agent(model).run([QUESTION, IMAGE])).output


async def test_a_result_of_a_type_by_a_tool(model: Model) -> None:
    found = (await Agent(model, output_type=Found).run([f"{QUESTION} Call it 'circle'; there are 7.", IMAGE])).output
    assert isinstance(found, Found)


async def test_a_result_of_a_type_by_a_schema(model: Model) -> None:
    found = (await Agent(model, output_type=NativeOutput(Found)).run([f"{QUESTION} Call it 'circle'; there are 7.", IMAGE])).output
    assert found == Found(name="circle", count=7)


async def test_a_tool(model: Model) -> None:
    agent, seen = Agent(model), []

    @agent.tool_plain
    def count_circles(number: int) -> str:
        """Count the circles in an image."""
        seen.append(number)
        return f"{number} circles"

    assert "5 circles" in (await agent.run("Count the circles in image 5.")).output
    assert seen == [5]


async def test_a_stream(model: Model) -> None:
    async with Agent(model).run_stream([QUESTION, IMAGE]) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    assert "There is an image" in "".join(pieces)
    assert len(pieces) > 1


async def test_several_turns(model: Model) -> None:
    first = await Agent(model).run([QUESTION, IMAGE])
    second = await Agent(model).run("And now?", message_history=first.all_messages())
    assert "There is an image" in second.output
    assert second.usage.input_tokens > first.usage.input_tokens
