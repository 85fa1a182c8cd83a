"""LangChain's standard tests of chat models, with its clients of all three APIs. GATEWAY_URL names the gateway, GATEWAY_MODEL the model."""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tests.pdfs import pdf
from tests.sample_images import encoded, shape

URL = os.environ["GATEWAY_URL"]
MODEL = os.environ["GATEWAY_MODEL"]
IMAGE = encoded(shape("circle", "red", size=(640, 480)), "JPEG")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite downloads an image and a PDF from the web; it gets ours instead."""

    def get(url: str, **_: Any) -> httpx.Response:
        return httpx.Response(200, content=pdf("A page") if url.endswith(".pdf") else IMAGE, request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)


class Common(ChatModelIntegrationTests):
    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        return True


class TestOllama(Common):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOllama

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "base_url": URL}

    @property
    def has_tool_choice(self) -> bool:
        return False  # Ollama's API has no field for it

    @property
    def supports_image_tool_message(self) -> bool:
        return False  # the client drops these images


class TestOpenAI(Common):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "base_url": f"{URL}/v1", "api_key": "none", "stream_usage": True}

    @property
    def supports_pdf_inputs(self) -> bool:
        return True


class TestOpenAIResponses(TestOpenAI):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True


class TestAnthropic(Common):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model_name": MODEL, "base_url": URL, "api_key": "none"}

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return False  # Anthropic's API has no such mode


del ChatModelIntegrationTests, Common
