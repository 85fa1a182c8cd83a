"""When the disk fails: no false `done`, nothing half written, one clear error, and what can be read is saved."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from llava_gateway.errors import GatewayError, ImageNotFound, StorageFailed, StorageFull
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.journal.backup import Backup
from llava_gateway.journal.database import Database
from llava_gateway.journal.errors import DataError
from llava_gateway.journal.files import ImageFiles
from llava_gateway.journal.journal import Journal
from llava_gateway.journal.purge import purge_folder
from llava_gateway.journal.recovery import recover
from llava_gateway.journal.schema import MIGRATIONS, bring_up_to_date
from llava_gateway.parts import TextPart
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn
from tests.gateways import ask
from tests.journal.test_keeping import RED, files, image_id, kept


def fill(gateway: Gateway, *, full: bool) -> None:
    """Let SQLite find no room for one more page, or let it have room again."""
    assert gateway.journal
    connection = gateway.journal._database._connection
    connection.execute(f"PRAGMA max_page_count = {1 if full else 2**30}")  # not below what it has


async def test_a_full_disk_ends_the_answer_with_an_error_and_loses_nothing(tmp_path: Path) -> None:
    long = TextPart("word " * 20_000)
    async with kept(tmp_path) as gateway:
        session = gateway.sessions.create(Session())
        await gateway.sessions.wait_saved(session.id)
        fill(gateway, full=True)
        with pytest.raises(StorageFull) as failed:
            await ask(gateway, long, session=session)
        assert failed.value.reason == "disk_full_for_chats"
        assert [turn.answer for turn in gateway.sessions.get(session.id).turns] == ["Yes."]
        fill(gateway, full=False)
        await ask(gateway, TextPart("And now?"), session=session)
    async with kept(tmp_path) as gateway:
        assert [turn.prompt for turn in gateway.sessions.get(session.id).turns] == [long.text, "And now?"]


async def test_what_could_not_be_written_is_tried_again_at_the_end(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        session = gateway.sessions.create(Session())
        await gateway.sessions.wait_saved(session.id)
        fill(gateway, full=True)
        with pytest.raises(StorageFull):
            await ask(gateway, TextPart("word " * 20_000), session=session)
        fill(gateway, full=False)
    async with kept(tmp_path) as gateway:
        assert len(gateway.sessions.get(session.id).turns) == 1


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageFailed)])
async def test_an_image_that_can_not_be_written_is_no_success(
    number: int, error: type[GatewayError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, "as if")

    async with kept(tmp_path) as gateway:
        session = gateway.sessions.create(Session())
        with monkeypatch.context() as patch:
            patch.setattr(ImageFiles, "write", fails)
            with pytest.raises(error):
                await ask(gateway, RED, TextPart("What?"), session=session)
        assert gateway.images.evict_session
        assert not gateway.images.evict_session()  # a session that is not on disk yet is never evicted
        answer = await ask(gateway, TextPart("Still there?"), session=session)
        assert answer.text == "Yes."
        assert len(files(tmp_path)) == 1


def test_an_unfinished_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, "as if")

    images = ImageFiles(tmp_path)
    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="as if"):
        images.write("a" * 64, b"data")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_an_image_that_was_changed_on_disk_is_not_shown(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        image = image_id(await ask(gateway, RED, TextPart("What?"), session=gateway.sessions.create(Session())))
        path = tmp_path / "images" / image[:2] / image
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(ImageNotFound) as gone:
            await gateway.images.read(gateway.images.get(image))
        assert gone.value.reason == "image_unreadable"


def made_by_a_newer_version(folder: Path) -> tuple[Path, bytes]:
    """Make a database of the next version. Returns it and its content."""
    Journal(folder).close()
    path = folder / "chats.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    return path, path.read_bytes()


def test_a_newer_file_is_refused_unchanged(tmp_path: Path) -> None:
    path, before = made_by_a_newer_version(tmp_path)
    with pytest.raises(DataError, match="data_newer"):
        Journal(tmp_path)
    assert path.read_bytes() == before


def test_the_file_of_another_program_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DataError, match="data_damaged"):
        Journal(tmp_path)
    assert path.read_bytes() == before


def test_an_older_file_is_copied_and_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    Journal(tmp_path).close()

    def add(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE later (number INTEGER)")

    connection = sqlite3.connect(path, isolation_level=None)
    bring_up_to_date(connection, path, [*MIGRATIONS, add])
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
    connection.close()
    copy = sqlite3.connect(tmp_path / f"chats.db.version-{len(MIGRATIONS)}")
    assert copy.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    copy.close()


def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chats.db"
    Journal(tmp_path).close()

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE turns")
        raise sqlite3.OperationalError("as if")

    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="as if"):
        bring_up_to_date(connection, path, [*MIGRATIONS, fail])
    assert connection.execute("SELECT count(*) FROM turns").fetchone() == (0,)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()


async def test_what_can_be_read_of_a_damaged_file_is_saved(tmp_path: Path) -> None:
    """Many pages in the middle of the file are overwritten; the rest comes back, and so do the images."""
    async with kept(tmp_path) as gateway:
        sessions = [gateway.sessions.create(Session(title=f"Chat {number}")) for number in range(40)]
        for number, session in enumerate(sessions):
            await ask(gateway, TextPart(f"{number} " + "word " * 800), session=session)
            answer = await ask(gateway, RED, TextPart("What is it?"), session=session)
    path = tmp_path / "chats.db"
    content = bytearray(path.read_bytes())
    half = len(content) // 2 // 4096 * 4096
    content[half : half + 20 * 4096] = b"\xff" * (20 * 4096)
    path.write_bytes(content)
    found = recover(tmp_path)
    assert found
    assert found.moved_to.read_bytes() == bytes(content)
    assert 20 <= found.sessions <= 40
    assert 40 <= found.turns < 80
    async with kept(tmp_path) as gateway:
        assert len(gateway.sessions) == found.sessions
        listed = gateway.sessions.list()
        assert {summary.title for summary in listed} <= {f"Chat {number}" for number in range(40)}
        whole = [session for summary in listed if len((session := gateway.sessions.get(summary.id)).turns) == 2]
        assert await gateway.images.read(gateway.images.get(whole[0].image_ids[0]))
        assert (await ask(gateway, TextPart("And?"), session=whole[0])).text == "Yes."
        assert files(tmp_path) == [image_id(answer)]
    assert recover(tmp_path) is None


async def test_a_file_that_is_no_database_is_moved_aside(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    (tmp_path / "chats.db").write_bytes(b"This is not a database. " * 1000)
    with pytest.raises(DataError, match="data_damaged"):
        Journal(tmp_path)
    found = recover(tmp_path)
    assert found
    assert (found.sessions, found.turns) == (0, 0)
    Journal(tmp_path).close()


def test_half_a_letter_is_stored(tmp_path: Path) -> None:
    """No engine and no client gets one in, but a text that can't be encoded must not make every later write fail."""
    session = Session(title="\ud83d x").with_turn(Turn((TextPart("Hm?"),), "letter"))
    object.__setattr__(session.turns[0], "answer", "half \ud83d a letter")
    with Database(tmp_path / "chats.db") as database:
        database.save(session, session.turns, {})
        loaded = database.load(session.id)
        assert database.search("letter", 5)[0][0].title == "? x"
        database.remove(session.id)
    assert loaded
    assert loaded.turns[0].answer == "half ? a letter"


