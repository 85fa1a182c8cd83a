"""Counts tokens as llama.cpp does, from the vocabulary in a model's GGUF metadata (pure; Ollama tells the vocabulary, but counts nothing).

Follows src/llama-vocab.cpp and src/unicode.cpp of llama.cpp b11063 to the token: special tokens are cut out first; what is left is put
together from characters ("llama": the pair with the best score first; "gpt2": within the words that a pattern finds, the pair that was
learned first), and what the vocabulary lacks is spelled in bytes. Only numbers come out, so no token ids are kept.
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
"""How early two neighbours are joined (less is earlier); None: never."""

WORDS_KEPT = 1 << 16
"""Words whose number of tokens is remembered: the turns of a conversation come back in every prompt."""
_WORD_MAX = 256
"""Longest word in characters that is remembered."""
_BEGINNING = 4
"""Characters by which special tokens are sorted out."""
_SPACE = "\u2581"
"""What stands for a space in vocabularies that have no GPT-2 spelling of bytes."""

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
"""Token types that are looked for before anything else (ggml's `llama_token_type`)."""
# Taken for control tokens whatever their type says (llama-vocab.cpp: end of generation, fill in the middle, and gpt-oss).
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

# Patterns of words. \s is Unicode's White_Space, as llama.cpp has it; what no pattern finds is a word of its own.
_S = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES = rf"[{_S}]*[\r\n]+|[{_S}]+(?![^{_S}])|[{_S}]+"
_OTHERS = rf" ?[^{_S}\p{{L}}\p{{N}}]+"
_CONTRACTIONS = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
_GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+|{_OTHERS}|[{_S}]+(?![^{_S}])|[{_S}]+"
_LLAMA3 = rf"(?:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_OTHERS}[\r\n]*|{_SPACES}"
_QWEN2 = _LLAMA3.replace("{1,3}", "")
_QWEN35 = rf"(?:{_CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^{_S}\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
# Camel case parts words here. llama.cpp knows no case beyond ASCII.
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
    """What `tokenizer.ggml.pre` stands for.

    Attributes:
        patterns: applied one after the other, each within the words of the one before.
        whole_words: a word that is a token stays one, whatever was learned about its parts.
        bos: begins with the token for the beginning where the file does not say.
        spelled: bytes are spelled in GPT-2's letters; else text stays as it is, spaces as `_SPACE`.
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
    """Made by `from_metadata`.

    Attributes:
        exact: whether the numbers are llama.cpp's own. Of Phi-3 they may not be: whether spaces after its special tokens are dropped
            depends on the model's name, which Ollama does not tell.
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
        self._special: dict[str, list[str]] = {}  # by how they begin: Gemma has 6,000, and few begin as a text does
        for token in special:
            self._special.setdefault(token[:_BEGINNING], []).append(token)
        self._words = words
        self._count_word = count_word
        self._known_word = lru_cache(WORDS_KEPT)(count_word)
        self._prefix = prefix
        self._frame = frame

    @classmethod
    def from_metadata(cls, info: Mapping[str, Any]) -> Tokenizer | None:
        """From the keys of a GGUF file (`tokenizer.ggml.*`) with all elements of its lists; None where its kind of tokenizer is not known
        here. Takes a second for 250,000 tokens."""
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
        """Tokens of a prompt without its images, which stand between the `segments`; with those that frame it (BOS, EOS)."""
        return self._frame + sum(self.count(segment) for segment in segments)

    def count(self, text: str) -> int:
        """Tokens of a text by itself, nothing around it."""
        return sum(1 if fragment is None else self._count_fragment(fragment) for fragment in self._without_special(text))

    def _count_fragment(self, text: str) -> int:
        count = 0
        for word in self._words(text):
            count += self._known_word(word) if len(word) <= _WORD_MAX else self._count_word(word)
        return count

    def _without_special(self, text: str) -> list[str | None]:
        """Text between special tokens, which are None; the longest are looked for first, in all of the text."""
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
    """SentencePiece's BPE, as llama 1 and 2, mistral 7b and gemma 1 to 3 have it."""
    scores = info.get("tokenizer.ggml.scores") or [0.0] * len(tokens)
    ranks = {token: -score for token, score in zip(tokens, scores, strict=True)}
    # Where no token goes on after a space, words can be counted one by one.
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
    """BPE as GPT-2 has it: pairs of parts are joined in the order in which they were learned."""
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
    """Tokens of a part that is none: those of its bytes that are. In GPT-2's spelling llama.cpp finds ASCII alone."""
    if spelled:
        return sum(letter in known for letter in part if letter.isascii())
    return sum(f"<0x{byte:02X}>" in known for byte in part.encode())


def _special_tokens(info: Mapping[str, Any], tokens: list[str]) -> list[str]:
    types = info.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    looked_for = (_UNKNOWN, _CONTROL, _USER_DEFINED)
    special = [token for token, kind in zip(tokens, types, strict=True) if token and (kind in looked_for or token in _ALWAYS_SPECIAL)]
    html = {"</s>"} if "<|tool_response>" in special else set()  # in Gemma 4 it is a word
    return [token for token in special if token not in html]


def _frame(info: Mapping[str, Any], *, bos: bool | None) -> int:
    """How many tokens are put around a prompt. bos: where the file does not say; None: always."""
    begins = True if bos is None else bool(info.get("tokenizer.ggml.add_bos_token", bos))
    return begins + bool(info.get("tokenizer.ggml.add_eos_token", False))


def _split(pattern: regex.Pattern[str], text: str) -> list[str]:
    """What the pattern finds and what stands between, in order."""
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
    """Joins neighbours, those of the lowest rank first and the leftmost of equals, until no two can be joined."""
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
            continue  # one of them has been joined to another meanwhile
        parts[left] += parts[right]
        parts[right] = ""
        following[left] = following[right]
        if following[right] >= 0:
            before[following[right]] = left
        consider(before[left], left)
        consider(left, following[left])
    return [part for part in parts if part]


def _gpt2_letters() -> dict[int, int]:
    """GPT-2's letter for each byte that is no letter in Latin-1 (`bytes_to_unicode` in
    https://github.com/openai/gpt-2/blob/master/src/encoder.py)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    return {byte: 256 + i for i, byte in enumerate(byte for byte in range(256) if byte not in printable)}


_GPT2_LETTERS = _gpt2_letters()
