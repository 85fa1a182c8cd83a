"""Draw SVG files with resvg. Runs only in worker processes.

A browser that shows an SVG as an image runs no scripts and fetches nothing. resvg has no scripts, but it opens files that a drawing names.
So it never sees the file: expat reads it, and what is written anew has only the references that stay within the drawing.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from io import BytesIO
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import resvg_py
from PIL import Image

from llava_gateway.errors import ImageError, ImageParseError
from llava_gateway.images.base64 import decode_base64
from llava_gateway.images.info import Limits
from llava_gateway.images.plan import Size
from llava_gateway.notes import Note, Value, note

LONG_SIDE = 2016
"""Pixels of the long side of a drawing, as of the page of a PDF. Larger drawings keep their size up to the pixels of such a square."""
MOST_CHARACTERS = 32 * 2**20
"""Most characters of the drawing, unpacked and with its entities in place."""
MOST_NESTED = 256
"""Most elements within each other: resvg calls itself for each."""
_UNSIZED = (300.0, 150.0)
"""(width, height) in pixels that a browser gives to a drawing without a size."""
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_LENGTH = re.compile(rf"\s*({_NUMBER})\s*(px|pt|pc|mm|cm|in|em|rem|ex|q)?\s*", re.IGNORECASE)
_PIXELS = {"": 1, "px": 1, "pt": 4 / 3, "pc": 16, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96, "em": 16, "rem": 16, "ex": 8, "q": 96 / 101.6}
_STYLED = re.compile(r"(?:^|;)\s*(width|height)\s*:\s*([^;!]+)", re.IGNORECASE)
_EMBEDDED = re.compile(r"\s*data:image/(png|jpe?g|gif|webp)\s*(?:;[^,]*)?;base64\s*,", re.IGNORECASE)
_LEFT_OUT = {"script", "foreignObject"}
_TEXT = {"text", "tspan", "textPath", "tref"}
_MOST_PROBED = 64
"""Characters of which it is looked up whether a font has them."""
_CELL = 24
_NO_CHARACTER = "\U0010fffe"
_NAMESPACES = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink"}


def drawn(data: bytes, limits: Limits) -> tuple[bytes, Size, tuple[Note, ...]]:
    """Draw an SVG. Returns (PNG with transparency, (width, height) that a browser would give it, warnings). Raises ImageError."""
    drawing = _Drawing(limits)
    drawing.read(unpacked(data))
    width, height = drawing.size
    size = _in_pixels(drawing.size)
    if max(drawing.size) > limits.max_aspect * min(drawing.size):
        values: dict[str, Value] = {
            "width": round(width),
            "height": round(height),
            "most": limits.max_aspect,
            "setting": "image_max_aspect",
        }
        raise ImageError("image_aspect", values=values, code="image_too_large")
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=drawing.written(size)))
    except ValueError as error:
        raise ImageParseError from error
    warnings = []
    if drawing.references:
        warnings.append(note("svg_references_left_out", count=drawing.references))
    if drawing.has_html:
        warnings.append(note("svg_html_left_out"))
    if missing := _without_glyphs("".join(drawing.texts)):
        warnings.append(note("svg_fonts_missing", characters=missing))
    return png, (max(1, round(width)), max(1, round(height))), tuple(warnings)


def unpacked(data: bytes) -> bytes:
    """Return the file, unpacked if it is an .svgz. Raises ImageError."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    packed = zlib.decompressobj(31)
    try:
        whole = packed.decompress(data, MOST_CHARACTERS + 1)
    except zlib.error as error:
        raise ImageParseError from error
    if len(whole) > MOST_CHARACTERS:
        raise _too_long()
    return whole


