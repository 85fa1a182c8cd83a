"""POST /v1/messages and /v1/messages/count_tokens, as Anthropic has them."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.api.anthropic.frames import EventFrames, MessageFrames
from llava_gateway.api.anthropic.requests import read_count, read_messages
from llava_gateway.api.deps import gateway_of, request_id
from llava_gateway.api.dialects import read_any_json
from llava_gateway.api.response import JSONResponse
from llava_gateway.api.stream import AnswerResponse
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.gateway import Gateway

router = APIRouter()


async def create_message(request: Request) -> Response:
    """Answer a conversation that the client sends as a whole."""
    gateway = gateway_of(request)
    asked = await read_any_json(request, lambda given: read_messages(given, gateway.settings))
    frames = EventFrames if asked.stream else MessageFrames
    own_id = request_id(request)
    return AnswerResponse(gateway, asked.question, frames(asked, _model_name(asked.question.model, gateway), own_id), own_id)


async def count_message_tokens(request: Request) -> Response:
    """Count the tokens of a conversation with its images, as the engine will count them."""
    gateway = gateway_of(request)
    asked = await read_any_json(request, lambda given: read_count(given, gateway.settings))
    try:
        prompt = await gateway.count_tokens(asked.question)
    except GatewayError as error:
        raise asked.placed(error) from None
    count = prompt.fitted.count
    return JSONResponse({"input_tokens": count.total if count else 0})


def _model_name(asked_for: str | None, gateway: Gateway) -> str:
    """Return the name of the model that answers, before it does; the client's own name for it if it gave one."""
    default = gateway.pool.state.default.model
    return asked_for or (default.name if default else "")


# Plain routes: what FastAPI does for parameters takes a twentieth of a request's time. Anthropic describes them better than we could.
router.add_route("/v1/messages", create_message, methods=["POST"], include_in_schema=False)
router.add_route("/v1/messages/count_tokens", count_message_tokens, methods=["POST"], include_in_schema=False)
