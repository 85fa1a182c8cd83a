from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO

import pytest
from PIL import Image

from llava_gateway.chat import Sight
from llava_gateway.errors import ImageError, ImageNotFound, Overloaded, ShuttingDown, StorageFull
from llava_gateway.images import store as store_module
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.store import Picture, PictureStore
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests.odd_images import exif, odd, saved, scene

SQUARE = VisionProfile(square=112, tokens=64)
RENDERED = f"{SQUARE.key} {Sight().key}"
OTHER = VisionProfile(square=336, tokens=576)
SLOW = saved(Image.new("RGB", (5000, 5000)), "WEBP", lossless=True)


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[PictureStore]:
    store = PictureStore(Settings(**{"image_workers": 1, **settings}))  # type: ignore[arg-type]
    await store.start()
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def store() -> AsyncIterator[PictureStore]:
    async with running() as one:
        yield one


def noise(seed: int, side: int = 200) -> bytes:
    """A file of its own that takes a known order of bytes in the store: some 3 per pixel."""
    image = Image.effect_noise((side, side), 100).convert("RGB")
    image.putpixel((0, 0), (seed, 0, 0))
    return saved(image, "PNG")


async def test_a_picture_comes_in_is_named_by_its_canonical_bytes_and_found_again(store: PictureStore) -> None:
    picture = await store.add(odd("jpeg turned 6").data, SQUARE)
    rendition = await store.rendition(picture, SQUARE)
    (piece,) = rendition.pieces
    assert (piece.format, piece.width, piece.height, rendition.tokens) == ("PNG", 112, 112, 64)
    image_id = await picture.stored()
    assert picture.canonical
    assert image_id == hashlib.sha256(picture.canonical).hexdigest() == picture.id
    assert picture.media_type == "image/jpeg"
    assert Image.open(BytesIO(picture.canonical)).size == (96, 64) == (picture.info.width, picture.info.height)
    assert picture.info.changes == (note("rotated", degrees=90),)
    assert store.get(image_id) is picture


async def test_the_rendition_is_there_before_the_canonical_picture(store: PictureStore) -> None:
    picture = await store.add(saved(scene(size=(4000, 3000)), "JPEG"), SQUARE)
    assert picture.renditions[RENDERED]
    assert picture.id is None
    assert picture.canonical is None
    assert await picture.stored() == picture.id


async def test_the_same_upload_is_the_same_picture_and_is_not_decoded_again(store: PictureStore) -> None:
    first = await store.add(odd("png").data, SQUARE)
    await first.stored()
    await store._pool.aclose()  # nothing could be decoded now
    assert await store.add(odd("png").data, SQUARE) is first


async def test_uploads_of_the_same_file_at_once_share_one_ingest(store: PictureStore) -> None:
    data = odd("heic").data
    pictures = await asyncio.gather(*(store.add(data, profile) for profile in (SQUARE, OTHER, None, SQUARE)))
    assert len({id(picture) for picture in pictures}) == 1
    assert set(pictures[0].renditions) == {f"{profile.key} {Sight().key}" for profile in (SQUARE, OTHER)}


async def test_files_that_differ_only_in_metadata_are_one_picture_by_id(store: PictureStore) -> None:
    plain, commented = saved(scene(), "PNG"), saved(scene(), "PNG", exif=exif(1))
    assert plain != commented
    first, second = await store.add(plain), await store.add(commented)
    assert await first.stored() == await second.stored()
    assert store.get(await first.stored()) is first


async def test_a_rendition_never_changes_while_the_picture_lives(store: PictureStore) -> None:
    picture = await store.add(odd("jpeg").data, SQUARE)
    early = await store.rendition(picture, SQUARE)
    await picture.stored()
    other = await store.rendition(picture, OTHER)
    assert await store.rendition(picture, SQUARE) is early
    assert await store.rendition(picture, OTHER) is other
    assert (other.pieces[0].width, other.pieces[0].height) == (336, 336)


async def test_a_rendition_asked_for_by_many_is_made_once(store: PictureStore) -> None:
    picture = await store.add(odd("png").data)
    many = await asyncio.gather(*(store.rendition(picture, SQUARE) for _ in range(5)))
    assert all(one is many[0] for one in many)


async def test_two_stores_agree() -> None:
    data = odd("jpeg in Display P3").data
    async with running() as one, running(image_workers=2) as other:
        first, second = await one.add(data, SQUARE), await other.add(data, SQUARE)
        assert await first.stored() == await second.stored()
        assert first.renditions == second.renditions
        assert await one.rendition(first, OTHER) == await other.rendition(second, OTHER)


