"""Counts tokens as llama.cpp does, with the vocabulary in a model's GGUF metadata (pure; Ollama reports the vocabulary but can't
count).

Follows src/llama-vocab.cpp and src/unicode.cpp of llama.cpp b11063 to the token. Special tokens are cut out first. The rest is
joined from characters ("llama": the pair with the best score first; "gpt2": the pair that was learned first, within the words that a
pattern finds). Text that is not in the vocabulary is spelled in bytes. Returns only counts, so no token ids are kept.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import regex

Ranking: TypeAlias = Callable[[str, str], float | None]
"""Returns how early two neighbours are joined (lower is earlier); None: never."""

WORDS_KEPT = 1 << 16
"""The number of words whose token count is kept: the turns of a conversation come again in every prompt."""
_WORD_MAX = 256
"""The longest word whose count is kept, in characters."""
_BEGINNING = 4
"""Special tokens are indexed by this many of their first characters."""
_SPACE = "\u2581"
"""Stands for a space in vocabularies without GPT-2's spelling of bytes."""

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
"""The token types that are cut out before anything else (ggml's `llama_token_type`)."""
# Treated as control tokens whatever their type (llama-vocab.cpp: end of generation, fill in the middle, and gpt-oss).
_SPECIAL_NAMES = (
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] "
    "[EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> <｜end▁of▁sentence｜> [e~[ "
    "<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> <|prefix|> "
    "<|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> <|suffix|> "
    "<|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|> <|middle|> "
    "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame> <|file_sep|> "
    "<|channel|> <|message|> <|start|> <|constrain|>"
)
_ALWAYS_SPECIAL = frozenset(_SPECIAL_NAMES.split())
_PHI_3 = frozenset({"<|end|>", "<|assistant|>"})

# Patterns of words. \s is Unicode's White_Space, as in llama.cpp. Text between two matches is a word too.
_S = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES = rf"[{_S}]*[\r\n]+|[{_S}]+(?![^{_S}])|[{_S}]+"
_OTHERS = rf" ?[^{_S}\p{{L}}\p{{N}}]+"
_CONTRACTIONS = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+|{_OTHERS}|[{_S}]+(?![^{_S}])|[{_S}]+"
_LLAMA3 = rf"(?:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_OTHERS}[\r\n]*|{_SPACES}"
_QWEN2 = _LLAMA3.replace("{1,3}", "")
_QWEN35 = rf"(?:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^{_S}\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
# These split camel case. llama.cpp knows no case beyond ASCII.
_UPPER, _LOWER = r"(?:(?=\p{L})[^a-z])", r"(?:(?=\p{L})[^A-Z])"
_TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}|{_OTHERS}[\r\n/]*|{_SPACES}"
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+(?:{_CONTRACTIONS})?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*(?:{_CONTRACTIONS})?"
    rf"|\p{{N}}{{1,3}}|{_OTHERS}[\r\n/]*|{_SPACES}"
)
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|""" + _SPACES,
)
_LINES = r"[^\n]+|\n+"


@dataclass(frozen=True, slots=True)
class _Kind:
    """The meaning of a value of `tokenizer.ggml.pre`.

    Attributes:
        patterns: applied in order, each within the words of the previous one.
        whole_words: whether a word that is a token stays whole, whatever was learned about its parts.
        bos: whether a prompt begins with the BOS token if the file does not say.
        spelled: whether bytes are spelled in GPT-2's letters; else text stays as it is, with `_SPACE` for spaces.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    bos: bool = False
    spelled: bool = True


