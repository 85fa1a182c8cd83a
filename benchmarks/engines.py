"""The real engines that benchmarks ask directly and through the gateway: the embedded llama.cpp server, and Ollama if it is installed."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.children import child
from benchmarks.questions import Question, Turn, to_llama_server, to_ollama
from tests.ollama_server import RealOllama, find_binary

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pair:
    """An engine with the demo model, and a gateway in front of it.

    Attributes:
        gateway: the address of the gateway.
        engine: the address of Ollama; "" for llama.cpp, whose server has none before the gateway has answered once.
        direct: makes the direct question from a conversation and the number of words to answer at most. (Call it only
            after the gateway has answered once: before that the embedded engine has no address.)
    """

    name: str
    gateway: str
    direct: Callable[[Sequence[Turn], int], Question]
    engine: str = ""


@contextmanager
def embedded() -> Iterator[Pair]:
    """Start a gateway with the embedded engine; direct questions go to the same server."""
    with child("gateway_process", json.dumps({"engine": "embedded", "image_workers": 1})) as gateway:

        def direct(conversation: Sequence[Turn], num_predict: int) -> Question:
            server = gateway.ask("engine")
            return to_llama_server(server["address"], server["api_key"], conversation, num_predict)

        yield Pair("llama.cpp", gateway.hello["url"], direct)


@contextmanager
def ollama() -> Iterator[Pair]:
    with real_ollama() as server:
        server.create_demo()
        with gateway_to(server) as url:
            yield Pair("Ollama", url, lambda turns, num_predict: to_ollama(server.url, turns, num_predict), server.url)


@contextmanager
def real_ollama() -> Iterator[RealOllama]:
    """Start an Ollama without models. Call it only if `present` found one."""
    binary = find_binary()
    if binary is None:
        raise FileNotFoundError
    with tempfile.TemporaryDirectory() as folder:
        server = RealOllama.start(binary, Path(folder))
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def gateway_to(server: RealOllama) -> Iterator[str]:
    """Start a gateway in front of it in its own process, and yield the gateway's address."""
    with child("gateway_process", json.dumps({"engine": "ollama", "ollama_host": server.url, "image_workers": 1})) as gateway:
        yield gateway.hello["url"]


def pairs(notes: list[str]) -> list[Callable[[], AbstractContextManager[Pair]]]:
    """Yield the pairs that can be measured; appends a sentence to `notes` for each that can't."""
    return present(notes, embedded, ollama)


def present(notes: list[str], llama_cpp: T, ollama: T) -> list[T]:
    """Return those of the two whose engine is on this machine; appends a sentence to `notes` for each that is missing."""
    found: list[T] = []
    if importlib.util.find_spec("xllamacpp"):
        found.append(llama_cpp)
    else:
        notes.append("xllamacpp is not installed: the rows of llama.cpp are left out.")
    if find_binary():
        found.append(ollama)
    else:
        notes.append("There is no real Ollama (`make real-ollama` builds one): its rows are left out.")
    return found
