"""Makes the images of a question ready for a model: how much of each it is shown, and in what form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from llava_gateway.chat import EngineRequest, ImagePart, Label, Message, Policy, Rendition, Sight, Upload
from llava_gateway.context.window import ASSUMED_CONTEXT, answer_room
from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.memory import all_on_gpu
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import GatewayError, InvalidRequest, Place
from llava_gateway.gateway.context import ContextFitter
from llava_gateway.images.auto import Auto, Choice, auto_bound, choose
from llava_gateway.images.facts import profile_for
from llava_gateway.images.info import ImageInfo
from llava_gateway.images.learned import LearnedCosts, Pieces
from llava_gateway.images.plan import Plan, Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.store import ImageStore, StoredImage
from llava_gateway.notes import Note, note
from llava_gateway.options import Options
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry

_MOST_CHOICES = 16
"""Of an image that are remembered."""

Hold: TypeAlias = Callable[[StoredImage], StoredImage]
"""Keeps an image from being evicted until the question is answered."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image of the question, how much of it is shown, and what is sent of it.

    Attributes:
        file: what is known of the file that the question brought; of the one that came last where it named the image.
        named: the id by which the question named it, if it did.
    """

    image: StoredImage
    sight: Sight
    rendition: Rendition
    file: ImageInfo
    named: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """An image as a model sees it: `rendition` is what `profile` makes of it by `plan`, for `sight`."""

    image: StoredImage
    model: ModelInfo
    profile: VisionProfile
    sight: Sight
    plan: Plan
    rendition: Rendition


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, with its images ready.

    Attributes:
        messages: their images go by `new:` names, since their ids may not be known yet.
        attachments: the images in order.
        warnings: what the person should know.
    """

    messages: tuple[Message, ...]
    attachments: tuple[Attachment, ...]
    warnings: tuple[Note, ...]

    @property
    def renditions(self) -> dict[ImagePart, Rendition]:
        """By the parts that name them."""
        images = (part for message in self.messages for part in message.images)
        return {part: attachment.rendition for part, attachment in zip(images, self.attachments, strict=True)}


@dataclass(frozen=True, slots=True)
class History:
    """The earlier messages of a conversation that a client sent as a whole, with their images stored.

    Attributes:
        costs: what each image costs. beside: tokens of what is sent beside the question in any case.
    """

    messages: tuple[Message, ...]
    costs: Mapping[ImagePart, int | None]
    beside: int


@dataclass(frozen=True, slots=True)
class _Room:
    """What images have room in: the context of the model with these options, of which so many tokens are taken by words."""

    options: Options
    taken: int
    more_to_come: bool


