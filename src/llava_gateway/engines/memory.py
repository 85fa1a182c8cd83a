"""Says whether a model fits into this machine's memory: measured where the engine can, else estimated (pure, but for `machine`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import psutil

from llava_gateway.engines.base import ModelInfo
from llava_gateway.settings import MiB

Verdict: TypeAlias = Literal["loaded", "fits", "tight", "over"]

USUAL_CONTEXT = 4096
"""Tokens of context that Ollama loads a model with where nobody asks for another and the GPUs have less than 23 GiB (server/routes.go)."""
OVERHEAD = 0.1
"""What the buffers to compute in take, as a share of the weights."""
PROMPT_CACHE_SHARE = 0.25
"""Most that the prompt cache takes unasked, as a share of the weights: 1.2 GB for a 7B model in 4 bits, or some talks about images."""
PROMPT_CACHE_LEAST = 16 * MiB
"""What it takes at least. A tiny model's context takes no more than this, and nobody misses 16 MiB."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Main memory in bytes: all of it, and what programs can have now without swapping. On a Mac the GPU uses the same."""

    total: int
    available: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits.

    Attributes:
        verdict: "loaded"; "fits" into what is free now (counting what loaded models would give back of the GPU); "tight": not now, but into
            all main memory; "over": not even that, so it runs only where a GPU takes a part of it, and how much a GPU has is not known
            before a model is loaded.
        needed: bytes. gpu: of them in GPU memory, None where that is not measured.
        context: tokens the figure is for, None where it is not known.
        estimated: False for what the engine has measured.
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
    """Bytes that a loaded model takes: its files, the key-value cache of its context, and buffers."""
    return weights + cache_per_token * context + int(weights * OVERHEAD)


def prompt_cache(weights: int, cache_per_token: int | None, context: int) -> int:
    """Bytes of main memory for conversations that no slot holds, where the settings don't say.

    Two conversations that take turns in one slot would read each other's images anew each time without it. It holds copies of the
    key-value cache: as much again as that takes is room for one conversation as long as the context, or several shorter ones. Of models
    whose tokens take much, that would be half as much again as the weights, so there is a limit in proportion to these.
    """
    share = int(weights * PROMPT_CACHE_SHARE)
    return max(PROMPT_CACHE_LEAST, share if cache_per_token is None else min(share, cache_per_token * context))


def fit(model: ModelInfo, memory: Machine, *, gpu_bytes: int = 0, num_ctx: int | None = None) -> Fit | None:
    """None where the size is not known.

    Args:
        gpu_bytes: what loaded models hold of the GPU, and would give back to another (`gpu_in_use`).
        num_ctx: the context the settings pin for this model.
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
    """Whether what Ollama says of a loaded model is a measurement. Where it can't read its server's log it gives the size of one file for
    the whole and for the GPU's part (llm/llama_server.go, `MemorySize`); less than all files can't be true."""
    return model.loaded and model.memory_bytes is not None and model.memory_bytes >= (model.size_bytes or 0)


def all_on_gpu(model: ModelInfo) -> bool:
    """Whether the whole of a loaded model is on a GPU, as far as that was measured."""
    return measured(model) and (model.gpu_bytes or 0) >= (model.memory_bytes or 1)


def gpu_in_use(models: Iterable[ModelInfo]) -> int:
    """Bytes of GPU memory that loaded models hold, as far as it was measured."""
    return sum(model.gpu_bytes or 0 for model in models if measured(model))


def verdict(needed: int, memory: Machine, gpu_bytes: int) -> Verdict:
    """Of a model that is not loaded."""
    if needed <= memory.available + gpu_bytes:
        return "fits"
    return "tight" if needed <= memory.total else "over"


def cache_bytes_per_token(facts: Mapping[str, object], architecture: str) -> int | None:
    """Bytes a token takes in the key-value cache, from a model's GGUF keys; None where they don't say or it differs from layer to layer.

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
