"""The routes of OpenAI's API."""

from __future__ import annotations

from fastapi import FastAPI

from llava_gateway.api.openai import chat, embeddings, files, responses, responses_store
from llava_gateway.settings import Settings


def add_openai(app: FastAPI, settings: Settings) -> None:
    """Add OpenAI's API to the app. /openapi.json does not describe it: OpenAI does."""
    app.state.openai_files = files.FileShelf(files.most_bytes(settings))
    app.state.openai_responses = responses_store.ResponseStore(responses_store.most_bytes(settings))
    for method, path, handler in (
        ("POST", "/v1/chat/completions", chat.chat_completions),
        ("POST", "/v1/embeddings", embeddings.embeddings),
        ("POST", "/v1/files", files.upload_file),
        ("GET", "/v1/files", files.list_files),
        ("GET", "/v1/files/{file_id}", files.get_file),
        ("GET", "/v1/files/{file_id}/content", files.get_content),
        ("DELETE", "/v1/files/{file_id}", files.delete_file),
        ("POST", "/v1/responses", responses.create_response),
        ("POST", "/v1/responses/input_tokens", responses.count_input_tokens),
        ("GET", "/v1/responses/{response_id}", responses.get_response),
        ("DELETE", "/v1/responses/{response_id}", responses.delete_response),
        ("GET", "/v1/responses/{response_id}/input_items", responses.list_input_items),
    ):
        app.add_route(path, handler, methods=[method], include_in_schema=False)
