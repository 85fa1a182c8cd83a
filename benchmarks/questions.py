"""Asks one question, directly or through the gateway, and times the answer: with the same client for both."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

OPTIONS = {"temperature": 0, "seed": 1}


@dataclass(frozen=True, slots=True)
class Question:
    """A request in wire format; `words` reads the text of one line of the answer."""

    url: str
    body: bytes
    words: Callable[[bytes], str]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds from sending the question to its first word (that is not blank) and to the end of the answer."""

    first: float
    total: float
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A message in a conversation that the client keeps: images are files."""

    role: str
    text: str
    images: Sequence[bytes] = ()


def to_ollama(url: str, conversation: Sequence[Turn], num_predict: int, **fields: Any) -> Question:
    """Build the question exactly as the gateway does, so that Ollama's own work is the same; `fields` override parts of it."""
    messages = [
        {"role": turn.role, "content": turn.text, **({"images": [_base64(p) for p in turn.images]} if turn.images else {})}
        for turn in conversation
    ]
    head: dict[str, Any] = {"model": "demo", "stream": True, "truncate": False, "options": OPTIONS | {"num_predict": num_predict}}
    return Question(f"{url}/api/chat", _json(**(head | fields), messages=messages), _ollama_words)


def to_llama_server(address: str, api_key: str, conversation: Sequence[Turn], num_predict: int) -> Question:
    messages = [{"role": turn.role, "content": _parts(turn) if turn.images else turn.text} for turn in conversation]
    body = _json(model="demo", stream=True, max_tokens=num_predict, messages=messages, **OPTIONS)
    # llama.cpp's server closes a kept connection after a stream without notice, and the next question would be lost on it.
    headers = {"Authorization": f"Bearer {api_key}", "Connection": "close"}
    return Question(f"{address}/v1/chat/completions", body, _openai_words, headers)


def to_gateway(
    url: str,
    prompt: str,
    num_predict: int,
    images: Sequence[bytes] = (),
    *,
    image_ids: Sequence[str] = (),
    path: str = "/ask",
    **fields: Any,
) -> Question:
    """Build a question for the gateway: `images` are sent, those of `image_ids` are already stored; `fields` are further fields of the
    question.
    """
    items = [*({"image_id": image_id} for image_id in image_ids), *(_base64(p) for p in images)]
    body = _json(prompt=prompt, images=items, options=OPTIONS | {"num_predict": num_predict}, **fields)
    return Question(url + path, body, _our_words, {"Accept": "text/event-stream"})


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _parts(turn: Turn) -> list[dict[str, Any]]:
    urls = [f"data:{_media_type(image)};base64,{_base64(image)}" for image in turn.images]
    return [*({"type": "image_url", "image_url": {"url": url}} for url in urls), {"type": "text", "text": turn.text}]


def _media_type(image: bytes) -> str:
    return "image/png" if image.startswith(b"\x89PNG") else "image/jpeg"


def _ollama_words(line: bytes) -> str:
    chunk = json.loads(line)
    if "error" in chunk:
        raise RuntimeError(f"Ollama could not answer: {chunk['error']}")
    return str(chunk["message"]["content"])


def _openai_words(line: bytes) -> str:
    if not line.startswith(b"data: {"):
        return ""
    chunk = json.loads(line[6:])
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


def _our_words(line: bytes) -> str:
    if line.startswith(b'data: {"type"'):
        raise RuntimeError(f"the gateway could not answer: {json.loads(line[6:])['error']}")
    return str(json.loads(line[6:])["text"]) if line.startswith(b'data: {"text":') else ""


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """Create a client that keeps its connections, as users' programs do."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session:
        yield session


def post(session: aiohttp.ClientSession, question: Question) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    return session.post(question.url, data=question.body, headers={"Content-Type": "application/json", **question.headers})


async def ask(session: aiohttp.ClientSession, question: Question) -> Timed:
    """Ask once. Raises RuntimeError if there is no answer."""
    began = time.perf_counter()
    first: float | None = None
    words: list[str] = []
    async with post(session, question) as response:
        if response.status != 200:
            raise RuntimeError(f"the question was refused with {response.status}: {(await response.text())[:200]}")
        rest = b""
        async for chunk in response.content.iter_any():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line and (text := question.words(line)):
                    words.append(text)
                    if first is None and text.strip():
                        first = time.perf_counter()
    if first is None:
        raise RuntimeError("the answer has no words")
    return Timed((first - began) * 1000, (time.perf_counter() - began) * 1000, "".join(words))