def test_files_of_others_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    """A person may name a folder that is in use already."""
    holiday, part = tmp_path / "images" / "holiday" / "beach.jpg", tmp_path / "images" / "ab" / "film.part"
    for file in (holiday, part):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"mine")
    tmp_path.chmod(0o755)

    async def use() -> None:
        async with kept(tmp_path) as gateway:
            await ask(gateway, RED, TextPart("What?"), session=gateway.sessions.create(Session()))

    asyncio.run(use())
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    purge_folder(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([holiday, part, tmp_path / "lock"])


async def test_a_restored_session_stays_even_if_hiding_it_was_written_last(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        session = gateway.sessions.create(Session())
        await gateway.sessions.wait_saved(session.id)
        gateway.sessions.delete(session.id)
        fill(gateway, full=True)
        with suppress(GatewayError):
            gateway.sessions.restore(session.id)
            await gateway.sessions.wait_saved(session.id)
        assert gateway.images.evict_session
        gateway.images.evict_session()  # memory is needed
        fill(gateway, full=False)
        await ask(gateway, TextPart("Hm?"), session=session)
    async with kept(tmp_path) as gateway:
        assert len(gateway.sessions.get(session.id).turns) == 1


async def test_what_is_saved_and_then_deleted_with_everything_else_is_gone(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        gateway.sessions.create(Session(title="just now"))
        await gateway.sessions.delete_all()
    async with kept(tmp_path) as gateway:
        assert gateway.sessions.list() == []


async def test_what_could_not_be_deleted_stays_in_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Database) -> list[str]:
        raise sqlite3.OperationalError("as if")

    async with kept(tmp_path, session_undo=0) as gateway:
        session = gateway.sessions.create(Session())
        monkeypatch.setattr(Database, "remove_all", fails)
        with pytest.raises(StorageFailed):
            await gateway.sessions.delete_all()
        assert [listed.id for listed in gateway.sessions.list()] == [session.id]
        gateway.sessions.delete(session.id)
        await gateway.sessions.wait_saved(session.id)
        assert gateway.journal
        assert gateway.journal._reader.summaries() == []  # hidden before the deletion is reported


def test_a_newer_file_is_not_recovered(tmp_path: Path) -> None:
    path, before = made_by_a_newer_version(tmp_path)
    with pytest.raises(DataError, match="data_newer"):
        recover(tmp_path)
    assert path.read_bytes() == before


async def test_a_damaged_row_costs_only_itself(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        session = gateway.sessions.create(Session())
        for words in ("One?", "Two?", "Three?"):
            await ask(gateway, TextPart(words), session=session)
    connection = sqlite3.connect(tmp_path / "chats.db")
    with connection:
        connection.execute("UPDATE turns SET document = '{\"half' WHERE id = 2")
        connection.execute("UPDATE sessions SET updated_at = 'yesterday', title = cast(x'ff41' AS TEXT)")
        connection.execute("INSERT INTO votes (document) VALUES ('{}')")
    connection.close()
    async with kept(tmp_path) as gateway:
        assert gateway.journal
        assert gateway.journal.votes() == []
        assert [turn.prompt for turn in gateway.sessions.get(session.id).turns] == ["One?", "Three?"]
        assert len((await gateway.search("yes"))[0][1]) == 2
        assert [len(read.turns) for read, _ in Backup(tmp_path).read()] == [2]
    found = recover(tmp_path)
    assert found
    assert (found.sessions, found.turns) == (1, 2)
    async with kept(tmp_path, session_undo=0) as gateway:
        gateway.sessions.delete(session.id)
        await gateway.sessions.wait_saved(session.id)
    assert Database(tmp_path / "chats.db").summaries() == []


async def test_files_that_a_new_database_does_not_know_are_kept(tmp_path: Path) -> None:
    """They may be all that is left of a database that was lost."""
    async with kept(tmp_path) as gateway:
        image = image_id(await ask(gateway, RED, TextPart("What?"), session=gateway.sessions.create(Session())))
    for name in ("chats.db", "chats.db-wal", "chats.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    async with kept(tmp_path):
        pass
    assert files(tmp_path) == [image]


async def test_a_damaged_image_file_is_written_again(tmp_path: Path) -> None:
    async with kept(tmp_path) as gateway:
        image = image_id(await ask(gateway, RED, TextPart("What?"), session=gateway.sessions.create(Session())))
    (tmp_path / "images" / image[:2] / image).write_bytes(b"half")
    async with kept(tmp_path) as gateway:
        await ask(gateway, RED, TextPart("What?"), session=gateway.sessions.create(Session()))
        assert await gateway.images.read(gateway.images.get(image))


async def test_deleted_words_leave_the_file(tmp_path: Path) -> None:
    async with kept(tmp_path, session_undo=0) as gateway:
        going, staying = gateway.sessions.create(Session()), gateway.sessions.create(Session())
        for session, words in ((going, "xyzzyplugh"), (staying, "hello")):
            await ask(gateway, TextPart(words), session=session)
        gateway.sessions.delete(going.id)
    assert b"xyzzyplugh" not in (tmp_path / "chats.db").read_bytes()
    assert b"hello" in (tmp_path / "chats.db").read_bytes()


async def test_an_image_that_was_in_use_leaves_the_disk_later(tmp_path: Path) -> None:
    async with kept(tmp_path, session_undo=0) as gateway:
        session = gateway.sessions.create(Session())
        image = gateway.images.get(image_id(await ask(gateway, RED, TextPart("What?"), session=session)))
        gateway.images.hold(image)
        await gateway.sessions.delete_all()
        assert len(files(tmp_path)) == 1
        gateway.images.release(image)
    assert files(tmp_path) == []
