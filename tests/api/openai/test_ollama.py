"""OpenAI's own client asks the demo model on a real Ollama."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llava_gateway.settings import Settings
from tests.api.openai.conftest import ClientOf
from tests.api.openai.spoken import RED, image, text, user
from tests.ollama_server import RealOllama
from tests.serving import serving

pytestmark = pytest.mark.real


async def test_images_schemas_and_forced_tools_work_on_ollama(real_ollama: RealOllama, client_of: ClientOf) -> None:
    settings = Settings(port=0, engine="ollama", ollama_host=real_ollama.url, image_workers=1)
    schema: Any = {"type": "object", "properties": {"red": {"type": "boolean"}}, "required": ["red"], "additionalProperties": False}
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": schema}}]
    messages: Any = [user(image(RED), text("Describe this image."))]
    async with serving(settings) as served:
        client = client_of(served)
        answer = await client.chat.completions.create(model="demo", messages=messages, temperature=0)
        assert answer.choices[0].message.content == "A red circle on a white background."
        assert answer.usage
        called = await client.chat.completions.create(model="demo", messages=messages, tools=tools, tool_choice="required")
        (call,) = called.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert set(json.loads(call.function.arguments)) == {"red"}
        response = await client.responses.create(model="demo:latest", input="Hello", max_output_tokens=1)
        assert response.status == "incomplete"
        assert response.incomplete_details
        assert response.incomplete_details.reason == "max_output_tokens"