class Attachments:
    """Args:
    settings: limits, pins, vision. pool: the engines. images: the one ingest and store. fitter: what was learned of models.
    """

    def __init__(self, settings: Settings, pool: EnginePool, images: ImageStore, telemetry: Telemetry, fitter: ContextFitter) -> None:
        self._settings = settings
        self._pool = pool
        self._images = images
        self._telemetry = telemetry
        self._fitter = fitter
        self._costs = LearnedCosts()

    def profile(self, model: ModelInfo) -> VisionProfile:
        """What a model does with images."""
        return profile_for(model.facts, model.name, self._settings.vision)

    async def rendition(self, image: StoredImage, model: ModelInfo, sight: Sight = Sight(), *, looking: bool = False) -> Rendition:
        """What `model` gets of an image; `looking` where only a person looks at it. Raises ImageError, StorageFull, Overloaded."""
        return self.priced(await self._images.rendition(image, self.profile(model), sight, looking=looking), model)

    def priced(self, rendition: Rendition, model: ModelInfo) -> Rendition:
        """A rendition with what it costs as far as that was learned, where its plan doesn't tell."""
        if rendition.tokens is not None:
            return rendition
        known = self._costs.predict(model.key, self.profile(model).key, _sizes(rendition))
        return replace(rendition, tokens=known[0], label=known[1]) if known else rendition

    def learn_cost(self, renditions: Sequence[Rendition], model: ModelInfo, tokens: int, label: Label) -> None:
        """Takes note of what the images of a prompt, all of them of one kind, took of it together; `label` says how far that is sure."""
        self._costs.learn(model.key, self.profile(model).key, map(_sizes, renditions), tokens, label)

    async def seen(self, image: StoredImage, model: ModelInfo, sight: Sight) -> Seen:
        """What `model` gets of an image, and by which plan. Where it is left to us, this is what a question chose, if there was one.

        Raises ImageError, StorageFull, Overloaded.
        """
        profile = self.profile(model)
        choice = image.chosen.get((model.key, sight, False))
        sight = choice.sight if choice else sight
        plan, rendition = profile.plan(_size(image), sight), await self.rendition(image, model, sight, looking=True)
        if choice:
            plan, rendition = replace(plan, notes=choice.told(plan.notes)), replace(rendition, notes=choice.told(rendition.notes))
        return Seen(image, model, profile, sight, plan, rendition)

    async def question(
        self,
        messages: tuple[Message, ...],
        model: ModelInfo,
        options: Options,
        hold: Hold,
        *,
        in_session: bool,
        beside: int = 0,
        first: int | None = None,
    ) -> Question:
        """The question with its images as `model` gets them, all made ready at the same time. The first that fails is the one told of.

        Args:
            options: those of the request over what is pinned for the model.
            in_session: whether more questions are to come.
            beside: tokens of what is sent beside the question in any case.
            first: which message of the conversation its first is, where the client sent that as a whole.
        """
        count = sum(len(message.attachments) for message in messages)
        if count > self._settings.images_per_turn:
            values = {"count": count, "most": self._settings.images_per_turn}
            raise InvalidRequest("images_of_turn", values=values, code="too_many_images").at("images")
        room = _Room(options, beside + self._words(messages, model), more_to_come=in_session)
        return await self._ready_together(messages, model, room, hold, first)

    async def history(
        self, messages: Sequence[Message], model: ModelInfo, options: Options, hold: Hold, policy: Policy, *, first: int
    ) -> History:
        """The messages before the question, each image as it was sent when it was asked about: the same files are recognised by their
        hashes, and what is decided for an image depends on nothing that came after it.

        Args:
            policy: tells what is sent beside the question in any case, and so leaves no room for its images.
            first: which message of the conversation the first of these is.
        """
        ready: list[Message] = []
        costs: dict[ImagePart, int | None] = {}
        beside = 0
        for group in _asked_together(messages):
            room = _Room(options, beside + self._words(group, model), more_to_come=False)
            question = await self._ready_together(group, model, room, hold, first + len(ready))
            parts = [ImagePart(await each.image.stored(), each.sight) for each in question.attachments]
            costs |= {part: each.rendition.tokens for part, each in zip(parts, question.attachments, strict=True)}
            named = iter(parts)
            ready += (_with_images(message, named) for message in question.messages)
            stays = group if policy == "strict" else [message for message in group if message.role == "system"]
            beside += self._words(stays, model)
            if policy != "sliding":
                beside += sum(each.rendition.tokens or 0 for each in question.attachments)
        return History(tuple(ready), costs, beside)

    async def _ready_together(
        self, messages: tuple[Message, ...], model: ModelInfo, room: _Room, hold: Hold, first: int | None
    ) -> Question:
        """Messages that are asked at once, with their images as `model` gets them; all on one sheet where it takes no more."""
        attached = [part for message in messages for part in message.attachments]
        if not attached:
            return Question(messages, (), ())
        auto = await self._auto(model, room, len(attached))
        attachments = await self._all_ready(attached, _places(messages, first), model, auto, hold)
        most = self.profile(model).max_images
        if most is not None and len(attachments) > most:
            return await self._on_one_sheet(messages, attachments, model, await self._auto(model, room, 1), hold)
        named = iter([ImagePart(f"new:{number}", each.sight) for number, each in enumerate(attachments)])
        warnings = tuple(note for each in attachments for note in _notes(each))
        return Question(tuple(_with_images(message, named) for message in messages), attachments, warnings)

    def _words(self, messages: Sequence[Message], model: ModelInfo) -> int:
        """About how many tokens the words of messages take."""
        return sum(self._fitter.scale(model.key).message(message.written) for message in messages)

    async def _all_ready(
        self, attached: Sequence[ImagePart | Upload], places: Sequence[Place], model: ModelInfo, auto: Auto | None, hold: Hold
    ) -> tuple[Attachment, ...]:
        results = await asyncio.gather(*(self._ready(image, model, auto, hold) for image in attached), return_exceptions=True)
        for place, result in zip(places, results, strict=True):
            self._telemetry.image(result.code if isinstance(result, GatewayError) else "ready")
            if isinstance(result, BaseException):
                if isinstance(result, GatewayError) and not result.place:
                    result.at(*place)
                raise result
        return tuple(result for result in results if isinstance(result, Attachment))

    async def _ready(self, part: ImagePart | Upload, model: ModelInfo, auto: Auto | None, hold: Hold) -> Attachment:
        if isinstance(part, Upload):
            sight = auto.bound.put_on(part.sight) if auto and auto.bound else part.sight
            image = hold(await self._images.add(part.data, self.profile(model), sight))
            return await self._attachment(image, image.info, part.sight, model, auto)
        image = hold(self._images.get(part.image_id))
        return replace(await self._attachment(image, image.latest, part.sight, model, auto), named=part.image_id)

    async def _attachment(self, image: StoredImage, file: ImageInfo, wish: Sight, model: ModelInfo, auto: Auto | None) -> Attachment:
        if auto is None or not wish.undecided:
            return Attachment(image, wish, await self.rendition(image, model, wish), file)
        choice = self._choose(image, wish, model, auto)
        rendition = await self.rendition(image, model, choice.sight)
        return Attachment(image, choice.sight, replace(rendition, notes=choice.told(rendition.notes)), file)

    def _choose(self, image: StoredImage, wish: Sight, model: ModelInfo, auto: Auto, *, earlier: bool = False) -> Choice:
        key = model.key, wish, earlier
        choice = choose(self.profile(model), _size(image), auto, image.chosen.pop(key, None), wish)
        image.chosen[key] = choice
        while len(image.chosen) > _MOST_CHOICES:
            del image.chosen[next(iter(image.chosen))]
        return choice

    async def decided(
        self, sights: Mapping[str, Sight], model: ModelInfo, options: Options, *, beside: int, images: int
    ) -> dict[str, Sight]:
        """What is shown from now on of earlier images, by image id, with our decision where it is left to us.

        Args:
            beside: tokens of what is told beside the `images` of the session in any case.
        """
        auto = await self._auto(model, _Room(options, beside, more_to_come=True), max(1, images))
        if auto is None:
            return dict(sights)
        auto = replace(auto, images=0)  # it is to stay when more images come, as long as there is room for it
        return {
            image_id: self._choose(self._images.get(image_id), sight, model, auto, earlier=True).sight if sight.undecided else sight
            for image_id, sight in sights.items()
        }

    async def _auto(self, model: ModelInfo, room: _Room, images: int) -> Auto | None:
        """What decides about `auto` detail now; None where there is nothing to decide. In a session an image is to take half of what is
        free: more is to come."""
        profile, options = self.profile(model), room.options
        if profile.most_tokens is None:
            return None
        limit = await self._fitter.limit(self._pool.engine(model.engine), EngineRequest(model.name, (), options)) or ASSUMED_CONTEXT
        free = limit - answer_room(options.num_predict, self._settings.answer_room, limit) - room.taken
        each = max(0, free) // images
        share = each // 2 if room.more_to_come else each
        bound = auto_bound(profile, share, self._fitter.ms_per_token(model.key), on_gpu=all_on_gpu(model), limit=limit)
        return Auto(bound, each, limit, images)

    async def _on_one_sheet(
        self, messages: tuple[Message, ...], attachments: tuple[Attachment, ...], model: ModelInfo, auto: Auto | None, hold: Hold
    ) -> Question:
        """All images as one, for a model that takes no more; it stands where the first stood."""
        image = hold(await self._images.sheet([each.image for each in attachments]))
        wish, left = _in_common([part.sight for message in messages for part in message.attachments])
        sheet = await self._attachment(image, image.info, wish, model, auto)
        warnings = [note("contact_sheet", model=model.name, count=len(attachments))]
        if left:
            warnings.append(note("sight_ignored_on_sheet", fields=left))
        before = [warning for each in attachments for warning in each.file.warnings]
        named = iter([ImagePart("new:0", sheet.sight)])
        return Question(tuple(_with_images(message, named) for message in messages), (sheet,), (*warnings, *before, *_notes(sheet)))


