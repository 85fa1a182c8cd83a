"""Sessions in memory: budgets, one turn at a time, age, and the images they hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import pytest

from llava_gateway.errors import (
    ImageNotFound,
    InvalidRequest,
    SessionBusy,
    SessionDeleted,
    SessionFull,
    SessionNotFound,
    StorageFull,
    TurnNotFound,
)
from llava_gateway.images.store import ImageStore, StoredImage
from llava_gateway.parts import ImagePart, Part, TextPart
from llava_gateway.sessions.memory import SessionStore
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import MiB, Settings
from tests import sample_images
from tests.clock import Clock
from tests.session_values import a_session, changing

DAY = 24 * 3600.0


class Rooms:
    """A session store with a real image store and a clock to set."""

    def __init__(self, **limits: Any) -> None:
        self.settings = Settings(image_workers=1, **limits)
        self.images = ImageStore(self.settings)
        self.clock = Clock()
        self.sessions = SessionStore(self.settings, self.images, self.clock)

    def add_turn(self, session_id: str, words: str = "Hi", answer: str = "Hello") -> Session:
        """Add a turn of text."""
        with self.sessions.turn(session_id, len(words)):
            return self.sessions.record(session_id, Turn((TextPart(words),), answer), ())

    async def shown(self, session_id: str, colour: str) -> str:
        """Add a turn with an image and return the image's id."""
        image = await self.images.add(sample_images.encoded(sample_images.shape("circle", colour)))
        image_id = await image.stored()
        parts: tuple[Part, ...] = (ImagePart(image_id), TextPart("What is it?"))
        with self.sessions.turn(session_id, 11):
            self.sessions.record(session_id, Turn(parts, "A circle."), (image,))
        return image_id


@pytest.fixture
async def rooms() -> AsyncIterator[Callable[..., Rooms]]:
    made: list[Rooms] = []

    def make(**limits: Any) -> Rooms:
        made.append(Rooms(**limits))
        return made[-1]

    yield make
    for one in made:
        await one.images.aclose()


def test_what_is_not_there_is_not_found(rooms: Callable[..., Rooms]) -> None:
    sessions = rooms().sessions
    fork, change = (lambda name: sessions.fork(name, None)), (lambda name: sessions.change(name, changing()))
    for look in (sessions.get, sessions.delete, sessions.is_running, fork, change):
        with pytest.raises(SessionNotFound):
            look("0" * 32)
    with pytest.raises(SessionNotFound), sessions.turn("0" * 32, 0):
        pass


def test_a_session_is_kept_changed_and_deleted(rooms: Callable[..., Rooms]) -> None:
    room = rooms()
    session = room.sessions.create(Session())
    room.sessions.change(session.id, changing(title="Shapes"))
    assert room.add_turn(session.id).title == "Shapes"
    assert [kept.turn_count for kept in room.sessions.list()] == [1]
    room.sessions.delete(session.id)
    assert (len(room.sessions), room.sessions.list()) == (0, [])


def test_the_list_begins_with_what_was_changed_last(rooms: Callable[..., Rooms]) -> None:
    room = rooms()
    one, two = room.sessions.create(Session()), room.sessions.create(Session())
    room.add_turn(one.id)
    assert [kept.id for kept in room.sessions.list()] == [one.id, two.id]


def test_one_turn_at_a_time(rooms: Callable[..., Rooms]) -> None:
    room = rooms()
    session = room.sessions.create(Session())
    with room.sessions.turn(session.id, 0):
        assert room.sessions.is_running(session.id)
        with pytest.raises(SessionBusy), room.sessions.turn(session.id, 0):
            pass
        assert room.sessions.is_running(session.id)  # the rejected turn does not end the running one
    assert not room.sessions.is_running(session.id)
    room.add_turn(session.id)


def test_a_turn_that_fails_gives_the_session_back(rooms: Callable[..., Rooms]) -> None:
    room = rooms()
    session = room.sessions.create(Session())
    with pytest.raises(RuntimeError), room.sessions.turn(session.id, 0):
        raise RuntimeError
    room.add_turn(session.id)


def test_a_session_has_only_so_many_turns(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_max_turns=2)
    session = room.sessions.create(Session())
    room.add_turn(session.id)
    room.add_turn(session.id)
    with pytest.raises(SessionFull):
        room.add_turn(session.id)
    assert len(room.sessions.get(session.id).turns) == 2
    room.add_turn(room.sessions.fork(session.id, 1).id)


