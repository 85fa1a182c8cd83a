"""Bound and estimate the tokens of a text that the engine has not counted (pure)."""

from __future__ import annotations

from dataclasses import dataclass

MESSAGE_TOKENS = 8
"""Approximate tokens that a chat template adds to a message: role, separators, an end marker."""
TOKENS_PER_BYTE = 0.3
"""Estimate for the vocabularies of LLaMA, Qwen and Gemma: English takes 0.22 to 0.28 tokens per byte, Chinese 0.2 to 0.5 (three bytes per
character)."""
STEADINESS = 0.5
"""Weight of the old factor when a new one is learned."""


def bound(text: str) -> int:
    """Return an upper bound for the tokens of a text: no vocabulary has a token for less than a byte. Excludes the template's own words."""
    return len(text.encode())


@dataclass(frozen=True, slots=True)
class Scale:
    """The ratio of a model's token counts to the usual estimate.

    Attributes:
        factor: the ratio.
        seen: whether it was learned from the engine's counts rather than assumed.
    """

    factor: float = 1.0
    seen: bool = False

    def estimate(self, text: str) -> int:
        """Estimate the tokens of a text alone."""
        return round(len(text.encode()) * TOKENS_PER_BYTE * self.factor)

    def message(self, text: str) -> int:
        """Estimate the tokens of a message that consists of this text."""
        return self.estimate(text) + MESSAGE_TOKENS

    def learned(self, estimated: int, counted: int) -> Scale:
        """Return the scale after the engine counted `counted` tokens for a text that this scale estimated at `estimated`."""
        if estimated <= 0 or counted <= 0:
            return self
        seen = self.factor * counted / estimated
        return Scale(self.factor * STEADINESS + seen * (1 - STEADINESS) if self.seen else seen, seen=True)
