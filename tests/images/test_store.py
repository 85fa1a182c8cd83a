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

from llava_gateway.errors import ImageError, ImageNotFound, Overloaded, ShuttingDown, StorageFull
from llava_gateway.images import store as store_module
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.jobs import Ingest
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.store import ImageStore, StoredImage
from llava_gateway.notes import note
from llava_gateway.parts import Sight
from llava_gateway.settings import Settings
from tests.odd_images import exif, odd, saved, scene

pytestmark = pytest.mark.real

SQUARE = VisionProfile(SquareEye(112, 64))
RENDERED = f"{SQUARE.key} {Sight().key}"
OTHER = VisionProfile(SquareEye(336, 576))
SLOW = saved(Image.new("RGB", (5000, 5000)), "WEBP", lossless=True)


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[ImageStore]:
    store = ImageStore(Settings(**{"image_workers": 1, **settings}))  # type: ignore[arg-type]
    await store.start()
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def store() -> AsyncIterator[ImageStore]:
    async with running() as one:
        yield one


def noise(seed: int, side: int = 200) -> bytes:
    """Make a different file for each seed; it takes about 3 bytes per pixel in the store."""
    image = Image.effect_noise((side, side), 100).convert("RGB")
    image.putpixel((0, 0), (seed, 0, 0))
    return saved(image, "PNG")


async def test_an_image_comes_in_is_named_by_its_canonical_bytes_and_found_again(store: ImageStore) -> None:
    image = await store.add(odd("jpeg turned 6").data, SQUARE)
    rendition = await store.rendition(image, SQUARE)
    (piece,) = rendition.pieces
    assert (piece.format, piece.width, piece.height, rendition.tokens) == ("PNG", 112, 112, 64)
    image_id = await image.stored()
    assert image.canonical
    assert image_id == hashlib.sha256(image.canonical).hexdigest() == image.id
    assert image.media_type == "image/jpeg"
    assert Image.open(BytesIO(image.canonical)).size == (96, 64) == (image.info.width, image.info.height)
    assert image.info.changes == (note("rotated", degrees=90),)
    assert store.get(image_id) is image


async def test_the_rendition_is_there_before_the_canonical_image(store: ImageStore) -> None:
    image = await store.add(saved(scene(size=(4000, 3000)), "JPEG"), SQUARE)
    assert image.renditions[RENDERED]
    assert image.id is None
    assert image.canonical is None
    assert await image.stored() == image.id


async def test_the_same_upload_is_the_same_image_and_is_not_decoded_again(store: ImageStore) -> None:
    first = await store.add(odd("png").data, SQUARE)
    await first.stored()
    await store._pool.aclose()  # from here on nothing can be decoded
    assert await store.add(odd("png").data, SQUARE) is first


async def test_uploads_of_the_same_file_at_once_share_one_ingest(store: ImageStore) -> None:
    data = odd("heic").data
    images = await asyncio.gather(*(store.add(data, profile) for profile in (SQUARE, OTHER, None, SQUARE)))
    assert len({id(image) for image in images}) == 1
    assert set(images[0].renditions) == {f"{profile.key} {Sight().key}" for profile in (SQUARE, OTHER)}


async def test_files_that_differ_only_in_metadata_are_one_image_by_id(store: ImageStore) -> None:
    plain, commented = saved(scene(), "PNG"), saved(scene(), "PNG", exif=exif(1))
    assert plain != commented
    first, second = await store.add(plain), await store.add(commented)
    assert await first.stored() == await second.stored()
    assert store.get(await first.stored()) is first


async def test_a_rendition_never_changes_while_the_image_lives(store: ImageStore) -> None:
    image = await store.add(odd("jpeg").data, SQUARE)
    early = await store.rendition(image, SQUARE)
    await image.stored()
    other = await store.rendition(image, OTHER)
    assert await store.rendition(image, SQUARE) is early
    assert await store.rendition(image, OTHER) is other
    assert (other.pieces[0].width, other.pieces[0].height) == (336, 336)


async def test_a_rendition_asked_for_by_many_is_made_once(store: ImageStore) -> None:
    image = await store.add(odd("png").data)
    many = await asyncio.gather(*(store.rendition(image, SQUARE) for _ in range(5)))
    assert all(one is many[0] for one in many)


