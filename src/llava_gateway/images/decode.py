"""Opening an image file: limits from its header, what it says of itself, and its pixels, reduced while decoding where that can be.

Runs in worker processes only: these decoders read what strangers send.
"""

from __future__ import annotations

import re
import struct
import warnings
from contextlib import suppress
from io import BytesIO
from typing import Any

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from pillow_heif import register_heif_opener

from llava_gateway.errors import ImageError, ImageParseError
from llava_gateway.images import colour, jpeg, resize, sniff
from llava_gateway.images.info import Limits
from llava_gateway.images.profile import Size
from llava_gateway.images.sniff import Format
from llava_gateway.images.unread import unread
from llava_gateway.notes import Note, Value, note

# Imported one by one: `Image.open` would otherwise load every plugin Pillow has, and none but these is ever tried.
_PLUGINS = (AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)
register_heif_opener(thumbnails=False, decode_threads=1)
Image.MAX_IMAGE_PIXELS = None  # ours are stricter, and Pillow only warns between 89 and 179 MP
ImageFile.LOAD_TRUNCATED_IMAGES = False

_ORIENTATION = 0x0112
_GPS = 0x8825
# Tags that tell of people, places, times and machines: ImageDescription, Make, Model, Software, DateTime, Artist, XMP, Copyright, IPTC,
# Exif, GPS. (A TIFF is made of tags, most of which only say how the pixels lie.)
_TELLING = {270, 271, 272, 305, 306, 315, 700, 33432, 33723, 0x8769, _GPS}
_TELLING_INFO = {"xmp", "XML:com.adobe.xmp", "comment", "photoshop"}
_GPS_IN_XMP = re.compile(rb"GPSL(?:ati|ongi)tude")


def check_size(size: Size, kind: Format, limits: Limits) -> None:
    """Raises ImageError `image_too_small` or `image_too_large`."""
    width, height = size
    most = limits.max_pixels_webp_gif if kind in ("WEBP", "GIF") else limits.max_pixels
    values: dict[str, Value] = {"width": width, "height": height}
    if min(size) < limits.min_side:
        raise ImageError("image_short_side", values={**values, "least": limits.min_side}, code="image_too_small")
    if max(size) > limits.max_side:
        reason, values = "image_long_side", {**values, "most": limits.max_side}
    elif width * height > most:
        reason, values = "image_megapixels", {**values, "most": most / 1e6, "format": kind}
    elif max(size) > limits.max_aspect * min(size):
        reason, values = "image_aspect", {**values, "most": limits.max_aspect}
    else:
        return
    raise ImageError(reason, values=values, code="image_too_large")