async def test_an_unknown_picture_is_not_found(store: PictureStore) -> None:
    with pytest.raises(ImageNotFound):
        store.get("0" * 64)


@pytest.mark.parametrize("name", ["empty", "svg", "psd", "text", "png cut off at 50 %", "png 1 x 1", "png bomb of 60,000 x 60,000"])
async def test_what_is_refused_is_named_by_the_field_it_came_in(store: PictureStore, name: str) -> None:
    picture = odd(name)
    with pytest.raises(ImageError) as caught:
        await store.add(picture.data, SQUARE, name="images[1]")
    assert (caught.value.code, caught.value.param) == (picture.error, "images[1]")
    assert caught.value.status == (415 if picture.error == "unsupported_image_media_type" else 422)
    assert store.bytes_used == 0


async def test_limits_of_the_settings() -> None:
    async with running(image_max_bytes=1024, image_formats=("PNG", "GIF"), image_max_pixels=4096) as store:
        with pytest.raises(ImageError, match="is the most") as caught:
            await store.add(bytes(1025))
        assert (caught.value.status, caught.value.code) == (413, "image_file_too_large")
        with pytest.raises(ImageError, match="JPEG pictures are not accepted") as caught:
            await store.add(b"\xff\xd8\xff\xe0")
        assert (caught.value.status, caught.value.code, caught.value.hint) == (422, "invalid_image_format", "Accepted: PNG, GIF.")
        with pytest.raises(ImageError) as caught:
            await store.add(odd("png").data)
        assert caught.value.code == "image_too_large"


async def test_a_worker_killed_before_its_first_answer_refuses_that_file_for_a_while(
    store: PictureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    adding = asyncio.create_task(store.add(SLOW, SQUARE))
    await _decoding(store, SLOW)
    (pid,) = store._pool.pids
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ImageError, match="brought its decoder down") as caught:
        await adding
    assert (caught.value.status, caught.value.code) == (422, "image_parse_error")
    with pytest.raises(ImageError, match="a few minutes ago"):
        await store.add(SLOW, SQUARE)
    assert await store.add(odd("png").data, SQUARE), "other files are read as ever"
    # Ten minutes later it is tried again.
    monkeypatch.setattr(store_module, "REFUSED_FOR", -1.0)
    store._refuse(hashlib.sha256(SLOW).hexdigest())
    assert await store.add(SLOW, SQUARE)


async def test_a_worker_killed_after_the_rendition_fails_only_the_storing(store: PictureStore) -> None:
    picture = await store.add(saved(scene(size=(4000, 3000)), "JPEG"), SQUARE)
    (pid,) = store._pool.pids
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ImageError) as caught:
        await picture.stored()
    assert caught.value.code == "image_parse_error"
    assert picture.renditions[RENDERED], "what the model was sent is still there to look at"
    assert store.bytes_used == 0
    with pytest.raises(ImageError):
        await store.rendition(picture, OTHER)


async def test_a_picture_that_takes_too_long_is_refused() -> None:
    async with running(image_timeout=0.05) as store:
        with pytest.raises(ImageError, match="took longer than"):
            await store.add(SLOW, SQUARE)


async def test_who_leaves_while_it_is_decoded_spoils_nothing(store: PictureStore) -> None:
    pids = store._pool.pids
    leaving = asyncio.create_task(store.add(SLOW, SQUARE))
    staying = asyncio.create_task(store.add(SLOW, SQUARE))
    await _decoding(store, SLOW)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await (await staying).stored()
    assert store._pool.pids == pids


async def test_who_leaves_the_queue_leaves_no_work_behind(store: PictureStore) -> None:
    first = asyncio.create_task(store.add(SLOW, SQUARE))
    await _decoding(store, SLOW)
    queued = asyncio.create_task(store.add(odd("heic").data, SQUARE))
    await _known(store, odd("heic").data)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    again = await store.add(odd("heic").data, SQUARE)
    assert await again.stored()
    await (await first).stored()


async def test_who_asks_when_the_store_closes_is_told() -> None:
    async with running() as store:
        adding = asyncio.create_task(store.add(SLOW, SQUARE))
        await _decoding(store, SLOW)
    with pytest.raises((ShuttingDown, Overloaded)):
        await adding