async def test_two_stores_agree() -> None:
    data = odd("jpeg in Display P3").data
    async with running() as one, running(image_workers=2) as other:
        first, second = await one.add(data, SQUARE), await other.add(data, SQUARE)
        assert await first.stored() == await second.stored()
        assert first.renditions == second.renditions
        assert await one.rendition(first, OTHER) == await other.rendition(second, OTHER)


async def test_an_unknown_image_is_not_found(store: ImageStore) -> None:
    with pytest.raises(ImageNotFound):
        store.get("0" * 64)


@pytest.mark.parametrize("name", ["empty", "jpeg xl", "psb", "text", "png cut off at 50 %", "png 1 x 1", "png bomb of 60,000 x 60,000"])
async def test_what_is_refused_is_named_by_the_field_it_came_in(store: ImageStore, name: str) -> None:
    image = odd(name)
    with pytest.raises(ImageError) as caught:
        await store.add(image.data, SQUARE, place=("image", 1))
    assert (caught.value.code, caught.value.place) == (image.error, ("image", 1))
    assert caught.value.status == (415 if image.error == "unsupported_image_media_type" else 422)
    assert store.bytes_used == 0


async def test_limits_of_the_settings() -> None:
    async with running(image_max_bytes=1024, image_formats=("PNG", "GIF"), image_max_pixels=4096) as store:
        with pytest.raises(ImageError) as caught:
            await store.add(bytes(1025))
        assert (caught.value.status, caught.value.code) == (413, "image_file_too_large")
        assert caught.value.values == {"bytes": 1025, "most_bytes": 1024}
        with pytest.raises(ImageError) as caught:
            await store.add(b"\xff\xd8\xff\xe0")
        assert (caught.value.status, caught.value.code) == (422, "invalid_image_format")
        assert caught.value.values == {"format": "JPEG", "accepted": ("PNG", "GIF")}
        with pytest.raises(ImageError) as caught:
            await store.add(odd("png").data)
        assert caught.value.code == "image_too_large"


async def test_a_worker_killed_before_its_first_answer_refuses_that_file_for_a_while(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    adding = asyncio.create_task(store.add(SLOW, SQUARE))
    await _decoding(store, SLOW)
    (pid,) = store._pool.pids
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ImageError) as caught:
        await adding
    assert (caught.value.status, caught.value.code, caught.value.reason) == (422, "image_parse_error", "decoder_crashed")
    with pytest.raises(ImageError) as caught:
        await store.add(SLOW, SQUARE)
    assert caught.value.reason == "decoder_crashed_before"
    assert await store.add(odd("png").data, SQUARE), "other files are read as ever"
    # Ten minutes later it is tried again.
    monkeypatch.setattr(store_module, "REFUSED_FOR", -1.0)
    store._refuse(hashlib.sha256(SLOW).hexdigest())
    assert await store.add(SLOW, SQUARE)


async def test_a_worker_killed_after_the_rendition_fails_only_the_storing(store: ImageStore) -> None:
    image = await store.add(saved(scene(size=(4000, 3000)), "JPEG"), SQUARE)
    (pid,) = store._pool.pids
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ImageError) as caught:
        await image.stored()
    assert caught.value.code == "image_parse_error"
    assert image.renditions[RENDERED], "what the model was sent is still there to look at"
    assert store.bytes_used == 0
    with pytest.raises(ImageError):
        await store.rendition(image, OTHER)


async def test_an_image_that_takes_too_long_is_refused() -> None:
    async with running(image_timeout=0.05) as store:
        with pytest.raises(ImageError) as caught:
            await store.add(SLOW, SQUARE)
        assert (caught.value.reason, caught.value.values) == ("decoder_slow", {"seconds": 0.05})


async def test_who_leaves_while_it_is_decoded_spoils_nothing(store: ImageStore) -> None:
    pids = store._pool.pids
    leaving = asyncio.create_task(store.add(SLOW, SQUARE))
    staying = asyncio.create_task(store.add(SLOW, SQUARE))
    await _decoding(store, SLOW)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await (await staying).stored()
    assert store._pool.pids == pids


