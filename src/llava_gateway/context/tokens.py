"""How many tokens a text takes, where the engine itself has not counted: never more than `bound`, about as many as `estimate` (pure)."""

from __future__ import annotations

from dataclasses import dataclass

MESSAGE_TOKENS = 8
"""What a chat template adds to a message, roughly: role, separators, an end mark."""
TOKENS_PER_BYTE = 0.3
"""English in the vocabularies of LLaMA, Qwen and Gemma takes 0.22 to 0.28 tokens a byte, Chinese 0.2 to 0.5 (three bytes a character)."""
STEADINESS = 0.5
"""How much of an old scale is kept when a new one is seen."""


def bound(text: str) -> int:
    """At most this many tokens: no vocabulary has a token for less than a byte. The template's own words are not in it."""
    return len(text.encode())


@dataclass(frozen=True, slots=True)
class Scale:
    """How a model's vocabulary differs from the usual one: its tokens are `factor` times what is reckoned of others.

    `seen`: learned from what the engine counted, and not assumed.
    """

    factor: float = 1.0
    seen: bool = False

    def estimate(self, text: str) -> int:
        """Tokens of a text alone."""
        return round(len(text.encode()) * TOKENS_PER_BYTE * self.factor)

    def message(self, text: str) -> int:
        """Tokens of a message that consists of this text."""
        return self.estimate(text) + MESSAGE_TOKENS

    def learned(self, estimated: int, counted: int) -> Scale:
        """The scale after the engine counted `counted` tokens where `estimated` were reckoned with this one."""
        if estimated <= 0 or counted <= 0:
            return self
        seen = self.factor * counted / estimated
        return Scale(self.factor * STEADINESS + seen * (1 - STEADINESS) if self.seen else seen, seen=True)