class _Drawing:
    """A drawing as expat reads it.

    Attributes:
        references: number of files and addresses that were left out.
        has_html: whether parts in HTML were left out.
        texts: the characters of its texts.
    """

    def __init__(self, limits: Limits) -> None:
        self.references = 0
        self.has_html = False
        self.texts: list[str] = []
        self._limits = limits
        self._pieces: list[str] = []
        self._characters = 0
        self._root: tuple[str, dict[str, str]] | None = None
        self._open: list[str] = []
        self._hidden = 0

    def read(self, data: bytes) -> None:
        """Read the file. Raises ImageError."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise ImageParseError from error

    @property
    def size(self) -> tuple[float, float]:
        """(width, height) in pixels as a browser finds it. Raises ImageError."""
        if self._root is None or _local(self._root[0]) != "svg":
            raise ImageParseError
        attributes = self._root[1]
        said = {**attributes, **{name.lower(): value for name, value in _STYLED.findall(attributes.get("style", ""))}}
        width, height = (_pixels(said.get(name, "")) for name in ("width", "height"))
        box = _box(attributes)
        if width is not None and height is not None:
            return width, height
        if box is None:
            return width or _UNSIZED[0], height or _UNSIZED[1]
        if width is not None:
            return width, width * box[1] / box[0]
        return (height * box[0] / box[1], height) if height is not None else box

    def written(self, size: Size) -> str:
        """Return the drawing at a size in pixels."""
        width, height = self.size
        name, attributes = self._root or ("svg", {})
        # A style of its own would count more than the attributes in some programs, and less in others.
        style = _STYLED.sub("", attributes.get("style", ""))
        sized = {**_NAMESPACES, **attributes, "style": style, "width": str(size[0]), "height": str(size[1])}
        if _box(attributes) is None:
            sized |= {"viewBox": f"0 0 {width:.6g} {height:.6g}", "preserveAspectRatio": "none"}
        return _tag(name, sized) + "".join(self._pieces)

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        local = _local(name)
        self._open.append(local)
        if len(self._open) > MOST_NESTED:
            raise ImageError("svg_nested", values={"most": MOST_NESTED}, code="image_too_large")
        if self._hidden or local in _LEFT_OUT:
            self._hidden += 1
            self.has_html = self.has_html or local == "foreignObject"
            return
        kept = {key: value for key, value in attributes.items() if self._stays(local, key, value)}
        if self._root is None:
            self._root = name, kept
        else:
            self._add(_tag(name, kept))

    def _end(self, name: str) -> None:
        self._open.pop()
        if self._hidden:
            self._hidden -= 1
        else:
            self._add(f"</{name}>")

    def _text(self, text: str) -> None:
        if self._hidden:
            return
        self._add(escape(text))
        if self._open[-1] in _TEXT:
            self.texts.append(text)

    def _add(self, piece: str) -> None:
        self._characters += len(piece)
        if self._characters > MOST_CHARACTERS:
            raise _too_long()
        self._pieces.append(piece)

    def _stays(self, element: str, attribute: str, value: str) -> bool:
        """Return whether an attribute stays. Of references, those within the drawing do, and images that the drawing holds."""
        if _local(attribute) != "href" or value.lstrip().startswith("#") or element == "a":
            return True
        if self._is_picture(value):
            return True
        self.references += bool(value.strip()) and element in ("image", "feImage", "use")
        return False

    def _is_picture(self, value: str) -> bool:
        """Return whether a reference holds an image that is not larger than an image file may be."""
        head = _EMBEDDED.match(value)
        if head is None:
            return False
        kind = head[1].upper().replace("JPG", "JPEG")
        try:
            with Image.open(BytesIO(decode_base64(value[head.end() :])), formats=[kind]) as image:
                return image.width * image.height <= min(self._limits.max_pixels, self._limits.max_pixels_webp_gif)
        except Exception:  # damaged files make Pillow raise many types; resvg would leave them out too
            return False


def _tag(name: str, attributes: dict[str, str]) -> str:
    return f"<{name}{''.join(f' {key}={quoteattr(value)}' for key, value in attributes.items())}>"


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _pixels(length: str) -> float | None:
    """Read a length in pixels; None for a share of something that an image does not have, and for no length."""
    found = _LENGTH.fullmatch(length)
    pixels = float(found[1]) * _PIXELS[(found[2] or "").lower()] if found else 0
    return pixels if 0 < pixels < 1e12 else None


def _box(attributes: dict[str, str]) -> tuple[float, float] | None:
    """Return (width, height) of the view box; None if there is none."""
    numbers = re.findall(_NUMBER, attributes.get("viewBox", ""))
    if len(numbers) != 4:
        return None
    width, height = float(numbers[2]), float(numbers[3])
    return (width, height) if 0 < width < 1e12 and 0 < height < 1e12 else None


def _in_pixels(size: tuple[float, float]) -> Size:
    """Return the size at which a drawing is drawn."""
    width, height = size
    scale = max(LONG_SIDE / max(size), min(1.0, LONG_SIDE / (width * height) ** 0.5))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _too_long() -> ImageError:
    return ImageError("svg_too_long", values={"most": MOST_CHARACTERS // 2**20}, code="image_too_large")


def _without_glyphs(text: str) -> str:
    """Return the characters, of the first different ones, that no font here has.

    Each is drawn in a cell of its own, and looks like no character at all: nothing, or the same box.
    """
    seen = [c for c in dict.fromkeys(text) if unicodedata.category(c)[0] in "LNPS"][:_MOST_PROBED]
    if not seen:
        return ""
    cells = [*seen, _NO_CHARACTER]
    places = "".join(f'<text x="{4 + _CELL * place}" y="18">{escape(c)}</text>' for place, c in enumerate(cells))
    width = _CELL * len(cells)
    svg = f'<svg xmlns="{_NAMESPACES["xmlns"]}" width="{width}" height="{_CELL}" font-size="16">{places}</svg>'
    with Image.open(BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))), formats=["PNG"]) as image:
        ink = image.getchannel("A")
        looks = [ink.crop((_CELL * place, 0, _CELL * (place + 1), _CELL)).tobytes() for place in range(len(cells))]
    return "".join(c for c, look in zip(seen, looks, strict=False) if look == looks[-1] or not any(look))
