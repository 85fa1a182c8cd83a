"""Colour: whatever mode and profile the pixels came in becomes 8-bit sRGB on white."""

from __future__ import annotations

from functools import cache
from io import BytesIO

from PIL import Image, ImageChops, ImageCms

from llava_gateway.notes import Note, note

# A profile that moves none of these by more than two steps is sRGB under another name (or a nearly equal one); converting would only round.
_PROBE = bytes(v for r in (0, 128, 255) for g in (0, 128, 255) for b in (0, 128, 255) for v in (r, g, b))


def eight_bit(im: Image.Image, bits: int = 8, *, white_is_zero: bool = False) -> tuple[Image.Image, tuple[Note, ...]]:
    """A decoded image in one of the modes that can be resampled: L, LA, RGB, RGBA or CMYK, and what that took.

    Args:
        bits: bits per channel in the file; Pillow itself cuts 16-bit RGB to the high byte, which is right to one step.
        white_is_zero: TIFF's photometric interpretation 0, which Pillow does not undo in 16-bit.
    """
    match im.mode:
        case "I;16" | "I;16L" | "I;16B" | "I;16N":
            return _from_16_bit(im, bits, white_is_zero), (note("eight_bit", bits=bits),)
        case "I" | "F":
            return _stretched(im), (note("eight_bit_stretched", bits=bits),)
    changes = (note("eight_bit", bits=bits),) if bits > 8 else ()
    match im.mode:
        case "1":
            return im.convert("L"), changes
        case "P":
            return im.convert("RGBA" if im.has_transparency_data else "RGB"), changes
        case "L" | "RGB" if im.has_transparency_data:
            return im.convert("LA" if im.mode == "L" else "RGBA"), changes
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
    """Scaled by a table, for Pillow's own `convert` clips: it turns everything above 255 white."""
    top = (1 << bits) - 1
    scale = [min(255, (value * 255 + top // 2) // top) for value in range(65536)]
    wide = im.convert("I")
    gray = wide.point(scale[::-1] if white_is_zero and bits == 16 else scale, "L")
    clear = im.info.get("transparency")
    if isinstance(clear, int) and 0 <= clear < 65536:
        gray.putalpha(wide.point([255] * clear + [0] + [255] * (65535 - clear), "L"))
    return gray


def _stretched(im: Image.Image) -> Image.Image:
    """32-bit and float images say nothing of their range, so the darkest becomes black and the lightest white."""
    wide = im.convert("F")
    low, high = wide.getextrema()
    if not isinstance(low, float) or not isinstance(high, float) or not -3e38 < low <= high < 3e38:
        raise ValueError("values that are not numbers")
    scale = 255 / (high - low) if high > low else 0.0
    return wide.point(lambda value: value * scale + -low * scale).convert("L")


def on_white(im: Image.Image) -> Image.Image:
    """Without its alpha channel, composited on white."""
    if im.mode not in ("LA", "RGBA"):
        return im
    ground = Image.new(im.mode[:-1], im.size, "white")
    ground.paste(im.convert(im.mode[:-1]), mask=im.getchannel("A"))
    return ground


def is_see_through(im: Image.Image) -> bool:
    return im.mode in ("LA", "RGBA") and im.getchannel("A").getextrema() != (255, 255)


def to_srgb(im: Image.Image, icc: bytes | None) -> tuple[Image.Image, tuple[Note, ...]]:
    """An opaque image (L, RGB, CMYK) as RGB in sRGB, through its profile if it has one, and what was done.

    A profile that littlecms can't use for these pixels is ignored and said so.
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
    """Without a profile CMYK is taken as ideal inks, (1 - C)(1 - K), as browsers do."""
    return im if im.mode == "RGB" else im.convert("RGB")


def _cmyk_change(im: Image.Image) -> tuple[Note, ...]:
    return (note("cmyk_to_srgb"),) if im.mode == "CMYK" else ()


def uninverted(im: Image.Image) -> Image.Image:
    """CMYK with ink and no ink swapped."""
    return ImageChops.invert(im)


def _transform(icc: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The profile's name, and what turns `mode` into sRGB; None where nothing needs turning. Raises PyCMSError."""
    profile = ImageCms.ImageCmsProfile(BytesIO(icc))
    transform = ImageCms.buildTransform(
        profile, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    )
    if mode == "RGB":
        probe = Image.frombytes("RGB", (27, 1), _PROBE)
        moved = ImageChops.difference(probe, _applied(transform, probe)).getextrema()
        if all(isinstance(band, tuple) and band[1] <= 2 for band in moved):
            return "sRGB", None
    name = "".join(c for c in ImageCms.getProfileDescription(profile) if c.isprintable()).strip()[:60]
    return name or "without a name", transform


def _applied(transform: ImageCms.ImageCmsTransform, im: Image.Image) -> Image.Image:
    out = ImageCms.applyTransform(im, transform)
    if out is None:
        raise ImageCms.PyCMSError("nothing came of the transform")
    out.info.clear()  # Pillow notes the source's profile there, and would write it
    return out


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
