"""Writes tiny models of further families with random weights as GGUF pairs that the real llama.cpp loads.

Their answers are nonsense; their geometry is that of the real ones: sizes of patches and squares, merging, markers, row breaks. The tensor
names are those that llama.cpp's tools/mtmd/clip.cpp loads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf

from tests.synthetic_llava import PINPOINTS_16, Dimensions, SyntheticPair, Weights, finish, write_pair, write_text_model

WIDTH = 32
INNER = 64
OUT = 128
"""Width of the text models: MiniCPM's resampler has heads of 128."""


@dataclass(frozen=True, slots=True)
class EyeKind:
    """One kind of projector.

    Attributes:
        projector: clip.projector_type.
        side, patch: the sides of its input square and of a patch, in pixels.
        merge_key, merge: how many patches per side become one token, and the key that contains this number.
        markers: words around its images that are one token each.
        rows: rows of its position table; 0: it has none.
        keys: further keys of its file.
        biased: its norms and matrices have biases. gated: its feed-forward layers have gates. fused: query, key and value are one matrix.
        norms: norms outside the blocks.
        blocks: the number of blocks; 0 if none are needed, since they change no count and take time.
        mrope: its text model rotates positions by time, height and width.
        tail: writes the part behind the blocks.
    """

    projector: str
    side: int
    patch: int
    tail: Callable[[Weights], None]
    merge: int = 1
    merge_key: str = "projector.scale_factor"
    markers: Sequence[str] = ()
    rows: int = 0
    keys: Mapping[str, int] | None = None
    biased: bool = True
    gated: bool = False
    fused: bool = False
    norms: Sequence[str] = ("v.post_ln",)
    blocks: int = 1
    mrope: bool = False


def _gemma3(weights: Weights) -> None:
    weights.noise("mm.input_projection.weight", WIDTH, OUT)
    weights.ones("mm.soft_emb_norm.weight", WIDTH)


def _gemma4(weights: Weights) -> None:
    weights.noise("mm.input_projection.weight", OUT, WIDTH)


def _merger(weights: Weights) -> None:
    weights.linear("mm.0", 4 * WIDTH, 4 * WIDTH)
    weights.linear("mm.2", OUT, 4 * WIDTH)


def _two_frames(weights: Weights, patch: int) -> None:
    weights.noise("v.patch_embd.weight.1", WIDTH, 3, patch, patch)
    _merger(weights)


def _pixtral(weights: Weights) -> None:
    weights.noise("mm.1.weight", OUT, WIDTH)
    weights.noise("mm.2.weight", OUT, OUT)
    weights.noise("v.token_embd.img_break", OUT)


def _mistral3(weights: Weights) -> None:
    _pixtral(weights)
    weights.ones("mm.input_norm.weight", WIDTH)
    weights.noise("mm.patch_merger.weight", WIDTH, 4 * WIDTH)


def _resampler(weights: Weights, queries: int) -> None:
    weights.noise("resampler.pos_embed_k", 4900, OUT)
    weights.noise("resampler.query", queries, OUT)
    weights.noise("resampler.proj.weight", OUT, OUT)
    weights.noise("resampler.kv.weight", OUT, WIDTH)
    for part in ("q", "k", "v", "out"):
        weights.linear(f"resampler.attn.{part}", OUT, OUT)
    for part in ("q", "kv", "post"):
        weights.norm(f"resampler.ln_{part}", OUT)


def _llama4(weights: Weights) -> None:
    weights.noise("v.class_embd", WIDTH)
    weights.noise("mm.model.mlp.1.weight", INNER, 4 * WIDTH)
    weights.noise("mm.model.mlp.2.weight", INNER, INNER)
    weights.noise("mm.model.fc.weight", OUT, INNER)


