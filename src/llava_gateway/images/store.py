"""The picture store, the one way in for every picture: ingest, renditions, and the byte budget all of it lives in."""

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
    ShuttingDown,
    StorageFull,
)
from llava_gateway.images.auto import Choice
from llava_gateway.images.info import Degrees, Limits, PictureInfo
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.sniff import sniff
from llava_gateway.images.unread import unread
from llava_gateway.images.workers import Answers, WorkerDied, WorkerPool
from llava_gateway.notes import Note, note
from llava_gateway.settings import Settings

__all__ = ["Picture", "PictureInfo", "PictureStore"]

REFUSED_FOR = 600.0
"""Seconds for which a file that brought a worker down is not tried again."""
_MOST_REFUSED = 4096
_MOST_LOOKS = 16
"""Renditions that are kept though only a person looked at them."""
_CANONICAL_MEDIA_TYPES: dict[str, Literal["image/png", "image/jpeg"]] = {"PNG": "image/png", "JPEG": "image/jpeg"}


class Picture:
    """One picture: what is known of it, its canonical bytes, and what models get of it.

    Attributes:
        info: sizes, and what was changed.
        latest: the same of the file that came last, of all files with these very pixels; known of the picture that `get` gives.
        chosen: by engine and model, what was wished for and whether for an earlier turn, how much of it is shown where that is left to us;
            the newest few.
        read_by: the models that have read it, and how much of it.
        renditions: by profile and sight (`_key`); what is in it never changes.
        canonical, media_type: None until `stored()`.
    """

    def __init__(self, info: PictureInfo) -> None:
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
        """Wait for the canonical picture; its sha256 (hex) is the id. Raises ImageError, StorageFull."""
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


