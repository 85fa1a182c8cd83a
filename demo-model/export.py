"""Write a checkpoint as the GGUF pair that llama.cpp and Ollama load: demo.gguf and demo-mmproj.gguf.

python export.py CHECKPOINT FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor

from model import TEXT, VISION
from vocabulary import BOS, EOS, FILE, PAD, SPECIAL

CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role']=='system' %}{{ m['content'] }} {% elif m['role']=='user' %}USER: {{ m['content'] }} "
    "{% else %}ASSISTANT: {{ m['content'] }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
# Our names for the parts of a block -> llama.cpp's names.
TEXT_MATRICES = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
TEXT_NORMS = {"n1": "attn_norm", "n2": "ffn_norm"}
VISION_MATRICES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_out", "up": "ffn_up", "down": "ffn_down"}
VISION_NORMS = {"ln1": "ln1", "ln2": "ln2"}


def write_text_model(path: Path, weights: Mapping[str, Tensor]) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("llava-demo")
    writer.add_context_length(TEXT.context)
    writer.add_embedding_length(TEXT.width)
    writer.add_block_count(TEXT.layers)
    writer.add_feed_forward_length(TEXT.feed_forward)
    writer.add_head_count(TEXT.heads)
    writer.add_head_count_kv(TEXT.heads)
    writer.add_layer_norm_rms_eps(TEXT.epsilon)
    writer.add_rope_dimension_count(TEXT.width // TEXT.heads)
    writer.add_rope_freq_base(TEXT.rope_base)
    writer.add_vocab_size(len(weights["emb.weight"]))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    add_tokenizer(writer)
    writer.add_tensor("token_embd.weight", half(weights["emb.weight"]))
    writer.add_tensor("output_norm.weight", single(weights["norm.weight"]))
    for i in range(TEXT.layers):
        for ours, theirs in TEXT_MATRICES.items():
            writer.add_tensor(f"blk.{i}.{theirs}.weight", half(weights[f"blocks.{i}.{ours}.weight"]))
        for ours, theirs in TEXT_NORMS.items():
            writer.add_tensor(f"blk.{i}.{theirs}.weight", single(weights[f"blocks.{i}.{ours}.weight"]))
    finish(writer)


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    bpe = json.loads(FILE.read_text("utf-8"))["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_projector(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the vision encoder and the projector.

    llama.cpp skips the last block of a LLaVA-1.5 encoder, so the file has one extra block, a copy of the last.
    """
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_name("llava-demo-mmproj")
    writer.add_bool("clip.has_text_encoder", False)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.has_llava_projector", True)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_description("image encoder for LLaVA")
    writer.add_string("clip.projector_type", "mlp")
    writer.add_uint32("clip.vision.image_size", VISION.image)
    writer.add_uint32("clip.vision.patch_size", VISION.patch)
    writer.add_uint32("clip.vision.embedding_length", VISION.width)
    writer.add_uint32("clip.vision.feed_forward_length", VISION.feed_forward)
    writer.add_uint32("clip.vision.projection_dim", TEXT.width)
    writer.add_uint32("clip.vision.attention.head_count", VISION.heads)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", VISION.epsilon)
    writer.add_uint32("clip.vision.block_count", VISION.layers + 1)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    writer.add_bool("clip.use_gelu", True)
    for ours, theirs in (("mm0", "mm.0"), ("mm2", "mm.2")):
        add_linear(writer, theirs, weights, ours)
    writer.add_tensor("v.patch_embd.weight", half(weights["patch.weight"]))
    writer.add_tensor("v.position_embd.weight", single(weights["pos"]))
    add_norm(writer, "v.pre_ln", weights, "pre")
    for i in range(VISION.layers + 1):
        block = f"blocks.{min(i, VISION.layers - 1)}"
        for ours, theirs in VISION_MATRICES.items():
            add_linear(writer, f"v.blk.{i}.{theirs}", weights, f"{block}.{ours}")
        for ours, theirs in VISION_NORMS.items():
            add_norm(writer, f"v.blk.{i}.{theirs}", weights, f"{block}.{ours}")
    finish(writer)


def add_linear(writer: gguf.GGUFWriter, name: str, weights: Mapping[str, Tensor], ours: str) -> None:
    writer.add_tensor(f"{name}.weight", half(weights[f"{ours}.weight"]))
    writer.add_tensor(f"{name}.bias", single(weights[f"{ours}.bias"]))


def add_norm(writer: gguf.GGUFWriter, name: str, weights: Mapping[str, Tensor], ours: str) -> None:
    writer.add_tensor(f"{name}.weight", single(weights[f"{ours}.weight"]))
    writer.add_tensor(f"{name}.bias", single(weights[f"{ours}.bias"]))


def half(x: Tensor) -> np.ndarray:
    return single(x).astype(np.float16)


def single(x: Tensor) -> np.ndarray:
    return x.float().numpy()


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    checkpoint = torch.load(sys.argv[1])
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    write_text_model(folder / "demo.gguf", checkpoint["lm"])
    write_projector(folder / "demo-mmproj.gguf", checkpoint["vis"])