def test_a_session_has_only_so_many_bytes(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_max_bytes=4096)
    session = room.sessions.create(Session())
    room.add_turn(session.id, "x" * 3000)
    with pytest.raises(SessionFull):
        room.add_turn(session.id, "x" * 1000)
    assert len(room.sessions.get(session.id).turns) == 1


async def test_images_count_into_the_bytes_of_a_session(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_max_bytes=1024)
    session = room.sessions.create(Session())
    image_id = await room.shown(session.id, "red")
    assert room.images.get(image_id).size > 300
    with pytest.raises(SessionFull):
        room.add_turn(session.id)


def test_an_unused_session_ends_after_its_time_and_not_while_it_runs(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_ttl=DAY)
    old, used, running = (room.sessions.create(Session()) for _ in range(3))
    with room.sessions.turn(running.id, 0):
        room.clock.now += DAY - 1
        room.add_turn(used.id)
        room.clock.now += 2
        assert {kept.id for kept in room.sessions.list()} == {used.id, running.id}
        with pytest.raises(SessionNotFound):
            room.sessions.get(old.id)
    assert len(room.sessions.list()) == 2  # the turn counts as a use
    room.clock.now += DAY + 1
    assert room.sessions.list() == []
    assert room.images.reserved == 0


def test_a_clock_that_is_set_back_or_forth_ends_nothing(rooms: Callable[..., Rooms], monkeypatch: pytest.MonkeyPatch) -> None:
    room = rooms()
    sessions = SessionStore(room.settings, room.images)
    session = sessions.create(Session())
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert sessions.get(session.id).id == session.id


def test_when_all_is_taken_the_least_recently_used_session_goes(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB)
    first, second = room.sessions.create(Session()), room.sessions.create(Session())
    room.add_turn(first.id, "x" * 300_000)
    room.add_turn(second.id, "x" * 300_000)
    room.add_turn(first.id, "more")
    third = room.sessions.create(Session())
    room.add_turn(third.id, "x" * 600_000)
    assert {kept.id for kept in room.sessions.list()} == {first.id, third.id}
    assert room.images.reserved <= MiB


def test_a_session_is_used_even_when_its_turn_is_not_recorded(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB)
    first, second = room.sessions.create(Session()), room.sessions.create(Session())
    room.add_turn(first.id, "x" * 300_000)
    room.add_turn(second.id, "x" * 300_000)
    with room.sessions.turn(first.id, 10):
        pass  # its answer failed
    third = room.sessions.create(Session())
    room.add_turn(third.id, "x" * 600_000)
    assert {kept.id for kept in room.sessions.list()} == {first.id, third.id}


def test_running_sessions_are_not_dropped_to_make_room(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB)
    first = room.sessions.create(Session())
    room.add_turn(first.id, "x" * 600_000)
    second = room.sessions.create(Session())
    with room.sessions.turn(first.id, 0), pytest.raises(StorageFull):
        room.add_turn(second.id, "x" * 600_000)
    room.add_turn(second.id, "x" * 600_000)
    assert [kept.id for kept in room.sessions.list()] == [second.id]


def test_a_session_is_not_dropped_to_make_room_for_itself(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB)
    session = room.sessions.create(Session())
    room.add_turn(session.id, "x" * 600_000)
    with pytest.raises(StorageFull):
        room.add_turn(session.id, "x" * 600_000)
    with pytest.raises(StorageFull):
        room.sessions.change(session.id, changing(system="x" * 600_000))
    assert len(room.sessions.get(session.id).turns) == 1


def test_many_idle_sessions_stay_within_the_budget(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB)
    for _ in range(300):
        room.add_turn(room.sessions.create(Session()).id, "x" * 10_000)
    assert room.images.reserved + room.images.bytes_used <= MiB
    assert 80 < len(room.sessions) < 110


async def test_a_session_holds_its_images_and_lets_them_go(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB)
    session = room.sessions.create(Session())
    image_id = await room.shown(session.id, "red")
    with room.sessions.turn(session.id, 0):
        with pytest.raises(StorageFull):
            room.images.make_room(MiB)
        assert room.images.get(image_id).id == image_id
    room.sessions.delete(session.id)
    room.images.make_room(MiB)
    with pytest.raises(ImageNotFound):
        room.images.get(image_id)


async def test_a_fork_holds_the_images_of_its_turns_on_its_own(rooms: Callable[..., Rooms]) -> None:
    room = rooms()
    session = room.sessions.create(Session())
    red, blue = await room.shown(session.id, "red"), await room.shown(session.id, "blue")
    fork = room.sessions.fork(session.id, 1)
    room.sessions.delete(session.id)
    with room.sessions.turn(fork.id, 0), pytest.raises(StorageFull):
        room.images.make_room(room.settings.store_max_bytes)
    assert room.images.get(red).id == red
    with pytest.raises(ImageNotFound):
        room.images.get(blue)


