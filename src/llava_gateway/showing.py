"""Makes the pictures of a question ready for a model: how much of each it is shown, and in what form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from llava_gateway.chat import ChatRequest, EngineRequest, ImagePart, Label, Options, Part, Rendition, Sight, TextPart, Upload
from llava_gateway.context.window import ASSUMED_CONTEXT, answer_room
from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.memory import all_on_gpu
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import GatewayError, InvalidRequest
from llava_gateway.fitting import Fitter
from llava_gateway.images.auto import AutoBound, auto_bound
from llava_gateway.images.facts import profile_for
from llava_gateway.images.learned import LearnedCosts, Pieces
from llava_gateway.images.plan import Plan
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.store import Picture, PictureStore
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry

Hold: TypeAlias = Callable[[Picture], Picture]
"""Keeps a picture from being evicted until the question is answered."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the question, how much of it is shown, and what is sent of it."""

    picture: Picture
    sight: Sight
    rendition: Rendition


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture as a model sees it: `rendition` is what `profile` makes of it by `plan`, for `sight`."""

    picture: Picture
    model: ModelInfo
    profile: VisionProfile
    sight: Sight
    plan: Plan
    rendition: Rendition


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, with its pictures ready.

    Attributes:
        parts: its pictures go by `new:` names, since their ids may not be known yet.
        shown: the pictures in order.
        warnings: each a code or "code: sentence".
    """

    parts: tuple[Part, ...]
    shown: tuple[Shown, ...]
    warnings: tuple[str, ...]

    @property
    def renditions(self) -> dict[ImagePart, Rendition]:
        """By the parts that name them."""
        images = (part for part in self.parts if isinstance(part, ImagePart))
        return {part: shown.rendition for part, shown in zip(images, self.shown, strict=True)}


