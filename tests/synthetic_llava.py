"""Writes a tiny LLaVA with random weights as a GGUF pair that the real llama.cpp loads.

Its answers are random letters and, with ENDLESS, never end. Its geometry is real: patches of 14 pixels, (side / 14)^2 tokens per image,
with or without the grids of LLaVA-1.6. Tests of token counts, long answers and reloads need no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

ENDLESS: dict[str, Any] = {"temperature": 2.0, "top_k": 10}
"""Options with which an answer continues to the end of the context and rarely repeats a letter (engines treat many repetitions as a
fault).
"""
UNHURRIED = 16384
"""Ollama 0.34.2 never frees the slot of an answer whose client disconnects while a second word waits to be sent (server/routes.go:
nobody reads `ch` any more, and `ch <- res` waits forever). At thousands of words per second this happens now and then, at a real
model's speed it does not.
"""
PATCH = 14
LETTERS = range(97, 123)
PINPOINTS_16 = (336, 672, 672, 336, 672, 672, 1008, 336, 336, 1008)
"""The (width, height) pairs of LLaVA-1.6, as a flat list."""


@dataclass(frozen=True, slots=True)
class SyntheticPair:
    gguf: Path
    mmproj: Path


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Dimensions of a transformer: the width of its residual stream and of its feed-forward layers; `half`: its matrices have 16 bits."""

    width: int
    layers: int
    heads: int
    inner: int
    half: bool = False


TINY_TEXT = Dimensions(width=64, layers=2, heads=4, inner=128)
TINY_EYE = Dimensions(width=32, layers=2, heads=2, inner=64)
VIT_L_14 = Dimensions(width=1024, layers=24, heads=16, inner=4096, half=True)
"""CLIP's ViT-L/14, the vision encoder of LLaVA; at 336 px it takes as long as the real one."""


def write_pair(
    folder: Path,
    *,
    name: str = "endless",
    context: int = 65536,
    side: int = 112,
    pinpoints: Sequence[int] = (),
    inner: int = TINY_TEXT.inner,
    text: Dimensions = TINY_TEXT,
    eye: Dimensions = TINY_EYE,
    template: str = "",
) -> SyntheticPair:
    """Write `name`.gguf and `name`-mmproj.gguf to `folder`.

    Args:
        context: the trained context in tokens.
        side: the side of its input square, in pixels.
        pinpoints: PINPOINTS_16 makes it process images like LLaVA-1.6.
        inner: width of its feed-forward layers; UNHURRIED makes it about as fast as real models.
        text, eye: the dimensions of both models.
        template: its chat template.
    """
    pair = SyntheticPair(folder / f"{name}.gguf", folder / f"{name}-mmproj.gguf")
    write_text_model(pair.gguf, name, context, replace(text, inner=inner) if inner != TINY_TEXT.inner else text, template=template)
    _write_projector(pair.mmproj, side, pinpoints, eye, out=text.width)
    return pair


class Weights:
    """Adds tensors of noise, ones and zeros to a file."""

    def __init__(self, writer: gguf.GGUFWriter, seed: int, scale: float, *, half: bool = False) -> None:
        self._writer = writer
        self._matrix = np.float16 if half else np.float32
        self._random = np.random.default_rng(seed)
        self._scale = scale

    def noise(self, name: str, *shape: int) -> None:
        self._writer.add_tensor(name, self.drawn(*shape).astype(self._matrix if len(shape) > 1 else np.float32))

    def drawn(self, *shape: int) -> npt.NDArray[np.float32]:
        return (self._random.standard_normal(shape) * self._scale).astype(np.float32)

    def ones(self, name: str, size: int) -> None:
        self._writer.add_tensor(name, np.ones(size, np.float32))

    def zeros(self, name: str, size: int) -> None:
        self._writer.add_tensor(name, np.zeros(size, np.float32))

    def linear(self, name: str, rows: int, columns: int) -> None:
        self.noise(f"{name}.weight", rows, columns)
        self.zeros(f"{name}.bias", rows)

    def norm(self, name: str, size: int) -> None:
        self.ones(f"{name}.weight", size)
        self.zeros(f"{name}.bias", size)


