"""Requests about images without a question: store one, list the pages of a document, rotate one, show one as a model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from llava_gateway.chat import Piece, Rendition
from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import GatewayError, ModelLacksVision, Place
from llava_gateway.gateway.attachments import Attachments, Seen
from llava_gateway.gateway.holding import holding
from llava_gateway.gateway.links import Links
from llava_gateway.gateway.memory_cap import MemoryCap
from llava_gateway.gateway.pages import one_page
from llava_gateway.images.info import Degrees
from llava_gateway.images.pages import Document
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.store import ImageStore, StoredImage
from llava_gateway.parts import Link, Sight, Upload
from llava_gateway.telemetry import Telemetry


class ImageRequests:
    """Requests about images without a question.

    Args:
        pool: knows the models.
        images: the image store.
        links: fetches images from addresses.
        attachments: knows how models see images.
        telemetry: counts images.
        memory: the limits on memory.
    """

    def __init__(
        self, pool: EnginePool, images: ImageStore, links: Links, attachments: Attachments, telemetry: Telemetry, memory: MemoryCap
    ) -> None:
        self._pool = pool
        self._images = images
        self._links = links
        self._attachments = attachments
        self._telemetry = telemetry
        self._memory = memory

    async def store(self, upload: Upload | Link, model: str | None) -> tuple[str, StoredImage, Rendition | None]:
        """Store an image, or one page of a document, without asking about it. Returns (id, image, rendition for `model`).

        `model` None means the default model, if it can see; without one the rendition is None. Raises ImageError, ModelNotFound
        (only for a model that was named), StorageFull.
        """
        self._memory.check(images=True)
        profile = await self._profile(model)
        place = _place(upload)
        with holding(self._images) as hold:
            try:
                async with self._links.files(hold) as files:
                    (part,) = await files.opened([upload], [place])
                    if isinstance(part, Link):
                        image = files.image(part)
                    else:
                        part = await one_page(part, self._images, place)
                        add = partial(self._images.add, profile=profile, place=place, background=part.background)
                        image = hold(await add(part.data, page=part.page))
                        if part.address and part.page is None:
                            await files.keep(part, image)
                image_id = await image.stored()
            except GatewayError as error:
                self._telemetry.image(error.code)
                if isinstance(upload, Link) and not error.place:
                    error.at(*place)
                raise
            self._telemetry.image("ready")
            return image_id, image, await self._images.rendition(image, profile) if profile else None

    async def single_files(self, uploads: Sequence[Upload | Link], model: ModelInfo) -> tuple[Piece, ...]:
        """Return one file for each image, as the model sees it at low detail. Raises ModelLacksVision, and what `store` raises."""
        if uploads and not model.vision:
            raise ModelLacksVision().at("model")
        images = [(await self.store(upload, model.name))[1] for upload in uploads]
        renditions = [await self._attachments.rendition(image, model, Sight(detail="low")) for image in images]
        return tuple(rendition.pieces[0] for rendition in renditions)

    async def pages(self, upload: Upload | Link) -> tuple[Document, list[bytes]]:
        """List the pages of a document, or the frames of an animation that differ most, each with a small JPEG. Stores nothing.

        Raises ImageError, FetchingOff, DownloadFailed, Overloaded.
        """
        self._memory.check(images=True)
        try:
            if isinstance(upload, Upload):
                return await self._images.thumbnails(upload.data)
            async with self._links.file(upload.address) as data:
                return await self._images.thumbnails(data)
        except GatewayError as error:
            raise error.at(*_place(upload)) from None

    async def rotated(self, image_id: str, degrees: Degrees, model: str | None) -> tuple[str, StoredImage, Rendition | None]:
        """Rotate a stored image clockwise and store the result. Returns (id, image, rendition for `model`).

        Raises ImageNotFound, ImageError, ModelNotFound (only for a model that was named), StorageFull, Overloaded.
        """
        self._memory.check(images=True)
        profile = await self._profile(model)
        with holding(self._images) as hold:
            image = hold(await self._images.rotated(hold(self._images.get(image_id)), degrees))
            return await image.stored(), image, await self._images.rendition(image, profile) if profile else None

    async def seen(self, image: StoredImage, model: str | None, sight: Sight) -> Seen:
        """Return how a model (None: the default) sees an image.

        Raises ModelNotFound, ModelLacksVision, ImageError, StorageFull, Overloaded.
        """
        info = await self._pool.resolve(model)
        if not info.vision:
            raise ModelLacksVision("model_lacks_vision_named", values={"model": info.name}).at("model")
        return await self._attachments.seen(image, info, sight)

    async def _profile(self, model: str | None) -> VisionProfile | None:
        """Return how `model` (None: the default) handles images; None if it can't see. Raises ModelNotFound for a model that was named."""
        info = await self._pool.resolve(model) if model else self._pool.state.default.model
        return self._attachments.profile(info) if info and info.vision else None


def _place(upload: Upload | Link) -> Place:
    return ("image",) if isinstance(upload, Upload) else ("image_url",)