VISION_MARKERS = ("<|vision_start|>", "<|vision_end|>")
SLICE_MARKERS = ("<image>", "</image>", "<slice>", "</slice>")
KINDS: Mapping[str, EyeKind] = {
    "gemma3": EyeKind("gemma3", 896, 14, _gemma3, 4, markers=("<start_of_image>", "<end_of_image>"), rows=64**2, blocks=0),
    "gemma4": EyeKind("gemma4v", 768, 16, _gemma4, 3, markers=("<|image>", "<image|>"), rows=1024, biased=False, gated=True, norms=()),
    "qwen2-vl": EyeKind(
        "qwen2vl_merger", 560, 14, lambda weights: _two_frames(weights, 14), 2, "spatial_merge_size", VISION_MARKERS, mrope=True
    ),
    "qwen2.5-vl": EyeKind(
        "qwen2.5vl_merger", 560, 14, lambda weights: _two_frames(weights, 14), 2, "spatial_merge_size", VISION_MARKERS,
        keys={"clip.vision.n_wa_pattern": 8}, biased=False, gated=True, mrope=True,
    ),
    "qwen3-vl": EyeKind(
        "qwen3vl_merger", 768, 16, lambda weights: _two_frames(weights, 16), 2, "spatial_merge_size", VISION_MARKERS,
        rows=48**2, fused=True, mrope=True,
    ),
    "pixtral": EyeKind("pixtral", 1024, 16, _pixtral, markers=("[IMG_END]",), biased=False, gated=True, norms=("v.pre_ln",)),
    "mistral3": EyeKind(
        "pixtral", 1540, 14, _mistral3, 2, "spatial_merge_size", ("[IMG_END]",), biased=False, gated=True, norms=("v.pre_ln",)
    ),
    "minicpm-v 2.5": EyeKind(
        "resampler", 448, 14, lambda weights: _resampler(weights, 96), markers=SLICE_MARKERS, rows=4900,
        keys={"clip.minicpmv_version": 2}, blocks=0,
    ),
    "minicpm-v 2.6": EyeKind(
        "resampler", 448, 14, lambda weights: _resampler(weights, 64), markers=SLICE_MARKERS, rows=4900,
        keys={"clip.minicpmv_version": 3}, blocks=0,
    ),
    "llama4": EyeKind(
        "llama4", 336, 14, _llama4, 2, markers=("<|image_start|>", "<|image_end|>"), rows=24**2 + 1, norms=("v.pre_ln", "v.post_ln")
    ),
}  # fmt: skip
LLAVA = {
    "llava": (336, ()),
    "llava 1.6": (336, PINPOINTS_16),
    "moondream": (378, ()),
}


def write_eye(folder: Path, name: str) -> SyntheticPair:
    """Write the pair of one of `KINDS` or `LLAVA` to `folder`."""
    if name in LLAVA:
        side, pinpoints = LLAVA[name]
        return write_pair(folder, name=name, side=side, pinpoints=pinpoints, eye=Dimensions(WIDTH, 1, 2, INNER))
    kind = KINDS[name]
    pair = SyntheticPair(folder / f"{name}.gguf", folder / f"{name}-mmproj.gguf")
    sections = (4, 6, 6, 0) if kind.mrope else ()
    write_text_model(pair.gguf, name, 65536, Dimensions(OUT, 1, 4, INNER), markers=kind.markers, sections=sections)
    _write_projector(pair.mmproj, kind)
    return pair


def _write_projector(path: Path, kind: EyeKind) -> None:
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", kind.projector)
    writer.add_bool("clip.use_gelu", True)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    numbers = {
        "image_size": kind.side, "patch_size": kind.patch, "embedding_length": WIDTH, "feed_forward_length": INNER, "projection_dim": OUT,
        "attention.head_count": 2, "block_count": kind.blocks,
    }  # fmt: skip
    if kind.merge > 1:
        numbers[kind.merge_key] = kind.merge
    for key, number in {**{f"clip.vision.{key}": number for key, number in numbers.items()}, **(kind.keys or {})}.items():
        (writer.add_int32 if key == "clip.minicpmv_version" else writer.add_uint32)(key, number)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    weights = Weights(writer, seed=1, scale=0.1)
    _write_encoder(weights, kind)
    kind.tail(weights)
    finish(writer)


def _write_encoder(weights: Weights, kind: EyeKind) -> None:
    linear = weights.linear if kind.biased else lambda name, rows, columns: weights.noise(f"{name}.weight", rows, columns)
    norm = weights.norm if kind.biased else lambda name, size: weights.ones(f"{name}.weight", size)
    if kind.projector == "llama4":
        weights.noise("v.patch_embd.weight", WIDTH, 3 * kind.patch**2)
    else:
        weights.noise("v.patch_embd.weight", WIDTH, 3, kind.patch, kind.patch)
    if kind.projector in ("gemma3", "resampler", "qwen3vl_merger"):
        weights.zeros("v.patch_embd.bias", WIDTH)
    if kind.rows:
        weights.noise("v.position_embd.weight", *((2,) if kind.projector == "gemma4v" else ()), kind.rows, WIDTH)
    for name in kind.norms:
        norm(name, WIDTH)
    for block in (f"v.blk.{i}" for i in range(kind.blocks)):
        if kind.fused:
            linear(f"{block}.attn_qkv", 3 * WIDTH, WIDTH)
        else:
            for part in ("attn_q", "attn_k", "attn_v"):
                # Qwen2.5-VL has no biases except these.
                (weights.linear if kind.projector == "qwen2.5vl_merger" else linear)(f"{block}.{part}", WIDTH, WIDTH)
        linear(f"{block}.attn_out", WIDTH, WIDTH)
        for part in ("ln1", "ln2"):
            norm(f"{block}.{part}", WIDTH)
        if kind.gated:
            linear(f"{block}.ffn_gate", INNER, WIDTH)
        linear(f"{block}.ffn_up", INNER, WIDTH)
        linear(f"{block}.ffn_down", WIDTH, INNER)
