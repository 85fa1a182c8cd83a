"""Finds the images that a question names: paths and addresses that were typed, pasted, or dragged into the terminal."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llava_gateway.cli.console import wrong_use
from llava_gateway.cli.pages import CHOICE_IN_TEXT, choice_of, file_of
from llava_gateway.context.words import image_label, is_chinese

_IMAGES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".heic", ".heif"),
    *(".hif", ".jp2", ".j2k", ".jpx", ".psd", ".ico", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".svg", ".svgz"),
)
_CAMERA_RAW = (".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw")
_DOCUMENTS = (".pdf", ".tif", ".tiff", ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".3gp")
_UNREADABLE = (".jxl", ".jxr", ".qoi", ".psb", ".exr", ".hdr", ".dds", ".pcx", ".xcf", ".x3f")
"""Image formats that the gateway can't read. They are attached, so that the gateway reports this."""
SUFFIXES = (*_IMAGES, *_CAMERA_RAW, *_DOCUMENTS, *_UNREADABLE)

_SUFFIX = rf"(?:{'|'.join(map(re.escape, SUFFIXES))})(?![A-Za-z0-9_]|[./\\-][A-Za-z0-9])"
_NAMED = re.compile(rf"[^\s/\\]{_SUFFIX}", re.IGNORECASE)
"""The end of an image's name. Punctuation or a Chinese character may follow, but no further part of a name."""
_ANCHOR = r"file:/|~[\w.-]*[/\\]|\.{1,2}[/\\]|/|[A-Za-z]:[/\\]|\\\\"
"""The beginning of a path that can't be a word."""
_ANCHORED = re.compile(_ANCHOR)
_EDGE = r"(?:(?<![\w./\\~@%+-])|(?<=[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]))"
"""A path does not begin inside a word; but in Chinese, Japanese and Korean it may directly follow a letter."""
_BEGINNING = re.compile(rf"{_EDGE}[^\s,;!?)\]}}>]")
_TOKEN = re.compile(r"""(?:\\.|[^\s"'`<>|])+""")
_ANOTHER = re.compile(rf"""\s["'`<(]?(?:{_ANCHOR})|\n""")
_ADDRESS = re.compile(r"(?<![A-Za-z0-9])(?!file:)[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)
_IN_AN_ADDRESS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_QUOTES = {"'": "'", '"': '"', "`": "`", "“": "”", "‘": "’", "「": "」", "<": ">"}
_BRACKETS = {**_QUOTES, "(": ")", "[": "]", "（": "）", "【": "】"}
_PUNCTUATION = ".,;:!?)]}…。，；：！？）】》」"
_IMAGE_NOUN = r"(?:image|picture|photo|photograph|screenshot)s?\b"
_OF_IMAGE = re.compile(
    rf"\b(?:this|these|attached)\s+{_IMAGE_NOUN}|\b(?:in|describe)\s+the\s+{_IMAGE_NOUN}"
    r"|[这此该][一两几]?[张幅个些]*(?:图|照片|截图)|(?:图|图片|照片|截图)[里中上]",
    re.IGNORECASE,
)
_ASKS_FOR_A_NOUN = re.compile(
    r"(?:\b(?:in|on|of|at|is|about|from|describe|explain|read|see|analyse|analyze)|描述|分析|解释|读|看|在)\s*$", re.IGNORECASE
)
_BETWEEN = " \t\r\n,，、"
_AS_TEXT = "With --no-paths, what a question names is only text."
_HEAD_BYTES = 2048
_NAME_CHARS = 1024


@dataclass(frozen=True)
class SplitQuestion:
    """A question split at the file names in it: there is one more item in `texts` than in `names`, which stand between them."""

    texts: tuple[str, ...]
    names: tuple[str, ...] = ()

    def question(self, numbers: Sequence[int], images: int, *, by_name: bool = False) -> str:
        """Write the question without the names.

        As in Ollama, drops a name before or after the sentence. Replaces one inside it by a word, because the sentence would lose its
        meaning. Does the same with a name that ends a sentence such as "Describe photo.jpg".

        Args:
            numbers: for each name, the number that the gateway gives to its image.
            images: how many images there are.
            by_name: whether the words are the names of the files, because nobody knows yet how many images they become.
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
        if by_name:
            words = [file_of(name).replace("\\", "/").rpartition("/")[2] for name in self.names]
        return "".join(piece for pair in zip(self.texts, [*words, ""], strict=True) for piece in pair).strip()


def find_images(text: str) -> SplitQuestion:
    """Find the image files that `text` names, and the addresses of images. The path of a missing image ends the command."""
    addresses = [found.span() for found in _ADDRESS.finditer(text)]
    suffixes = [found.end() for found in _NAMED.finditer(text)]
    texts, names, done, at = [], [], 0, 0
    while beginning := _BEGINNING.search(text, at):
        start = beginning.start()
        at = start + 1
        if span := next((span for span in addresses if span[0] <= start < span[1]), None):
            start, at = span
            name = _address_of_image(text[start:at]) if done <= start else ""
            found = (start + len(name), name) if name else None
        else:
            found = _file_at(text, start, suffixes)
        if found:
            end, name = found
            start, at = _with_brackets(text, start, end)
            if choice := CHOICE_IN_TEXT.match(text, at):
                name, at = name + choice[0], choice.end()
            texts.append(text[done:start])
            names.append(name)
            done = at
    texts.append(text[done:])
    for rest in texts:
        _refuse_missing(rest)
    return SplitQuestion(tuple(texts), tuple(names))


def is_address(name: str) -> bool:
    """Return whether it is a web address, which can't be a file."""
    return _ADDRESS.match(name) is not None


def is_same(name: str) -> str | Path:
    """Return what is equal for names of the same image."""
    return name if is_address(name) else local_path(name).resolve()


def is_document(name: str) -> bool:
    """Return whether the name is that of a file with pages or frames that become images each."""
    return bool(choice_of(name)) or file_of(name).lower().endswith(_DOCUMENTS)


def is_known(data: bytes) -> bool:
    """Return whether a file is an image, a document or a video by its content."""
    from llava_gateway.images.pages import kind_of  # only here: the help is shown without it

    return kind_of(data) is not None


def local_path(name: str) -> Path:
    """Return the path for a name: understands ~, file:// addresses and, if there is no such file, a shell's backslashes."""
    if name.lower().startswith("file:/"):
        from urllib.request import url2pathname

        here = re.sub(r"^file:(//(localhost)?(?=/))?", "", name, flags=re.IGNORECASE)
        return Path(name if here.startswith("//") else url2pathname(here))
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # ~ of an unknown user
        return Path(name)
    if "\\" in name and not path.is_file():
        unescaped = Path(re.sub(r"\\(.)", r"\1", name)).expanduser()
        return unescaped if unescaped.is_file() else path
    return path


def _address_of_image(address: str) -> str:
    """Return the address without what follows it in a sentence; "" if it does not look like that of an image."""
    found = _IN_AN_ADDRESS.match(address)
    name = found[0].rstrip(_PUNCTUATION + "'") if found else ""
    return name if _NAMED.search(name) else ""


def _file_at(text: str, start: int, suffixes: Sequence[int]) -> tuple[int, str] | None:
    """Find an image's name that begins here. Returns (its end, the file); None if none begins here. The longest name wins."""
    for end, name in _candidates(text, start, suffixes):
        certain = end > start + len(name) or _ANCHORED.match(name) is not None
        try:
            path = local_path(name)
            if path.is_file() and (_NAMED.search(path.name) or (certain and is_known(_head(path)))):
                return end, str(path)
        except (OSError, ValueError, RuntimeError):  # too long for a name, or not readable
            continue
    return None


def _candidates(text: str, start: int, suffixes: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield (end, name) for all names that may begin here, the longest first; `suffixes` tells where image names end."""
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


def mentions_image(question: str) -> bool:
    """Return whether a question in English or Chinese assumes that there is an image."""
    return _OF_IMAGE.search(question) is not None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _with_brackets(text: str, start: int, end: int) -> tuple[int, int]:
    """Extend the span of a name by brackets or quotes directly around it."""
    if start and end < len(text) and _BRACKETS.get(text[start - 1]) == text[end]:
        return start - 1, end + 1
    return start, end


def _refuse_missing(text: str) -> None:
    if missing := _missing(_ADDRESS.sub(" ", text)):
        wrong_use(f"There is no file {missing}.", f"Correct the path. {_AS_TEXT}")


def _missing(text: str) -> str | None:
    """Find what looks like an image's path: it has a folder and an image suffix. Returns None if there is none."""
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