async def test_every_byte_is_counted(store: PictureStore) -> None:
    assert store.bytes_used == 0
    picture = await store.add(odd("png").data, SQUARE)
    await picture.stored()
    await store.rendition(picture, OTHER)
    assert picture.canonical
    base64 = sum(len(piece.base64) for rendition in picture.renditions.values() for piece in rendition.pieces)
    files = sum(rendition.size_bytes for rendition in picture.renditions.values())
    assert store.bytes_used == picture.size == len(picture.canonical) + files + base64


async def test_the_least_recently_used_goes_first_and_goes_whole() -> None:
    async with running(store_max_bytes=1024 * 1024) as store:
        pictures = [await _settled(store, noise(seed)) for seed in range(2)]
        ids = [await picture.stored() for picture in pictures]
        store.get(ids[0])
        await _fill(store, lambda: ids[1] not in store._by_id)
        assert store.get(ids[0]) is pictures[0]
        with pytest.raises(ImageNotFound):
            store.get(ids[1])
        assert store.bytes_used <= 1024 * 1024


async def test_what_is_held_stays_and_a_full_store_says_so() -> None:
    async with running(store_max_bytes=1024 * 1024) as store:
        held = await _settled(store, noise(0))
        store.hold(held)
        with pytest.raises(StorageFull) as caught:
            await _fill(store, lambda: False, hold=True)
        assert (caught.value.status, caught.value.code) == (507, "storage_full")
        assert store.get(await held.stored()) is held
        store.release(held)
        store.make_room(held.size)
        with pytest.raises(ImageNotFound):
            store.get(await held.stored())


async def test_a_picture_held_twice_is_released_twice() -> None:
    async with running(store_max_bytes=1024 * 1024) as store:
        picture = await _settled(store, noise(0))
        store.hold(picture)
        store.hold(picture)
        store.release(picture)
        with pytest.raises(StorageFull):
            store.make_room(1024 * 1024)
        store.release(picture)
        store.make_room(1024 * 1024)
        assert store.bytes_used == 0


async def test_holding_what_was_just_evicted_brings_it_back() -> None:
    async with running(store_max_bytes=1024 * 1024) as store:
        picture = await _settled(store, noise(0))
        store.make_room(1024 * 1024)
        store.hold(picture)
        assert store.get(await picture.stored()) is picture
        assert store.bytes_used == picture.size


async def test_an_evicted_picture_leaves_its_id_to_a_twin(store: PictureStore) -> None:
    first = await _settled(store, saved(scene(), "PNG"))
    twin = await _settled(store, saved(scene(), "BMP"))
    assert first.id == twin.id
    store.hold(twin)
    store._evict(first)
    assert store.get(await twin.stored()) is twin


async def test_a_picture_larger_than_the_store_is_refused() -> None:
    async with running(store_max_bytes=1024 * 1024) as store:
        with pytest.raises(StorageFull):
            await store.add(saved(Image.effect_noise((1200, 1200), 100), "BMP"), SQUARE)


def test_it_runs_on_uvloop_too() -> None:
    """What the server runs on where it can."""
    uvloop = pytest.importorskip("uvloop")

    async def walk() -> str:
        async with running() as store:
            adding = asyncio.create_task(store.add(SLOW, SQUARE))
            await _decoding(store, SLOW)
            (pid,) = store._pool.pids
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ImageError):
                await adding
            return await (await store.add(odd("png").data, SQUARE)).stored()

    assert len(uvloop.run(walk())) == 64


async def _known(store: PictureStore, data: bytes) -> store_module._Ingest:
    """The ingest of a file that was just added."""
    key = hashlib.sha256(data).hexdigest()
    while key not in store._ingests:  # noqa: ASYNC110 (adding hashes the file first)
        await asyncio.sleep(0)
    return store._ingests[key]


async def _decoding(store: PictureStore, data: bytes) -> None:
    """Wait until a worker is at work on it."""
    ingest = await _known(store, data)
    while not ingest.has_worker:  # noqa: ASYNC110 (a worker says so on a pipe)
        await asyncio.sleep(0)


async def _settled(store: PictureStore, data: bytes) -> Picture:
    picture = await store.add(data)
    await picture.stored()
    return picture


async def _fill(store: PictureStore, until: Callable[[], bool], *, hold: bool = False) -> None:
    """Add pictures until something has happened."""
    for seed in range(50, 100):
        picture = await _settled(store, noise(seed))
        if hold:
            store.hold(picture)
        if until():
            return
    pytest.fail("it did not happen")


