"""Estimates whether a model fits into this machine's memory, or uses what the engine measured (pure, except `machine`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import psutil

from llava_gateway.engines.base import ModelInfo
from llava_gateway.settings import MiB

Verdict: TypeAlias = Literal["loaded", "fits", "tight", "over"]

USUAL_CONTEXT = 4096
"""The default context of Ollama, in tokens, if the GPUs have less than 23 GiB (server/routes.go)."""
OVERHEAD = 0.1
"""Memory of the compute buffers, as a share of the weights."""
PROMPT_CACHE_SHARE = 0.25
"""The default limit of the prompt cache, as a share of the weights: 1.2 GB for a 7B model in 4 bits, or some conversations about
images."""
PROMPT_CACHE_LEAST = 16 * MiB
"""The least size of the prompt cache. The context of a tiny model takes no more, and no machine will miss 16 MiB."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Main memory in bytes: the total, and what programs can get now without swapping. On a Mac the GPU uses the same memory."""

    total: int
    available: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits.

    Attributes:
        verdict: "loaded"; "fits" into free memory (including GPU memory that loaded models would release); "tight": not now, but
            into all main memory; "over": not even that, so it runs only if a GPU takes a part of it. How much memory a GPU has is
            unknown before a model is loaded.
        needed: bytes. gpu: the part of them in GPU memory; None if not measured.
        context: the tokens of context that the figure includes; None if unknown.
        estimated: False if the engine measured it.
    """

    verdict: Verdict
    needed: int
    gpu: int | None
    context: int | None
    estimated: bool


def machine() -> Machine:
    memory = psutil.virtual_memory()
    return Machine(memory.total, memory.available)


def estimate(weights: int, cache_per_token: int, context: int) -> int:
    """Estimate the bytes that a loaded model takes: its files, the key-value cache of its context, and buffers."""
    return weights + cache_per_token * context + int(weights * OVERHEAD)


def prompt_cache(weights: int, cache_per_token: int | None, context: int) -> int:
    """Return the default size in bytes of the main memory for conversations outside of the slots.

    Without it, two conversations that alternate in one slot would make the engine read their images again each time. It holds copies
    of the key-value cache, so memory of the same size again holds one conversation as long as the context, or several shorter ones.
    For models whose tokens take much memory that would be half of the weights again, so it is limited by the weights.
    """
    share = int(weights * PROMPT_CACHE_SHARE)
    return max(PROMPT_CACHE_LEAST, share if cache_per_token is None else min(share, cache_per_token * context))


def fit(model: ModelInfo, memory: Machine, *, gpu_bytes: int = 0, num_ctx: int | None = None) -> Fit | None:
    """Return whether a model fits; None if its size is unknown.

    Args:
        gpu_bytes: GPU memory that loaded models hold and would release for another model (`gpu_in_use`).
        num_ctx: the context that the settings pin for this model.
    """
    if model.memory_bytes is not None and measured(model):
        return Fit("loaded", model.memory_bytes, model.gpu_bytes, model.loaded_context, estimated=False)
    if model.size_bytes is None:
        return None
    context = model.loaded_context or min(num_ctx or model.own_context or USUAL_CONTEXT, model.context_length or USUAL_CONTEXT)
    needed = estimate(model.size_bytes, model.cache_bytes_per_token or 0, context) + model.prompt_cache_bytes
    if model.loaded:
        return Fit("loaded", needed, None, context, estimated=True)
    return Fit(verdict(needed, memory, gpu_bytes), needed, None, context, estimated=True)


def measured(model: ModelInfo) -> bool:
    """Return whether Ollama's figures for a loaded model are measurements.

    If Ollama can't read its server's log, it reports the size of one file both for the whole and for the GPU's part
    (llm/llama_server.go, `MemorySize`). A figure below the size of all files can't be true.
    """
    return model.loaded and model.memory_bytes is not None and model.memory_bytes >= (model.size_bytes or 0)


def all_on_gpu(model: ModelInfo) -> bool:
    """Return whether the whole of a loaded model is known to be on a GPU."""
    return measured(model) and (model.gpu_bytes or 0) >= (model.memory_bytes or 1)


def gpu_in_use(models: Iterable[ModelInfo]) -> int:
    """Return the bytes of GPU memory that loaded models hold, as far as it was measured."""
    return sum(model.gpu_bytes or 0 for model in models if measured(model))


def verdict(needed: int, memory: Machine, gpu_bytes: int) -> Verdict:
    """Return the verdict for a model that is not loaded."""
    if needed <= memory.available + gpu_bytes:
        return "fits"
    return "tight" if needed <= memory.total else "over"


def cache_bytes_per_token(facts: Mapping[str, object], architecture: str) -> int | None:
    """Return the bytes that a token takes in the key-value cache, from a model's GGUF keys. None if they don't say, or if layers
    differ.

    Two vectors (key, value) of half-precision numbers for each key-value head of each layer (llama.cpp, src/llama-kv-cache.cpp).
    """

    def number(key: str) -> int | None:
        value = facts.get(f"{architecture}.{key}")
        return value if type(value) is int and value > 0 else None

    layers, heads, width = number("block_count"), number("attention.head_count"), number("embedding_length")
    if layers is None or heads is None or width is None:
        return None
    kv_heads = number("attention.head_count_kv") if f"{architecture}.attention.head_count_kv" in facts else heads
    if kv_heads is None:
        return None
    key, value = number("attention.key_length") or width // heads, number("attention.value_length") or width // heads
    return layers * kv_heads * (key + value) * 2