async def test_who_leaves_the_queue_leaves_no_work_behind(store: ImageStore) -> None:
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


async def test_every_byte_is_counted(store: ImageStore) -> None:
    assert store.bytes_used == 0
    image = await store.add(odd("png").data, SQUARE)
    await image.stored()
    await store.rendition(image, OTHER)
    assert image.canonical
    base64 = sum(len(piece.encoded) for rendition in image.renditions.values() for piece in rendition.pieces)
    files = sum(rendition.size_bytes for rendition in image.renditions.values())
    assert store.bytes_used == image.size == len(image.canonical) + files + base64


async def test_the_least_recently_used_goes_first_and_goes_whole() -> None:
    async with running(store_max_bytes=1024 * 1024) as store:
        images = [await _settled(store, noise(seed)) for seed in range(2)]
        ids = [await image.stored() for image in images]
        store.get(ids[0])
        await _fill(store, lambda: ids[1] not in store._by_id)
        assert store.get(ids[0]) is images[0]
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


async def test_an_image_held_twice_is_released_twice() -> None:
    async with running(store_max_bytes=1024 * 1024) as store:
        image = await _settled(store, noise(0))
        store.hold(image)
        store.hold(image)
        store.release(image)
        with pytest.raises(StorageFull):
            store.make_room(1024 * 1024)
        store.release(image)
        store.make_room(1024 * 1024)
        assert store.bytes_used == 0


async def test_holding_what_was_just_evicted_brings_it_back() -> None:
    async with running(store_max_bytes=1024 * 1024) as store:
        image = await _settled(store, noise(0))
        store.make_room(1024 * 1024)
        store.hold(image)
        assert store.get(await image.stored()) is image
        assert store.bytes_used == image.size


async def test_an_evicted_image_leaves_its_id_to_a_twin(store: ImageStore) -> None:
    first = await _settled(store, saved(scene(), "PNG"))
    twin = await _settled(store, saved(scene(), "BMP"))
    assert first.id == twin.id
    store.hold(twin)
    store._evict(first)
    assert store.get(await twin.stored()) is twin


async def test_an_image_larger_than_the_store_is_refused() -> None:
    async with running(store_max_bytes=1024 * 1024) as store:
        with pytest.raises(StorageFull):
            await store.add(saved(Image.effect_noise((1200, 1200), 100), "BMP"), SQUARE)


def test_it_runs_on_uvloop_too() -> None:
    """The server runs on uvloop where it is available."""
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


async def _known(store: ImageStore, data: bytes) -> Ingest:
    """Return the ingest of a file that was just added."""
    key = hashlib.sha256(data).hexdigest()
    while key not in store._ingests:  # noqa: ASYNC110 (adding hashes the file first)
        await asyncio.sleep(0)
    return store._ingests[key]


async def _decoding(store: ImageStore, data: bytes) -> None:
    """Wait until a worker has started on a file."""
    ingest = await _known(store, data)
    while not ingest.has_worker:  # noqa: ASYNC110 (a worker reports it on a pipe)
        await asyncio.sleep(0)


async def _settled(store: ImageStore, data: bytes) -> StoredImage:
    image = await store.add(data)
    await image.stored()
    return image


async def _fill(store: ImageStore, until: Callable[[], bool], *, hold: bool = False) -> None:
    """Add images until `until` returns true."""
    for seed in range(50, 100):
        image = await _settled(store, noise(seed))
        if hold:
            store.hold(image)
        if until():
            return
    pytest.fail("it did not happen")


async def test_a_view_is_drawn_from_the_rendition_and_takes_no_room(store: ImageStore) -> None:
    image = await store.add(odd("jpeg turned 6").data, SQUARE)
    await image.stored()
    used = store.bytes_used
    view = await store.view(image, SQUARE)
    assert view == await store.view(image, SQUARE)
    assert store.bytes_used == used
    (piece,) = (await store.rendition(image, SQUARE)).pieces
    drawn, sent = Image.open(BytesIO(view)), Image.open(BytesIO(piece.data))
    assert drawn.size == (672, 672)
    assert [drawn.getpixel((6 * x + 3, 6 * 56 + 3)) for x in range(112)] == [sent.getpixel((x, 56)) for x in range(112)]


