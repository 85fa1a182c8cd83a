"""Learns about models from what their engines counted: vocabulary, speed, the cost of images, and whether the model sees images at all."""

from __future__ import annotations

from llava_gateway.chat import Finish, Rendition
from llava_gateway.engines.base import ModelKey
from llava_gateway.engines.pool import EnginePool
from llava_gateway.gateway.attachments import Attachments
from llava_gateway.gateway.context import ContextFitter
from llava_gateway.gateway.prompt import Prompt
from llava_gateway.notes import Note, note

SURE = 4
"""If the word count is only an estimate, the cost of images is learned only when they take this many times as many tokens as the words."""


class Calibration:
    """What answers teach about their models.

    Args:
        pool: the engines.
        fitter: receives vocabularies and speeds.
        attachments: receives the costs of images.
    """

    def __init__(self, pool: EnginePool, fitter: ContextFitter, attachments: Attachments) -> None:
        self._pool = pool
        self._fitter = fitter
        self._attachments = attachments
        self._sighted: set[ModelKey] = set()  # models that have proved that they see

    async def learn(self, prompt: Prompt, finish: Finish) -> tuple[Note, ...]:
        """Learn from the engine's token counts and timings. Returns a warning if the model seems to have ignored the images."""
        request, model, usage = prompt.engine_request, prompt.model, finish.usage
        if usage.prompt_tokens is None:
            return ()
        renditions = request.shown
        read = usage.prompt_tokens - (usage.cached_tokens or 0)
        fresh = usage.cached_tokens is not None or not any((model.key, each.sight) in each.image.read_by for each in prompt.attachments)
        if prompt.attachments and fresh and read >= sum(_least(each.rendition) for each in prompt.attachments):
            self._fitter.record_speed(model.key, read, finish.timings.prompt_ms)
        for each in prompt.attachments:
            each.image.read_by.add((model.key, each.sight))
        learnable = any(rendition.label != "exact" for rendition in renditions)
        if not renditions or (model.key in self._sighted and not learnable):
            self._fitter.learn(request, model.key, usage)
            return ()
        # Count with what was known before this answer: the model may have ignored the images, and such a prompt teaches nothing about
        # its vocabulary.
        count = prompt.fitted.count or await self._fitter.count(request, self._pool.engine(model.engine), model.key)
        words = count.system + count.text
        surplus = usage.prompt_tokens - words
        expected = sum(map(_least, renditions))
        if not count.text_is_exact and words > expected:
            return ()  # an estimate may be wrong by that much
        if 2 * surplus < expected:
            return (note("image_ignored", surplus=max(0, surplus), expected=expected),)
        self._sighted.add(model.key)
        self._fitter.learn(request, model.key, usage)
        if learnable and (count.text_is_exact or SURE * words <= surplus):
            self._attachments.learn_cost(renditions, model, surplus, "measured" if count.text_is_exact else "estimated")
        return ()


def _least(rendition: Rendition) -> int:
    """Return the fewest tokens that an image can take if its cost is unknown: no known model describes an image with fewer."""
    return rendition.tokens or 32 * len(rendition.pieces)
