"""All routes of Ollama's API."""

from __future__ import annotations

from fastapi import APIRouter

from llava_gateway.api.ollama import questions

router = APIRouter()
router.include_router(questions.router)
