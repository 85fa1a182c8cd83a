"""Counts the tokens of prompts with the template and tokenizer of the server that will read them: llama-server and vLLM."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace
from typing import Any, TypeAlias

from llava_gateway.chat import EngineRequest, Message, Rendition, TokenCount
from llava_gateway.engines.counting import count_pieces, system_text, token_count, without_images, without_pixels
from llava_gateway.engines.openai_prompt import LLAMA_CPP, VLLM, chat_body
from llava_gateway.errors import UpstreamError, UpstreamProtocolError
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart

Ask: TypeAlias = Callable[[str, bytes | None], Awaitable[Any]]
"""Sends GET (without a body) or POST to a path of the server and returns its JSON. Raises UpstreamError and its subclasses."""

_OF_THE_PROMPT = ("messages", "tools", "chat_template_kwargs", "add_generation_prompt", "continue_final_message")
"""The fields of a chat request that vLLM's /tokenize accepts too."""
KEPT = 1024
"""The number of counts kept, of texts and of images each."""


class LlamaCounter:
    """Counts on llama-server. None of its requests takes a slot, runs the model or touches the prompt cache.

    The prompt comes from /apply-template with a marker for every image. The texts between the markers are tokenized one by one, as
    in tools/mtmd/mtmd.cpp (`mtmd_tokenizer`; seen with b11063). If a rendition's token count is not exact, it comes from
    /chat/completions/input_tokens, which looks only at image sizes.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._marker: str | None = None
        self._words: dict[bytes, int] = {}
        self._images: dict[Hashable, int | None] = {}

    async def count(self, request: EngineRequest) -> TokenCount:
        """Count a prompt. Raises UpstreamError and its subclasses, such as UpstreamProtocolError for answers that make no sense."""
        prompt = await self._prompt(request)
        system = await self._alone(system_text(request))
        costs = {part: await self._image(request, part) for part in set(request.images) if not _sure(request.renditions[part])}
        return token_count(request, prompt, system, costs=costs)

    async def _prompt(self, request: EngineRequest) -> int:
        """Count the tokens of the prompt without its images."""
        rendered = _field(await self._ask("/apply-template", chat_body(without_pixels(request), LLAMA_CPP)), "prompt", str)
        pieces = count_pieces(request)
        segments = await self._segments(rendered, pieces) if pieces else [rendered]
        return await self._tokens(segments, framed=True)

    async def _segments(self, rendered: str, pieces: int) -> list[str]:
        """Return the texts between the images. A restarted server has a new random marker."""
        for known in (self._marker, None):
            self._marker = known or await self._drawn_marker()
            segments = rendered.split(self._marker)
            if len(segments) == pieces + 1:
                return segments
        raise UpstreamProtocolError

    async def _drawn_marker(self) -> str:
        props = await self._ask("/props", None)
        marker = props.get("media_marker") if isinstance(props, dict) else None
        return marker if isinstance(marker, str) and marker else "<__media__>"  # servers without random markers use this one

    async def _tokens(self, segments: list[str], *, framed: bool) -> int:
        body = {"content": segments, "add_special": framed, "parse_special": True}
        return len(_field(await self._ask("/tokenize", json.dumps(body).encode()), "tokens", list))

    async def _alone(self, text: str) -> int:
        """Count the tokens of a text alone. Keeps the count, because a system prompt comes in every turn."""
        if not text:
            return 0
        key = hashlib.sha256(text.encode()).digest()  # the texts themselves may be long
        if key not in self._words:
            _make_room(self._words)
            self._words[key] = await self._tokens([text], framed=False)
        return self._words[key]

    async def _image(self, request: EngineRequest, part: ImagePart) -> int | None:
        """Count the tokens of an image and everything the model puts around it; None if the server can't count it."""
        rendition = request.renditions[part]
        key = (request.model, part, tuple((piece.width, piece.height) for piece in rendition.pieces))
        if key not in self._images:
            _make_room(self._images)
            alone = replace(request, messages=(Message("user", (part,)),), renditions={part: rendition}, options=Options(), format=None)
            try:
                total = _field(await self._ask("/chat/completions/input_tokens", chat_body(alone, LLAMA_CPP)), "input_tokens", int)
                self._images[key] = total - await self._prompt(alone)
            except UpstreamError as error:
                if error.status != 404:
                    raise
                self._images[key] = None
        return self._images[key]


async def count_on_vllm(request: EngineRequest, ask: Ask) -> TokenCount:
    """Count with vLLM's /tokenize (https://docs.vllm.ai, "Tokenizer API"), which takes messages.

    Leaves out the images, because vLLM would load and measure them all. Then what the template writes around them is not counted, so
    with images this is an estimate. Raises what `LlamaCounter.count` raises.
    """
    words = json.loads(chat_body(without_images(request), VLLM))
    body = {"model": request.model, "add_generation_prompt": True} | {name: words[name] for name in _OF_THE_PROMPT if name in words}
    prompt = _field(await ask("/tokenize", json.dumps(body).encode()), "count", int)
    system, text = 0, system_text(request)
    if text:
        alone = {"model": request.model, "prompt": text, "add_special_tokens": False}
        system = _field(await ask("/tokenize", json.dumps(alone).encode()), "count", int)
    return token_count(request, prompt, system, label="estimated" if request.images else "exact")


def _sure(rendition: Rendition) -> bool:
    return rendition.label == "exact" and rendition.tokens is not None


def _make_room(kept: dict[Any, Any]) -> None:
    if len(kept) >= KEPT:
        kept.pop(next(iter(kept)))


def _field(answer: Any, name: str, kind: type[Any]) -> Any:
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind):
        raise UpstreamProtocolError
    return value
