"""Finds the image files that a question names: paths that were typed, pasted, or dragged into the terminal."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import url2pathname

from llava_gateway.cli.console import wrong_use
from llava_gateway.context.words import image_label, is_chinese
from llava_gateway.images.sniff import sniff

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
_OTHER_SUFFIXES = (".jfif", ".jpe", ".svg", ".ico", ".jxl", ".jp2", ".psd", ".dng", ".pdf")
"""People take these for images too. They are attached, so that the gateway says that it does not read them."""

_SUFFIX = rf"(?:{'|'.join(map(re.escape, (*SUFFIXES, *_OTHER_SUFFIXES)))})(?![A-Za-z0-9_]|[./\\-][A-Za-z0-9])"
_NAMED = re.compile(rf"[^\s/\\]{_SUFFIX}", re.IGNORECASE)
"""The end of an image's name. What follows may be punctuation or a Chinese character, but no further part of a name."""
_ANCHOR = r"file:/|~[\w.-]*[/\\]|\.{1,2}[/\\]|/|[A-Za-z]:[/\\]|\\\\"
"""How a path begins that can't be a word."""
_ANCHORED = re.compile(_ANCHOR)
_EDGE = r"(?:(?<![\w./\\~@%+-])|(?<=[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]))"
"""Not within a word; Chinese, Japanese and Korean write a path right behind their own letters."""
_BEGINNING = re.compile(rf"{_EDGE}[^\s,;!?)\]}}>]")
_TOKEN = re.compile(r"""(?:\\.|[^\s"'`<>|])+""")
_ANOTHER = re.compile(rf"""\s["'`<(]?(?:{_ANCHOR})|\n""")
_ADDRESS = re.compile(r"(?<![A-Za-z0-9])(?!file:)[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)
_QUOTES = {"'": "'", '"': '"', "`": "`", "“": "”", "‘": "’", "「": "」", "<": ">"}
_BRACKETS = {**_QUOTES, "(": ")", "[": "]", "（": "）", "【": "】"}
_PUNCTUATION = ".,;:!?)]}…。，；：！？）】》」"
_ASKS_FOR_A_NOUN = re.compile(
    r"(?:\b(?:in|on|of|at|is|about|from|describe|explain|read|see|analyse|analyze)|描述|分析|解释|读|看|在)\s*$", re.IGNORECASE
)
_BETWEEN = " \t\r\n,，、"
_AS_TEXT = "With --no-paths, what a question names is only text."
_HEAD_BYTES = 512
_NAME_CHARS = 1024


@dataclass(frozen=True)
class Named:
    """A question cut at the files that it names: `names` stand between the `texts`, one of which is more."""

    texts: tuple[str, ...]
    names: tuple[str, ...] = ()

    def question(self, numbers: Sequence[int], images: int) -> str:
        """Write the question without the names.

        A name before or behind the sentence goes, as in Ollama. One within it becomes a word, or the sentence would lose its meaning.
        So does one that ends "Describe".

        Args:
            numbers: for each name, the number that the gateway gives to its image.
            images: how many images there are.
        """
        first, last = self.texts[0], self.texts[-1]
        if not self.names:
            return last
        ends = not last.strip(_PUNCTUATION + _BETWEEN)
        if not "".join(self.texts[:-1]).strip(_BETWEEN):
            return "" if ends else last.lstrip(_BETWEEN + ":：").rstrip()
        if ends and not "".join(self.texts[1:-1]).strip(_BETWEEN) and not (images == 1 and _ASKS_FOR_A_NOUN.search(first)):
            return first.strip().rstrip(_BETWEEN + ":：") + last.strip()
        chinese = is_chinese("".join(self.texts))
        alone = "这张图片" if chinese else "the picture"
        words = [image_label(number, chinese=chinese)[:-1] if images > 1 else alone for number in numbers]
        return "".join(piece for pair in zip(self.texts, [*words, ""], strict=True) for piece in pair).strip()


def find_images(text: str) -> Named:
    """Find the image files that `text` names. The path of an image that does not exist, or an address on the web, ends the command."""
    addresses = [found.span() for found in _ADDRESS.finditer(text)]
    suffixes = [found.end() for found in _NAMED.finditer(text)]
    texts, names, done, at = [], [], 0, 0
    while beginning := _BEGINNING.search(text, at):
        start = beginning.start()
        at = start + 1
        if inside := [end for begin, end in addresses if begin <= start < end]:
            at = inside[0]
        elif found := _file_at(text, start, suffixes):
            end, name = found
            start, at = _with_brackets(text, start, end)
            texts.append(text[done:start])
            names.append(name)
            done = at
    texts.append(text[done:])
    for rest in texts:
        _refuse_missing(rest)
    return Named(tuple(texts), tuple(names))


def is_address(name: str) -> bool:
    """Whether it is an address on the web, which no file is."""
    return _ADDRESS.match(name) is not None


def local_path(name: str) -> Path:
    """The path that a name stands for: ~ and file:// addresses are understood, and a shell's backslashes where there is no such file."""
    if name.lower().startswith("file:/"):
        here = re.sub(r"^file:(//(localhost)?(?=/))?", "", name, flags=re.IGNORECASE)
        return Path(name if here.startswith("//") else url2pathname(here))
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # ~ of a person who is not known here
        return Path(name)
    if "\\" in name and not path.is_file():
        unescaped = Path(re.sub(r"\\(.)", r"\1", name)).expanduser()
        return unescaped if unescaped.is_file() else path
    return path


def _file_at(text: str, start: int, suffixes: Sequence[int]) -> tuple[int, str] | None:
    """Where the image's name that begins here ends, and the file; None where none begins here. The longest name counts."""
    for end, name in _candidates(text, start, suffixes):
        certain = end > start + len(name) or _ANCHORED.match(name) is not None
        try:
            path = local_path(name)
            if path.is_file() and (_NAMED.search(path.name) or (certain and sniff(_head(path)))):
                return end, str(path)
        except (OSError, ValueError, RuntimeError):  # too long for a name, not to be read
            continue
    return None


def _candidates(text: str, start: int, suffixes: Sequence[int]) -> Iterator[tuple[int, str]]:
    """(end, name) for all names that may begin here, the longest first; `suffixes` tells where names of images end."""
    if closing := _QUOTES.get(text[start]):
        end = text.find(closing, start + 1)
        if end > start + 1:
            yield end + 1, text[start + 1 : end]
        return
    most = start + _NAME_CHARS
    anchored = _ANCHORED.match(text, start) is not None
    near = suffixes[bisect_right(suffixes, start) : bisect_right(suffixes, most)]
    if not (anchored or near):
        return
    token = _TOKEN.match(text, start, most)
    if token is None:
        return
    another = _ANOTHER.search(text, start, most)
    within = token.end() if not anchored else another.start() if another else most
    ends = {end for end in near if end <= within}
    if anchored:
        ends |= {token.end(), start + len(token[0].rstrip(_PUNCTUATION))}
    for end in sorted(ends, reverse=True):
        yield end, text[start:end]


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _with_brackets(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of a name with the brackets or quotes right around it."""
    if start and end < len(text) and _BRACKETS.get(text[start - 1]) == text[end]:
        return start - 1, end + 1
    return start, end


def _refuse_missing(text: str) -> None:
    for address in _ADDRESS.findall(text):
        if found := _NAMED.search(address):
            wrong_use(f"{address[: found.end()]} is not fetched.", f"Save the image and give the file. {_AS_TEXT}")
    if missing := _missing(_ADDRESS.sub(" ", text)):
        wrong_use(f"There is no image file {missing}.", f"Correct the path. {_AS_TEXT}")


def _missing(text: str) -> str | None:
    """What looks like the path of an image: it has a folder and the suffix of an image."""
    line = text.strip()
    if _ANCHORED.match(line) and _is_one_image(line) and "\n" not in line:
        return line
    for opening, closing in _QUOTES.items():
        for quoted in re.findall(rf"(?<!\w){re.escape(opening)}([^{opening}{closing}\n]+){re.escape(closing)}", text):
            if _ANCHORED.match(quoted) and _is_one_image(quoted):
                return str(quoted)
    for token in _TOKEN.findall(text):
        for found in _NAMED.finditer(token):
            name = token[: found.end()].lstrip("([{（【")
            if "/" in name or "\\" in name:
                anchors = list(re.finditer(rf"{_EDGE}(?:{_ANCHOR})", name))
                return str(name[anchors[-1].start() :] if anchors else name)
    return None


def _is_one_image(name: str) -> bool:
    return [found.end() for found in _NAMED.finditer(name)] == [len(name)]
