"""GET /v1/models, POST /v1/embeddings and /v1/files, with OpenAI's own client and types."""

from __future__ import annotations

from typing import Any

import pytest
from openai import BadRequestError, NotFoundError
from openai.types import CreateEmbeddingResponse, FileObject, Model
from pydantic import TypeAdapter

from llava_gateway.api.openai.files import FileShelf, StoredFile
from llava_gateway.errors import ModelOutOfMemory, NotFound
from tests.api.conftest import Serve
from tests.api.openai.conftest import ClientOf
from tests.api.openai.spoken import BLUE, RED, text, user
from tests.pdfs import pdf
from tests.scripted_engine import ScriptedEngine

CHAT = "/v1/chat/completions"


async def test_models_of_every_engine_are_listed(serve: Serve, client_of: ClientOf) -> None:
    names = ("llava:7b", "hf.co/some/model:Q4")
    served = await serve(ScriptedEngine(model_names=names), ScriptedEngine(name="embedded", model_names=("demo", "llava:7b")))
    client = client_of(served)
    rows = (await served.client.get("/v1/models")).json()["data"]
    for row in rows:
        TypeAdapter(Model).validate_python(row)
    assert [(row["id"], row["owned_by"]) for row in rows] == [(names[0], "ollama"), (names[1], "ollama"), ("demo", "embedded")]
    assert [model.id async for model in client.models.list()] == [*names, "demo"]
    assert (await client.models.retrieve(names[1])).id == names[1]
    with pytest.raises(NotFoundError) as caught:
        await client.models.retrieve("nope")
    assert caught.value.code == "model_not_found"


async def test_vectors_come_in_both_encodings(serve: Serve, client_of: ClientOf) -> None:
    served = await serve(ScriptedEngine())
    client = client_of(served)
    whole = (await served.client.post("/v1/embeddings", json={"model": "scripted", "input": ["a", "b"]})).json()
    TypeAdapter(CreateEmbeddingResponse).validate_python(whole)
    assert (whole["usage"], len(whole["data"])) == ({"prompt_tokens": 6, "total_tokens": 6}, 2)
    made = await client.embeddings.create(model="scripted", input="a")  # asks for base64
    assert made.data[0].embedding == [1.0, 0.0]


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/audio/speech"), ("DELETE", "/v1/models/scripted"), ("GET", "/v1/responses")])
async def test_other_routes_say_so_as_openai_does(serve: Serve, method: str, path: str) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.request(method, path)
    assert response.status_code in (404, 405)
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_an_error_that_would_come_again_is_not_repeated(serve: Serve) -> None:
    engine = ScriptedEngine()
    engine.refusal = ModelOutOfMemory()
    served = await serve(engine)
    response = await served.client.post(CHAT, json={"messages": [user("Hi")]})
    assert (response.status_code, response.headers["x-should-retry"]) == (502, "false")


@pytest.mark.parametrize(
    ("body", "param"),
    [({"input": []}, "input"), ({"input": [1, 2]}, "input"), ({"input": ""}, "input"), ({"input": "a", "dimensions": 5}, "dimensions")],
)
async def test_what_can_not_be_embedded_is_refused(serve: Serve, body: dict[str, Any], param: str) -> None:
    served = await serve(ScriptedEngine())
    response = await served.client.post("/v1/embeddings", json={"model": "scripted", **body})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_a_file_is_kept_listed_and_deleted(serve: Serve, client_of: ClientOf) -> None:
    served = await serve(ScriptedEngine())
    client = client_of(served)
    made = await client.files.create(file=("circle.png", RED), purpose="vision")
    TypeAdapter(FileObject).validate_python((await served.client.get(f"/v1/files/{made.id}")).json())
    assert (made.filename, made.bytes, made.purpose) == ("circle.png", len(RED), "vision")
    assert [file.id async for file in client.files.list()] == [made.id]
    assert (await client.files.content(made.id)).content == RED
    assert (await client.files.delete(made.id)).deleted
    with pytest.raises(NotFoundError) as caught:
        await client.files.retrieve(made.id)
    assert caught.value.code == "file_not_found"


async def test_files_are_named_in_questions(serve: Serve, client_of: ClientOf) -> None:
    engine = ScriptedEngine()
    served = await serve(engine)
    client = client_of(served)
    image = await client.files.create(file=("circle.png", RED), purpose="vision")
    document = await client.files.create(file=("two.pdf", pdf("First", "Second")), purpose="user_data")
    parts = [text("What?"), {"type": "file", "file": {"file_id": image.id}}, {"type": "file", "file": {"file_id": document.id}}]
    answer = await served.client.post(CHAT, json={"messages": [user(*parts)]})
    assert len(answer.json()["llava_gateway"]["images"]) == 3, answer.text
    content = [{"type": "input_image", "file_id": image.id}, {"type": "input_file", "file_id": document.id, "pages": "2"}]
    answer = await served.client.post("/v1/responses", json={"input": [{"role": "user", "content": content}]})
    assert len(answer.json()["llava_gateway"]["images"]) == 2, answer.text


async def test_only_images_and_documents_are_kept(serve: Serve, client_of: ClientOf) -> None:
    client = client_of(await serve(ScriptedEngine()))
    with pytest.raises(BadRequestError) as caught:
        await client.files.create(file=("notes.txt", b"Hello there"), purpose="user_data")
    assert caught.value.code == "unsupported_image_media_type"
    with pytest.raises(BadRequestError) as caught:
        await client.files.create(file=("circle.png", RED), purpose="fine-tune")
    assert caught.value.param == "purpose"


def test_the_shelf_drops_what_was_not_used_for_the_longest_time() -> None:
    shelf = FileShelf(2500)
    first, second, third = (StoredFile(data * 1000, "", "vision") for data in (b"a", b"b", b"c"))
    shelf.add(first)
    shelf.add(second)
    shelf.get(first.id)
    shelf.add(third)
    assert shelf.files == (first, third)
    with pytest.raises(NotFound):
        shelf.data(second.id, "file_id")
    shelf.delete(first.id)
    shelf.add(StoredFile(BLUE, "", "vision"))
    assert len(shelf.files) == 2
