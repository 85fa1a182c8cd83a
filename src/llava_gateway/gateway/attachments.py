"""Prepares the images of a question for a model: decides how much of each image the model sees, and makes the renditions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

from llava_gateway.chat import EngineRequest, Label, Message, Policy, Rendition
from llava_gateway.context.attached import asked_together, in_common, places, with_images
from llava_gateway.context.prompt import TYPICAL_IMAGE
from llava_gateway.context.window import ASSUMED_CONTEXT, answer_room
from llava_gateway.engines.base import ModelInfo, ModelKey
from llava_gateway.engines.memory import all_on_gpu
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import GatewayError, InvalidRequest, Place
from llava_gateway.gateway.context import ContextFitter
from llava_gateway.gateway.links import Files
from llava_gateway.gateway.pages import Room as PageRoom
from llava_gateway.gateway.pages import expand
from llava_gateway.images import strips
from llava_gateway.images.auto import Auto, Choice, auto_bound, choose, choose_strips
from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.info import ImageInfo
from llava_gateway.images.learned import LearnedCosts, Pieces
from llava_gateway.images.plan import Plan, Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.store import ImageStore, StoredImage
from llava_gateway.images.workers import WorkerDied
from llava_gateway.notes import Note, note
from llava_gateway.options import Options
from llava_gateway.parts import Attached, ImagePart, Link, Sight, Upload
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry

MOST_PROFILES = 256
AT_ONCE = 4
"""How many images of a question are prepared at once, so that the images of other questions get a turn in between."""
_MOST_CHOICES = 16
"""How many choices of `auto` detail are kept for one image."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image of the question, how much of it the model sees, and what is sent.

    Attributes:
        file: facts about the file that came with the question; about the most recent file of the image if the question named it by
            id.
        named: the id by which the question named the image, or None.
    """

    image: StoredImage
    sight: Sight
    rendition: Rendition
    file: ImageInfo
    named: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """An image as a model sees it: `profile` makes `rendition` by `plan`, for `sight`."""

    image: StoredImage
    model: ModelInfo
    profile: VisionProfile
    sight: Sight
    plan: Plan
    rendition: Rendition


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose images are ready.

    Attributes:
        messages: the messages of the question. Their images have `new:` names, since the final ids may not be known yet.
        attachments: the images in order.
        warnings: notes for the user.
    """

    messages: tuple[Message, ...]
    attachments: tuple[Attachment, ...]
    warnings: tuple[Note, ...]

    @property
    def renditions(self) -> dict[ImagePart, Rendition]:
        """The renditions by the image parts of the messages."""
        images = (part for message in self.messages for part in message.images)
        return {part: attachment.rendition for part, attachment in zip(images, self.attachments, strict=True)}


@dataclass(frozen=True, slots=True)
class History:
    """The earlier messages of a conversation that a client sent as a whole, with their images stored.

    Attributes:
        costs: tokens of each image, None if unknown.
        beside: tokens of everything that is always sent together with the question.
    """

    messages: tuple[Message, ...]
    costs: Mapping[ImagePart, int | None]
    beside: int


@dataclass(frozen=True, slots=True)
class _Room:
    """The room for images: the model's context under `options`, of which words already take `taken` tokens. `images` share it, and
    `share` of it is for pages.
    """

    options: Options
    taken: int
    more_to_come: bool
    images: int = 1
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class _Share:
    """The part of the free context that one image may take: `each` of the `limit` tokens, if no more questions follow."""

    each: int
    limit: int


