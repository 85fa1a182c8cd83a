"""Chats outlive the gateway: what was answered is on disk, comes back as it was, and leaves the disk when it is deleted."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llava_gateway.answers import Answer
from llava_gateway.chat import ChatRequest, EngineEvent, EngineRequest, Finish, TextDelta, Timings, Usage
from llava_gateway.errors import ImageNotFound, SessionNotFound, StorageFull
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images import store
from llava_gateway.journal.errors import DataError
from llava_gateway.journal.journal import Journal
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Sight, TextPart, Upload
from llava_gateway.sessions.session import Session, SessionDefaults
from llava_gateway.settings import MiB, Settings
from llava_gateway.votes import MAX_VOTES, Candidate, Vote
from tests.gateways import ask, open_gateway
from tests.sample_images import encoded, shape
from tests.scripted_engine import ScriptedEngine, says

RED, BLUE = (Upload(encoded(shape("circle", colour))) for colour in ("red", "blue"))


@asynccontextmanager
async def kept(folder: Path, answer: str = "Yes.", **settings: Any) -> AsyncIterator[Gateway]:
    """Run a gateway that keeps its sessions in `folder`, with an engine that always answers the same."""
    settings = {"keep": "sqlite", "data_dir": folder, "image_workers": 1, **settings}
    async with open_gateway(Settings(**settings), [ScriptedEngine(says(answer))]) as gateway:
        yield gateway


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "images").rglob("*") if path.is_file())


def rows(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("chats.db*"))


def image_id(answer: Answer) -> str:
    return answer.images[0].id


async def test_a_session_comes_back_as_it_was(tmp_path: Path) -> None:
    defaults = SessionDefaults("Be brief.", "sliding", ("LLaVA",), None, {"temperature": 0.5}, "low", {"type": "object"})
    async with kept(tmp_path, "A red circle.") as gateway:
        session = gateway.sessions.create(Session(title="圆", defaults=defaults))
        first = await ask(gateway, RED, TextPart("What is it?"), session=session, options=Options(seed=1, stop=("x",)))
        await ask(gateway, BLUE, TextPart("And this?"), session=session)
        await ask(gateway, TextPart("Once more?"), session=session, after=1)
        gateway.sessions.change(session.id, lambda now: _with_choices(now, image_id(first)))
        before = gateway.sessions.get(session.id)
        await gateway.sessions.wait_saved(session.id)
    async with kept(tmp_path) as gateway:
        assert [summary.id for summary in gateway.sessions.list()] == [session.id]
        assert gateway.sessions.get(session.id) == before
        assert before.branches.aside
        assert (await ask(gateway, TextPart("And?"), session=session)).text == "Yes."


def _with_choices(session: Session, image: str) -> Session:
    branches = replace(session.branches, pins={image: True}, sights={image: Sight("high")})
    return replace(session, branches=branches).with_summary("A circle.", 1)


async def test_an_answer_that_was_continued_is_on_disk_as_a_whole(tmp_path: Path) -> None:
    async with kept(tmp_path, "One two") as gateway:
        session = gateway.sessions.create(Session())
        await ask(gateway, TextPart("Hm?"), session=session)
        (turn,) = gateway.sessions.get(session.id).turns
        with gateway.sessions.turn(session.id, 0):
            gateway.sessions.record(session.id, replace(turn, answer="One two three"), ())
        await gateway.sessions.wait_saved(session.id)
    async with kept(tmp_path) as gateway:
        assert [turn.answer for turn in gateway.sessions.get(session.id).turns] == ["One two three"]
        assert [[match.text for match in matches] for _, matches in await gateway.search("three")] == [["three"]]


async def test_an_answer_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def reaches_its_limit(request: EngineRequest) -> AsyncIterator[EngineEvent]:
        yield TextDelta("A red")
        yield Finish("length", Usage(7, 2, 0))

    async with kept(tmp_path) as gateway:
        gateway.pool.engine("ollama").script = reaches_its_limit  # type: ignore[attr-defined]
        session = gateway.sessions.create(Session())
        await ask(gateway, RED, TextPart("What is it?"), session=session)
        before = gateway.pool.engine("ollama").requests[-1].shown  # type: ignore[attr-defined]
    async with kept(tmp_path, " circle.") as gateway:
        answer = await gateway.answer(ChatRequest((), session_id=session.id, continues=1))
        assert (answer.text, answer.turn_id) == ("A red circle.", 1)
        (after,) = gateway.pool.engine("ollama").requests[-1].shown  # type: ignore[attr-defined]
        assert after.pieces[0].data == before[0].pieces[0].data
    async with kept(tmp_path) as gateway:
        (turn,) = gateway.sessions.get(session.id).turns
        assert (turn.answer, turn.status, turn.finish_reason) == ("A red circle.", "complete", "stop")


async def test_its_images_come_back_for_the_engine(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        session = gateway.sessions.create(Session())
        await ask(gateway, RED, TextPart("What is it?"), session=session)
        before = gateway.pool.engine("ollama").requests[-1].shown  # type: ignore[attr-defined]
    async with kept(tmp_path) as gateway:
        await ask(gateway, TextPart("Which colour?"), session=session)
        (after,) = gateway.pool.engine("ollama").requests[-1].shown  # type: ignore[attr-defined]
        assert after.pieces[0].data == before[0].pieces[0].data


async def test_an_answer_is_on_disk_before_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process, which knows only the disk, reads it while the gateway still runs."""
    async with kept(tmp_path, "It is red.") as gateway:
        session = gateway.sessions.create(Session())
        answer = await ask(gateway, RED, TextPart("What is it?"), session=session)
        with pytest.raises(DataError, match="data_in_use"):
            Journal(tmp_path)
        assert files(tmp_path) == [image_id(answer)]
        assert gateway.journal
        on_disk, sizes = gateway.journal.load(session.id)
        assert [turn.answer for turn in on_disk.turns] == ["It is red."]
        assert list(sizes) == [image_id(answer)]


