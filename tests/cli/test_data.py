"""The chats on disk, from the shell: a gateway keeps them, and `data` shows, saves, restores and deletes them."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import httpx2
import pytest

from tests.cli.program import run, serving
from tests.sample_images import encoded, shape

EMBEDDED = ("--engine", "embedded")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def ask_about_a_circle(url: str) -> str:
    """Ask the demo model in a new session. Returns the session's id."""
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        session_id: str = (await client.post("/sessions", json={"title": "Circles"})).json()["id"]
        files = {"image": encoded(shape("circle", "red"))}
        answer = await client.post(f"/sessions/{session_id}/turns", files=files, data={"prompt": "What is it?"})
        assert answer.status_code == 200, answer.text
        return session_id


async def turns(url: str, session_id: str) -> int:
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        return len((await client.get(f"/sessions/{session_id}")).json()["turns"])


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_chats_outlive_a_gateway_however_it_ends(end: signal.Signals, tmp_path: Path) -> None:
    arguments = (*EMBEDDED, "--data-dir", str(tmp_path))
    async with serving(*arguments) as (url, process):
        session_id = await ask_about_a_circle(url)
        process.send_signal(end)
        await process.wait()
    async with serving(*arguments) as (url, _):
        assert await turns(url, session_id) == 1


async def test_a_second_gateway_says_that_the_directory_is_in_use(tmp_path: Path) -> None:
    async with serving(*EMBEDDED, "--data-dir", str(tmp_path)) as (_, process):
        second = await asyncio.to_thread(run, "serve", "--port", "0", *EMBEDDED, "--data-dir", str(tmp_path))
        assert second.code == 1
        assert f"Another llava-gateway (process {process.pid}) uses the chats in {tmp_path}." in second.err
        assert "Traceback" not in second.err


async def test_nothing_is_written_with_no_keep(tmp_path: Path) -> None:
    async with serving(*EMBEDDED, "--no-keep", "--data-dir", str(tmp_path)) as (url, _):
        await ask_about_a_circle(url)
        assert names(tmp_path) == []


async def test_all_chats_are_saved_deleted_and_restored(tmp_path: Path) -> None:
    """The steps of a move to another machine."""
    data, backup = ("--data-dir", str(tmp_path / "data")), str(tmp_path / "chats.zip")
    async with serving(*EMBEDDED, *data) as (url, _):
        await ask_about_a_circle(url)
        saved = await asyncio.to_thread(run, "data", "export", backup, *data)
        assert (saved.code, saved.out) == (0, f"Saved 1 chat with 1 image in {backup}.\n")
        busy = await asyncio.to_thread(run, "data", "purge", "--yes", *data)
        assert busy.code == 1
        assert "Another llava-gateway" in busy.err
    again = run("data", "export", backup, *data)
    assert again.code == 2
    assert "already exists" in again.err
    size = run("data", "size", *data)
    assert re.search(r"1 chat, [\d.]+ kB: [1-9][\d.]* (k?)B of images and [\d.]+ kB of text\.", size.out), size.out
    assert "Circles" in size.out
    assert run("data", "purge", *data).code == 2  # nobody can be asked
    assert run("data", "purge", "--yes", *data).out == "Deleted 1 chat.\n"
    assert names(tmp_path / "data") == ["lock"]
    assert run("data", "import", backup, *data).out == "Added 1 chat.\n"
    async with serving(*EMBEDDED, *data) as (url, _), httpx2.AsyncClient(base_url=url, timeout=120) as client:
        (session,) = (await client.get("/sessions")).json()["sessions"]
        assert session["title"] == "Circles"
        (turn,) = (await client.get(f"/sessions/{session['id']}")).json()["turns"]
        assert (await client.get(f"/images/{turn['images'][0]['id']}")).status_code == 200


async def test_chats_are_imported_into_a_gateway_that_runs(tmp_path: Path) -> None:
    data, backup = ("--data-dir", str(tmp_path / "data")), str(tmp_path / "chats.zip")
    async with serving(*EMBEDDED, *data) as (url, _):
        await ask_about_a_circle(url)
        await asyncio.to_thread(run, "data", "export", backup, *data)
        done = await asyncio.to_thread(run, "data", "import", backup, *data)
        assert (done.code, done.out) == (0, "Added 1 chat.\n"), done.err
        async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
            assert len((await client.get("/sessions")).json()["sessions"]) == 2


async def test_a_damaged_file_is_told_and_recovered(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path))
    async with serving(*EMBEDDED, *data) as (url, process):
        await ask_about_a_circle(url)
        process.send_signal(signal.SIGTERM)
        await process.wait()
    (tmp_path / "chats.db").write_bytes(b"not a database " * 1000)
    refused = run("serve", "--port", "0", *EMBEDDED, *data)
    assert refused.code == 1
    assert f"{tmp_path / 'chats.db'} is damaged: file is not a database." in refused.err
    assert "--recover" in refused.err
    assert "Traceback" not in refused.err
    async with serving("--recover", *EMBEDDED, *data) as (url, _), httpx2.AsyncClient(base_url=url, timeout=120) as client:
        assert (await client.get("/sessions")).json()["sessions"] == []
    assert sum(name.startswith("chats.db.damaged-") for name in names(tmp_path)) == 1


def test_the_directory_is_the_platforms_or_the_one_that_is_named(tmp_path: Path) -> None:
    assert run("data", "path", XDG_DATA_HOME=str(tmp_path)).out == f"{tmp_path / 'llava-gateway'}\n"
    assert run("data", "path", LLAVA_GATEWAY_DATA_DIR=str(tmp_path)).out == f"{tmp_path}\n"
    nothing = run("data", "size", "--data-dir", str(tmp_path / "none"))
    assert nothing.code == 1
    assert "There are no chats in" in nothing.err
