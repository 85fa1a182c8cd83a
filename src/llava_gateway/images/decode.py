"""Open an image file: check its header against the limits, read its metadata, and decode its pixels at reduced size where possible.

Runs only in worker processes, because these decoders read untrusted files.
"""

from __future__ import annotations

import struct
import warnings
from contextlib import suppress
from io import BytesIO
from typing import Any, TypeAlias

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from pillow_heif import register_heif_opener

from llava_gateway.errors import ImageError, ImageParseError, UnsupportedImageType
from llava_gateway.images import (
    colour,
    ground,
    icc,
    jpeg,
    odd_tiff,
    partial,
    png,
    psd,
    raw,
    resize,
    signalled,
    sniff,
    tiff,
    tiff_strips,
    webp,
)
from llava_gateway.images.flaws import ENOUGH, cut_off, damaged, incomplete
from llava_gateway.images.info import Limits
from llava_gateway.images.metadata import metadata
from llava_gateway.images.pages import FRAMED, may_have_pages
from llava_gateway.images.profile import Size
from llava_gateway.images.signalled import Signal
from llava_gateway.images.sniff import Format
from llava_gateway.images.unsupported import unsupported_file
from llava_gateway.notes import Note, Value, note

Box: TypeAlias = tuple[int, int, int, int]

# Imported one by one: otherwise `Image.open` loads all of Pillow's plugins. No other plugin is ever tried.
_PLUGINS = (
    *(AvifImagePlugin, BmpImagePlugin, GifImagePlugin, IcoImagePlugin, Jpeg2KImagePlugin, JpegImagePlugin, PngImagePlugin),
    *(PpmImagePlugin, PsdImagePlugin, TgaImagePlugin, TiffImagePlugin, WebPImagePlugin),
)
# A HEIC's thumbnail may show another picture, which only a full decode can tell. It also has less detail than our own shrinking keeps.
register_heif_opener(thumbnails=False, decode_threads=1)
Image.MAX_IMAGE_PIXELS = None  # our limits are stricter; Pillow only warns between 89 and 179 MP
ImageFile.LOAD_TRUNCATED_IMAGES = False

_SQUARE, _OBLONG = 1.01, 8.0
"""The ratio of two resolutions up to which pixels count as square, and up to which the ratio is believed."""
_ROW_BY_ROW = ("JPEG", "PNG", "GIF", "BMP", "TIFF")
"""Formats of which a part can be decoded."""


def check_size(size: Size, kind: Format, limits: Limits) -> None:
    """Check (width, height) in pixels against the limits. Raises ImageError `image_too_small` or `image_too_large`."""
    width, height = size
    of_kind = {"JPEG": "max_pixels_jpeg", "WEBP": "max_pixels_webp_gif", "GIF": "max_pixels_webp_gif"}.get(kind, "max_pixels")
    most = getattr(limits, of_kind)
    values: dict[str, Value] = {"width": width, "height": height}
    if min(size) < limits.min_side:
        raise ImageError("image_short_side", values={**values, "least": limits.min_side}, code="image_too_small")
    if max(size) > limits.max_side:
        reason, setting, values = "image_long_side", "max_side", {**values, "most": limits.max_side}
    elif width * height > most:
        reason, setting, values = "image_megapixels", of_kind, {**values, "most": most / 1e6, "format": kind}
    elif max(size) > limits.max_aspect * min(size):
        reason, setting, values = "image_aspect", "max_aspect", {**values, "most": limits.max_aspect}
    else:
        return
    raise ImageError(reason, values={**values, "setting": f"image_{setting}"}, code="image_too_large")


def check_buffer(size: Size, samples: int, limits: Limits) -> None:
    """Check a JPEG of which the decoder keeps `samples` values in memory, which it does for several scans, by progressive files for one.

    A JPEG in full colour of `max_pixels` pixels has three samples for each pixel, and needs 6 bytes for each. Raises ImageError
    `image_too_large`.
    """
    if samples <= 3 * limits.max_pixels:
        return
    most = int(3 * limits.max_pixels * size[0] * size[1] / samples / 1e6)
    values: dict[str, Value] = {"width": size[0], "height": size[1], "most": most, "setting": "image_max_pixels"}
    raise ImageError("image_megapixels_progressive", values=values, code="image_too_large")


