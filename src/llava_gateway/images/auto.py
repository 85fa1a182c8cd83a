"""Decides how much of an image `detail: auto` may show: by the room in the context and by how fast the model reads (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llava_gateway.chat import Sight
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.plan import Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.notes import Note, note

PATIENCE_MS = 120_000
"""Longest an image may take to be read."""
STEP = 256
"""Bounds are rounded down to this many tokens, so that nearly equal ones ask for the same bytes."""


@dataclass(frozen=True, slots=True)
class AutoBound:
    """Most tokens an image may cost, and why it is no more: a note's code and values."""

    tokens: int
    why: Note

    def put_on(self, sight: Sight) -> Sight:
        """The sight with the bound, where it is left to us how much is shown; a lower one that was wished for stays."""
        most = min(self.tokens, sight.max_image_tokens or self.tokens)
        return replace(sight, max_image_tokens=most) if sight.undecided else sight


@dataclass(frozen=True, slots=True)
class Auto:
    """What decides about the images of a question.

    Attributes:
        bound: of each; None where the largest is within it.
        room: tokens of the context that each may take at all.
        limit: tokens of the context. images: how many the question has.
    """

    bound: AutoBound | None
    room: int
    limit: int
    images: int


@dataclass(frozen=True, slots=True)
class Choice:
    """How much is shown of an image where that is left to us, and the warning that says why it is not all; None where it is.

    Attributes:
        limit, images: the tokens of context, and the number of images in the question, for which it was chosen.
        bounded: whether its `max_image_tokens` is our bound, and nobody's wish.
    """

    sight: Sight
    note: Note | None
    limit: int
    images: int
    bounded: bool = False

    def told(self, notes: tuple[Note, ...]) -> tuple[Note, ...]:
        """The notes of a plan by this sight, with the warning in place of those on a bound that nobody wished for."""
        wished = tuple(each for each in notes if not (self.bounded and each.code == "max_image_tokens_adjusted"))
        return (*wished, self.note) if self.note else wished


def choose(profile: VisionProfile, size: Size, auto: Auto, before: Choice | None, wish: Sight = Sight()) -> Choice:
    """What is shown of an image of `size` pixels for an undecided wish.

    What was chosen `before` stays while it is the same context, as many images are asked about and there is room for it: so what was read
    ahead is what is asked about then, and the engine finds it in its cache.
    """
    sight = auto.bound.put_on(wish) if auto.bound else wish
    tokens = profile.plan(size, sight).tokens or 0
    if before and (before.limit, before.images) == (auto.limit, auto.images):
        cost = profile.plan(size, before.sight).tokens or 0
        if cost <= max(auto.room, tokens):
            return before
    every = profile.plan(size, wish).tokens or 0
    why = auto.bound.why if auto.bound and tokens < every else None
    told = Note(why.code, {"tokens": tokens, "full": every, **why.values}) if why else None
    return Choice(sight, told, auto.limit, auto.images, bounded=sight != wish)


def auto_bound(profile: VisionProfile, free: int, ms_per_token: float | None, *, on_gpu: bool, limit: int) -> AutoBound | None:
    """The bound, or None where the largest image is within it.

    Args:
        profile: of the model. free: tokens of the context that one image may take.
        ms_per_token: how long the model takes to read one; None if it was not measured yet.
        on_gpu: whether the whole model is on a GPU, where nothing takes that long.
        limit: tokens of the context.
    """
    most = profile.most_tokens
    if most is None:
        return None
    if free < most:
        return AutoBound(_rounded(free, profile), note("detail_auto_context", limit=limit))
    if ms_per_token is not None:
        if most * ms_per_token > PATIENCE_MS:
            seconds = round(most * ms_per_token / 1000)
            why = note("detail_auto_slow", largest=most, seconds=seconds)
            return AutoBound(_rounded(int(PATIENCE_MS / ms_per_token), profile), why)
    elif isinstance(profile.eye, SquareEye) and not on_gpu:
        return AutoBound(_rounded(0, profile), note("detail_auto_unmeasured"))
    return None


def _rounded(tokens: int, profile: VisionProfile) -> int:
    """At least what one tile costs: less can't be sent."""
    tile = profile.eye.tokens if isinstance(profile.eye, SquareEye) else None
    return max(tokens // STEP * STEP, tile or STEP)