class Source:
    """An image file, its header read and found within the limits.

    Attributes:
        size: pixels as `pixels` gives them; rotating them by `orientation` makes them upright.
        original_size: pixels as they lie in the file.
        facts: changes known from the header alone.
        warnings: what a person should know of the file.
        lossless: whether the file keeps exact pixels.
        subsampled: whether its chroma has half the resolution each way (JPEG 4:2:0).
    """

    def __init__(self, data: bytes, limits: Limits) -> None:
        kind = sniff.sniff(data)
        if kind is None:
            raise unread(data)
        self.kind: Format = kind
        self._data = data
        # Decoders fill what is missing with grey, or hand out half of it; a file that says how long it is is taken at its word.
        if kind in ("WEBP", "AVIF", "HEIC") and (sniff.present(data, kind) or 1) < 1:
            raise damaged(data, cut=True)
        if kind == "WEBP" and (canvas := sniff.webp_size(data)):
            check_size(canvas, kind, limits)
        im = self._open()
        check_size(im.size, kind, limits)
        if kind == "PNG" and (fault := sniff.png_fault(data)):
            raise damaged(data, cut=fault == "cut")
        if kind == "JPEG":
            self._data, fault = jpeg.strict(data)
            if fault:
                raise damaged(data, cut=fault == "cut")
            im = self._open()
        if isinstance(im, TiffImagePlugin.TiffImageFile) and not _is_covered(im):
            raise damaged(data, cut=True)
        self.size = im.size
        self.icc = icc if isinstance(icc := im.info.get("icc_profile"), bytes) and icc else None
        self.lossless = _is_lossless(im, kind, data)
        self.subsampled = isinstance(im, JpegImagePlugin.JpegImageFile) and JpegImagePlugin.get_sampling(im) == 2
        self._bits = _bits(im, kind, data)
        if kind == "PNG":  # Pillow would do it in the search for EXIF behind the pixels, where what it raises passes for damage to that
            with warnings.catch_warnings(action="ignore"), suppress(ValueError, SyntaxError, TypeError, IndexError, struct.error):
                im.load()  # all but OSError is about texts behind the pixels
        facts, said = _metadata(im)
        self.orientation = said
        if kind in ("HEIC", "TIFF"):
            # libheif rotates by `irot` and `imir` of the container (Exif is but a copy of them); Pillow rotates a TIFF when it loads it.
            self.orientation = 1
            if kind == "HEIC":
                box = b"irot" in data[:65536] or b"imir" in data[:65536]
                copy = im.info.get("original_orientation")
                said = copy if box and isinstance(copy, int) else 1
        self.original_size = resize.rotated(im.size, said) if self.orientation == 1 else im.size
        first, self.warnings = _first_of_many(im, kind)
        self.facts = tuple(fact for fact in (resize.turn_note(said), first, *facts) if fact)
        self._full: tuple[Image.Image, tuple[Note, ...]] | None = None
        self._unloaded: Image.Image | None = im

    @property
    def upright_size(self) -> Size:
        return resize.rotated(self.size, self.orientation)

    def pixels(self, at_least: Size) -> tuple[Image.Image, tuple[Note, ...]]:
        """Decoded to 8 bits in the orientation of the file, not (much) smaller than twice `at_least`, and what was done.

        Only a JPEG can be reduced while it is decoded; everything else is decoded once and kept for the next call.
        """
        scale = resize.draft_scale(self.size, at_least) if self.kind == "JPEG" else 1
        if scale == 1 and self._full:
            return self._full
        im = self._unloaded or self._open()
        self._unloaded = None
        if scale > 1:
            im.draft(None, (self.size[0] // scale, self.size[1] // scale))
        im.load()
        if self.kind == "PNG" and _ends_blank(im) and sniff.png_is_short(self._data):
            raise damaged(self._data, cut=True)
        if im.mode == "CMYK" and self.kind == "JPEG" and "adobe" not in im.info:
            # Pillow takes every CMYK JPEG as Adobe's, which are inverted; without Adobe's marker they are not (as ImageMagick reads them).
            im = colour.uninverted(im)
        white_is_zero = isinstance(im, TiffImagePlugin.TiffImageFile) and im.tag_v2.get(262) == 0
        decoded, changes = colour.eight_bit(im, self._bits, white_is_zero=white_is_zero)
        if colour.is_see_through(decoded):
            changes = (*changes, note("white_ground"))
        elif decoded.mode in ("LA", "RGBA"):
            decoded = decoded.convert(decoded.mode[:-1])
        decoded.info.clear()  # Pillow would write profiles and comments again
        if scale == 1:
            self._full = decoded, changes
        return decoded, changes

    def _open(self) -> Image.Image:
        pillow_name = "HEIF" if self.kind == "HEIC" else self.kind
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata mostly; none of it concerns a client
            return Image.open(BytesIO(self._data), formats=[pillow_name])


def damaged(data: bytes, *, cut: bool = False) -> ImageParseError:
    """What to say of a file that a decoder gave up on. How much is there is only told where the file itself says how long it should be."""
    kind = sniff.sniff(data)
    part = sniff.present(data, kind) if kind else None
    # Below one percent it is the length that is damaged.
    if part is not None and 0.01 <= part < 1:
        return ImageParseError("image_cut_off_at", values={"percent": int(part * 100)})
    return ImageParseError("image_cut_off") if cut else ImageParseError()


def _is_covered(im: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether every pixel of a TIFF is in one of its strips or tiles: Pillow leaves others black. (libtiff, which unpacks them, raises.)"""
    if any(tile.codec_name == "libtiff" for tile in im.tile):
        return True
    layers = len(im.getbands()) if im.tag_v2.get(284) == 2 else 1
    # One at 0 was never written.
    there = [tile.extents for tile in im.tile if tile.extents and tile.offset]
    return sum((right - left) * (lower - upper) for left, upper, right, lower in there) >= im.width * im.height * layers


def _ends_blank(im: Image.Image) -> bool:
    """Whether the pixels that come last in a PNG may be missing: Pillow leaves them 0. In an interlaced one they are the last odd row."""
    last = im.height - (1 + im.height % 2 if im.info.get("interlace") else 1)
    return not any(im.crop((0, last, im.width, last + 1)).tobytes())


def _is_lossless(im: Image.Image, kind: Format, data: bytes) -> bool:
    match kind:
        case "PNG" | "GIF" | "BMP":
            return True
        case "TIFF":
            return im.info.get("compression") not in ("jpeg", "tiff_jpeg", "webp")
        case "WEBP":
            return b"VP8L" in data[12:4096]
        case _:
            return False


def _bits(im: Image.Image, kind: Format, data: bytes) -> int:
    """Bits per channel."""
    bits: Any = 8
    if kind == "PNG":
        bits = data[24]
    elif isinstance(im, TiffImagePlugin.TiffImageFile):
        bits = im.tag_v2.get(258, 8)
        bits = bits[0] if isinstance(bits, tuple) and bits else bits
    elif kind == "HEIC":
        bits = im.info.get("bit_depth", 8)
    return bits if isinstance(bits, int) else 8


def _metadata(im: Image.Image) -> tuple[tuple[Note, ...], int]:
    """What is left behind, and the EXIF orientation (1 where there is none that means anything)."""
    facts = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif = im.getexif()
            orientation = exif.get(_ORIENTATION, 1)
            telling = set(exif) & _TELLING
            gps = bool(exif.get_ifd(_GPS)) if _GPS in telling else False
    except Exception:  # whatever a damaged EXIF block makes Pillow raise (TypeError, struct.error, ...), the pixels may be fine
        exif, orientation, telling, gps = None, 1, set(), False
        facts.append(note("exif_unreadable"))
    xmp = im.info.get("xmp") or im.info.get("XML:com.adobe.xmp") or b""
    if gps or _GPS_IN_XMP.search(xmp.encode() if isinstance(xmp, str) else bytes(xmp)):
        facts.append(note("gps_removed"))
    if telling - {_GPS} or any(key in _TELLING_INFO or (isinstance(value, str) and im.format == "PNG") for key, value in im.info.items()):
        facts.append(note("metadata_removed"))
    return tuple(facts), orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _first_of_many(im: Image.Image, kind: Format) -> tuple[Note | None, tuple[Note, ...]]:
    """Whether there is more than the first frame. Asked of the header or of the next frame's, never by counting frames."""
    if kind == "JPEG":
        return None, ()  # what follows in a phone's MPO are previews and gain maps
    try:
        more = bool(getattr(im, "is_animated", False))
    except (OSError, SyntaxError, ValueError, struct.error, IndexError):
        more = False
    if not more:
        return None, ()
    code = {"TIFF": "first_page", "HEIC": "main_image"}.get(kind, "first_frame")
    return note(code), (note("first_frame_only"),)