def _asked_together(messages: Sequence[Message]) -> Iterator[tuple[Message, ...]]:
    """What stands between two messages by the assistant, and each of these by itself."""
    group: list[Message] = []
    for message in messages:
        if group and "assistant" in (message.role, group[-1].role):
            yield tuple(group)
            group = []
        group.append(message)
    if group:
        yield tuple(group)


def _places(messages: Sequence[Message], first: int | None) -> list[Place]:
    """Where each image of the messages is: which one of a question, or which one of which message of a conversation."""
    if first is None:
        return [("image", number) for number in range(sum(len(message.attachments) for message in messages))]
    return [("message", place, "image", number) for place, one in enumerate(messages, first) for number in range(len(one.attachments))]


def _with_images(message: Message, images: Iterator[ImagePart]) -> Message:
    """The message with the next of these in place of each image; without those for which there is none."""
    if not message.attachments:
        return message
    parts = (next(images, None) if isinstance(part, ImagePart | Upload) else part for part in message.parts)
    return replace(message, parts=tuple(part for part in parts if part is not None))


def _in_common(sights: Sequence[Sight]) -> tuple[Sight, tuple[str, ...]]:
    """What is wished for alike of all images, for the sheet with all of them, and the names of the wishes that are left over."""
    shared = {name: value for name, value in sights[0].to_json().items() if name != "region"}
    shared = {name: value for name, value in shared.items() if all(getattr(sight, name) == value for sight in sights)}
    every = dict.fromkeys(name for sight in sights for name in sight.to_json() if getattr(sight, name) != getattr(Sight(), name))
    return Sight(**shared), tuple(name for name in every if name not in shared)


def _size(image: StoredImage) -> Size:
    return image.info.width, image.info.height


def _notes(attachment: Attachment) -> tuple[Note, ...]:
    return (*attachment.file.warnings, *attachment.rendition.notes)


def _sizes(rendition: Rendition) -> Pieces:
    return tuple((piece.width, piece.height) for piece in rendition.pieces)
