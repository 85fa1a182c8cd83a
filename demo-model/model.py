"""Define the network: a CLIP-style vision encoder with an MLP projector, and a llama-style text model, both as small as possible.

The names of the parameters are the keys of a checkpoint; `export.py` translates them to llama.cpp's names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class VisionConfig:
    image: int = 112
    patch: int = 14
    width: int = 128
    heads: int = 4
    feed_forward: int = 512
    layers: int = 4
    epsilon: float = 1e-5

    @property
    def tokens(self) -> int:
        """The tokens of one image."""
        return (self.image // self.patch) ** 2


@dataclass(frozen=True, slots=True)
class TextConfig:
    width: int = 160
    heads: int = 4
    feed_forward: int = 432
    layers: int = 4
    context: int = 4096
    epsilon: float = 1e-5
    rope_base: float = 10000.0


VISION = VisionConfig()
TEXT = TextConfig()


class VisionBlock(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.ln1 = nn.LayerNorm(width, eps=config.epsilon)
        self.ln2 = nn.LayerNorm(width, eps=config.epsilon)
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.o = nn.Linear(width, width)
        self.up = nn.Linear(width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln1(x)
        q, k, v = (split_heads(project(y), self.heads) for project in (self.q, self.k, self.v))
        x = x + self.o(merge_heads(functional.scaled_dot_product_attention(q, k, v)))
        return x + self.down(functional.gelu(self.up(self.ln2(x)), approximate="tanh"))


class Vision(nn.Module):
    """The vision encoder and projector.

    Maps images (batch, 3, image, image) with values from -1 to 1 to (projected tokens, (batch, tokens, width of the text model); features
    of the encoder, (batch, tokens, width of the encoder)).
    """

    def __init__(self, config: VisionConfig = VISION, text_width: int = TEXT.width) -> None:
        super().__init__()
        width = config.width
        self.patch = nn.Conv2d(3, width, config.patch, config.patch, bias=False)
        self.pos = nn.Parameter(torch.randn(config.tokens, width) * 0.02)
        self.pre = nn.LayerNorm(width, eps=config.epsilon)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.layers))
        self.mm0 = nn.Linear(width, text_width)
        self.mm2 = nn.Linear(text_width, text_width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pre(self.patch(images).flatten(2).transpose(1, 2) + self.pos)
        for block in self.blocks:
            x = block(x)
        return self.mm2(functional.gelu(self.mm0(x), approximate="tanh")), x


class RMSNorm(nn.Module):
    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


class TextBlock(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.n1 = RMSNorm(width, config.epsilon)
        self.n2 = RMSNorm(width, config.epsilon)
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width, bias=False)
        self.o = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, config.feed_forward, bias=False)
        self.up = nn.Linear(width, config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        y = self.n1(x)
        q, k, v = (split_heads(project(y), self.heads) for project in (self.q, self.k, self.v))
        y = functional.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.o(merge_heads(y))
        y = self.n2(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class TextModel(nn.Module):
    """The text model; maps embeddings (batch, length, width) to logits. The output layer shares the weights of the embedding."""

    def __init__(self, vocabulary: int, config: TextConfig = TEXT) -> None:
        super().__init__()
        self.emb = nn.Embedding(vocabulary, config.width)
        nn.init.normal_(self.emb.weight, std=0.05)
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.epsilon)
        head = config.width // config.heads
        frequencies = config.rope_base ** (-torch.arange(0, head, 2).float() / head)
        angles = torch.outer(torch.arange(config.context).float(), frequencies)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, wanted: Tensor, positions: Tensor) -> Tensor:
        """Return logits (count, vocabulary) for the places where `wanted` (batch, length) is true.

        `positions` (batch, length) are the positions of the tokens and may have gaps.
        """
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x[wanted]) @ self.emb.weight.T


def split_heads(x: Tensor, heads: int) -> Tensor:
    batch, length, _ = x.shape
    return x.view(batch, length, heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embeddings (RoPE) to adjacent pairs, like llama.cpp's "norm" type."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
