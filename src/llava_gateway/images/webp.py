"""Decode a WebP at reduced size, which libwebp can and Pillow does not offer. Runs in a worker.

Calls the libwebp that Pillow itself is linked with. Pillow's own way takes twice the time: it decodes every file as an animation.
"""

from __future__ import annotations

import ctypes
import importlib
from functools import cache
from typing import Any

from PIL import Image

from llava_gateway.images.plan import Size

_ABI = 0x0209
_RGBA = 1
_LOSSY = 1
_LEAST_SIDE = 4


def decoded(data: bytes, size: Size, scale: int = 1) -> Image.Image | None:
    """Decode an opaque still WebP to RGB at 1/`scale` of its size.

    Returns None for a file of another kind, for a damaged one, and where libwebp can't be called: Pillow decodes these, or says what is
    wrong with them. At full size, the pixels are those of Pillow.

    Args:
        size: (width, height) in pixels that the file has.
        scale: only lossy files are reduced; libwebp averages their pixels.
    """
    lib = _library()
    config = _Config()
    if lib is None or not lib.WebPInitDecoderConfigInternal(ctypes.byref(config), _ABI):
        return None
    if lib.WebPGetFeaturesInternal(data, len(data), ctypes.byref(config.input), _ABI):
        return None
    file = config.input
    if (file.width, file.height) != size or file.has_alpha or file.has_animation or (scale > 1 and file.format != _LOSSY):
        return None
    width, height = (max(_LEAST_SIDE, side // scale) for side in size) if scale > 1 else size
    pixels = bytearray(width * height * 4)
    if scale > 1:
        config.options.use_scaling, config.options.scaled_width, config.options.scaled_height = 1, width, height
    config.output.colorspace, config.output.is_external_memory = _RGBA, 1
    config.output.buffer.rgba = _Rgba(ctypes.addressof(ctypes.c_char.from_buffer(pixels)), width * 4, len(pixels))
    if lib.WebPDecode(data, len(data), ctypes.byref(config)):
        return None
    return Image.frombuffer("RGBX", (width, height), pixels, "raw", "RGBX", 0, 1).convert("RGB")


class _Features(ctypes.Structure):
    """libwebp's WebPBitstreamFeatures."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("width", "height", "has_alpha", "has_animation", "format")),
        ("pad", ctypes.c_uint32 * 5),
    ]


class _Rgba(ctypes.Structure):
    """libwebp's WebPRGBABuffer."""

    _fields_ = [("pixels", ctypes.c_void_p), ("stride", ctypes.c_int), ("size", ctypes.c_size_t)]


class _Yuva(ctypes.Structure):
    """libwebp's WebPYUVABuffer, which we don't use; it has the size of the union."""

    _fields_ = [("planes", ctypes.c_void_p * 4), ("strides", ctypes.c_int * 4), ("sizes", ctypes.c_size_t * 4)]


class _Buffer(ctypes.Union):
    _fields_ = [("rgba", _Rgba), ("yuva", _Yuva)]


class _Output(ctypes.Structure):
    """libwebp's WebPDecBuffer."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("colorspace", "width", "height", "is_external_memory")),
        ("buffer", _Buffer),
        ("pad", ctypes.c_uint32 * 4),
        ("private", ctypes.c_void_p),
    ]


class _Options(ctypes.Structure):
    """libwebp's WebPDecoderOptions."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("bypass_filtering", "no_fancy_upsampling")),
        *((name, ctypes.c_int) for name in ("use_cropping", "crop_left", "crop_top", "crop_width", "crop_height")),
        *((name, ctypes.c_int) for name in ("use_scaling", "scaled_width", "scaled_height")),
        *((name, ctypes.c_int) for name in ("use_threads", "dithering_strength", "flip", "alpha_dithering_strength")),
        ("pad", ctypes.c_uint32 * 5),
    ]


class _Config(ctypes.Structure):
    """libwebp's WebPDecoderConfig."""

    _fields_ = [("input", _Features), ("output", _Output), ("options", _Options)]


@cache
def _library() -> Any:
    """Return libwebp, found through Pillow's module that uses it; None where it is built into that module."""
    try:
        lib = ctypes.CDLL(str(importlib.import_module("PIL._webp").__file__))
        lib.WebPGetFeaturesInternal.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int)
        lib.WebPDecode.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p)
        lib.WebPInitDecoderConfigInternal.argtypes = (ctypes.c_void_p, ctypes.c_int)
    except (ImportError, OSError, AttributeError):
        return None
    return lib