class PictureStore:
    """Pictures by id, in memory. `start()` before the first `add`."""

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
        self._pictures: OrderedDict[Picture, str] = OrderedDict()  # least recently used first, each with the sha256 of its upload
        self._by_id: dict[str, Picture] = {}
        self._by_upload: dict[str, Picture] = {}
        self._ingests: dict[str, _Ingest] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refused: dict[str, float] = {}
        self._looks: OrderedDict[tuple[Picture, str], Rendition] = OrderedDict()  # those that no question has; the oldest first
        self.bytes_used = 0
        self.reserved = 0
        """Bytes of the same budget that others use: the text of sessions."""
        self.let_go: Callable[[], bool] | None = None
        """Drops one idle holder of pictures (a session); False when there is none."""

    async def start(self) -> None:
        await self._pool.start()

    async def aclose(self) -> None:
        """End the workers; whoever still waits gets an error."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.aclose()

    async def add(self, data: bytes, profile: VisionProfile | None = None, sight: Sight = Sight(), *, name: str = "") -> Picture:
        """One ingest for every door. Returns when the rendition for `profile` is ready; the canonical picture may still be encoded then.

        The same bytes again are the same picture, without decoding anything. The picture is safe from eviction only while it is held.

        Args:
            data: a picture file.
            profile: of the model that will see it first; None where none is known.
            sight: how much of it that model is to see.
            name: the request field it came in; errors name it as their `param`.

        Raises ImageError, StorageFull, Overloaded.
        """
        try:
            picture = await self._ingested(data, profile, sight)
            if profile:
                await self.rendition(picture, profile, sight)
        except ImageError as error:
            raise type(error)(error.message, code=error.code, hint=error.hint, param=name or None) from None
        return picture

    def get(self, image_id: str) -> Picture:
        """Raises ImageNotFound."""
        picture = self._by_id.get(image_id)
        if picture is None:
            raise ImageNotFound
        self._pictures.move_to_end(picture)
        return picture

    async def rendition(self, picture: Picture, profile: VisionProfile, sight: Sight = Sight(), *, looking: bool = False) -> Rendition:
        """What a model of this profile gets of the picture; the same bytes as long as the picture lives.

        Args:
            looking: only a person looks at it: it is kept among the last few of those, and nothing else goes for it.

        Raises ImageError, StorageFull, Overloaded.
        """
        key = _key(profile, sight)
        found = self._known(picture, key, looking=looking)
        if found is None:
            task = picture._rendering.get(key)
            if task is None:
                task = picture._rendering[key] = self._spawn(self._render(picture, profile, sight, looking=looking))
            made = await asyncio.shield(task)
            found = self._known(picture, key, looking=looking) or made
        return found

    def _known(self, picture: Picture, key: str, *, looking: bool) -> Rendition | None:
        """One that is kept; what was only looked at is a question's from when one has it."""
        found = picture.renditions.get(key)
        if found is None and (found := self._looks.pop((picture, key), None)):
            if looking:
                self._looks[picture, key] = found  # the newest now
            else:
                picture.renditions[key] = found
        return found

    async def view(self, picture: Picture, profile: VisionProfile, sight: Sight = Sight()) -> bytes:
        """A PNG of what a model of this profile sees, drawn from the pieces it gets (`view.draw`). It is not kept.

        Raises ImageError, StorageFull, Overloaded.
        """
        pieces = [piece.data for piece in (await self.rendition(picture, profile, sight, looking=True)).pieces]
        size = {"width": picture.info.width, "height": picture.info.height}
        job = {"do": "view", **_asked(profile, sight), **size, "sizes": [len(piece) for piece in pieces]}
        async with self._pool.job(job, b"".join(pieces)) as answers:
            return (await answers.next("view"))[1]

    async def sheet(self, pictures: Sequence[Picture]) -> Picture:
        """The pictures as one, numbered, for a model that takes only one (`sheet.sheet`). The same ones again are the same picture.

        Hold them meanwhile; as with `add`, the sheet is safe from eviction only while it is held.

        Raises ImageError, StorageFull, Overloaded.
        """
        ids = [await picture.stored() for picture in pictures]
        files = [picture.canonical or b"" for picture in pictures]

        def info(header: dict[str, Any], size_bytes: int) -> PictureInfo:
            size = header["width"], header["height"]
            return PictureInfo(*size, *size, header["format"], size_bytes, (note("sheet", count=len(pictures)),))

        return await self._made(f"sheet {' '.join(ids)}", {"do": "sheet", "sizes": [len(file) for file in files]}, files, info)

    async def turned(self, picture: Picture, degrees: Degrees) -> Picture:
        """The picture turned clockwise, as another picture (`turn.turned`). The same again is the same picture.

        Hold it meanwhile; as with `add`, what comes back is safe from eviction only while it is held.

        Raises ImageError, StorageFull, Overloaded.
        """
        image_id, file = await picture.stored(), picture.latest

        def info(header: dict[str, Any], _: int) -> PictureInfo:
            changes = (*file.changes, note("turned", degrees=degrees))
            return replace(file, width=header["width"], height=header["height"], changes=changes)

        job = {"do": "turn", "degrees": degrees}
        return await self._made(f"turn {degrees} {image_id} {file}", job, [picture.canonical or b""], info)

    async def _made(
        self, what: str, job: dict[str, Any], files: Sequence[bytes], info: Callable[[dict[str, Any], int], PictureInfo]
    ) -> Picture:
        """A picture that a worker makes of others; `what` names it."""
        key = hashlib.sha256(what.encode()).hexdigest()
        if known := self._known_upload(key):
            return known
        async with self._pool.job(job, b"".join(files)) as answers:
            header, canonical = await answers.next("canonical")
        if known := self._known_upload(key):  # someone else was quicker
            return known
        self.make_room(len(canonical))
        made = Picture(info(header, len(canonical)))
        self._keep(made, key)
        self._store(made, canonical, await _sha256(canonical), _CANONICAL_MEDIA_TYPES[header["format"]])
        return made

    def hold(self, picture: Picture) -> None:
        """Keep it until `release`; one that was evicted a moment ago comes back. Raises StorageFull where it can't."""
        if picture in self._pictures:
            self._pictures.move_to_end(picture)
        elif picture._is_stored:
            self._keep(picture, "")
        picture._holders += 1

    def release(self, picture: Picture) -> None:
        """Undo one `hold`."""
        picture._holders -= 1
        if picture in self._pictures:
            self._pictures.move_to_end(picture)

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
        idle = next((p for p in self._pictures if p._holders == 0 and p._id.done()), None)
        if idle is not None:
            self._evict(idle)
        elif self._looks:
            self._forget_look(*next(iter(self._looks)))
        return idle is not None or bool(self._looks)

    async def _ingested(self, data: bytes, profile: VisionProfile | None, sight: Sight) -> Picture:
        self._check_file(data)
        key = await _sha256(data)
        if self._refused.get(key, 0.0) > time.monotonic():
            raise ImageParseError("This file brought its decoder down a few minutes ago; it is not tried again so soon")
        if known := self._known_upload(key):
            return known
        ingest = self._ingests.get(key)
        if ingest is None:
            self.make_room(len(data))  # a first guess at what it will take, so that a full store says so before any work
            ingest = self._ingests[key] = _Ingest()
            ingest.task = self._spawn(self._ingest(ingest, key, data, profile, sight))
        ingest.waiters += 1
        try:
            return await asyncio.shield(ingest.picture)
        finally:
            ingest.waiters -= 1
            if ingest.waiters == 0 and not ingest.has_worker and ingest.task:
                # Nobody wants it any more, and no worker has begun. (One that has may as well finish.)
                ingest.task.cancel()
                self._forget(key, ingest)

    def _known_upload(self, key: str) -> Picture | None:
        """The picture that this upload was found to be before; the upload is the latest of it now."""
        known = self._by_upload.get(key)
        if known:
            self._pictures.move_to_end(known)
            self._is_latest(known)
        return known

    def _is_latest(self, picture: Picture) -> None:
        if picture.id:
            self._by_id[picture.id].latest = picture.info

    def _check_file(self, data: bytes) -> None:
        """What can be refused without a worker. Raises ImageError."""
        if not data:
            raise ImageError("The picture is empty", code="empty_image_file", hint="Send the bytes of a picture file.")
        if len(data) > self._settings.image_max_bytes:
            most = self._settings.image_max_bytes / 2**20
            raise ImageFileTooLarge(f"The picture file has {len(data) / 2**20:.1f} MiB; {most:.3g} MiB is the most")
        kind = sniff(data)
        if kind is None:
            raise unread(data)
        if kind not in self._settings.image_formats:
            accepted = ", ".join(self._settings.image_formats)
            raise ImageError(f"{kind} pictures are not accepted here", code="invalid_image_format", hint=f"Accepted: {accepted}.")

    async def _ingest(self, ingest: _Ingest, key: str, data: bytes, profile: VisionProfile | None, sight: Sight) -> None:
        """The whole life of an ingest: its first answer resolves `ingest.picture`, its second the picture's id."""
        picture: Picture | None = None
        try:
            job = {"do": "ingest", "limits": self._limits.to_json(), **_asked(profile, sight)}
            async with self._pool.job(job, data) as answers:
                ingest.has_worker = True
                picture = await self._ready(answers, profile, sight)
                self._keep(picture, key)
                ingest.picture.set_result(picture)
                header, canonical = await answers.next("canonical")
            self._store(picture, canonical, await _sha256(canonical), _CANONICAL_MEDIA_TYPES[header["format"]])
        except BaseException as error:  # whatever it is, someone may be waiting
            if isinstance(error, WorkerDied):
                self._refuse(key)
            self._fail(ingest, picture, error)
            raise
        finally:
            self._forget(key, ingest)

    def _forget(self, key: str, ingest: _Ingest) -> None:
        if self._ingests.get(key) is ingest:
            del self._ingests[key]

    async def _ready(self, answers: Answers, profile: VisionProfile | None, sight: Sight) -> Picture:
        header, blob = await answers.next("canonical")
        picture = Picture(PictureInfo.from_json(header["info"]))
        if profile and (made := header["rendition"]):
            picture.renditions[_key(profile, sight)] = _rendition(made, blob)
        return picture

    def _store(self, picture: Picture, canonical: bytes, image_id: str, media_type: Literal["image/png", "image/jpeg"]) -> None:
        self.make_room(len(canonical))
        picture.canonical, picture.media_type = canonical, media_type
        self.bytes_used += len(canonical)
        picture._id.set_result(image_id)
        self._by_id.setdefault(image_id, picture)
        self._is_latest(picture)

    def _fail(self, ingest: _Ingest, picture: Picture | None, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            error = ShuttingDown()  # a task whose waiters have all gone is cancelled too, but then nobody hears this
        if not ingest.picture.done():
            ingest.picture.set_exception(error)
        if picture and not picture._id.done():
            picture._id.set_exception(error)
            if picture in self._pictures:
                self._evict(picture)

    def _refuse(self, key: str) -> None:
        now = time.monotonic()
        self._refused = {k: until for k, until in list(self._refused.items())[-_MOST_REFUSED:] if until > now}
        self._refused[key] = now + REFUSED_FOR

    async def _render(self, picture: Picture, profile: VisionProfile, sight: Sight, *, looking: bool) -> Rendition:
        key = _key(profile, sight)
        try:
            await picture.stored()
            self.hold(picture)
            try:
                async with self._pool.job({"do": "render", **_asked(profile, sight)}, picture.canonical or b"") as answers:
                    rendition = _rendition(*await answers.next("rendition"))
                size = _held(rendition)
                if not looking:
                    self.make_room(size)
                    picture.renditions[key] = rendition
                    self.bytes_used += size
                else:
                    while not self._has_room(size) and self._drop_something():
                        pass
                    if self._has_room(size):
                        self._looks[picture, key] = rendition
                        self.bytes_used += size
                while len(self._looks) > _MOST_LOOKS:
                    self._forget_look(*next(iter(self._looks)))
                return rendition
            finally:
                self.release(picture)
        finally:
            del picture._rendering[key]

    def _keep(self, picture: Picture, upload: str) -> None:
        self.make_room(picture.size)
        self._pictures[picture] = upload
        self.bytes_used += picture.size
        if upload:
            self._by_upload[upload] = picture
        if picture.id:
            self._by_id.setdefault(picture.id, picture)

    def _forget_look(self, picture: Picture, key: str) -> None:
        self.bytes_used -= _held(self._looks.pop((picture, key)))

    def _evict(self, picture: Picture) -> None:
        """The whole picture goes, so that none ever lives with a rendition other than the one it had."""
        for look in [look for look in self._looks if look[0] is picture]:
            self._forget_look(*look)
        upload = self._pictures.pop(picture)
        self.bytes_used -= picture.size
        self._by_upload.pop(upload, None)
        if picture.id and self._by_id.get(picture.id) is picture:
            del self._by_id[picture.id]
            # Another upload may have come to the very same pixels.
            if twin := next((p for p in self._pictures if p.id == picture.id), None):
                self._by_id[picture.id] = twin

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
    """A file on its way in; everyone who sends the same bytes meanwhile waits for the same picture."""

    def __init__(self) -> None:
        self.picture: asyncio.Future[Picture] = asyncio.get_running_loop().create_future()
        self.picture.add_done_callback(lambda done: done.cancelled() or done.exception())
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