async def test_a_contact_sheet_is_an_image_like_any_other(store: ImageStore) -> None:
    images = [await store.add(noise(seed)) for seed in range(3)]
    made = await store.sheet(images)
    assert made.canonical
    assert await made.stored() == hashlib.sha256(made.canonical).hexdigest()
    assert store.get(await made.stored()) is made
    assert made.info.changes == (note("sheet", count=3),)
    assert Image.open(BytesIO(made.canonical)).size == (made.info.width, made.info.height)
    assert (await store.rendition(made, SQUARE)).tokens == 64
    assert await store.sheet(images) is made
    assert await store.sheet(images[::-1]) is not made
    assert store.bytes_used == sum(image.size for image in store._images)


async def test_the_same_sheet_asked_for_twice_at_once_is_one_image(store: ImageStore) -> None:
    images = [await store.add(noise(seed)) for seed in range(2)]
    one, other = await asyncio.gather(store.sheet(images), store.sheet(images))
    assert one is other
    assert store.bytes_used == sum(image.size for image in store._images)


async def test_a_sheet_that_has_no_room_leaves_nothing_behind() -> None:
    async with running(store_max_bytes=2**20) as store:
        images = [await store.add(noise(seed, side=560)) for seed in range(2)]
        for image in images:
            await image.stored()
            store.hold(image)
        used = store.bytes_used
        with pytest.raises(StorageFull):
            await store.sheet(images)
        assert store.bytes_used == used
        for image in images:
            store.release(image)
        assert await (await store.sheet(images)).stored()


async def test_a_turned_image_is_another_one_with_the_history_of_the_first(store: ImageStore) -> None:
    image = await store.add(noise(1))
    rotated = await store.rotated(image, 90)
    assert rotated.canonical
    assert await rotated.stored() == hashlib.sha256(rotated.canonical).hexdigest() != await image.stored()
    assert (rotated.info.width, rotated.info.height) == (image.info.height, image.info.width)
    assert rotated.info.changes == (*image.info.changes, note("rotated_by_hand", degrees=90))
    assert rotated.info.original_bytes == image.info.original_bytes
    assert await store.rotated(image, 90) is rotated
    assert await store.rotated(image, 180) is not rotated
    assert store.bytes_used == sum(image.size for image in store._images)


async def test_room_is_made_by_the_last_rendition_that_was_only_looked_at() -> None:
    async with running(store_max_bytes=4 * 1024 * 1024) as store:
        store.evict_session = lambda: pytest.fail("a session was to go")
        image = await _settled(store, noise(1))
        store.hold(image)
        await store.rendition(image, SQUARE, Sight(region=(0.0, 0.0, 0.5, 0.5)), looking=True)
        free = 4 * 1024 * 1024 - store.bytes_used
        store.make_room(free + 1)
        assert store.bytes_used == image.size


async def test_what_is_only_looked_at_makes_nobody_go_and_does_not_pile_up() -> None:
    async with running(store_max_bytes=4 * 1024 * 1024) as store:
        store.evict_session = lambda: pytest.fail("a session was to go")
        image = await _settled(store, noise(1))
        store.hold(image)
        parts = [Sight(region=(number / 100, 0.0, 0.5, 0.5)) for number in range(40)]
        used = []
        for part in parts:
            await store.rendition(image, SQUARE, part, looking=True)
            used.append(store.bytes_used)
        assert not image.renditions
        assert used[-1] - image.size <= 17 * (used[1] - used[0])
        for seed in range(2, 40):  # fill the store with images that nobody holds; the renditions may take their place
            await _settled(store, noise(seed))
        await store.rendition(image, SQUARE, Sight(region=(0.0, 0.4, 0.5, 0.5)), looking=True)
        again = await store.rendition(image, SQUARE, Sight(region=(0.0, 0.4, 0.5, 0.5)), looking=True)
        assert again is await store.rendition(image, SQUARE, Sight(region=(0.0, 0.4, 0.5, 0.5)), looking=True)
        await store.rendition(image, SQUARE, parts[-1])  # a question uses it now
        assert len(image.renditions) == 1
        store.release(image)
        for seed in range(2, 40):
            await _settled(store, noise(seed))
        assert store.bytes_used <= 4 * 1024 * 1024