def write_text_model(
    path: Path,
    name: str,
    context: int,
    size: Dimensions,
    *,
    markers: Sequence[str] = (),
    sections: Sequence[int] = (),
    template: str = "",
    pooling: gguf.PoolingType | None = None,
) -> None:
    """Write a llama model.

    Args:
        markers: words that are one token each.
        sections: how many pairs of a head rotate by time, height and width: makes it a Qwen2-VL (M-RoPE).
        template: its chat template.
        pooling: how the vectors of a text's tokens are combined into one: makes it an embedding model.
    """
    width = size.width
    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{i:02X}>".encode() for i in range(256)), "\u2581".encode()]
    first_letter = len(tokens)
    tokens += [bytes([letter]) for letter in LETTERS] + [b"\n"]
    plain = len(tokens) - 259
    tokens += [marker.encode() for marker in markers]
    writer = gguf.GGUFWriter(path, "qwen2vl" if sections else "llama")
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(size.layers)
    writer.add_feed_forward_length(size.inner)
    writer.add_head_count(size.heads)
    writer.add_head_count_kv(size.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // size.heads)
    writer.add_file_type(_file_type(size))
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-1.0] * plain + [0.0] * len(markers))
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * plain + [3] * len(markers))
    if sections:
        writer.add_rope_dimension_sections(list(sections))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    if template:
        writer.add_chat_template(template)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    weights = Weights(writer, seed=0, scale=0.08 * (TINY_TEXT.width / width) ** 0.5, half=size.half)
    weights.noise("token_embd.weight", len(tokens), width)
    weights.ones("output_norm.weight", width)
    # Letters are likelier than all other tokens, including the end of the answer: with top_k 10 it continues until it is stopped.
    output = np.zeros((len(tokens), width), np.float32)
    output[first_letter : first_letter + len(LETTERS)] = weights.drawn(len(LETTERS), width) * 6
    writer.add_tensor("output.weight", output)
    for layer in (f"blk.{i}" for i in range(size.layers)):
        weights.ones(f"{layer}.attn_norm.weight", width)
        weights.ones(f"{layer}.ffn_norm.weight", width)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights.noise(f"{layer}.{part}.weight", width, width)
            if sections and part != "attn_output":
                weights.zeros(f"{layer}.{part}.bias", width)
        weights.noise(f"{layer}.ffn_gate.weight", size.inner, width)
        weights.noise(f"{layer}.ffn_up.weight", size.inner, width)
        weights.noise(f"{layer}.ffn_down.weight", width, size.inner)
    finish(writer)


def _write_projector(path: Path, side: int, pinpoints: Sequence[int], size: Dimensions, *, out: int) -> None:
    width = size.width
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_text_encoder", False)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", False)
    writer.add_file_type(_file_type(size))
    writer.add_uint32("clip.vision.image_size", side)
    writer.add_uint32("clip.vision.patch_size", PATCH)
    writer.add_uint32("clip.vision.embedding_length", width)
    writer.add_uint32("clip.vision.feed_forward_length", size.inner)
    writer.add_uint32("clip.vision.projection_dim", out)
    writer.add_uint32("clip.vision.attention.head_count", size.heads)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_uint32("clip.vision.block_count", size.layers)
    writer.add_array("clip.vision.image_mean", [0.481455, 0.457828, 0.408211])
    writer.add_array("clip.vision.image_std", [0.26863, 0.261303, 0.275777])
    weights = Weights(writer, seed=1, scale=0.1 * (TINY_EYE.width / width) ** 0.5, half=size.half)
    if pinpoints:
        writer.add_array("clip.vision.image_grid_pinpoints", list(pinpoints))
        writer.add_string("clip.vision.mm_patch_merge_type", "spatial_unpad")
        writer.add_string("clip.vision.image_aspect_ratio", "anyres")
        writer.add_uint32("clip.vision.image_crop_resolution", 224)
    weights.noise("v.class_embd", width)
    weights.noise("v.patch_embd.weight", width, 3, PATCH, PATCH)
    weights.noise("v.position_embd.weight", (side // PATCH) ** 2 + 1, width)
    weights.norm("v.pre_ln", width)
    for layer in (f"v.blk.{i}" for i in range(size.layers)):
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            weights.linear(f"{layer}.{part}", width, width)
        weights.norm(f"{layer}.ln1", width)
        weights.norm(f"{layer}.ln2", width)
        weights.linear(f"{layer}.ffn_down", width, size.inner)
        weights.linear(f"{layer}.ffn_up", size.inner, width)
    weights.linear("mm.0", out, width)
    weights.linear("mm.2", out, out)
    if pinpoints:  # last, so that all other weights stay the same
        weights.noise("model.image_newline", out)
    finish(writer)


def _file_type(size: Dimensions) -> gguf.LlamaFileType:
    return gguf.LlamaFileType.MOSTLY_F16 if size.half else gguf.LlamaFileType.ALL_F32


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
