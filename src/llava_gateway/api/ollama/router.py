"""All routes of Ollama's API."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Depends, Request

from llava_gateway.api.ollama import embeddings, management, models, questions
from llava_gateway.engines.upstream import FROM_US
from llava_gateway.errors import Refused

log = logging.getLogger(__name__)


async def not_from_us(request: Request) -> None:
    """Reject requests of this very gateway, which would ask itself for ever. Raises Refused."""
    if all(request.headers.get(name) == value for name, value in FROM_US.items()):
        error = Refused("asks_itself")
        log.warning("%s %s", error.message, error.hint)
        raise error


router = APIRouter(dependencies=[Depends(not_from_us)])
router.include_router(questions.router)
router.include_router(models.router)
router.include_router(embeddings.router)
router.include_router(management.router)
