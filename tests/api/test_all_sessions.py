"""All sessions at once: exported as one zip, searched, and deleted, wherever they are kept."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Serve
from tests.scripted_engine import ScriptedEngine, says
from tests.serving import Served


@pytest.fixture(params=["memory", "sqlite"])
async def served(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path, red_circle: bytes) -> Served:
    """Two sessions with an image in one, and a temporary one."""
    served = await serve(ScriptedEngine(says("It is *red*.")), keep=request.param, data_dir=tmp_path)
    image = base64.b64encode(red_circle).decode()
    for title, images in (("One", [image]), ("Two", [])):
        response = await served.ask(session_id=await served.session(title=title), images=images, prompt="Which colour?")
        assert response.status_code == 200
    await served.ask(session_id=await served.session(title="Three", temporary=True))
    return served


async def rows(served: Served, **query: str) -> list[dict[str, Any]]:
    sessions: list[dict[str, Any]] = (await served.client.get("/sessions", params=query)).json()["sessions"]
    return sessions


async def test_an_export_has_all_but_the_temporary_ones(served: Served) -> None:
    response = await served.client.get("/sessions/export")
    assert response.headers["content-type"] == "application/zip"
    zipped = zipfile.ZipFile(io.BytesIO(response.content))
    assert zipped.testzip() is None
    documents = [json.loads(zipped.read(name)) for name in zipped.namelist()]
    assert sorted(document["session"]["title"] for document in documents) == ["One", "Two"]
    assert sorted(len(document["images"]) for document in documents) == [0, 1]
    for document in documents:
        assert (await served.client.post("/sessions/import", json=document)).status_code == 201
    assert sorted(row["title"] for row in await rows(served)) == ["One", "One", "Three", "Two", "Two"]


async def test_all_are_deleted_for_good(served: Served) -> None:
    first = (await rows(served))[0]["id"]
    await served.client.delete(f"/sessions/{first}")
    assert (await served.client.delete("/sessions")).status_code == 204
    assert await rows(served) == []
    assert await rows(served, deleted="true") == []
    assert (await served.client.post(f"/sessions/{first}/restore")).status_code == 404
    if journal := served.gateway.journal:
        assert [path for path in (journal.folder.images).rglob("*") if path.is_file()] == []
        assert b"Which colour" not in journal.folder.database.read_bytes()


async def test_all_are_searched(served: Served) -> None:
    found = await rows(served, q="is red")
    assert sorted(row["title"] for row in found) == ["One", "Three", "Two"]
    assert found[0]["matches"] == [{"turn": 1, "in": "answer", "before": "It ", "text": "is red", "after": "."}]
    assert await rows(served, q="colours") == []
    assert [row["title"] for row in await rows(served, q="three")] == ["Three"]


async def test_the_page_is_told_where_chats_are_kept(served: Served) -> None:
    assert (await served.client.get("/options")).json()["keep"] == served.gateway.settings.keep
