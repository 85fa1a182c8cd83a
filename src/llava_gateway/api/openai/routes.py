"""The routes of OpenAI's API."""

from __future__ import annotations

from fastapi import FastAPI

from llava_gateway.api.openai import chat, embeddings, files
from llava_gateway.settings import Settings


def add_openai(app: FastAPI, settings: Settings) -> None:
    """Add OpenAI's API to the app. /openapi.json does not describe it: OpenAI does."""
    app.state.openai_files = files.FileShelf(files.most_bytes(settings))
    for method, path, handler in (
        ("POST", "/v1/chat/completions", chat.chat_completions),
        ("POST", "/v1/embeddings", embeddings.embeddings),
        ("POST", "/v1/files", files.upload_file),
        ("GET", "/v1/files", files.list_files),
        ("GET", "/v1/files/{file_id}", files.get_file),
        ("GET", "/v1/files/{file_id}/content", files.get_content),
        ("DELETE", "/v1/files/{file_id}", files.delete_file),
    ):
        app.add_route(path, handler, methods=[method], include_in_schema=False)
