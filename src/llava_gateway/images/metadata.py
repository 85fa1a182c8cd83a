"""Read what a file says beside its pixels: how it is rotated, and whether it tells about people and places. Runs in a worker."""

from __future__ import annotations

import re
import warnings

from PIL import Image

from llava_gateway.notes import Note, note

_ORIENTATION = 0x0112
_GPS = 0x8825
# Tags with personal data (people, places, times, devices): ImageDescription, Make, Model, Software, DateTime, Artist, XMP, Copyright,
# IPTC, Exif, GPS. (Most tags of a TIFF only describe its pixel layout.)
_TELLING = {270, 271, 272, 305, 306, 315, 700, 33432, 33723, 0x8769, _GPS}
_TELLING_INFO = {"xmp", "XML:com.adobe.xmp", "comment", "photoshop"}
_GPS_IN_XMP = re.compile(rb"GPSL(?:ati|ongi)tude")


def metadata(im: Image.Image) -> tuple[tuple[Note, ...], int]:
    """Read the metadata. Returns (notes on removed metadata, EXIF orientation); the orientation is 1 if missing or invalid."""
    facts = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif = im.getexif()
            orientation = exif.get(_ORIENTATION, 1)
            telling = set(exif) & _TELLING
            gps = bool(exif.get_ifd(_GPS)) if _GPS in telling else False
    except Exception:  # a damaged EXIF block makes Pillow raise many types (TypeError, struct.error, ...), but the pixels may be fine
        exif, orientation, telling, gps = None, 1, set(), False
        facts.append(note("exif_unreadable"))
    xmp = im.info.get("xmp") or im.info.get("XML:com.adobe.xmp") or b""
    if gps or _GPS_IN_XMP.search(xmp.encode() if isinstance(xmp, str) else bytes(xmp)):
        facts.append(note("gps_removed"))
    if telling - {_GPS} or any(key in _TELLING_INFO or (isinstance(value, str) and im.format == "PNG") for key, value in im.info.items()):
        facts.append(note("metadata_removed"))
    return tuple(facts), orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
