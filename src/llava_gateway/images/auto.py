"""Decides how much of a picture `detail: auto` may show: by the room in the context and by how fast the model reads (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llava_gateway.chat import Rendition, Sight
from llava_gateway.images.picture import PictureInfo
from llava_gateway.images.profile import VisionProfile

PATIENCE_MS = 120_000
"""Longest a picture may take to be read."""
STEP = 256
"""Bounds are rounded down to this many tokens, so that nearly equal ones ask for the same bytes."""


@dataclass(frozen=True, slots=True)
class AutoBound:
    """Most tokens a picture may cost, and the warning that says why."""

    tokens: int
    note: str

    def put_on(self, sight: Sight) -> Sight:
        """The sight with the bound, where it is left to us how much is shown."""
        return replace(sight, max_image_tokens=self.tokens) if _ours_to_choose(sight) else sight

    def kept_from_tiles(self, profile: VisionProfile, info: PictureInfo, asked: Sight, rendition: Rendition) -> bool:
        """Whether tiles would have shown more of the picture."""
        large = profile.square is not None and max(info.width, info.height) > profile.square
        return profile.trained and large and rendition.detail == "low" and _ours_to_choose(asked)


def auto_bound(profile: VisionProfile, free: int, ms_per_token: float | None, *, on_gpu: bool, limit: int) -> AutoBound | None:
    """The bound, or None where the largest picture is within it.

    Args:
        profile: of the model. free: tokens of the context that one picture may take.
        ms_per_token: how long the model takes to read one; None if it was not measured yet.
        on_gpu: whether the whole model is on a GPU, where nothing takes that long.
        limit: tokens of the context.
    """
    most = profile.most_tokens
    if most is None:
        return None
    if free < most:
        return AutoBound(_rounded(free, profile), f"detail_auto: One tile; more would take too much of the {limit} tokens of context.")
    if ms_per_token is not None:
        if most * ms_per_token > PATIENCE_MS:
            seconds = round(most * ms_per_token / 1000)
            note = f"detail_auto: One tile; all {most} tokens would take about {seconds} s to read. detail high asks for them."
            return AutoBound(_rounded(int(PATIENCE_MS / ms_per_token), profile), note)
    elif profile.trained and not on_gpu:
        note = "detail_auto: One tile; how fast this model reads is not known before its first picture. detail high asks for tiles."
        return AutoBound(_rounded(0, profile), note)
    return None


def _rounded(tokens: int, profile: VisionProfile) -> int:
    """At least what one tile costs: less can't be sent."""
    return max(tokens // STEP * STEP, profile.tokens or STEP)


def _ours_to_choose(sight: Sight) -> bool:
    """A region is a wish too: who points at something wants it seen closely."""
    wishes = (sight.image_size, sight.num_visual_tokens, sight.max_image_tokens, sight.region)
    return sight.detail == "auto" and all(wish is None for wish in wishes)