class Attachments:
    """The images of questions, prepared for the model that answers.

    Args:
        settings: limits, pins, vision.
        pool: the engines.
        images: the image store.
        fitter: what earlier answers taught about each model.
    """

    def __init__(self, settings: Settings, pool: EnginePool, images: ImageStore, telemetry: Telemetry, fitter: ContextFitter) -> None:
        self._settings = settings
        self._pool = pool
        self._images = images
        self._telemetry = telemetry
        self._fitter = fitter
        self._costs = LearnedCosts()
        self._profiles: dict[tuple[str, VisionFacts], VisionProfile] = {}

    def profile(self, model: ModelInfo) -> VisionProfile:
        """What a model does with images. It is asked for several times in each request, and worked out once."""
        known = self._profiles.get((model.name, model.facts))
        if known is None:
            if len(self._profiles) >= MOST_PROFILES:
                self._profiles.clear()
            known = self._profiles[model.name, model.facts] = profile_for(model.facts, model.name, self._settings.vision)
        return known

    async def rendition(self, image: StoredImage, model: ModelInfo, sight: Sight = Sight(), *, looking: bool = False) -> Rendition:
        """Return what is sent of an image to `model`. Set `looking` for a preview that no model gets.

        Raises ImageError, StorageFull, Overloaded.
        """
        return self.priced(await self._images.rendition(image, self.profile(model), sight, looking=looking), model)

    def priced(self, rendition: Rendition, model: ModelInfo) -> Rendition:
        """Return the rendition with its learned token count, if its plan does not know the count."""
        if rendition.tokens is not None:
            return rendition
        known = self._costs.predict(model.key, self.profile(model).key, _sizes(rendition))
        return replace(rendition, tokens=known[0], label=known[1]) if known else rendition

    def learn_cost(self, renditions: Sequence[Rendition], model: ModelInfo, tokens: int, label: Label) -> None:
        """Record that the images of a prompt, all of one kind, took `tokens` together. `label` says how reliable that number is."""
        self._costs.learn(model.key, self.profile(model).key, map(_sizes, renditions), tokens, label)

    async def seen(self, image: StoredImage, model: ModelInfo, sight: Sight) -> Seen:
        """Return how `model` sees an image, with the plan behind it. For `auto` detail, uses the choice of an earlier question if there
        is one.

        Raises ImageError, StorageFull, Overloaded.
        """
        profile, most = self.profile(model), sight.max_image_tokens
        choice = image.chosen.get((model.key, sight, False))
        if choice is None and self._may_cut(image, sight, model):
            choice = await self._strips(image, sight, model, _Room(Options(), 0, more_to_come=True))
        sight = choice.sight if choice else sight
        plan, rendition = profile.plan(_size(image), sight), await self.rendition(image, model, sight, looking=True)
        notes = choice.explain(plan.notes) if choice else plan.notes
        if sight.region is None and strips.is_long(_size(image)):
            notes = (*notes, *await self._about_length(image, sight, most, model, _Room(Options(), 0, more_to_come=True)))
        plan, rendition = replace(plan, notes=notes), replace(rendition, notes=notes)
        return Seen(image, model, profile, sight, plan, rendition)

    async def question(
        self,
        messages: tuple[Message, ...],
        model: ModelInfo,
        options: Options,
        files: Files,
        *,
        in_session: bool,
        beside: int = 0,
        first: int | None = None,
        share: float = 1.0,
    ) -> Question:
        """Prepare the images of the question for `model`, several at the same time. If several fail, the first of them in order is raised.

        Args:
            options: those of the request over those pinned for the model.
            in_session: whether more questions will follow.
            beside: tokens of everything that is always sent together with the question.
            first: index in the conversation of the question's first message, if the client sent the whole conversation.
            share: how much of the room the pages of documents may fill.
        """
        count = sum(len(message.attachments) for message in messages)
        if count > self._settings.images_per_turn:
            values = {"count": count, "most": self._settings.images_per_turn}
            raise InvalidRequest("images_of_turn", values=values, code="too_many_images").at("images")
        room = _Room(options, beside + self._words(messages, model), more_to_come=in_session, share=share)
        return await self._ready_together(messages, model, room, files, first)

    async def history(
        self, messages: Sequence[Message], model: ModelInfo, options: Options, files: Files, policy: Policy, *, first: int
    ) -> History:
        """Prepare the messages before the question, each image as it was sent when the user asked about it.

        The hash identifies files that came before. What is decided for an image depends on nothing that follows it.

        Args:
            policy: decides what is always sent together with the question, and so leaves less room for its images.
            first: index in the conversation of the first of these messages.
        """
        ready: list[Message] = []
        costs: dict[ImagePart, int | None] = {}
        beside = 0
        for group in asked_together(messages):
            room = _Room(options, beside + self._words(group, model), more_to_come=False)
            question = await self._ready_together(group, model, room, files, first + len(ready), earlier=True)
            parts = [ImagePart(await each.image.stored(), each.sight) for each in question.attachments]
            costs |= {part: each.rendition.tokens for part, each in zip(parts, question.attachments, strict=True)}
            named = iter(parts)
            ready += (with_images(message, named) for message in question.messages)
            stays = group if policy == "strict" else [message for message in group if message.role == "system"]
            beside += self._words(stays, model)
            if policy != "sliding":
                beside += sum(each.rendition.tokens or 0 for each in question.attachments)
        return History(tuple(ready), costs, beside)

    async def _ready_together(
        self, messages: tuple[Message, ...], model: ModelInfo, room: _Room, files: Files, first: int | None, *, earlier: bool = False
    ) -> Question:
        """Prepare the images of messages that are asked together. Puts them on one sheet if the model takes fewer images."""
        if not any(message.attachments for message in messages):
            return Question(messages, (), ())
        limits, where = await self._limits(model, room), places(messages, first)
        messages = await self._fetched(messages, where, files, earlier=earlier)
        expanded = await expand(messages, where, self._images, files.texts, lambda others: self._for_pages(model, room, limits, others))
        messages = expanded.messages
        attached = [part for message in messages for part in message.attachments]
        room = replace(room, taken=room.taken + expanded.added, images=len(attached))
        attachments = await self._all_ready(attached, expanded.places, model, room, files, earlier=earlier)
        most = self.profile(model).max_images
        if most is not None and len(attachments) > most:
            sheet = await self._on_one_sheet(messages, attachments, model, replace(room, images=1), files)
            return replace(sheet, warnings=(*expanded.notes, *sheet.warnings))
        named = iter([ImagePart(f"new:{number}", each.sight) for number, each in enumerate(attachments)])
        warnings = (*expanded.notes, *(note for each in attachments for note in _notes(each)))
        return Question(tuple(with_images(message, named) for message in messages), attachments, warnings)

    async def _fetched(self, messages: tuple[Message, ...], where: Sequence[Place], files: Files, *, earlier: bool) -> tuple[Message, ...]:
        """Replace each link by its file, unless its image is known."""
        attached = [part for message in messages for part in message.attachments]
        if not any(isinstance(part, Link) for part in attached):
            return messages
        try:
            opened = iter(await files.opened(attached, where, earlier=earlier))
        except GatewayError as error:
            self._telemetry.image(error.code)
            raise
        return tuple(
            replace(message, parts=tuple(next(opened) if isinstance(part, Attached) else part for part in message.parts))
            for message in messages
        )

    def _words(self, messages: Sequence[Message], model: ModelInfo) -> int:
        """Estimate how many tokens the words of messages take."""
        return sum(self._fitter.scale(model.key).message(message.prompt_text) for message in messages)

    async def _all_ready(
        self,
        attached: Sequence[Attached],
        places: Sequence[Place],
        model: ModelInfo,
        room: _Room,
        files: Files,
        *,
        earlier: bool,
    ) -> tuple[Attachment, ...]:
        pages = any(isinstance(part, Upload) and part.page for part in attached)
        auto, turns, deaths = await self._auto(model, room, pages=pages), asyncio.Semaphore(AT_ONCE), list[WorkerDied]()

        async def ready(image: Attached) -> Attachment:
            async with turns:
                if deaths:  # the next pages of the same file might kill more workers, which other requests need
                    raise deaths[0]
                try:
                    return await self._ready(image, model, room, auto, files, earlier=earlier)
                except WorkerDied as death:
                    deaths.append(death)
                    raise

        if len(attached) == 1:  # by far the most frequent case needs no tasks
            results: list[Attachment | BaseException] = [await _outcome(ready(attached[0]))]
        else:
            results = await asyncio.gather(*map(ready, attached), return_exceptions=True)
        for place, result in zip(places, results, strict=True):
            self._telemetry.image(result.code if isinstance(result, GatewayError) else "ready")
            if isinstance(result, BaseException):
                if isinstance(result, GatewayError) and not result.place:
                    result.at(*place)
                raise result
        return tuple(result for result in results if isinstance(result, Attachment))

    async def _ready(self, part: Attached, model: ModelInfo, room: _Room, auto: Auto | None, files: Files, *, earlier: bool) -> Attachment:
        sight = auto.bound.apply_to(part.sight) if auto and auto.bound else part.sight
        add = partial(self._images.add, profile=self.profile(model), sight=sight)
        if not isinstance(part, ImagePart):
            add = partial(add, background=part.background)
        match part:
            case ImagePart():
                image = files.hold(self._images.get(part.image_id))
                return replace(await self._attachment(image, image.latest, part.sight, model, room, auto), named=part.image_id)
            case Upload():
                image = files.hold(await add(part.data, page=part.page))
                if part.address and part.page is None:
                    await files.keep(part, image, earlier=earlier)
            case Link():
                image = files.image(part, earlier=earlier)
            case _:
                assert_never(part)
        return await self._attachment(image, image.info, part.sight, model, room, auto)

    async def _attachment(
        self, image: StoredImage, file: ImageInfo, wish: Sight, model: ModelInfo, room: _Room, auto: Auto | None
    ) -> Attachment:
        choice = None
        if self._may_cut(image, wish, model):
            choice = await self._strips(image, wish, model, room)
        elif auto and wish.undecided:
            choice = self._choose(image, wish, model, auto)
        sight = choice.sight if choice else wish
        rendition = await self.rendition(image, model, sight)
        notes = choice.explain(rendition.notes) if choice else rendition.notes
        if wish.region is None and strips.is_long(_size(image)):
            notes = (*notes, *await self._about_length(image, sight, wish.max_image_tokens, model, room))
        return Attachment(image, sight, rendition if notes == rendition.notes else replace(rendition, notes=notes), file)

    def _may_cut(self, image: StoredImage, sight: Sight, model: ModelInfo) -> bool:
        """Return whether an image may be sent in strips, whose number depends on the free context."""
        return self.profile(model).max_images != 1 and strips.may_cut(_size(image), sight)

    async def _strips(self, image: StoredImage, wish: Sight, model: ModelInfo, room: _Room) -> Choice:
        """Choose how many tokens the strips of a long image may take. In a session a quarter of the free context is left."""
        share = await self._share(model, room)
        most = share.each * 3 // 4 if room.more_to_come else share.each
        key = model.key, wish, False
        choice = choose_strips(self.profile(model), _size(image), most, share.limit, room.images, image.chosen.pop(key, None), wish)
        self._keep_choice(image, key, choice)
        return choice

    async def _about_length(self, image: StoredImage, sight: Sight, most: int | None, model: ModelInfo, room: _Room) -> tuple[Note, ...]:
        """Tell how large the text of a long image must be to be read as it is sent, and what would show more within `most` tokens."""
        plan, size, high = self.profile(model).plan, _size(image), Sight(detail="high", max_image_tokens=most)
        better = await self._strips(image, high, model, room) if self._may_cut(image, high, model) else None
        original = image.info.original_width, image.info.original_height
        known = strips.about(size, original, plan(size, sight), plan(size, better.sight) if better else None)
        return (known,) if known else ()

    def _choose(self, image: StoredImage, wish: Sight, model: ModelInfo, auto: Auto, *, earlier: bool = False) -> Choice:
        key = model.key, wish, earlier
        choice = choose(self.profile(model), _size(image), auto, image.chosen.pop(key, None), wish)
        self._keep_choice(image, key, choice)
        return choice

    @staticmethod
    def _keep_choice(image: StoredImage, key: tuple[ModelKey, Sight, bool], choice: Choice) -> None:
        image.chosen[key] = choice
        while len(image.chosen) > _MOST_CHOICES:
            del image.chosen[next(iter(image.chosen))]

    async def decided(
        self, sights: Mapping[str, Sight], model: ModelInfo, options: Options, *, beside: int, images: int
    ) -> dict[str, Sight]:
        """Decide how much of each earlier image is shown from now on, by image id. Only `auto` sights are decided; others stay as they
        are.

        Args:
            beside: tokens of everything that is always sent besides the `images` of the session.
        """
        auto = await self._auto(model, _Room(options, beside, more_to_come=True, images=max(1, images)))
        if auto is None:
            return dict(sights)
        auto = replace(auto, images=0)  # the decision should survive further images as long as there is room for it
        return {
            image_id: self._choose(self._images.get(image_id), sight, model, auto, earlier=True).sight if sight.undecided else sight
            for image_id, sight in sights.items()
        }

    async def _auto(self, model: ModelInfo, room: _Room, *, pages: bool = False) -> Auto | None:
        """Return the limits for `auto` detail, or None if there is nothing to decide.

        Pages get tiles even before the model's speed is known, since a single tile can't carry a page of text. In a session an image gets
        half of the free context, because more questions will follow.
        """
        profile = self.profile(model)
        if profile.most_tokens is None:
            return None
        share = await self._share(model, room)
        free = share.each // 2 if room.more_to_come else share.each
        bound = auto_bound(profile, free, self._fitter.ms_per_token(model.key), on_gpu=pages or all_on_gpu(model), limit=share.limit)
        return Auto(bound, share.each, share.limit, room.images)

    async def _share(self, model: ModelInfo, room: _Room) -> _Share:
        limit, free = await self._limits(model, room)
        return _Share(free // room.images, limit)

    async def _limits(self, model: ModelInfo, room: _Room) -> tuple[int, int]:
        """Return (the context in tokens, those of them that are free for images)."""
        options = room.options
        limit = await self._fitter.limit(self._pool.engine(model.engine), EngineRequest(model.name, (), options)) or ASSUMED_CONTEXT
        return limit, max(0, limit - answer_room(options.num_predict, self._settings.answer_room, limit) - room.taken)

    def _for_pages(self, model: ModelInfo, room: _Room, limits: tuple[int, int], others: int) -> PageRoom:
        """Return the room for the pages of documents. In a session they get half of it, as images do.

        A page is worth its full detail, since a single tile can't carry a page of text: fewer pages are shown rather than smaller ones.
        """
        profile, (limit, free) = self.profile(model), limits
        tokens = int(room.share * (free // 2 if room.more_to_come else free)) - others * TYPICAL_IMAGE
        bound = auto_bound(profile, max(0, tokens), self._fitter.ms_per_token(model.key), on_gpu=True, limit=limit)

        def cost(size: Size, sight: Sight) -> int:
            return profile.plan(size, bound.apply_to(sight) if bound else sight).tokens or TYPICAL_IMAGE

        return PageRoom(max(0, tokens), cost, self._fitter.scale(model.key), profile.max_images)

    async def _on_one_sheet(
        self, messages: tuple[Message, ...], attachments: tuple[Attachment, ...], model: ModelInfo, room: _Room, files: Files
    ) -> Question:
        """Combine all images into one sheet, for a model that takes fewer images. The sheet takes the place of the first image."""
        image = files.hold(await self._images.sheet([each.image for each in attachments]))
        wish, left = in_common([part.sight for message in messages for part in message.attachments])
        sheet = await self._attachment(image, image.info, wish, model, room, await self._auto(model, room))
        warnings = [note("contact_sheet", model=model.name, count=len(attachments))]
        if left:
            warnings.append(note("sight_ignored_on_sheet", fields=left))
        before = [warning for each in attachments for warning in each.file.warnings]
        named = iter([ImagePart("new:0", sheet.sight)])
        return Question(tuple(with_images(message, named) for message in messages), (sheet,), (*warnings, *before, *_notes(sheet)))


async def _outcome(work: Awaitable[Attachment]) -> Attachment | Exception:
    try:
        return await work
    except Exception as error:
        return error


def _size(image: StoredImage) -> Size:
    return image.info.width, image.info.height


def _notes(attachment: Attachment) -> tuple[Note, ...]:
    return (*attachment.file.warnings, *attachment.rendition.notes)


def _sizes(rendition: Rendition) -> Pieces:
    return tuple((piece.width, piece.height) for piece in rendition.pieces)