async def test_a_view_is_drawn_from_the_rendition_and_takes_no_room(store: PictureStore) -> None:
    picture = await store.add(odd("jpeg turned 6").data, SQUARE)
    await picture.stored()
    used = store.bytes_used
    view = await store.view(picture, SQUARE)
    assert view == await store.view(picture, SQUARE)
    assert store.bytes_used == used
    (piece,) = (await store.rendition(picture, SQUARE)).pieces
    drawn, sent = Image.open(BytesIO(view)), Image.open(BytesIO(piece.data))
    assert drawn.size == (672, 672)
    assert [drawn.getpixel((6 * x + 3, 6 * 56 + 3)) for x in range(112)] == [sent.getpixel((x, 56)) for x in range(112)]


async def test_a_contact_sheet_is_a_picture_like_any_other(store: PictureStore) -> None:
    pictures = [await store.add(noise(seed)) for seed in range(3)]
    made = await store.sheet(pictures)
    assert made.canonical
    assert await made.stored() == hashlib.sha256(made.canonical).hexdigest()
    assert store.get(await made.stored()) is made
    assert made.info.changes == (note("sheet", count=3),)
    assert Image.open(BytesIO(made.canonical)).size == (made.info.width, made.info.height)
    assert (await store.rendition(made, SQUARE)).tokens == 64
    assert await store.sheet(pictures) is made
    assert await store.sheet(pictures[::-1]) is not made
    assert store.bytes_used == sum(picture.size for picture in store._pictures)


async def test_the_same_sheet_asked_for_twice_at_once_is_one_picture(store: PictureStore) -> None:
    pictures = [await store.add(noise(seed)) for seed in range(2)]
    one, other = await asyncio.gather(store.sheet(pictures), store.sheet(pictures))
    assert one is other
    assert store.bytes_used == sum(picture.size for picture in store._pictures)


async def test_a_sheet_that_has_no_room_leaves_nothing_behind() -> None:
    async with running(store_max_bytes=2**20) as store:
        pictures = [await store.add(noise(seed, side=560)) for seed in range(2)]
        for picture in pictures:
            await picture.stored()
            store.hold(picture)
        used = store.bytes_used
        with pytest.raises(StorageFull):
            await store.sheet(pictures)
        assert store.bytes_used == used
        for picture in pictures:
            store.release(picture)
        assert await (await store.sheet(pictures)).stored()


async def test_a_turned_picture_is_another_one_with_the_history_of_the_first(store: PictureStore) -> None:
    picture = await store.add(noise(1))
    turned = await store.turned(picture, 90)
    assert turned.canonical
    assert await turned.stored() == hashlib.sha256(turned.canonical).hexdigest() != await picture.stored()
    assert (turned.info.width, turned.info.height) == (picture.info.height, picture.info.width)
    assert turned.info.changes == (*picture.info.changes, note("turned", degrees=90))
    assert turned.info.original_bytes == picture.info.original_bytes
    assert await store.turned(picture, 90) is turned
    assert await store.turned(picture, 180) is not turned
    assert store.bytes_used == sum(picture.size for picture in store._pictures)


async def test_what_is_only_looked_at_makes_nobody_go_and_does_not_pile_up() -> None:
    async with running(store_max_bytes=4 * 1024 * 1024) as store:
        store.let_go = lambda: pytest.fail("a session was to go")
        picture = await _settled(store, noise(1))
        store.hold(picture)
        parts = [Sight(region=(number / 100, 0.0, 0.5, 0.5)) for number in range(40)]
        used = []
        for part in parts:
            await store.rendition(picture, SQUARE, part, looking=True)
            used.append(store.bytes_used)
        assert not picture.renditions
        assert used[-1] - picture.size <= 17 * (used[1] - used[0])
        for seed in range(2, 40):  # of pictures that nobody holds it takes the place
            await _settled(store, noise(seed))
        await store.rendition(picture, SQUARE, Sight(region=(0.0, 0.4, 0.5, 0.5)), looking=True)
        again = await store.rendition(picture, SQUARE, Sight(region=(0.0, 0.4, 0.5, 0.5)), looking=True)
        assert again is await store.rendition(picture, SQUARE, Sight(region=(0.0, 0.4, 0.5, 0.5)), looking=True)
        await store.rendition(picture, SQUARE, parts[-1])  # a question has it now
        assert len(picture.renditions) == 1
        store.release(picture)
        for seed in range(2, 40):
            await _settled(store, noise(seed))
        assert store.bytes_used <= 4 * 1024 * 1024
