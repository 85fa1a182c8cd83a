"""Learns of models from what their engines counted: vocabulary, speed, the cost of images, and whether they see at all."""

from __future__ import annotations

from llava_gateway.chat import Finish, Rendition
from llava_gateway.engines.base import ModelKey
from llava_gateway.engines.pool import EnginePool
from llava_gateway.gateway.attachments import Attachments
from llava_gateway.gateway.context import ContextFitter
from llava_gateway.gateway.prompt import Prompt
from llava_gateway.notes import Note, note

SURE = 4
"""How many times the words of a prompt its images must take, so that their cost is learned where the words are only estimated."""


class Calibration:
    """Args:
    pool: the engines. fitter, attachments: what is learned is for them.
    """

    def __init__(self, pool: EnginePool, fitter: ContextFitter, attachments: Attachments) -> None:
        self._pool = pool
        self._fitter = fitter
        self._attachments = attachments
        self._sighted: set[ModelKey] = set()  # models that were seen to see

    async def learn(self, prompt: Prompt, finish: Finish) -> tuple[Note, ...]:
        """Takes note of what the engine counted and how long it took; a warning where it seems not to have seen the images."""
        request, model, usage = prompt.engine_request, prompt.model, finish.usage
        if usage.prompt_tokens is None:
            return ()
        renditions = request.shown
        read = usage.prompt_tokens - (usage.cached_tokens or 0)
        fresh = usage.cached_tokens is not None or not any((model.key, each.sight) in each.image.read_by for each in prompt.attachments)
        if prompt.attachments and fresh and read >= sum(_least(each.rendition) for each in prompt.attachments):
            self._fitter.measured(model.key, read, finish.timings.prompt_ms)
        for each in prompt.attachments:
            each.image.read_by.add((model.key, each.sight))
        learnable = any(rendition.label != "exact" for rendition in renditions)
        if not renditions or (model.key in self._sighted and not learnable):
            self._fitter.learn(request, model.key, usage)
            return ()
        # By what was known before this answer: the vocabulary is not learned from a prompt whose images may have been passed over.
        count = prompt.fitted.count or await self._fitter.count(request, self._pool.engine(model.engine), model.key)
        words = count.system + count.text
        surplus = usage.prompt_tokens - words
        expected = sum(map(_least, renditions))
        if not count.text_is_exact and words > expected:
            return ()  # what is only reckoned may be wrong by that much
        if 2 * surplus < expected:
            return (note("image_ignored", surplus=max(0, surplus), expected=expected),)
        self._sighted.add(model.key)
        self._fitter.learn(request, model.key, usage)
        if learnable and (count.text_is_exact or SURE * words <= surplus):
            self._attachments.learn_cost(renditions, model, surplus, "measured" if count.text_is_exact else "estimated")
        return ()


def _least(rendition: Rendition) -> int:
    """Tokens that an image takes at least, where its cost is not known: no model describes one with fewer."""
    return rendition.tokens or 32 * len(rendition.pieces)