class Source:
    """An opened image file whose header is within the limits.

    The constructor raises ImageError. `background` is the colour behind transparent parts, "#rrggbb"; None to choose it by contrast.

    Attributes:
        format: format of the file.
        kind: format in which its pixels are stored: that of the preview in a camera raw file, and PNG for a drawing.
        size: (width, height) in pixels of the image that `pixels` returns at full size; rotate it by `orientation` to make it upright.
        orientation: EXIF orientation, 1 to 8, still to be applied; 1 where the decoder applies it.
        original_size: (width, height) in pixels as stored in the file.
        icc: ICC profile, its own or one that says what the file signals; None if there is none.
        hdr: how an HDR image signals its light; None for all others.
        facts: changes known from the header alone.
        lossless: whether the file stores exact pixels.
        ground: the colour behind the transparent parts of what `pixels` returned; None if nothing is transparent.
        subsampled: whether its chroma has half the resolution in both directions (JPEG 4:2:0).

    Args:
        frame: index of the page or frame of the file, as the decoder counts them; None for a file that is one image.
    """

    def __init__(self, data: bytes, limits: Limits, frame: int | None = None, background: str | None = None) -> None:
        kind = sniff.sniff(data)
        if kind is None:
            raise unsupported_file(data)
        self.format: Format = kind
        preview: tuple[Note, ...] = ()
        turned = 1
        if kind == "RAW":
            data, turned, preview = _preview(data)
            kind = "JPEG"
        drawn_size: Size | None = None
        self._about_drawing: tuple[Note, ...] = ()
        if kind == "SVG":
            from llava_gateway.images import svg

            data, drawn_size, self._about_drawing = svg.drawn(data, limits)
            kind = "PNG"
        self.kind: Format = kind
        self._limits = limits
        self._frame = frame
        self._background = background
        self.ground: ground.RGB | None = None
        self._flaws: list[Note] = []
        self._tells_its_end = False
        self._missing: tuple[tuple[int, int, int, int], ...] = ()
        self._data = self._mended(data)
        if kind == "WEBP" and (canvas := sniff.webp_size(data)):
            check_size(canvas, kind, limits)
        im = self._open()
        check_size(im.size, kind, limits)
        if kind == "JPEG":
            check_buffer(im.size, jpeg.samples_kept(data), limits)
            self._data = self._checked_jpeg()
            im = self._open()
        self.size = im.size
        self.icc = found if isinstance(found := im.info.get("icc_profile"), bytes) and found else None
        self.hdr: Signal | None = None
        self._signals = False
        self._read_signal()
        self.lossless = _is_lossless(im, kind, data)
        self.subsampled = isinstance(im, JpegImagePlugin.JpegImageFile) and JpegImagePlugin.get_sampling(im) == 2
        self._bits = _bits(im, kind, data)
        self._covered = not isinstance(im, TiffImagePlugin.TiffImageFile) or _is_covered(im)
        if kind == "PNG":  # else `getexif` decodes the pixels to look for EXIF behind them, and `metadata` takes its errors for bad EXIF
            im = _shown_frame(self._loaded(im, 1))
        facts, said = metadata(im)
        self.orientation = said = said if said != 1 else turned
        if kind in ("HEIC", "TIFF"):
            # libheif applies the container's `irot` and `imir` (EXIF only copies them); Pillow rotates a TIFF when it loads it.
            self.orientation = 1
            if kind == "HEIC":
                box = b"irot" in data[:65536] or b"imir" in data[:65536]
                copy = im.info.get("original_orientation")
                said = copy if box and isinstance(copy, int) else 1
        self._part = _part_of_canvas(im)
        self._stretched = _in_square_pixels(im, said)
        if self._stretched:
            check_size(self._stretched, kind, limits)
        self.original_size = resize.rotated(im.size, said) if self.orientation == 1 else im.size
        if drawn_size:
            preview, self.original_size = (note("svg_drawn", width=im.width, height=im.height),), drawn_size
        first, self._many = _first_of_many(im, kind, data) if frame is None else (None, ())
        square = note("square_pixels", width=self._stretched[0], height=self._stretched[1]) if self._stretched else None
        self.facts = tuple(fact for fact in (*preview, resize.turn_note(said), square, first, *facts) if fact)
        self._full: tuple[Image.Image, tuple[Note, ...]] | None = None
        self._unloaded: Image.Image | None = im

    def _read_signal(self) -> None:
        """Set `icc` or `hdr` to what the file signals about its colours, unless its own ICC profile counts more."""
        found = signalled.read(self._data, self.kind)
        if found is None or (self.icc and not signalled.overrides_icc(self._data, self.kind, found)):
            return
        self.hdr = found if found.hdr else None
        self._signals = not found.is_srgb
        self.icc = None if found.hdr or found.is_srgb else icc.profile(found)

    @property
    def warnings(self) -> tuple[Note, ...]:
        """Warnings about the file for the user; those about missing pixels are known once `pixels` was called."""
        lacking = [flaw for flaw in self._flaws if flaw.code.startswith("image_incomplete")]
        return (*self._about_drawing, *self._many, *dict.fromkeys(lacking or self._flaws))

    @property
    def upright_size(self) -> Size:
        """(width, height) of the upright image in square pixels."""
        return self._stretched or resize.rotated(self.size, self.orientation)

    def pixels(self, at_least: Size) -> tuple[Image.Image, tuple[Note, ...]]:
        """Decode to 8 bits in the file's orientation. Returns (image, changes).

        A JPEG or WebP is decoded at reduced size if it stays large enough for `at_least`, (width, height) in pixels
        (`resize`). An image at full size is decoded once and kept for the next call. Raises ImageError, and any error of a decoder.
        """
        scale = self._scale(at_least)
        if self._full and (scale == 1 or self.kind == "WEBP"):
            return self._full
        im = self._decoded(scale)
        if self.kind == "WEBP" and im.size == self.size:
            scale = 1  # the file has no smaller form
        if im.mode == "I" and self.kind == "PPM":
            im = im.convert("I;16")  # Pillow has scaled it to 16 bits
        if im.mode == "RGBA" and self.kind == "PSD" and psd.fourth_is_selection(self._data):
            im = im.convert("RGB")
        if im.mode == "CMYK" and self.kind == "JPEG" and "adobe" not in im.info:
            # Pillow treats every CMYK JPEG as Adobe's, which are inverted. Files without Adobe's marker are not (ImageMagick agrees).
            im = colour.uninverted(im)
        white_is_zero = isinstance(im, TiffImagePlugin.TiffImageFile) and im.tag_v2.get(262) == 0
        bits = 16 if im.mode.startswith("I;16") and self.kind in ("PPM", "JPEG2000") else self._bits
        decoded, changes = colour.eight_bit(im, bits, white_is_zero=white_is_zero)
        if self._signals and decoded.mode in ("L", "LA"):
            decoded = decoded.convert("RGB" if decoded.mode == "L" else "RGBA")  # a signal always concerns colours
        if self._part:
            decoded = colour.clear_around(decoded, self._part)
        if chosen := ground.chosen(decoded, self._background):
            changes, self.ground = (*changes, chosen.fact), chosen.colour
        if self.ground is None and decoded.mode in ("LA", "RGBA"):
            decoded = decoded.convert(decoded.mode[:-1])
        decoded.info.clear()  # Pillow would write its profiles and comments to the new file
        if scale == 1:
            self._full = decoded, changes
        return decoded, changes

    def _scale(self, at_least: Size) -> int:
        """Return the factor by which to reduce the image during decoding."""
        match self.kind:
            case "JPEG":
                return resize.draft_scale(self.size, at_least)
            case "WEBP":
                return resize.averaged_scale(self.size, at_least)
        return 1

    def _decoded(self, scale: int) -> Image.Image:
        if self.kind == "WEBP" and not self._frame and (im := webp.decoded(self._data, self.size, scale)):
            return im
        im = self._unloaded or self._open()
        self._unloaded = None
        return self._loaded(im, scale)

    @property
    def frames(self) -> int:
        """The number of pages or frames. Counting them may mean to read the whole file."""
        return int(getattr(self._open(), "n_frames", 1))

    def opened(self) -> Image.Image:
        """Open the file once more, for readers of its directories."""
        return self._open()

    def _mended(self, data: bytes) -> bytes:
        """Return the file without the faults that concern no pixels. Raises ImageParseError for a file that lacks too much."""
        match self.kind:
            case "PNG":
                png_file = png.mended(data)
                if not png_file.sound:
                    raise damaged(data)
                if png_file.wrong:
                    self._flaws.append(note("checksum_wrong", chunks=", ".join(png_file.wrong)))
                if not png_file.ended:
                    self._flaws.append(note("end_missing"))
                return png_file.data
            case "WEBP" if (whole := sniff.webp_whole(data)) is not None:
                self._flaws.append(note("end_missing"))
                return whole
            case "BMP" if (part := sniff.present(data, "BMP")) and part < ENOUGH:
                raise damaged(data, cut=True)
            case "WEBP" | "AVIF" | "HEIC" if (sniff.present(data, self.kind) or 1) < 1:
                # Decoders return half an image, so compare the file's length with the length in its header.
                raise damaged(data, cut=True)
        return data

    def _checked_jpeg(self) -> bytes:
        """Return the file to decode. Raises ImageParseError."""
        checked = jpeg.strict(self._data)
        if checked.fault == "damaged":
            raise ImageParseError
        if checked.fault:
            raise cut_off(checked.share, about=True)
        if not checked.ended:
            self._flaws.append(note("end_missing"))
        if checked.share < 1:
            self._flaws.append(incomplete(checked.share, about=True))
        self._tells_its_end = checked.tells_its_end
        return checked.data

    def _loaded(self, im: Image.Image, scale: int) -> Image.Image:
        """Decode an opened file. If pixels are missing, decode those that are there, and note that. Raises ImageParseError for too few."""
        self._draft(im, scale)
        try:
            with warnings.catch_warnings(action="ignore"):
                im.load()
            if not self._is_short(im):
                return partial.whitened(im, self.size, self._missing)
        except Exception as error:  # damaged files make Pillow raise many types, which change with its version
            if self.kind not in _ROW_BY_ROW:
                raise
            if isinstance(error, MemoryError) or (self.kind == "JPEG" and not self._tells_its_end):
                raise
        if self.kind == "JPEG":
            return self._without_end(scale)
        whole, share, _ = partial.what_is_there(self._open)
        if self.kind == "TIFF" and share < 1 and not self._frame:
            other, more = tiff_strips.without_missing_strips(self._data, self.size, ENOUGH, self._opened)
            whole, share = (other or whole, more) if more > share else (whole, share)
        self._accept(share)
        return whole

    def _without_end(self, scale: int) -> Image.Image:
        """Decode a JPEG that ends early."""
        missing = jpeg.missing(self._data)
        self._accept(missing.share)
        self._data, self._missing, self._tells_its_end = missing.data, missing.boxes, False
        return self._loaded(self._open(), scale)

    def _accept(self, share: float) -> None:
        """Note how much of the image is there. Raises ImageParseError if it is too little."""
        if share < ENOUGH:
            raise cut_off(share)
        if share < 1:
            self._flaws.append(incomplete(share))

    def _draft(self, im: Image.Image, scale: int) -> Image.Image:
        if scale > 1:
            im.draft(None, (self.size[0] // scale, self.size[1] // scale))
        return im

    def _is_short(self, im: Image.Image) -> bool:
        """Return whether pixels are missing although the decoder did not say so."""
        if isinstance(im, TiffImagePlugin.TiffImageFile):
            return not self._covered
        return self.kind == "PNG" and _ends_blank(im) and png.is_short(self._data)

    def _open(self) -> Image.Image:
        return self._opened(self._data)

    def _opened(self, data: bytes) -> Image.Image:
        pillow_name = "HEIF" if self.kind == "HEIC" else self.kind
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mostly about metadata, and irrelevant to a client
            try:
                im = Image.open(BytesIO(data), formats=[pillow_name])
            except UnidentifiedImageError:
                if self.kind == "TIFF":
                    return self._odd_tiff()
                raise
            if self._frame:
                im.seek(self._frame)
            return im

    def _odd_tiff(self) -> Image.Image:
        """Open a TIFF that Pillow does not know. Raises ImageError: `unsupported_image_media_type` if nothing else is wrong with it."""
        if opened := odd_tiff.opened_as_gray(self._data):
            wide, channels = opened
            check_size((wide.width // channels, wide.height), self.kind, self._limits)
            return odd_tiff.channels_of(wide, channels)
        tags = next(tiff.directories(self._data), None)
        if tags and tiff.is_there(self._data, tags):
            raise UnsupportedImageType("image_kind", values={"format": "TIFF", "kind": tiff.kind_of(tags)})
        raise damaged(self._data)


def _shown_frame(im: Image.Image) -> Image.Image:
    """Return an animated PNG at the first frame that is shown; the file's first picture may be one for programs without animation."""
    if getattr(im, "default_image", False):
        with suppress(EOFError, OSError, SyntaxError, ValueError):
            im.seek(1)
            im.load()
    return im


def _part_of_canvas(im: Image.Image) -> Box | None:
    """Return the box that the first frame of a GIF covers; None if it covers the canvas. Pillow paints the rest in any colour."""
    extents = im.tile[0].extents if isinstance(im, GifImagePlugin.GifImageFile) and im.tile else None
    return extents if extents and extents != (0, 0, *im.size) else None


def _in_square_pixels(im: Image.Image, orientation: int) -> Size | None:
    """Return the upright size of a TIFF whose pixels are not square, as those of faxes; None for all other images.

    The side with the lower resolution is enlarged.
    """
    if not isinstance(im, TiffImagePlugin.TiffImageFile):
        return None
    try:
        across, down = float(im.tag_v2.get(282, 0)), float(im.tag_v2.get(283, 0))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (across > 0 and down > 0 and _SQUARE < max(across / down, down / across) <= _OBLONG):
        return None
    if resize.rotated((1, 2), orientation) != (1, 2):
        across, down = down, across
    width, height = im.size
    return (round(width * down / across), height) if across < down else (width, round(height * across / down))


def _preview(data: bytes) -> tuple[bytes, int, tuple[Note, ...]]:
    """Return the largest preview of a camera raw file, its orientation, and what to report. Raises ImageError."""
    found = raw.largest_preview(data)
    if found is None:
        raise UnsupportedImageType("raw_without_preview", values={"least": raw.LEAST_SIDE})
    width, height = resize.rotated(found.size, found.orientation)
    return data[found.begin :], found.orientation, (note("raw_preview", width=width, height=height),)


def _is_covered(im: TiffImagePlugin.TiffImageFile) -> bool:
    """Return whether strips or tiles cover every pixel of a TIFF.

    Pillow leaves missing pixels black. libtiff, which decodes compressed files, raises for them.
    """
    if any(tile.codec_name == "libtiff" for tile in im.tile):
        return True
    layers = len(im.getbands()) if im.tag_v2.get(284) == 2 else 1
    # A strip or tile at offset 0 was never written.
    there = [tile.extents for tile in im.tile if tile.extents and tile.offset]
    return sum((right - left) * (lower - upper) for left, upper, right, lower in there) >= im.width * im.height * layers


def _ends_blank(im: Image.Image) -> bool:
    """Return whether the last pixels of a PNG may be missing: Pillow leaves them 0. In an interlaced PNG they are the last odd row."""
    last = im.height - (1 + im.height % 2 if im.info.get("interlace") else 1)
    return not any(im.crop((0, last, im.width, last + 1)).tobytes())


def _is_lossless(im: Image.Image, kind: Format, data: bytes) -> bool:
    match kind:
        case "PNG" | "GIF" | "BMP" | "PSD" | "ICO" | "TGA" | "PPM":
            return True
        case "TIFF":
            return im.info.get("compression") not in ("jpeg", "tiff_jpeg", "webp")
        case "WEBP":
            return b"VP8L" in data[12:4096]
        case _:
            return False


def _bits(im: Image.Image, kind: Format, data: bytes) -> int:
    """Return the bits per channel."""
    bits: Any = 8
    if kind == "PNG":
        bits = data[24]
    elif isinstance(im, TiffImagePlugin.TiffImageFile):
        bits = im.tag_v2.get(258, 8)
        bits = bits[0] if isinstance(bits, tuple) and bits else bits
    elif kind == "TIFF" and (tags := next(tiff.directories(data), None)):
        bits = tags.get(tiff.BITS, (8,))[0]
    elif kind == "HEIC":
        bits = im.info.get("bit_depth", 8)
    return bits if isinstance(bits, int) else 8


def _first_of_many(im: Image.Image, kind: Format, data: bytes) -> tuple[Note | None, tuple[Note, ...]]:
    """Return (change, warnings) for a file with more than one frame.

    Reads only this frame's header or the next one's; counting all frames would be slow.
    """
    try:
        more = bool(getattr(im, "is_animated", False)) if kind in FRAMED else kind == "TIFF" and may_have_pages(data)
    except (OSError, SyntaxError, ValueError, struct.error, IndexError):
        more = False
    if not more:
        return None, ()
    code = {"TIFF": "first_page", "HEIC": "main_image"}.get(kind, "first_frame")
    return note(code), (note("first_frame_only"),)
