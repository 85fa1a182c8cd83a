"""Convert pixels of any mode and colour profile to 8-bit sRGB."""

from __future__ import annotations

from functools import cache
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

from llava_gateway.notes import Note, note

# A profile that moves none of these colours by more than two steps is sRGB or nearly sRGB; a conversion would only add rounding errors.
# The dark level tells it from a plain gamma of 2.2.
_LEVELS = (0, 24, 128, 255)
_PROBE = bytes(v for r in _LEVELS for g in _LEVELS for b in _LEVELS for v in (r, g, b))


def eight_bit(im: Image.Image, bits: int = 8, *, white_is_zero: bool = False) -> tuple[Image.Image, tuple[Note, ...]]:
    """Convert a decoded image to a mode that can be resampled: L, LA, RGB, RGBA or CMYK. Returns (image, changes).

    Args:
        bits: bits per channel in the file. Pillow itself cuts 16-bit RGB to the high byte, which is correct to one step.
        white_is_zero: TIFF's photometric interpretation 0, which Pillow does not undo for 16-bit images.
    """
    match im.mode:
        case "I;16" | "I;16L" | "I;16B" | "I;16N":
            return _from_16_bit(im, bits, white_is_zero), (note("eight_bit", bits=bits),)
        case "I" | "F":
            return _stretched(im), (note("eight_bit_stretched", bits=bits),)
    changes = (note("eight_bit", bits=bits),) if bits > 8 else ()
    match im.mode:
        case "1" if not im.has_transparency_data:
            return im.convert("L"), changes
        case "P":
            return im.convert("RGBA" if im.has_transparency_data else "RGB"), changes
        case "1" | "L" | "RGB" if im.has_transparency_data:
            _scale_clear(im, bits)
            return im.convert("RGBA" if im.mode == "RGB" else "LA"), changes
        case "L" | "LA" | "RGB" | "RGBA" | "CMYK":
            return im, changes
        case "La" | "RGBa":
            return im.convert(im.mode.upper()), changes
        case "PA":
            return im.convert("RGBA"), changes
        case "LAB":
            lab = ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
            return _applied(lab, im), (*changes, note("lab_to_srgb"))
    return im.convert("RGB"), changes


def _from_16_bit(im: Image.Image, bits: int, white_is_zero: bool) -> Image.Image:
    """Scale 16-bit gray to 8 bits with a lookup table; Pillow's own `convert` would clip all values above 255 to white."""
    top = (1 << bits) - 1
    scale = [min(255, (value * 255 + top // 2) // top) for value in range(65536)]
    wide = im.convert("I")
    gray = wide.point(scale[::-1] if white_is_zero and bits == 16 else scale, "L")
    clear = im.info.get("transparency")
    if isinstance(clear, int) and 0 <= clear < 65536:
        gray.putalpha(wide.point([255] * clear + [0] + [255] * (65535 - clear), "L"))
    return gray


def _scale_clear(im: Image.Image, bits: int) -> None:
    """Scale the value that is transparent to 8 bits: Pillow scales the pixels of a PNG and leaves this value as it is in the file.

    Of 16-bit colours, whose low bytes Pillow drops, those with the same high bytes become transparent too.
    """
    clear = im.info.get("transparency")
    if isinstance(clear, tuple) and bits == 16:
        im.info["transparency"] = tuple(value >> 8 for value in clear)
    elif isinstance(clear, int) and im.mode == "L" and bits in (2, 4):
        im.info["transparency"] = clear * 255 // ((1 << bits) - 1)


def _stretched(im: Image.Image) -> Image.Image:
    """Stretch a 32-bit or float image, which states no range, so that its darkest pixel is black and its lightest white.

    Raises ValueError for infinite values or NaN.
    """
    wide = im.convert("F")
    low, high = wide.getextrema()
    if not isinstance(low, float) or not isinstance(high, float) or not -3e38 < low <= high < 3e38:
        raise ValueError("values that are not numbers")
    scale = 255 / (high - low) if high > low else 0.0
    return wide.point(lambda value: value * scale + -low * scale).convert("L")


def clear_around(im: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Make an image transparent outside a box."""
    im = im if im.mode in ("LA", "RGBA") else im.convert("LA" if im.mode == "L" else "RGBA")
    alpha = Image.new("L", im.size)
    alpha.paste(im.getchannel("A").crop(box), box)
    im.putalpha(alpha)
    return im


def to_srgb(im: Image.Image, icc: bytes | None) -> tuple[Image.Image, tuple[Note, ...]]:
    """Convert an opaque image (L, RGB, CMYK) to sRGB with its ICC profile, if it has one. Returns (RGB image, changes).

    Ignores a profile that littlecms can't use for these pixels, and reports that.
    """
    if icc:
        try:
            name, transform = _transform(icc, im.mode)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return _plain_rgb(im), (note("profile_broken"), *_cmyk_change(im))
        if transform is not None:
            return _applied(transform, im), (note("profile_to_srgb", profile=name),)
    return _plain_rgb(im), _cmyk_change(im)


def _plain_rgb(im: Image.Image) -> Image.Image:
    """Convert to RGB without a profile. CMYK counts as ideal inks, (1 - C)(1 - K), as in browsers."""
    return im if im.mode == "RGB" else im.convert("RGB")


def _cmyk_change(im: Image.Image) -> tuple[Note, ...]:
    return (note("cmyk_to_srgb"),) if im.mode == "CMYK" else ()


def uninverted(im: Image.Image) -> Image.Image:
    """Invert every channel of a CMYK image."""
    return ImageChops.invert(im)


def _transform(icc: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Return (profile name, transform from `mode` to sRGB); the transform is None if the profile is sRGB. Raises PyCMSError."""
    profile = ImageCms.ImageCmsProfile(BytesIO(icc))
    transform = ImageCms.buildTransform(
        profile, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    )
    if mode == "RGB":
        probe = Image.frombytes("RGB", (len(_PROBE) // 3, 1), _PROBE)
        moved = ImageChops.difference(probe, _applied(transform, probe)).getextrema()
        if all(isinstance(band, tuple) and band[1] <= 2 for band in moved):
            return "sRGB", None
    name = "".join(c for c in ImageCms.getProfileDescription(profile) if c.isprintable()).strip()[:60]
    return name or "without a name", transform


def _applied(transform: ImageCms.ImageCmsTransform, im: Image.Image) -> Image.Image:
    out = ImageCms.applyTransform(im, transform)
    if out is None:
        raise ImageCms.PyCMSError("nothing came of the transform")
    out.info.clear()  # Pillow keeps the source's profile there and would write it to the file
    return out


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