_KINDS: Mapping[str, _Kind] = {
    name: kind
    for names, kind in (
        ("default", _Kind((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))),
        ("gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum", _Kind((_GPT2,))),
        ("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", _Kind((r"\p{N}", _GPT2))),
        ("falcon", _Kind((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"))),
        ("llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2", _Kind((_LLAMA3,), whole_words=True, bos=True)),
        ("dbrx smaug-bpe glm4 chatglm-bpe", _Kind((_LLAMA3,))),
        ("qwen2 deepseek-r1-qwen kormo megrez stablelm2 hunyuan solar-open grok-2", _Kind((_QWEN2,))),
        ("qwen35", _Kind((_QWEN35,))),
        ("tekken", _Kind((_TEKKEN,), whole_words=True, bos=True)),
        ("gpt-4o llama4 kanana2 minimax-m2", _Kind((_GPT4O,))),
        ("deepseek-v3 hunyuan-dense", _Kind(_DEEPSEEK3)),
        ("gemma4", _Kind((_LINES,), bos=True, spelled=False)),
    )
    for name in names.split()
}


class Tokenizer:
    """Counts the tokens of texts. Made by `from_metadata`.

    Attributes:
        exact: whether the counts are always llama.cpp's own. For Phi-3 they may differ: the model's name, which Ollama does not
            report, decides whether spaces after its special tokens are dropped.
    """

    def __init__(
        self,
        special: Sequence[str],
        count_word: Callable[[str], int],
        words: Callable[[str], list[str]],
        *,
        prefix: str,
        frame: int,
        exact: bool,
    ) -> None:
        self.exact = exact
        self._special: dict[str, list[str]] = {}  # by their beginning: Gemma has 6,000, and few of them begin like any part of a text
        for token in special:
            self._special.setdefault(token[:_BEGINNING], []).append(token)
        self._words = words
        self._count_word = count_word
        self._known_word = lru_cache(WORDS_KEPT)(count_word)
        self._prefix = prefix
        self._frame = frame

    @classmethod
    def from_metadata(cls, info: Mapping[str, Any]) -> Tokenizer | None:
        """Build a tokenizer from the keys of a GGUF file (`tokenizer.ggml.*`) with complete lists; None for an unknown kind.

        Takes a second for 250,000 tokens.
        """
        tokens = info.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, list) or not tokens:
            return None
        match info.get("tokenizer.ggml.model"):
            case "llama":
                return _by_score(info, tokens)
            case "gpt2":
                kind = _KINDS.get(info.get("tokenizer.ggml.pre") or "default")
            case "gemma4":
                kind = _KINDS["gemma4"]
            case _:
                return None
        return _by_merges(info, tokens, kind) if kind else None

    def count_prompt(self, segments: Sequence[str]) -> int:
        """Count the tokens of a prompt without its images, which lie between the `segments`. Includes the tokens that frame it (BOS,
        EOS)."""
        return self._frame + sum(self.count(segment) for segment in segments)

    def count(self, text: str) -> int:
        """Count the tokens of a text alone."""
        return sum(1 if fragment is None else self._count_fragment(fragment) for fragment in self._without_special(text))

    def _count_fragment(self, text: str) -> int:
        count = 0
        for word in self._words(text):
            count += self._known_word(word) if len(word) <= _WORD_MAX else self._count_word(word)
        return count

    def _without_special(self, text: str) -> list[str | None]:
        """Split a text at its special tokens, which become None. Cuts out the longest tokens first, in the whole text."""
        fragments: list[str | None] = [text] if text else []
        found = [token for start, tokens in self._special.items() if start in text for token in tokens if token in text]
        for token in sorted(found, key=lambda token: -len(token.encode())):
            fragments = [piece for fragment in fragments for piece in _cut_out(token, fragment)]
        if not self._prefix:
            return fragments
        return [
            fragment and (self._prefix + fragment if before is None else fragment)
            for before, fragment in zip([None, *fragments], fragments, strict=False)
        ]


def _cut_out(token: str, fragment: str | None) -> list[str | None]:
    if fragment is None or token not in fragment:
        return [fragment]
    pieces: list[str | None] = []
    for text in fragment.split(token):
        pieces += [text, None] if text else [None]
    return pieces[:-1]


def _by_score(info: Mapping[str, Any], tokens: list[str]) -> Tokenizer:
    """Build a tokenizer with SentencePiece's BPE, for llama 1 and 2, mistral 7b and gemma 1 to 3."""
    scores = info.get("tokenizer.ggml.scores") or [0.0] * len(tokens)
    ranks = {token: -score for token, score in zip(tokens, scores, strict=True)}
    # If no token continues after a space, words can be counted one by one.
    parted = not any(re.search(f"[^{_SPACE}]{_SPACE}", token) for token in tokens)
    word = re.compile(f"{_SPACE}*[^{_SPACE}]+|{_SPACE}+" if parted else r"(?s:.+)")

    def rank(left: str, right: str) -> float | None:
        return ranks.get(left + right)

    def count_word(text: str) -> int:
        return sum(1 if part in ranks else len(part.encode()) for part in _join(list(text), rank))

    def words(text: str) -> list[str]:
        return word.findall(text.replace(" ", _SPACE))

    special = _special_tokens(info, tokens)
    return Tokenizer(
        special,
        count_word,
        words,
        prefix=" " if info.get("tokenizer.ggml.add_space_prefix", True) else "",
        frame=_frame(info, bos=True),
        exact=not _PHI_3.issubset(special),
    )


def _by_merges(info: Mapping[str, Any], tokens: list[str], kind: _Kind) -> Tokenizer | None:
    """Build a tokenizer with GPT-2's BPE: pairs of parts are joined in the order in which they were learned."""
    merges = info.get("tokenizer.ggml.merges")
    if not isinstance(merges, list) or not merges:
        return None
    known = frozenset(tokens)
    ranks = {merge: float(i) for i, merge in reversed(list(enumerate(merges)))}
    patterns = [regex.compile(pattern) for pattern in kind.patterns]
    newlines_whole = not kind.spelled

    def rank(left: str, right: str) -> float | None:
        return ranks.get(f"{left} {right}")

    def count_word(text: str) -> int:
        word = text.encode().decode("latin-1").translate(_GPT2_LETTERS) if kind.spelled else text
        if word in known and (kind.whole_words or (newlines_whole and not word.strip("\n"))):
            return 1
        return sum(1 if part in known else _count_bytes(part, known, spelled=kind.spelled) for part in _join(list(word), rank))

    def words(text: str) -> list[str]:
        found = [text if kind.spelled else text.replace(" ", _SPACE)]
        for pattern in patterns:
            found = [piece for word in found for piece in _split(pattern, word)]
        return found

    bos = kind.bos if kind.spelled else None
    return Tokenizer(_special_tokens(info, tokens), count_word, words, prefix="", frame=_frame(info, bos=bos), exact=True)


def _count_bytes(part: str, known: frozenset[str], *, spelled: bool) -> int:
    """Count the tokens of a part that is no token: its bytes that are tokens. In GPT-2's spelling llama.cpp finds only ASCII."""
    if spelled:
        return sum(letter in known for letter in part if letter.isascii())
    return sum(f"<0x{byte:02X}>" in known for byte in part.encode())


def _special_tokens(info: Mapping[str, Any], tokens: list[str]) -> list[str]:
    types = info.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    looked_for = (_UNKNOWN, _CONTROL, _USER_DEFINED)
    special = [token for token, kind in zip(tokens, types, strict=True) if token and (kind in looked_for or token in _ALWAYS_SPECIAL)]
    html = {"</s>"} if "<|tool_response>" in special else set()  # in Gemma 4 it is an ordinary word
    return [token for token in special if token not in html]


def _frame(info: Mapping[str, Any], *, bos: bool | None) -> int:
    """Return how many tokens frame a prompt. `bos`: whether BOS comes first if the file does not say; None: always."""
    begins = True if bos is None else bool(info.get("tokenizer.ggml.add_bos_token", bos))
    return begins + bool(info.get("tokenizer.ggml.add_eos_token", False))


def _split(pattern: regex.Pattern[str], text: str) -> list[str]:
    """Split a text into the matches of a pattern and the text between them, in order."""
    pieces, end = [], 0
    for match in pattern.finditer(text):
        if match.start() > end:
            pieces.append(text[end : match.start()])
        pieces.append(match[0])
        end = match.end()
    if end < len(text):
        pieces.append(text[end:])
    return pieces


def _join(parts: list[str], rank: Ranking) -> list[str]:
    """Join neighbours, lowest rank first and leftmost among equals, until no two can be joined."""
    if len(parts) == 1:
        return parts
    following = [*range(1, len(parts)), -1]
    before = [*range(-1, len(parts) - 1)]
    queue: list[tuple[float, int, int, int]] = []  # rank, left, right, characters of both

    def consider(left: int, right: int) -> None:
        if left >= 0 and right >= 0 and (found := rank(parts[left], parts[right])) is not None:
            heapq.heappush(queue, (found, left, right, len(parts[left]) + len(parts[right])))

    for right in range(1, len(parts)):
        consider(right - 1, right)
    while queue:
        _, left, right, size = heapq.heappop(queue)
        if not parts[left] or not parts[right] or len(parts[left]) + len(parts[right]) != size:
            continue  # one of them has been joined to another part by now
        parts[left] += parts[right]
        parts[right] = ""
        following[left] = following[right]
        if following[right] >= 0:
            before[following[right]] = left
        consider(before[left], left)
        consider(left, following[left])
    return [part for part in parts if part]


def _gpt2_letters() -> dict[int, int]:
    """Return GPT-2's letter for each byte that is not printable in Latin-1 (`bytes_to_unicode` in
    https://github.com/openai/gpt-2/blob/master/src/encoder.py)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    return {byte: 256 + i for i, byte in enumerate(byte for byte in range(256) if byte not in printable)}


_GPT2_LETTERS = _gpt2_letters()