async def test_only_this_user_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    before = os.umask(0)
    try:
        async with kept(folder) as gateway:
            await ask(gateway, RED, TextPart("Hi"), session=gateway.sessions.create(Session()))
            modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    finally:
        os.umask(before)
    assert modes == {path: 0o700 if path.is_dir() else 0o600 for path in modes}
    assert {"chats.db", "chats.db-wal", "lock"} <= {path.name for path in modes}


async def test_a_deleted_session_leaves_the_disk_with_its_images(tmp_path: Path) -> None:
    async with kept(tmp_path, session_undo=0) as gateway:
        going, staying = gateway.sessions.create(Session(title="Secret words")), gateway.sessions.create(Session())
        red = image_id(await ask(gateway, RED, TextPart("Mysterious?"), session=going))
        blue = image_id(await ask(gateway, BLUE, TextPart("Hm?"), session=going))
        await ask(gateway, ImagePart(blue), TextPart("Hi"), session=staying)
        assert files(tmp_path) == sorted([red, blue])
        gateway.sessions.delete(going.id)
        while gateway.journal and gateway.journal._removals:
            await asyncio.wait(gateway.journal._removals)
        assert files(tmp_path) == [blue]
        with pytest.raises(ImageNotFound):
            gateway.images.get(red)
        assert await gateway.search("Mysterious") == []
    assert b"Mysterious" not in rows(tmp_path)
    assert b"Secret words" not in rows(tmp_path)
    async with kept(tmp_path) as gateway:
        with pytest.raises(SessionNotFound):
            gateway.sessions.get(going.id)


async def test_a_deleted_session_can_be_restored_until_the_gateway_ends(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        one, other = gateway.sessions.create(Session()), gateway.sessions.create(Session())
        for session in (one, other):
            gateway.sessions.delete(session.id)
        assert gateway.sessions.restore(one.id).id == one.id
        await gateway.sessions.wait_saved(one.id)
    async with kept(tmp_path) as gateway:
        assert [summary.id for summary in gateway.sessions.list()] == [one.id]
        assert gateway.sessions.deleted() == []


async def test_a_temporary_session_writes_nothing(tmp_path: Path) -> None:
    async with kept(tmp_path, "A red one.") as gateway:
        session = gateway.sessions.create(Session(temporary=True))
        await ask(gateway, RED, TextPart("Unwritten?"), session=session)
        gateway.sessions.fork(session.id, None)
        assert [found.id for found, _ in await gateway.search("Unwritten")] != []
        assert files(tmp_path) == []
    assert b"Unwritten" not in rows(tmp_path)
    async with kept(tmp_path) as gateway:
        assert gateway.sessions.list() == []


async def test_memory_forgets_and_the_disk_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for the text of one session and no idle image, a session and its images come from the disk each time."""
    monkeypatch.setattr(store, "ON_DISK_BYTES", 0)
    async with kept(tmp_path) as gateway:
        sessions = [gateway.sessions.create(Session()) for _ in range(3)]
        for session in sessions:
            await ask(gateway, RED, TextPart("What is it?"), session=session)
        assert gateway.images.bytes_used == 0
        for session in sessions:
            await gateway.sessions.wait_saved(session.id)
            gateway.images.evict_session()  # type: ignore[misc]
        assert gateway.images.reserved == 0
        assert len(gateway.sessions) == 3
        for session in sessions:
            assert len(gateway.sessions.get(session.id).turns) == 1
            await ask(gateway, TextPart("Which colour?"), session=session)


async def test_a_full_budget_refuses_new_images_and_nothing_else(tmp_path: Path) -> None:
    async with kept(tmp_path, keep_max_bytes=MiB) as gateway:
        session = gateway.sessions.create(Session())
        noise = Upload(encoded(shape("circle", "red", size=(64, 64))))
        await ask(gateway, noise, TextPart("What?"), session=session)
        assert gateway.journal
        gateway.journal.max_bytes = gateway.journal.size
        await ask(gateway, TextPart("Words still fit."), session=session)
        with pytest.raises(StorageFull) as refused:
            await ask(gateway, BLUE, TextPart("And this?"), session=session)
        assert refused.value.reason == "keep_max_bytes"
        assert len(gateway.sessions.get(session.id).turns) == 2
        temporary = gateway.sessions.create(Session(temporary=True))
        await ask(gateway, BLUE, TextPart("And this?"), session=temporary)


async def test_votes_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    candidate = Candidate("llava", "ollama", "This.", options={"seed": 1.0}, timings=Timings(1.0), usage=Usage(1))
    vote = Vote(datetime(2026, 11, 30, 9, 0, 1, tzinfo=UTC), "Which?", ("a" * 64,), (candidate, candidate), 1)
    for _ in range(MAX_VOTES + 1):
        await journal.add_vote(vote)
    await journal.aclose()
    journal = Journal(tmp_path)
    assert journal.votes() == [vote] * MAX_VOTES
    await journal.remove_votes()
    assert journal.votes() == []
    await journal.aclose()


async def test_what_a_killed_process_left_behind_is_removed(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        session = gateway.sessions.create(Session())
        answer = await ask(gateway, RED, TextPart("What is it?"), session=session)
    stray = tmp_path / "images" / "ff" / ("f" * 64)
    stray.parent.mkdir(exist_ok=True)
    for name in (stray, stray.with_suffix(".part")):
        name.write_bytes(b"half an image")
    async with kept(tmp_path) as gateway:
        assert gateway.journal
        await gateway.journal.aclose()
        assert files(tmp_path) == [image_id(answer)]