async def test_a_fork_survives_that_its_origin_is_dropped_to_make_room_for_it(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB)
    session = room.sessions.create(Session())
    red = await room.shown(session.id, "red")
    room.add_turn(session.id, "x" * 600_000)
    fork = room.sessions.fork(session.id, None)
    assert [kept.id for kept in room.sessions.list()] == [fork.id]
    assert room.images.get(red).id == red


async def test_a_fork_that_finds_no_room_holds_nothing(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB)
    session = room.sessions.create(Session())
    red = await room.shown(session.id, "red")
    room.add_turn(session.id, "x" * 600_000)
    with room.sessions.turn(session.id, 0), pytest.raises(StorageFull):
        room.sessions.fork(session.id, None)
    room.sessions.delete(session.id)
    room.images.make_room(MiB)
    with pytest.raises(ImageNotFound):
        room.images.get(red)


@pytest.mark.parametrize("at", [-1, 2])
def test_a_fork_beyond_the_turns_is_refused(rooms: Callable[..., Rooms], at: int) -> None:
    room = rooms()
    session = room.sessions.create(Session())
    room.add_turn(session.id)
    with pytest.raises(InvalidRequest) as refused:
        room.sessions.fork(session.id, at)
    assert refused.value.place == ("turn_count",)


async def test_a_session_that_was_deleted_while_it_answered_takes_no_turn(rooms: Callable[..., Rooms]) -> None:
    room = rooms()
    session = room.sessions.create(Session())
    with ExitStack() as turn:
        turn.enter_context(room.sessions.turn(session.id, 0))
        room.sessions.delete(session.id)
        with pytest.raises(SessionDeleted):
            room.sessions.record(session.id, Turn((TextPart("Hi"),), "Hello"), ())
    assert room.sessions.restore(session.id).turns == ()


def test_each_session_that_is_gone_is_told_of_once(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB, session_ttl=DAY, session_undo=60)
    gone: list[tuple[str, float]] = []
    room.sessions.on_gone = lambda session_id, undo: gone.append((session_id, undo))
    deleted, evicted, old = (room.sessions.create(Session()).id for _ in range(3))
    room.sessions.delete(deleted)
    room.clock.now += 61  # the end of the undo time is not reported again
    room.add_turn(evicted, "x" * 300_000)
    room.add_turn(old, "x" * 600_000)
    room.images.make_room(400_000)
    room.clock.now += DAY + 1
    room.sessions.expire()
    assert gone == [(deleted, 60), (evicted, 0), (old, 0)]


def test_a_session_that_can_not_be_restored_is_told_of_too(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_undo=0)
    gone: list[tuple[str, float]] = []
    room.sessions.on_gone = lambda session_id, undo: gone.append((session_id, undo))
    session = room.sessions.create(Session())
    room.sessions.delete(session.id)
    assert gone == [(session.id, 0)]
    with pytest.raises(SessionNotFound):
        room.sessions.restore(session.id)


async def test_the_same_image_twice_is_held_once_and_let_go_once(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_undo=0)
    session = room.sessions.create(Session())
    red = await room.shown(session.id, "red")
    assert await room.shown(session.id, "red") == red
    image: StoredImage = room.images.get(red)
    room.sessions.delete(session.id)
    assert image.holders == 0


def test_a_deleted_session_comes_back_whole_within_its_time(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_undo=60)
    session = room.sessions.create(Session())
    kept = room.add_turn(session.id)
    room.sessions.delete(session.id)
    with pytest.raises(SessionNotFound):
        room.sessions.get(session.id)
    second = room.sessions.create(Session())
    room.sessions.delete(second.id)
    assert [one.id for one in room.sessions.deleted()] == [second.id, session.id]
    room.clock.now += 59
    assert room.sessions.restore(session.id) == kept == room.sessions.get(session.id)
    room.clock.now += 1
    assert room.sessions.deleted() == []
    with pytest.raises(SessionNotFound):  # it is no longer among the deleted ones
        room.sessions.restore(session.id)
    room.add_turn(session.id)


async def test_what_was_deleted_is_gone_with_its_images_after_its_time(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_undo=60)
    session = room.sessions.create(Session())
    red = await room.shown(session.id, "red")
    image = room.images.get(red)
    room.sessions.delete(session.id)
    room.clock.now += 61
    with pytest.raises(SessionNotFound):
        room.sessions.restore(session.id)
    assert (room.images.reserved, image.holders) == (0, 0)


