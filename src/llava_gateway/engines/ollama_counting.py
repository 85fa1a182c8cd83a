"""Counts the tokens of a prompt for Ollama: Ollama shows the prompt of a loaded model, and we count it with the model's vocabulary.

Ollama has no route that counts. A vocabulary is fetched and built once for each digest, which takes a second or two for the largest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from llava_gateway.chat import JSON, EngineRequest, TokenCount
from llava_gateway.engines.counting import count_pieces, system_text, token_count
from llava_gateway.engines.tokenizer import Tokenizer
from llava_gateway.engines.tools import tool_definitions

log = logging.getLogger(__name__)

Show: TypeAlias = Callable[[], Awaitable[JSON]]
"""Fetches the complete answer of /api/show for a model."""

VOCABULARIES_KEPT = 3
"""The number of vocabularies kept. One of 250,000 tokens takes 100 MB."""
MESSAGE_TOKENS = 5.0
"""Tokens that a template writes around a message, until they are measured."""
_MEDIA = re.compile(r"<__(?:ollama_)?media(?:_[0-9a-f_]+)?__>")
"""The place of an image in a prompt that llama.cpp writes (llm/llama_server.go, `newLlamaServerMediaMarker`)."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The vocabulary of a model. `dropped`: beginnings of a shown prompt that Ollama does not send to the model."""

    tokenizer: Tokenizer
    dropped: tuple[str, ...] = ()

    @classmethod
    def from_show(cls, answer: JSON) -> Vocabulary | None:
        """Build the vocabulary from /api/show; None for an unknown kind of tokenizer."""
        info = answer.get("model_info") or {}
        tokenizer = Tokenizer.from_metadata(info)
        return cls(tokenizer, _dropped(info, bool(answer.get("renderer")))) if tokenizer else None

    def count(self, rendered: str, pieces: int) -> int | None:
        """Count the tokens of a prompt without its images; None if the places of the images can't be found."""
        for beginning in self.dropped:
            if rendered.startswith(beginning):
                rendered = rendered.removeprefix(beginning)
                break
        found = segments(rendered, pieces)
        return None if found is None else self.tokenizer.count_prompt(found)


def segments(rendered: str, pieces: int) -> list[str] | None:
    """Return the texts between the images of a prompt; None if there are not as many places as images.

    In prompts that Ollama writes, the first `[img-N]` is the place of image N (llm/llama_server.go, `Completion`). In those that
    llama.cpp writes, it is a random marker.
    """
    if not pieces:
        return [rendered]
    places = [(at, at + len(tag)) for number in range(pieces) if (at := rendered.find(tag := f"[img-{number}]")) >= 0]
    if len(places) != pieces:
        places = [match.span() for match in _MEDIA.finditer(rendered)]
    if len(places) != pieces:
        return None
    ends = sorted(places)
    return [rendered[start:end] for (_, start), (end, _) in zip([(0, 0), *ends], [*ends, (len(rendered), 0)], strict=True)]


def _dropped(info: Mapping[str, Any], renderer: bool) -> tuple[str, ...]:
    """Return how a prompt may spell the BOS token: Ollama removes it, since the tokenizer adds it (llm/llama_server.go,
    `completionPrompt`)."""
    kinds = (info.get("tokenizer.ggml.pre"), info.get("tokenizer.ggml.model"))
    if not info.get("tokenizer.ggml.add_bos_token") and not {"lfm2", "gemma4"}.intersection(kinds):
        return ()
    bos = info.get("tokenizer.ggml.bos_token_id")
    tokens = info.get("tokenizer.ggml.tokens") or []
    own = (tokens[bos],) if renderer and isinstance(bos, int) and 0 <= bos < len(tokens) else ()
    return (*own, "<bos>")


class OllamaCounter:
    """Keeps the vocabularies. It sends no requests itself."""

    def __init__(self) -> None:
        self._vocabularies: dict[str, asyncio.Task[Vocabulary | None]] = {}  # by digest, last used last, like the next
        self._building: set[asyncio.Task[Vocabulary | None]] = set()  # includes evicted ones that a request still waits for
        self._around: dict[str, float] = {}

    async def aclose(self) -> None:
        building = list(self._building)
        for task in building:
            task.cancel()
        await asyncio.gather(*building, return_exceptions=True)

    async def vocabulary(self, digest: str, show: Show) -> Vocabulary | None:
        """Return the vocabulary of a model. Builds it once, even if the caller gives up, and again after an error. Raises what `show`
        raises."""
        task = self._vocabularies.pop(digest, None)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(_build(show))
            self._building.add(task)
            task.add_done_callback(self._building.discard)
            task.add_done_callback(lambda task: task.cancelled() or task.exception())  # waiting callers get it
        self._vocabularies[digest] = task
        while len(self._vocabularies) > VOCABULARIES_KEPT:
            del self._vocabularies[next(iter(self._vocabularies))]
        return await asyncio.shield(task)

    async def exactly(
        self, digest: str, vocabulary: Vocabulary, request: EngineRequest, rendered: str, before: tuple[str, ...] = ()
    ) -> TokenCount | None:
        """Count the tokens of a request with this prompt exactly; None if the prompt makes no sense.

        Args:
            before: texts of the messages that Ollama puts before those of the request.
        """
        prompt = await asyncio.to_thread(vocabulary.count, rendered, count_pieces(request))
        if prompt is None:
            return None
        if digest not in self._around:
            words = await asyncio.to_thread(_words, vocabulary, request, before)
            self._around[digest] = max(0.0, (prompt - words) / max(1, len(request.messages) + len(before)))
        system = await asyncio.to_thread(vocabulary.tokenizer.count, system_text(request))
        return token_count(request, prompt, system, label="exact" if vocabulary.tokenizer.exact else "estimated")

    async def roughly(self, digest: str, vocabulary: Vocabulary, request: EngineRequest, before: tuple[str, ...] = ()) -> TokenCount:
        """Count the words, and estimate what the template writes around them. `before` is as in `exactly`."""
        words = await asyncio.to_thread(_words, vocabulary, request, before)
        around = self._around.get(digest, MESSAGE_TOKENS) * (len(request.messages) + len(before))
        system = await asyncio.to_thread(vocabulary.tokenizer.count, system_text(request))
        return token_count(request, words + round(around), system, label="estimated")


def _words(vocabulary: Vocabulary, request: EngineRequest, before: tuple[str, ...]) -> int:
    return sum(vocabulary.tokenizer.count(text) for text in (*before, *_texts(request)))


def _texts(request: EngineRequest) -> Iterator[str]:
    if request.tools and request.tool_choice != "none":
        yield json.dumps(tool_definitions(request.tools))
    for message in request.messages:
        yield message.text
        for call in message.tool_calls:
            yield f"{call.name} {call.arguments}"


async def _build(show: Show) -> Vocabulary | None:
    answer = await show()
    try:
        return await asyncio.to_thread(Vocabulary.from_show, answer)
    except (AttributeError, TypeError, ValueError) as error:  # lists of different lengths, or of other types
        log.warning("a vocabulary can't be used: %r", error)
        return None
