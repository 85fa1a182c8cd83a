"""Decide how much of an image `detail: auto` may show, by the free context and the model's reading speed (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.plan import Size
from llava_gateway.images.profile import VisionProfile
from llava_gateway.notes import Note, note
from llava_gateway.parts import Sight

PATIENCE_MS = 120_000
"""The longest time that reading one image may take."""
STEP = 256
"""Bounds are rounded down to multiples of this many tokens, so that nearly equal bounds give the same bytes."""


@dataclass(frozen=True, slots=True)
class AutoBound:
    """An upper bound for the tokens of an image, and the reason for it (a note without token counts)."""

    tokens: int
    why: Note

    def apply_to(self, sight: Sight) -> Sight:
        """Return the sight with this bound applied if the sight is undecided; a lower `max_image_tokens` from the client stays."""
        most = min(self.tokens, sight.max_image_tokens or self.tokens)
        return replace(sight, max_image_tokens=most) if sight.undecided else sight


@dataclass(frozen=True, slots=True)
class Auto:
    """The inputs of the decision for the images of one question.

    Attributes:
        bound: bound for each image; None if even the largest rendition is within it.
        room: context tokens available to each image.
        limit: context length in tokens.
        images: number of images in the question.
    """

    bound: AutoBound | None
    room: int
    limit: int
    images: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision for one undecided image.

    Attributes:
        sight: how much of the image to show.
        note: the warning that explains why the image is reduced; None if it is not.
        limit, images: context length in tokens and number of images in the question at the time of the decision.
        bounded: whether `sight.max_image_tokens` is our bound and not the client's wish.
    """

    sight: Sight
    note: Note | None
    limit: int
    images: int
    bounded: bool = False

    def explain(self, notes: tuple[Note, ...]) -> tuple[Note, ...]:
        """Return the plan's notes with this choice's warning; drop notes on a bound that the client did not ask for."""
        wished = tuple(each for each in notes if not (self.bounded and each.code == "max_image_tokens_adjusted"))
        return (*wished, self.note) if self.note else wished


def choose(profile: VisionProfile, size: Size, auto: Auto, before: Choice | None, wish: Sight = Sight()) -> Choice:
    """Choose how much to show of an image of `size` (width, height) pixels when the sight `wish` is undecided.

    The earlier choice `before` stays as long as the context length and the number of images are the same and the image still fits.
    The question then sends the same bytes as its read-ahead, and the engine finds them in its cache.
    """
    sight = auto.bound.apply_to(wish) if auto.bound else wish
    tokens = profile.plan(size, sight).tokens or 0
    if before and (before.limit, before.images) == (auto.limit, auto.images):
        cost = profile.plan(size, before.sight).tokens or 0
        if cost <= max(auto.room, tokens):
            return before
    every = profile.plan(size, wish).tokens or 0
    why = auto.bound.why if auto.bound and tokens < every else None
    warning = Note(why.code, {"tokens": tokens, "full": every, **why.values}) if why else None
    return Choice(sight, warning, auto.limit, auto.images, bounded=sight != wish)


def choose_strips(profile: VisionProfile, size: Size, room: int, limit: int, images: int, before: Choice | None, wish: Sight) -> Choice:
    """Choose the tokens for the strips of a long image: as many as there is room for. The earlier choice `before` stays as in `choose`."""
    if before and (before.limit, before.images) == (limit, images) and (profile.plan(size, before.sight).tokens or 0) <= room:
        return before
    most = max(STEP, room // STEP * STEP)
    bounded = wish.max_image_tokens is None or wish.max_image_tokens > most
    return Choice(replace(wish, max_image_tokens=most) if bounded else wish, None, limit, images, bounded=bounded)


def auto_bound(profile: VisionProfile, free: int, ms_per_token: float | None, *, on_gpu: bool, limit: int) -> AutoBound | None:
    """Return the bound for each image, or None if even the largest rendition is within it.

    Args:
        profile: the model's vision profile.
        free: context tokens available to one image.
        ms_per_token: measured reading speed in milliseconds per token; None before the first measurement.
        on_gpu: whether the whole model is on a GPU; reading is then fast enough without a measurement.
        limit: context length in tokens.
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
    """Round down to a multiple of STEP, but not below the cost of one tile, the least that can be sent."""
    tile = profile.eye.tokens if isinstance(profile.eye, SquareEye) else None
    return max(tokens // STEP * STEP, tile or STEP)
