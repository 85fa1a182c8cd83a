"""All routes of Ollama's API."""

from __future__ import annotations

from fastapi import APIRouter

from llava_gateway.api.ollama import embeddings, management, models, questions

router = APIRouter()
router.include_router(questions.router)
router.include_router(models.router)
router.include_router(embeddings.router)
router.include_router(management.router)
