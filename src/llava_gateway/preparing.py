"""Makes a question ready for the engine: which model, which pictures in which form, which part of the conversation.

`gateway.py` walks; what happens here spends nothing of the engine, so `count_tokens` and `warm` share it with `ask`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from llava_gateway.chat import ChatRequest, EngineRequest, ImagePart, Options, Rendition, TextPart, Upload
from llava_gateway.engines.base import ModelInfo, same_name
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import GatewayError, InvalidRequest, ModelLacksVision, ModelNotFound
from llava_gateway.images.profile import profile_for
from llava_gateway.images.store import Picture, PictureStore
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry

Hold: TypeAlias = Callable[[Picture], Picture]
"""Keeps a picture from being evicted until the question is answered."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question as the engine will get it.

    Attributes:
        pictures: the question's own, in order, with what is sent of each.
        warnings: what the person should know, each a code or "code: sentence".
    """

    model: ModelInfo
    pictures: tuple[tuple[Picture, Rendition], ...]
    engine_request: EngineRequest
    warnings: tuple[str, ...] = field(default=())


class Preparer:
    """Args:
    settings: limits and pins. pool: the engines. pictures: the one ingest and store. telemetry: counts pictures.
    """

    def __init__(self, settings: Settings, pool: EnginePool, pictures: PictureStore, telemetry: Telemetry) -> None:
        self.settings = settings
        self.pool = pool
        self.pictures = pictures
        self.telemetry = telemetry

    async def prepare(self, request: ChatRequest, session: Session, model: ModelInfo, hold: Hold) -> Prepared:
        """Raises what is wrong with the request: ImageError, ModelLacksVision, InvalidRequest, StorageFull, ..."""
        self._check_vision(request, session, model)
        pictures = await self._ingest(request, model, hold)
        engine_request = await self._engine_request(request, session, model, pictures, hold)
        codes = [code for picture, rendition in pictures for code in (*picture.info.warnings, *rendition.notes)]
        return Prepared(model, pictures, engine_request, tuple(codes))

    async def model(self, request: ChatRequest, session: Session) -> ModelInfo:
        """Who answers: the request's model, else the session's, else the default."""
        if request.model is not None or not session.model:
            return await self.pool.resolve(request.model)
        try:
            return await self.pool.resolve(session.model, engine=session.engine)
        except ModelNotFound as error:
            raise ModelNotFound(
                f"{session.model}, which this session talks with, is gone.",
                hint=f"Bring it back, or name another model in the request. {error.hint}",
                param="model",
            ) from None

    def _check_vision(self, request: ChatRequest, session: Session, model: ModelInfo) -> None:
        """Refuses pictures, new ones or the session's, before anything is sent to a model that can't see."""
        if model.vision or not (session.image_ids or any(not isinstance(part, TextPart) for part in request.parts)):
            return
        seeing = [other.name for other in self.pool.state.models if other.vision]
        hint = f"Installed with vision: {', '.join(seeing[:10])}." if seeing else "Get one with `ollama pull llava:7b`."
        raise ModelLacksVision(f"{model.name} can't see pictures.", hint=hint, param="model")

    async def _ingest(self, request: ChatRequest, model: ModelInfo, hold: Hold) -> tuple[tuple[Picture, Rendition], ...]:
        """The question's pictures made ready for the model, in order, all at the same time. The first that fails is the one told of."""
        images = [part for part in request.parts if not isinstance(part, TextPart)]
        if len(images) > self.settings.images_per_turn:
            raise InvalidRequest(
                f"{len(images)} pictures in one turn; at most {self.settings.images_per_turn} are taken.",
                code="too_many_images",
                hint="Ask about some of them, then about the others: a session remembers all.",
                param="images",
            )
        profile = profile_for(model.facts)

        async def ready(image: ImagePart | Upload) -> tuple[Picture, Rendition]:
            if isinstance(image, Upload):
                picture = hold(await self.pictures.add(image.data, profile, image.sight))
            else:
                picture = hold(self.pictures.get(image.image_id))
            return picture, await self.pictures.rendition(picture, profile, image.sight)

        results = await asyncio.gather(*(ready(image) for image in images), return_exceptions=True)
        for index, result in enumerate(results):
            self.telemetry.picture(result.code if isinstance(result, GatewayError) else "ready")
            if isinstance(result, BaseException):
                if isinstance(result, GatewayError) and result.param is None:
                    result.param = f"images[{index}]"
                raise result
        return tuple(result for result in results if not isinstance(result, BaseException))

    async def _engine_request(
        self, request: ChatRequest, session: Session, model: ModelInfo, pictures: tuple[tuple[Picture, Rendition], ...], hold: Hold
    ) -> EngineRequest:
        """The whole conversation with the bytes of its pictures. A new picture's id may not be known yet (its canonical form is still
        being encoded), so it goes by its place in the question here."""
        renditions: dict[ImagePart, Rendition] = {}
        new = iter(pictures)
        parts: list[TextPart | ImagePart] = []
        for index, part in enumerate(request.parts):
            if not isinstance(part, TextPart):
                part = ImagePart(f"new:{index}", part.sight)
                renditions[part] = next(new)[1]
            parts.append(part)
        messages = session.messages(tuple(parts))
        for part in dict.fromkeys(part for message in messages for part in message.images):
            if part not in renditions:
                picture = hold(self.pictures.get(part.image_id))
                renditions[part] = await self.pictures.rendition(picture, profile_for(model.facts), part.sight)
        return EngineRequest(
            model=model.name,
            messages=messages,
            options=request.options.over(self.pins(model.name)),
            format=request.format,
            keep_alive=self.settings.keep_alive if request.keep_alive is None else request.keep_alive,
            renditions=renditions,
        )

    def pins(self, model: str) -> Options:
        """The runner options that the settings pin for a model."""
        for name, pins in self.settings.models.items():
            if same_name(name, model):
                return Options(num_ctx=pins.num_ctx, num_gpu=pins.num_gpu)
        return Options()
