"""The image store, the one way in for every image: ingest, renditions, and the byte budget all of it lives in."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Literal

from llava_gateway.chat import Piece, Rendition, Sight
from llava_gateway.errors import (
    ImageError,
    ImageFileTooLarge,
    ImageNotFound,
    ImageParseError,
    Place,
    ShuttingDown,
    StorageFull,
)
from llava_gateway.images.auto import Choice
from llava_gateway.images.info import Degrees, ImageInfo, Limits
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.sniff import sniff
from llava_gateway.images.unread import unread
from llava_gateway.images.workers import Answers, WorkerDied, WorkerPool
from llava_gateway.notes import Note, Value, note
from llava_gateway.settings import Settings

__all__ = ["ImageInfo", "ImageStore", "StoredImage"]

REFUSED_FOR = 600.0
"""Seconds for which a file that brought a worker down is not tried again."""
_MOST_REFUSED = 4096
_MOST_LOOKS = 16
"""Renditions that are kept though only a person looked at them."""
_CANONICAL_MEDIA_TYPES: dict[str, Literal["image/png", "image/jpeg"]] = {"PNG": "image/png", "JPEG": "image/jpeg"}


class StoredImage:
    """One image: what is known of it, its canonical bytes, and what models get of it.

    Attributes:
        info: sizes, and what was changed.
        latest: the same of the file that came last, of all files with these very pixels; known of the image that `get` gives.
        chosen: by engine and model, what was wished for and whether for an earlier turn, how much of it is shown where that is left to us;
            the newest few.
        read_by: the models that have read it, and how much of it.
        renditions: by profile and sight (`_key`); what is in it never changes.
        canonical, media_type: None until `stored()`.
    """

    def __init__(self, info: ImageInfo) -> None:
        self.info = self.latest = info
        self.renditions: dict[str, Rendition] = {}
        self.chosen: dict[tuple[tuple[str, str], Sight, bool], Choice] = {}
        self.read_by: set[tuple[tuple[str, str], Sight]] = set()
        self.canonical: bytes | None = None
        self.media_type: Literal["image/png", "image/jpeg"] | None = None
        self._id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # Nobody need ever ask, and asyncio complains of failures that nobody looked at.
        self._id.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._holders = 0
        self._rendering: dict[str, asyncio.Task[Rendition]] = {}

    async def stored(self) -> str:
        """Wait for the canonical image; its sha256 (hex) is the id. Raises ImageError, StorageFull."""
        return await asyncio.shield(self._id)

    @property
    def id(self) -> str | None:
        """The id, None until `stored()`."""
        return self._id.result() if self._is_stored else None

    @property
    def size(self) -> int:
        """Bytes it takes: a rendition is held as a file and as base64 of that."""
        return len(self.canonical or b"") + sum(_held(rendition) for rendition in self.renditions.values())

    @property
    def _is_stored(self) -> bool:
        return self._id.done() and not self._id.cancelled() and self._id.exception() is None


class ImageStore:
    """Images by id, in memory. `start()` before the first `add`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = Limits(
            max_pixels=settings.image_max_pixels,
            max_pixels_webp_gif=settings.image_max_pixels_webp_gif,
            max_side=settings.image_max_side,
            min_side=settings.image_min_side,
            max_aspect=settings.image_max_aspect,
            store_max_pixels=settings.store_max_pixels,
        )
        self._pool = WorkerPool(settings.image_workers, memory=settings.image_worker_memory, timeout=settings.image_timeout)
        self._images: OrderedDict[StoredImage, str] = OrderedDict()  # least recently used first, each with the sha256 of its upload
        self._by_id: dict[str, StoredImage] = {}
        self._by_upload: dict[str, StoredImage] = {}
        self._ingests: dict[str, _Ingest] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refused: dict[str, float] = {}
        self._looks: OrderedDict[tuple[StoredImage, str], Rendition] = OrderedDict()  # those that no question has; the oldest first
        self.bytes_used = 0
        self.reserved = 0
        """Bytes of the same budget that others use: the text of sessions."""
        self.let_go: Callable[[], bool] | None = None
        """Drops one idle holder of images (a session); False when there is none."""

    async def start(self) -> None:
        await self._pool.start()

    async def aclose(self) -> None:
        """End the workers; whoever still waits gets an error."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.aclose()

    async def add(self, data: bytes, profile: VisionProfile | None = None, sight: Sight = Sight(), *, place: Place = ()) -> StoredImage:
        """One ingest for every door. Returns when the rendition for `profile` is ready; the canonical image may still be encoded then.

        The same bytes again are the same image, without decoding anything. The image is safe from eviction only while it is held.

        Args:
            data: an image file.
            profile: of the model that will see it first; None where none is known.
            sight: how much of it that model is to see.
            place: the part of the request it came in, for errors.

        Raises ImageError, StorageFull, Overloaded.
        """
        try:
            image = await self._ingested(data, profile, sight)
            if profile:
                await self.rendition(image, profile, sight)
        except ImageError as error:
            raise type(error)(error.reason, values=error.values, code=error.code).at(*place) from None
        return image

    def get(self, image_id: str) -> StoredImage:
        """Raises ImageNotFound."""
        image = self._by_id.get(image_id)
        if image is None:
            raise ImageNotFound
        self._images.move_to_end(image)
        return image

    async def rendition(self, image: StoredImage, profile: VisionProfile, sight: Sight = Sight(), *, looking: bool = False) -> Rendition:
        """What a model of this profile gets of the image; the same bytes as long as the image lives.

        Args:
            looking: only a person looks at it: it is kept among the last few of those, and nothing else goes for it.

        Raises ImageError, StorageFull, Overloaded.
        """
        key = _key(profile, sight)
        found = self._known(image, key, looking=looking)
        if found is None:
            task = image._rendering.get(key)
            if task is None:
                task = image._rendering[key] = self._spawn(self._render(image, profile, sight, looking=looking))
            made = await asyncio.shield(task)
            found = self._known(image, key, looking=looking) or made
        return found

    def _known(self, image: StoredImage, key: str, *, looking: bool) -> Rendition | None:
        """One that is kept; what was only looked at is a question's from when one has it."""
        found = image.renditions.get(key)
        if found is None and (found := self._looks.pop((image, key), None)):
            if looking:
                self._looks[image, key] = found  # the newest now
            else:
                image.renditions[key] = found
        return found

    async def view(self, image: StoredImage, profile: VisionProfile, sight: Sight = Sight()) -> bytes:
        """A PNG of what a model of this profile sees, drawn from the pieces it gets (`view.draw`). It is not kept.

        Raises ImageError, StorageFull, Overloaded.
        """
        pieces = [piece.data for piece in (await self.rendition(image, profile, sight, looking=True)).pieces]
        size = {"width": image.info.width, "height": image.info.height}
        job = {"do": "view", **_asked(profile, sight), **size, "sizes": [len(piece) for piece in pieces]}
        async with self._pool.job(job, b"".join(pieces)) as answers:
            return (await answers.next("view"))[1]

    async def sheet(self, images: Sequence[StoredImage]) -> StoredImage:
        """The images as one, numbered, for a model that takes only one (`sheet.sheet`). The same ones again are the same image.

        Hold them meanwhile; as with `add`, the sheet is safe from eviction only while it is held.

        Raises ImageError, StorageFull, Overloaded.
        """
        ids = [await image.stored() for image in images]
        files = [image.canonical or b"" for image in images]

        def info(header: dict[str, Any], size_bytes: int) -> ImageInfo:
            size = header["width"], header["height"]
            return ImageInfo(*size, *size, header["format"], size_bytes, (note("sheet", count=len(images)),))

        return await self._made(f"sheet {' '.join(ids)}", {"do": "sheet", "sizes": [len(file) for file in files]}, files, info)

    async def rotated(self, image: StoredImage, degrees: Degrees) -> StoredImage:
        """The image rotated clockwise, as another image (`rotate.rotated`). The same again is the same image.

        Hold it meanwhile; as with `add`, what comes back is safe from eviction only while it is held.

        Raises ImageError, StorageFull, Overloaded.
        """
        image_id, file = await image.stored(), image.latest

        def info(header: dict[str, Any], _: int) -> ImageInfo:
            changes = (*file.changes, note("rotated_by_hand", degrees=degrees))
            return replace(file, width=header["width"], height=header["height"], changes=changes)

        job = {"do": "rotate", "degrees": degrees}
        return await self._made(f"rotate {degrees} {image_id} {file}", job, [image.canonical or b""], info)

    async def _made(
        self, what: str, job: dict[str, Any], files: Sequence[bytes], info: Callable[[dict[str, Any], int], ImageInfo]
    ) -> StoredImage:
        """An image that a worker makes of others; `what` names it."""
        key = hashlib.sha256(what.encode()).hexdigest()
        if known := self._known_upload(key):
            return known
        async with self._pool.job(job, b"".join(files)) as answers:
            header, canonical = await answers.next("canonical")
        if known := self._known_upload(key):  # someone else was quicker
            return known
        self.make_room(len(canonical))
        made = StoredImage(info(header, len(canonical)))
        self._keep(made, key)
        self._store(made, canonical, await _sha256(canonical), _CANONICAL_MEDIA_TYPES[header["format"]])
        return made

    def hold(self, image: StoredImage) -> None:
        """Keep it until `release`; one that was evicted a moment ago comes back. Raises StorageFull where it can't."""
        if image in self._images:
            self._images.move_to_end(image)
        elif image._is_stored:
            self._keep(image, "")
        image._holders += 1

    def release(self, image: StoredImage) -> None:
        """Undo one `hold`."""
        image._holders -= 1
        if image in self._images:
            self._images.move_to_end(image)

    def make_room(self, size: int) -> None:
        """Evict what nobody holds, least recently used first, until `size` more bytes fit into the budget; where all is held, ask
        `let_go` to drop an idle holder. What was only looked at goes before that. Raises StorageFull."""
        while not self._has_room(size):
            if not self._drop_something() and (self.let_go is None or not self.let_go()):
                raise StorageFull

    def _has_room(self, size: int) -> bool:
        return self.bytes_used + self.reserved + size <= self._settings.store_max_bytes

    def _drop_something(self) -> bool:
        """What nobody holds; False where there is nothing of the kind."""
        idle = next((p for p in self._images if p._holders == 0 and p._id.done()), None)
        if idle is not None:
            self._evict(idle)
        elif self._looks:
            self._forget_look(*next(iter(self._looks)))
        return idle is not None or bool(self._looks)

    async def _ingested(self, data: bytes, profile: VisionProfile | None, sight: Sight) -> StoredImage:
        self._check_file(data)
        key = await _sha256(data)
        if self._refused.get(key, 0.0) > time.monotonic():
            raise ImageParseError("decoder_crashed_before")
        if known := self._known_upload(key):
            return known
        ingest = self._ingests.get(key)
        if ingest is None:
            self.make_room(len(data))  # a first guess at what it will take, so that a full store says so before any work
            ingest = self._ingests[key] = _Ingest()
            ingest.task = self._spawn(self._ingest(ingest, key, data, profile, sight))
        ingest.waiters += 1
        try:
            return await asyncio.shield(ingest.image)
        finally:
            ingest.waiters -= 1
            if ingest.waiters == 0 and not ingest.has_worker and ingest.task:
                # Nobody wants it any more, and no worker has begun. (One that has may as well finish.)
                ingest.task.cancel()
                self._forget(key, ingest)

    def _known_upload(self, key: str) -> StoredImage | None:
        """The image that this upload was found to be before; the upload is the latest of it now."""
        known = self._by_upload.get(key)
        if known:
            self._images.move_to_end(known)
            self._is_latest(known)
        return known

    def _is_latest(self, image: StoredImage) -> None:
        if image.id:
            self._by_id[image.id].latest = image.info

    def _check_file(self, data: bytes) -> None:
        """What can be refused without a worker. Raises ImageError."""
        if not data:
            raise ImageError(code="empty_image_file")
        if len(data) > self._settings.image_max_bytes:
            raise ImageFileTooLarge("image_bytes", values={"bytes": len(data), "most_bytes": self._settings.image_max_bytes})
        kind = sniff(data)
        if kind is None:
            raise unread(data)
        if kind not in self._settings.image_formats:
            values: dict[str, Value] = {"format": kind, "accepted": tuple(self._settings.image_formats)}
            raise ImageError("image_format_off", values=values, code="invalid_image_format")

    async def _ingest(self, ingest: _Ingest, key: str, data: bytes, profile: VisionProfile | None, sight: Sight) -> None:
        """The whole life of an ingest: its first answer resolves `ingest.image`, its second the image's id."""
        image: StoredImage | None = None
        try:
            job = {"do": "ingest", "limits": self._limits.to_json(), **_asked(profile, sight)}
            async with self._pool.job(job, data) as answers:
                ingest.has_worker = True
                image = await self._ready(answers, profile, sight)
                self._keep(image, key)
                ingest.image.set_result(image)
                header, canonical = await answers.next("canonical")
            self._store(image, canonical, await _sha256(canonical), _CANONICAL_MEDIA_TYPES[header["format"]])
        except BaseException as error:  # whatever it is, someone may be waiting
            if isinstance(error, WorkerDied):
                self._refuse(key)
            self._fail(ingest, image, error)
            raise
        finally:
            self._forget(key, ingest)

    def _forget(self, key: str, ingest: _Ingest) -> None:
        if self._ingests.get(key) is ingest:
            del self._ingests[key]

    async def _ready(self, answers: Answers, profile: VisionProfile | None, sight: Sight) -> StoredImage:
        header, blob = await answers.next("canonical")
        image = StoredImage(ImageInfo.from_json(header["info"]))
        if profile and (made := header["rendition"]):
            image.renditions[_key(profile, sight)] = _rendition(made, blob)
        return image

    def _store(self, image: StoredImage, canonical: bytes, image_id: str, media_type: Literal["image/png", "image/jpeg"]) -> None:
        self.make_room(len(canonical))
        image.canonical, image.media_type = canonical, media_type
        self.bytes_used += len(canonical)
        image._id.set_result(image_id)
        self._by_id.setdefault(image_id, image)
        self._is_latest(image)

    def _fail(self, ingest: _Ingest, image: StoredImage | None, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            error = ShuttingDown()  # a task whose waiters have all gone is cancelled too, but then nobody hears this
        if not ingest.image.done():
            ingest.image.set_exception(error)
        if image and not image._id.done():
            image._id.set_exception(error)
            if image in self._images:
                self._evict(image)

    def _refuse(self, key: str) -> None:
        now = time.monotonic()
        self._refused = {k: until for k, until in list(self._refused.items())[-_MOST_REFUSED:] if until > now}
        self._refused[key] = now + REFUSED_FOR

    async def _render(self, image: StoredImage, profile: VisionProfile, sight: Sight, *, looking: bool) -> Rendition:
        key = _key(profile, sight)
        try:
            await image.stored()
            self.hold(image)
            try:
                async with self._pool.job({"do": "render", **_asked(profile, sight)}, image.canonical or b"") as answers:
                    rendition = _rendition(*await answers.next("rendition"))
                size = _held(rendition)
                if not looking:
                    self.make_room(size)
                    image.renditions[key] = rendition
                    self.bytes_used += size
                else:
                    while not self._has_room(size) and self._drop_something():
                        pass
                    if self._has_room(size):
                        self._looks[image, key] = rendition
                        self.bytes_used += size
                while len(self._looks) > _MOST_LOOKS:
                    self._forget_look(*next(iter(self._looks)))
                return rendition
            finally:
                self.release(image)
        finally:
            del image._rendering[key]

    def _keep(self, image: StoredImage, upload: str) -> None:
        self.make_room(image.size)
        self._images[image] = upload
        self.bytes_used += image.size
        if upload:
            self._by_upload[upload] = image
        if image.id:
            self._by_id.setdefault(image.id, image)

    def _forget_look(self, image: StoredImage, key: str) -> None:
        self.bytes_used -= _held(self._looks.pop((image, key)))

    def _evict(self, image: StoredImage) -> None:
        """The whole image goes, so that none ever lives with a rendition other than the one it had."""
        for look in [look for look in self._looks if look[0] is image]:
            self._forget_look(*look)
        upload = self._images.pop(image)
        self.bytes_used -= image.size
        self._by_upload.pop(upload, None)
        if image.id and self._by_id.get(image.id) is image:
            del self._by_id[image.id]
            # Another upload may have come to the very same pixels.
            if twin := next((p for p in self._images if p.id == image.id), None):
                self._by_id[image.id] = twin

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits gets it; if all have left, nobody need hear of it


class _Ingest:
    """A file on its way in; everyone who sends the same bytes meanwhile waits for the same image."""

    def __init__(self) -> None:
        self.image: asyncio.Future[StoredImage] = asyncio.get_running_loop().create_future()
        self.image.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.task: asyncio.Task[Any] | None = None
        self.waiters = 0
        self.has_worker = False


def _key(profile: VisionProfile, sight: Sight) -> str:
    return f"{profile.key} {sight.key}"


def _asked(profile: VisionProfile | None, sight: Sight) -> dict[str, Any]:
    return {"profile": profile.to_json() if profile else None, "sight": sight.to_json()}


def _rendition(header: dict[str, Any], data: bytes) -> Rendition:
    """From a worker's answer (`worker._rendered`)."""
    pieces, at = [], 0
    for piece in header["pieces"]:
        pieces.append(Piece(data[at : at + piece["bytes"]], piece["format"], piece["width"], piece["height"]))
        at += piece["bytes"]
    return Rendition(tuple(pieces), header["tokens"], header["label"], header["detail"], tuple(map(Note.from_json, header["notes"])))


async def _sha256(data: bytes) -> str:
    """In a thread where it takes long: 20 MB are 20 ms and more, in which nothing else would be served."""
    if len(data) < 2**20:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())


def _held(rendition: Rendition) -> int:
    return rendition.size_bytes + sum(4 * ((len(piece.data) + 2) // 3) for piece in rendition.pieces)
