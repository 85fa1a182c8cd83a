"""Store images in memory within a byte budget: every image enters here, and models get its renditions from here.

An image that is also on disk takes memory only for its renditions, and is evicted soon; it comes back when someone asks for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from llava_gateway.chat import Rendition
from llava_gateway.errors import ImageError, ImageNotFound, ImageParseError, Place, ShuttingDown, StorageFull
from llava_gateway.images.check import check_file
from llava_gateway.images.frames import split
from llava_gateway.images.info import Degrees, ImageInfo, Limits
from llava_gateway.images.jobs import Ingest, rendition_job, sha256_of
from llava_gateway.images.pages import Document
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.stored import ImageDisk, MediaType, StoredImage, held_bytes, rendition_key, rendition_of
from llava_gateway.images.workers import Answers, WorkerDied, WorkerPool
from llava_gateway.notes import note
from llava_gateway.parts import Page, Selection, Sight
from llava_gateway.settings import Settings

__all__ = ["ImageInfo", "ImageStore", "StoredImage"]

REFUSED_FOR = 600.0
"""Seconds for which a file that killed a worker is rejected without another try."""
_MOST_REFUSED = 4096
ON_DISK_BYTES = 64 * 2**20
"""Memory in use from which images that nobody holds are evicted if they are also on disk."""
MOST_ON_DISK = 4096
"""Most images in memory that nobody holds and that are also on disk, however little memory they take."""
_MOST_LOOKS = 16
"""Most renditions to keep that only a person looked at and no question uses."""
_MOST_EXAMINED = 256
"""How many documents' page counts and sizes are kept, so that the next question about one need not open it again."""
_CANONICAL_MEDIA_TYPES: dict[str, MediaType] = {"PNG": "image/png", "JPEG": "image/jpeg"}


