"""Recognise files that we don't read as images, so that the error can say what to send instead (pure)."""

from __future__ import annotations

import re

from llava_gateway.errors import UnsupportedImageType

_LOOKED_AT = 1024
"""Bytes to examine at the beginning."""
# A pattern for the beginning, the reason of the error, and the format's name where the sentence needs it.
_KINDS: tuple[tuple[str, str, str], ...] = (
    (r"\s*(?i:<!doctype html|<html|<head)", "file_web_page", ""),
    (r"....ftyp(?:isom|iso\d|mp4|avc1|M4V|qt  |3g)", "file_video", ""),
    (r"RIFF....AVI |\x1aE\xdf\xa3|FLV\x01|\0\0\x01\xba|0&\xb2u", "file_video", ""),
    (r"RIFF....WAVE|ID3|fLaC|OggS|\xff[\xfb\xf3\xf2]|....ftypM4A", "file_sound", ""),
    (r"\x1f\x8b\x08.{7}.{0,400}", "file_archive", "GZIP"),
    (r"PK\x03\x04", "file_zip", ""),
    (r"7z\xbc\xaf", "file_archive", "7z"),
    (r"Rar!\x1a\x07", "file_archive", "RAR"),
    (r"\xff\x0a|\0\0\0\x0cJXL ", "file_jpeg_xl", ""),
    (r"FOVb|\0MRM|II\x1a\0\0\0HEAPCCDR", "file_raw", ""),
    (r"qoif", "file_image", "QOI"),
    (r"8BPS\0\x02", "file_image", "PSB"),
    (r"\xff\xd8\xff\xf7", "file_image", "JPEG-LS"),
    (r"II\xbc", "file_image", "JPEG XR"),
    (r"DDS ", "file_image", "DDS"),
    (r"v/1\x01", "file_image", "OpenEXR"),
    (r"#\?(?:RADIANCE|RGBE)", "file_image", "Radiance HDR"),
    (r".{128}DICM", "file_image", "DICOM"),
    (r"SIMPLE  =", "file_image", "FITS"),
    (r"\x0a[\0\2\3\5]\x01[\1\2\4\x08]", "file_image", "PCX"),
    (r"icns", "file_image", "ICNS"),
    (r"\0\0\x02\0", "file_image", "CUR"),
    (r"gimp xcf", "file_image", "XCF"),
    (r"\x8aMNG", "file_image", "MNG"),
    (r"BPG\xfb", "file_image", "BPG"),
    (r"FLIF", "file_image", "FLIF"),
    (r"\x97JB2", "file_image", "JBIG2"),
    (r"\xabKTX", "file_image", "KTX"),
    (r"\xd7\xcd\xc6\x9a|\x01\0\x09\0", "file_image", "WMF"),
    (r"\x01\0\0\0.{36} EMF", "file_image", "EMF"),
    (r"\x01\xda[\0\1][\1\2]", "file_image", "SGI"),
    (r"P7\s", "file_image", "PAM"),
    (r"/\* XPM \*/", "file_image", "XPM"),
    (r"#define \w+_width", "file_image", "XBM"),
    (r"FORM....(?:ILBM|PBM )", "file_image", "ILBM"),
    (r"RIFF....CDR", "file_image", "CorelDRAW"),
    (r"%!PS|\xc5\xd0\xd3\xc6", "file_document", "PostScript"),
    (r"AT&TFORM", "file_document", "DjVu"),
    (r"\{\\rtf", "file_document", "RTF"),
    (r"\xd0\xcf\x11\xe0", "file_document", "Microsoft Office"),
    (
        r"(?:b['\"])?(?:data:image/|iVBORw0KGgo|/9j/|R0lGOD|UklGR)",
        "file_base64",
        "",
    ),
)


def unsupported_file(data: bytes) -> UnsupportedImageType:
    """Return the error for a file whose format is not on the list; its reason names the kind of file if the beginning shows it."""
    beginning = data[:_LOOKED_AT].decode("latin-1")
    for pattern, reason, name in _KINDS:
        if re.match(pattern, beginning, re.DOTALL):
            return UnsupportedImageType(reason, values={"name": name} if name else {})
    return UnsupportedImageType()