class Showing:
    """Args:
    settings: limits, pins, vision. pool: the engines. pictures: the one ingest and store. fitter: what was learned of models.
    """

    def __init__(self, settings: Settings, pool: EnginePool, pictures: PictureStore, telemetry: Telemetry, fitter: Fitter) -> None:
        self._settings = settings
        self._pool = pool
        self._pictures = pictures
        self._telemetry = telemetry
        self._fitter = fitter
        self._costs = LearnedCosts()

    def profile(self, model: ModelInfo) -> VisionProfile:
        """What a model does with pictures."""
        return profile_for(model.facts, model.name, self._settings.vision)

    async def rendition(self, picture: Picture, model: ModelInfo, sight: Sight = Sight()) -> Rendition:
        """What `model` gets of a picture. Raises ImageError, StorageFull, Overloaded."""
        profile = self.profile(model)
        rendition = await self._pictures.rendition(picture, profile, sight)
        if rendition.tokens is not None:
            return rendition
        known = self._costs.predict(model.key, profile.key, _sizes(rendition))
        return replace(rendition, tokens=known[0], label=known[1]) if known else rendition

    def learn_cost(self, renditions: Sequence[Rendition], model: ModelInfo, tokens: int, label: Label) -> None:
        """Takes note of what the pictures of a prompt, all of them of one kind, took of it together; `label` says how far that is sure."""
        self._costs.learn(model.key, self.profile(model).key, map(_sizes, renditions), tokens, label)

    async def seen(self, picture: Picture, model: ModelInfo, sight: Sight) -> Seen:
        """What `model` gets of a picture, and by which plan. Where nothing is wished for, this is what a question chose, if there was one.

        Raises ImageError, StorageFull, Overloaded.
        """
        profile = self.profile(model)
        if sight == Sight():
            sight = picture.chosen.get(profile.key, sight)
        plan = profile.plan((picture.info.width, picture.info.height), sight)
        return Seen(picture, model, profile, sight, plan, await self.rendition(picture, model, sight))

    async def question(self, request: ChatRequest, model: ModelInfo, options: Options, hold: Hold) -> Question:
        """The question with its pictures as `model` gets them, all made ready at the same time. The first that fails is the one told of.

        Args:
            options: those of the request over what is pinned for the model.
        """
        images = [part for part in request.parts if not isinstance(part, TextPart)]
        if len(images) > self._settings.images_per_turn:
            raise InvalidRequest(
                f"{len(images)} pictures in one turn; at most {self._settings.images_per_turn} are taken.",
                code="too_many_images",
                hint="Ask about some of them, then about the others: a session remembers all.",
                param="images",
            )
        bound = await self._auto_bound(request, model, options, len(images)) if images else None
        results = await asyncio.gather(*(self._ready(image, model, bound, hold) for image in images), return_exceptions=True)
        for index, result in enumerate(results):
            self._telemetry.picture(result.code if isinstance(result, GatewayError) else "ready")
            if isinstance(result, BaseException):
                if isinstance(result, GatewayError) and result.param is None:
                    result.param = f"images[{index}]"
                raise result
        shown = tuple(result for result in results if isinstance(result, Shown))
        most = self.profile(model).max_pictures
        if most is not None and len(shown) > most:
            return await self._on_one_sheet(request, shown, model, hold)
        sights = iter(shown)
        parts = tuple(
            part if isinstance(part, TextPart) else ImagePart(f"new:{index}", next(sights).sight)
            for index, part in enumerate(request.parts)
        )
        return Question(parts, shown, tuple(note for each in shown for note in _notes(each)))

    async def _ready(self, image: ImagePart | Upload, model: ModelInfo, bound: AutoBound | None, hold: Hold) -> Shown:
        profile = self.profile(model)
        sight = bound.put_on(image.sight) if bound else image.sight
        if isinstance(image, Upload):
            picture = hold(await self._pictures.add(image.data, profile, sight))
        else:
            picture = hold(self._pictures.get(image.image_id))
        if image.sight == Sight():
            # Once chosen it stays: what was read ahead is what is asked about then, and the engine has it in its cache.
            sight = picture.chosen.setdefault(profile.key, sight)
        rendition = await self.rendition(picture, model, sight)
        if bound and sight.max_image_tokens == bound.tokens and bound.kept_from_tiles(profile, picture.info, image.sight, rendition):
            rendition = replace(rendition, notes=(*rendition.notes, bound.note))
        return Shown(picture, sight, rendition)

    async def _auto_bound(self, request: ChatRequest, model: ModelInfo, options: Options, pictures: int) -> AutoBound | None:
        """What bounds `auto` detail now; None where nothing does. In a session a picture may take half of what is free: more is to
        come."""
        profile = self.profile(model)
        if profile.most_tokens is None:
            return None
        limit = await self._fitter.limit(self._pool.engine(model.engine), EngineRequest(model.name, (), options)) or ASSUMED_CONTEXT
        text = " ".join(part.text for part in request.parts if isinstance(part, TextPart))
        free = limit - answer_room(options.num_predict, self._settings.answer_room, limit) - self._fitter.scale(model.key).message(text)
        share = max(0, free) // pictures // (2 if request.session_id else 1)
        return auto_bound(profile, share, self._fitter.ms_per_token(model.key), on_gpu=all_on_gpu(model), limit=limit)

    async def _on_one_sheet(self, request: ChatRequest, shown: tuple[Shown, ...], model: ModelInfo, hold: Hold) -> Question:
        """All pictures as one, for a model that takes no more; it stands where the first stood."""
        picture = hold(await self._pictures.sheet([each.picture for each in shown]))
        sheet = Shown(picture, Sight(), await self.rendition(picture, model))
        texts = [part for part in request.parts if isinstance(part, TextPart)]
        warning = f"contact_sheet: {model.name} takes one picture, so these {len(shown)} are laid on one sheet, numbered from 1."
        before = [note for each in shown for note in each.picture.info.warnings]
        return Question((ImagePart("new:0"), *texts), (sheet,), (warning, *before, *_notes(sheet)))


def _notes(shown: Shown) -> tuple[str, ...]:
    return (*shown.picture.info.warnings, *shown.rendition.notes)


def _sizes(rendition: Rendition) -> Pieces:
    return tuple((piece.width, piece.height) for piece in rendition.pieces)
