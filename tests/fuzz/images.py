"""Images and documents of every accepted format, changed at random, through the store and real worker processes."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

from rich.table import Table

from llava_gateway.cli.sample_images import sample
from llava_gateway.errors import GatewayError
from llava_gateway.images.pages import may_have_pages
from llava_gateway.images.sniff import Format
from llava_gateway.images.store import ImageStore
from llava_gateway.images.workers import DEATHS_WITHIN, WorkerDied, WorkerPool
from llava_gateway.settings import MiB, Settings
from tests.images.animations import animations
from tests.odd_images import odd_images
from tests.pdfs import encrypted, pdf, with_form_field, without_ink

AT_ONCE = 8
STORE = 64 * MiB
SMALL = 20_000
"""Bytes of the largest file to change: most of its bytes should matter."""
Mutator = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def flip_bits(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _n in range(rng.choice((1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_bits_of_the_head(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _n in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(64, len(data)))] ^= 1 << rng.randrange(8)


def write_a_number(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """Overwrite a length, a size or an offset, wherever it may be."""
    size = rng.choice((1, 2, 4))
    number = rng.choice((0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)))
    at = rng.randrange(max(1, len(data) - size))
    data[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, rng.choice(("big", "little")))


def cut_off(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[rng.randrange(4, len(data)) :]


def cut_out(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 4, 64, 1024))]


def repeat(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    piece = data[at : at + rng.choice((1, 8, 64, 512))]
    data[at:at] = piece * rng.choice((1, 2, 50))


def insert_noise(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice((1, 4, 32, 256)))


def splice(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Go on as another file, perhaps of another format."""
    other = rng.choice(seeds)
    data[rng.randrange(4, len(data)) :] = other[rng.randrange(len(other)) :]


MUTATORS: tuple[Mutator, ...] = (
    flip_bits,
    flip_bits_of_the_head,
    write_a_number,
    cut_off,
    cut_out,
    repeat,
    insert_noise,
    splice,
)


def seeds() -> list[bytes]:
    """Return files of every format, PDFs, animations, and the small ones of the odd images, readable or not."""
    documents = [pdf("Some text", "More of it", "The end"), with_form_field("Ada"), without_ink("nothing"), encrypted()]
    moving = [data for _, data in animations().values()]
    return [*map(sample, get_args(Format)), *documents, *moving, *(odd.data for odd in odd_images() if 16 < len(odd.data) <= SMALL)]


def broken(rng: random.Random, files: Sequence[bytes]) -> bytes:
    """Return one of the files with one to three changes."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 2, 3))):
        if len(data) > 8:
            rng.choice(MUTATORS)(rng, data, files)
    return bytes(data)


async def fuzz(count: int, seed: int = 1) -> Counter[str]:
    """Store so many broken images. Returns how often each outcome came: `stored`, or the code of the error; `worker died` comes on top.

    Any exception other than a GatewayError is a bug, and is raised.
    """
    rng, files, outcomes = random.Random(seed), seeds(), Counter[str]()
    settings = Settings(store_max_bytes=STORE, image_timeout=10)
    store = ImageStore(settings)
    clock = itertools.count(step=int(DEATHS_WITHIN) + 1)  # no death is soon after another, so images are never paused
    store._pool = WorkerPool(
        settings.image_workers, memory=settings.image_worker_memory, timeout=settings.image_timeout, now=lambda: next(clock)
    )
    left = iter(range(count))
    await store.start()

    async def some(numbers: Iterator[int]) -> None:
        for _ in numbers:
            outcomes[await _outcome(store, broken(rng, files))] += 1

    try:
        await asyncio.gather(*(some(left) for _ in range(AT_ONCE)))
    finally:
        await store.aclose()
    return outcomes


async def _outcome(store: ImageStore, data: bytes) -> str:
    try:
        document = await store.examine(data) if may_have_pages(data) else None
        pages = [each.page for each in document.found[:2]] if document and document.has_many else [None]
        for page in pages:
            await (await store.add(data, page=page)).stored()
        if document and document.kind == "PDF":
            await store.texts(data, [0, 1])
    except WorkerDied as error:
        return f"worker died: {error.reason}"
    except GatewayError as error:
        return error.code
    return "stored"


def table(outcomes: Counter[str]) -> Table:
    shown = Table("outcome", "images", title=f"{outcomes.total():,} broken images")
    for name, count in outcomes.most_common():
        shown.add_row(name, f"{count:,}")
    return shown