def test_without_undo_a_deleted_session_is_gone_at_once(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_undo=0)
    session = room.sessions.create(Session())
    room.add_turn(session.id)
    room.sessions.delete(session.id)
    assert room.images.reserved == 0
    with pytest.raises(SessionNotFound):
        room.sessions.restore(session.id)


def test_what_was_deleted_is_the_first_to_go_when_room_is_needed(rooms: Callable[..., Rooms]) -> None:
    room = rooms(store_max_bytes=MiB)
    first, second = room.sessions.create(Session()), room.sessions.create(Session())
    room.add_turn(first.id, "x" * 300_000)
    room.add_turn(second.id, "x" * 300_000)
    room.sessions.delete(second.id)
    third = room.sessions.create(Session())
    room.add_turn(third.id, "x" * 600_000)
    assert {kept.id for kept in room.sessions.list()} == {first.id, third.id}
    with pytest.raises(SessionNotFound):
        room.sessions.restore(second.id)


def test_all_branches_count_into_the_turns_of_a_session(rooms: Callable[..., Rooms]) -> None:
    room = rooms(session_max_turns=2)
    session = room.sessions.create(Session())
    room.add_turn(session.id)
    with room.sessions.turn(session.id, 2):
        assert len(room.sessions.record(session.id, Turn((TextPart("Again"),), "Hello"), (), after=0).turns) == 1
    with pytest.raises(SessionFull):
        room.add_turn(session.id)


async def test_all_branches_hold_their_images(rooms: Callable[..., Rooms]) -> None:
    room = rooms()
    session = room.sessions.create(Session())
    red = await room.shown(session.id, "red")
    with room.sessions.turn(session.id, 2):
        room.sessions.record(session.id, Turn((TextPart("Hi"),), "Hello"), (), after=0)
    with room.sessions.turn(session.id, 0), pytest.raises(StorageFull):
        room.images.make_room(room.settings.store_max_bytes)
    assert room.sessions.switch(session.id, 1).image_ids == (red,)
    assert room.sessions.get(session.id).turns[0].images[0].image_id == red


def test_no_branch_is_left_while_its_answer_runs(rooms: Callable[..., Rooms]) -> None:
    room = rooms()
    session = room.sessions.create(Session())
    room.add_turn(session.id)
    with room.sessions.turn(session.id, 0), pytest.raises(SessionBusy):
        room.sessions.switch(session.id, 1)
    with pytest.raises(TurnNotFound):
        room.sessions.switch(session.id, 2)


def test_what_was_counted_holds_until_the_prompt_becomes_another(rooms: Callable[..., Rooms]) -> None:
    sessions = rooms().sessions
    session = sessions.create(a_session(tokens=100))
    assert sessions.change(session.id, changing(title="Shapes", summary="Nothing yet.")).prompt_state.tokens == 100
    assert sessions.change(session.id, changing(system="Be brief.")).prompt_state.tokens is None


@pytest.mark.parametrize("changes", [{"system": "Be brief."}, {"pins": {"9b2e": True}}, {"glossary": ("Bauhaus",)}, {"policy": "sliding"}])
def test_what_was_counted_for_an_answer_does_not_hold_for_what_was_changed_meanwhile(
    rooms: Callable[..., Rooms], changes: dict[str, Any]
) -> None:
    sessions = rooms().sessions
    session = sessions.create(Session())
    with sessions.turn(session.id, 2):
        sessions.change(session.id, changing(**changes))
        assert sessions.record(session.id, Turn((TextPart("Hi"),), "Hello"), (), changing(tokens=22)).prompt_state.tokens is None
    with sessions.turn(session.id, 2):
        assert sessions.record(session.id, Turn((TextPart("Hi"),), "Hello"), (), changing(tokens=44)).prompt_state.tokens == 44


def test_every_change_gives_another_revision(rooms: Callable[..., Rooms]) -> None:
    room = rooms()
    session = room.sessions.create(Session())
    seen = [room.sessions.revision(session.id)]
    room.sessions.change(session.id, changing(title="Shapes"))
    seen.append(room.sessions.revision(session.id))
    with room.sessions.turn(session.id, 0):
        seen.append(room.sessions.revision(session.id))
    room.add_turn(session.id)
    seen.append(room.sessions.revision(session.id))
    assert len(set(seen)) == 4
    assert room.sessions.revision(session.id) == seen[-1]