class ImageStore:
    """Images by id. Call `start()` before the first `add`.

    Args:
        settings: limits.
        disk: where images of sessions are kept; None if nowhere.
    """

    def __init__(self, settings: Settings, disk: ImageDisk | None = None) -> None:
        self._disk = disk
        self._settings = settings
        self._limits = Limits(
            max_pixels=settings.image_max_pixels,
            max_pixels_jpeg=settings.image_max_pixels_jpeg,
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
        self._ingests: dict[str, Ingest] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refused: dict[str, float] = {}
        self._examined: OrderedDict[tuple[str, Selection], Document] = OrderedDict()
        self._looks: OrderedDict[tuple[StoredImage, str], Rendition] = OrderedDict()  # renditions that no question uses; the oldest first
        self.bytes_used = 0
        self.reserved = 0
        """Bytes of the same budget that the text of sessions uses."""
        self.evict_session: Callable[[], bool] | None = None
        """A callback that drops one idle holder of images (a session); returns False if there is none."""

    async def start(self) -> None:
        await self._pool.start()

    async def aclose(self) -> None:
        """Stop the workers; calls that still wait fail."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.aclose()

    async def examine(self, data: bytes, selection: Selection = Selection()) -> Document:
        """Count the pages or frames of a file, and measure those of the selection. Raises ImageError, InvalidRequest, Overloaded."""
        check_file(data, self._settings)
        name = await sha256_of(data)
        self._check_refused(name)
        known = self._examined.get((name, selection))
        if known is None:
            job = {"do": "examine", "limits": self._limits.to_json(), "selection": selection.to_json()}
            try:
                async with self._pool.job(job, data) as answers:
                    known = Document.from_json((await answers.next("document"))[0])
            except WorkerDied:
                self._refuse(name)
                raise
            self._examined[name, selection] = known
            while len(self._examined) > _MOST_EXAMINED:
                self._examined.popitem(last=False)
        return known

    async def thumbnails(self, data: bytes) -> tuple[Document, list[bytes]]:
        """Return a document, and a small JPEG of each page that can be chosen. Raises ImageError, Overloaded."""
        check_file(data, self._settings)
        async with self._pool.job({"do": "thumbnails", "limits": self._limits.to_json()}, data) as answers:
            header, blob = await answers.next("thumbnails")
        return Document.from_json(header["document"]), split(blob, header["sizes"])

    async def texts(self, data: bytes, indexes: Sequence[int]) -> list[str]:
        """Return the text layers of pages of a PDF, "" for a page without one. Raises ImageError, Overloaded."""
        async with self._pool.job({"do": "texts", "pages": list(indexes)}, data) as answers:
            found: list[str] = (await answers.next("texts"))[0]["texts"]
        return found

    async def add(
        self,
        data: bytes,
        profile: VisionProfile | None = None,
        sight: Sight = Sight(),
        *,
        place: Place = (),
        page: Page | None = None,
        background: str | None = None,
    ) -> StoredImage:
        """Add an image file. Returns once the rendition for `profile` is ready; a worker may still be encoding the canonical image.

        The same bytes again return the same image without decoding. The image is safe from eviction only while it is held.

        Args:
            data: an image file.
            profile: profile of the model that will see it first; None if no model is known.
            sight: how much of the image to show to that model.
            background: the colour behind transparent parts, "#rrggbb"; None to choose it. The same file on another ground is another image.
            place: the part of the request that holds the image, for errors.
            page: the page or frame of the file that is the image.

        Raises ImageError, StorageFull, Overloaded.
        """
        try:
            image = await self._ingested(data, profile, sight, page, background)
            if profile:
                await self.rendition(image, profile, sight)
        except ImageError as error:
            raise type(error)(error.reason, values=error.values, code=error.code).at(*place) from None
        return image

    def get(self, image_id: str) -> StoredImage:
        """Return the image with this id, from memory or from the disk. Raises ImageNotFound."""
        image = self._by_id.get(image_id)
        if image is None:
            file = self._disk.image(image_id) if self._disk else None
            if file is None:
                raise ImageNotFound
            self._trim()
            image = StoredImage.of(image_id, file)
            self._keep(image, "")
        self._images.move_to_end(image)
        return image

    async def read(self, image: StoredImage) -> bytes:
        """Return the canonical file, once it is stored. Raises ImageError, StorageFull; ImageNotFound if it is gone from the disk."""
        image_id = await image.stored()
        if image.canonical is None and self._disk:
            return await self._disk.read_image(image_id)
        return image.canonical or b""

    def mark_on_disk(self, image: StoredImage) -> None:
        """Record that the canonical file is on disk now, and free its memory."""
        if image in self._images:
            self.bytes_used -= len(image.canonical or b"")
        image.canonical, image.on_disk = None, True

    def forget(self, image_id: str) -> bool:
        """Evict an image that leaves the disk. Returns False, and keeps it, if someone holds it."""
        every = [image for image in self._images if image.id == image_id] if image_id in self._by_id else []
        if any(image.holders for image in every):
            return False
        for image in every:
            if image.on_disk:
                self._evict(image)
        return True

    async def rendition(self, image: StoredImage, profile: VisionProfile, sight: Sight = Sight(), *, looking: bool = False) -> Rendition:
        """Return the image's rendition for a model of this profile. It has the same bytes as long as the image lives.

        Args:
            looking: whether only a person looks at the rendition. The store then keeps it only among the last few of its kind, and only
                if there is room.

        Raises ImageError, StorageFull, Overloaded.
        """
        key = rendition_key(profile, sight)
        found = self._known(image, key, looking=looking)
        if found is None:
            task = image.rendering.get(key)
            if task is None:
                task = image.rendering[key] = self._spawn(self._render(image, profile, sight, looking=looking))
            made = await asyncio.shield(task)
            found = self._known(image, key, looking=looking) or made
        return found

    def _known(self, image: StoredImage, key: str, *, looking: bool) -> Rendition | None:
        """Return a kept rendition. One that only a person looked at moves to the image as soon as a question uses it."""
        found = image.renditions.get(key)
        if found is None and (found := self._looks.pop((image, key), None)):
            if looking:
                self._looks[image, key] = found  # the newest now
            else:
                image.renditions[key] = found
        return found

    async def view(self, image: StoredImage, profile: VisionProfile, sight: Sight = Sight()) -> bytes:
        """Draw what a model of this profile sees, from the pieces that it gets (`view.draw`). Returns a PNG, which is not kept.

        Raises ImageError, StorageFull, Overloaded.
        """
        pieces = [piece.data for piece in (await self.rendition(image, profile, sight, looking=True)).pieces]
        size = {"width": image.info.width, "height": image.info.height}
        job = {"do": "view", **rendition_job(profile, sight), **size, "sizes": [len(piece) for piece in pieces]}
        async with self._pool.job(job, b"".join(pieces)) as answers:
            return (await answers.next("view"))[1]

    async def sheet(self, images: Sequence[StoredImage]) -> StoredImage:
        """Combine images into one numbered contact sheet (`sheet.sheet`). The same images again return the same sheet.

        Hold the images during the call. As with `add`, the sheet is safe from eviction only while it is held.

        Raises ImageError, StorageFull, Overloaded.
        """
        ids = [await image.stored() for image in images]
        files = [await self.read(image) for image in images]

        def info(header: dict[str, Any], size_bytes: int) -> ImageInfo:
            size = header["width"], header["height"]
            return ImageInfo(*size, *size, header["format"], size_bytes, (note("sheet", count=len(images)),))

        return await self._made(f"sheet {' '.join(ids)}", {"do": "sheet", "sizes": [len(file) for file in files]}, files, info)

    async def rotated(self, image: StoredImage, degrees: Degrees) -> StoredImage:
        """Rotate an image clockwise into a new image (`rotate.rotated`). The same rotation again returns the same new image.

        Hold the image during the call. As with `add`, the new image is safe from eviction only while it is held.

        Raises ImageError, StorageFull, Overloaded.
        """
        image_id, file = await image.stored(), image.latest

        def info(header: dict[str, Any], _: int) -> ImageInfo:
            changes = (*file.changes, note("rotated_by_hand", degrees=degrees))
            return replace(file, width=header["width"], height=header["height"], changes=changes)

        job = {"do": "rotate", "degrees": degrees}
        return await self._made(f"rotate {degrees} {image_id} {file}", job, [await self.read(image)], info)

    async def _made(
        self, what: str, job: dict[str, Any], files: Sequence[bytes], info: Callable[[dict[str, Any], int], ImageInfo]
    ) -> StoredImage:
        """Have a worker make an image from other images.

        Args:
            what: a text that identifies the new image; the same text again returns the same image.
            job: header of the job for the worker.
            files: the canonical files of the other images.
            info: builds the new image's info from the worker's header and the file size in bytes.
        """
        key = hashlib.sha256(what.encode()).hexdigest()
        if known := self.of_upload(key):
            return known
        async with self._pool.job(job, b"".join(files)) as answers:
            header, canonical = await answers.next("canonical")
        if known := self.of_upload(key):  # another call was quicker
            return known
        self.make_room(len(canonical))
        made = StoredImage(info(header, len(canonical)))
        self._keep(made, key)
        self._store(made, canonical, await sha256_of(canonical), _CANONICAL_MEDIA_TYPES[header["format"]])
        return made

    def hold(self, image: StoredImage) -> None:
        """Protect an image from eviction until `release`; an evicted image is stored again. Raises StorageFull if there is no room."""
        if image in self._images:
            self._images.move_to_end(image)
        elif image.is_stored:
            self._keep(image, "")
        image.holders += 1

    def release(self, image: StoredImage) -> None:
        """Undo one `hold`."""
        image.holders -= 1
        if image in self._images:
            self._images.move_to_end(image)
        self._trim()

    def make_room(self, size: int) -> None:
        """Free memory until `size` more bytes fit into the budget.

        Evicts images that nobody holds, least recently used first; then renditions that only a person looked at; then calls
        `evict_session`, which frees the images of an idle session. Raises StorageFull.
        """
        while not self._has_room(size):
            if not self._drop_one() and (self.evict_session is None or not self.evict_session()):
                raise StorageFull

    def _trim(self) -> None:
        """Evict images that can be read from the disk again while much memory is in use."""
        if self._disk is None:
            return
        while self.bytes_used > ON_DISK_BYTES or len(self._images) > MOST_ON_DISK:
            idle = next((image for image in self._images if image.on_disk and not image.holders), None)
            if idle is None:
                return
            self._evict(idle)

    def _has_room(self, size: int) -> bool:
        return self.bytes_used + self.reserved + size <= self._settings.store_max_bytes

    def _drop_one(self) -> bool:
        """Drop one image that nobody holds, or else one rendition that no question uses. Returns False if there was nothing to drop."""
        idle = next((p for p in self._images if p.holders == 0 and p.id_ready.done()), None)
        if idle is not None:
            self._evict(idle)
        elif self._looks:
            self._forget_look(*next(iter(self._looks)))
        else:
            return False
        return True

    async def _ingested(
        self, data: bytes, profile: VisionProfile | None, sight: Sight, page: Page | None, background: str | None
    ) -> StoredImage:
        check_file(data, self._settings)
        key = page.key if page else await sha256_of(data)
        if background:
            key = f"{key} {background}"
        self._check_refused(key)
        if known := self.of_upload(key):
            return known
        ingest = self._ingests.get(key)
        if ingest is None:
            self.make_room(len(data))  # an estimate of the memory, so that a full store rejects the image before any work
            ingest = self._ingests[key] = Ingest()
            job = {"do": "ingest", "limits": self._limits.to_json(), "page": page and page.to_json(), "background": background}
            ingest.task = self._spawn(self._ingest(ingest, key, data, {**job, **rendition_job(profile, sight)}, profile, sight))
        ingest.waiters += 1
        try:
            return await asyncio.shield(ingest.image)
        finally:
            ingest.waiters -= 1
            if ingest.waiters == 0 and not ingest.has_worker and ingest.task:
                # Nobody waits for the image any more, and no worker has started on it. (A worker that has started may finish.)
                ingest.task.cancel()
                self._forget(key, ingest)

    def upload_of(self, image: StoredImage) -> str:
        """Return the sha256 of the upload that an image was made from; "" if it is unknown."""
        return self._images.get(image, "")

    def of_upload(self, sha256: str) -> StoredImage | None:
        """Return the image of an earlier upload with this sha256, and mark this upload as its latest."""
        known = self._by_upload.get(sha256)
        if known:
            self._images.move_to_end(known)
            self._is_latest(known)
        return known

    def _is_latest(self, image: StoredImage) -> None:
        if image.id:
            self._by_id[image.id].latest = image.info

    async def _ingest(
        self, ingest: Ingest, key: str, data: bytes, job: dict[str, Any], profile: VisionProfile | None, sight: Sight
    ) -> None:
        """Run an ingest to its end: the worker's first answer resolves `ingest.image`, its second the image's id."""
        image: StoredImage | None = None
        try:
            async with self._pool.job(job, data) as answers:
                ingest.has_worker = True
                image = await self._ready(answers, profile, sight)
                self._keep(image, key)
                ingest.image.set_result(image)
                header, canonical = await answers.next("canonical")
            self._store(image, canonical, await sha256_of(canonical), _CANONICAL_MEDIA_TYPES[header["format"]])
        except BaseException as error:  # any error must reach the calls that wait
            if isinstance(error, WorkerDied):
                self._refuse(key)
            self._fail(ingest, image, error)
            raise
        finally:
            self._forget(key, ingest)

    def _forget(self, key: str, ingest: Ingest) -> None:
        if self._ingests.get(key) is ingest:
            del self._ingests[key]

    async def _ready(self, answers: Answers, profile: VisionProfile | None, sight: Sight) -> StoredImage:
        header, blob = await answers.next("canonical")
        image = StoredImage(ImageInfo.from_json(header["info"]))
        if profile and (made := header["rendition"]):
            image.renditions[rendition_key(profile, sight)] = rendition_of(made, blob)
        return image

    def _store(self, image: StoredImage, canonical: bytes, image_id: str, media_type: MediaType) -> None:
        self.make_room(len(canonical))
        image.canonical, image.media_type, image.file_bytes = canonical, media_type, len(canonical)
        self.bytes_used += len(canonical)
        image.id_ready.set_result(image_id)
        self._by_id.setdefault(image_id, image)
        self._is_latest(image)

    def _fail(self, ingest: Ingest, image: StoredImage | None, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            error = ShuttingDown()  # a task without waiters is cancelled too, but then nobody sees this error
        if not ingest.image.done():
            ingest.image.set_exception(error)
        if image and not image.id_ready.done():
            image.id_ready.set_exception(error)
            if image in self._images:
                self._evict(image)

    def _check_refused(self, key: str) -> None:
        if self._refused.get(key, 0.0) > time.monotonic():
            raise ImageParseError("decoder_crashed_before")

    def _refuse(self, key: str) -> None:
        now = time.monotonic()
        self._refused = {k: until for k, until in list(self._refused.items())[-_MOST_REFUSED:] if until > now}
        self._refused[key] = now + REFUSED_FOR

    async def _render(self, image: StoredImage, profile: VisionProfile, sight: Sight, *, looking: bool) -> Rendition:
        key = rendition_key(profile, sight)
        try:
            await image.stored()
            self.hold(image)
            try:
                async with self._pool.job({"do": "render", **rendition_job(profile, sight)}, await self.read(image)) as answers:
                    rendition = rendition_of(*await answers.next("rendition"))
                size = held_bytes(rendition)
                if not looking:
                    self.make_room(size)
                    image.renditions[key] = rendition
                    self.bytes_used += size
                else:
                    while not self._has_room(size) and self._drop_one():
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
            del image.rendering[key]

    def _keep(self, image: StoredImage, upload: str) -> None:
        self.make_room(image.size)
        self._images[image] = upload
        self.bytes_used += image.size
        if upload:
            self._by_upload[upload] = image
        if image.id:
            self._by_id.setdefault(image.id, image)

    def _forget_look(self, image: StoredImage, key: str) -> None:
        self.bytes_used -= held_bytes(self._looks.pop((image, key)))

    def _evict(self, image: StoredImage) -> None:
        """Evict a whole image with all its renditions, so that an image never gets a second, different rendition."""
        for look in [look for look in self._looks if look[0] is image]:
            self._forget_look(*look)
        upload = self._images.pop(image)
        self.bytes_used -= image.size
        self._by_upload.pop(upload, None)
        if image.id and self._by_id.get(image.id) is image:
            del self._by_id[image.id]
            # Another upload may have the same pixels.
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
            task.exception()  # marks it as retrieved: waiting calls get the exception, and without any nobody needs it
