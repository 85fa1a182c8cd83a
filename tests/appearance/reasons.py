"""The files that differ from a browser, each with the reason; `changes` tells the person in every case."""

from __future__ import annotations

from tests.appearance.pictures import Case


def reason(case: Case) -> str:
    """Return why a file differs from what a browser shows; "" if it should not."""
    words = case.name.split()
    if case.kind == "WEBP" and "turned" in words:
        return "The EXIF orientation of a WebP is applied. Chromium ignores it."
    if case.kind == "AVIF" and "RGBA" in words:
        return "Half-transparent pixels of an AVIF are mixed as those of a PNG. Chromium mixes them up to 14 levels off."
    if case.kind == "AVIF" and "frames" in words:
        return "The first frame of an animated AVIF is as bright as the picture that was encoded. Chromium shows it darker."
    if case.kind == "AVIF" and any(codes in case.name for codes in ("/16/", "/18/")):
        return "HDR in AVIF is decoded to 8 bits before it is tone-mapped, so 1 % of the pixels differ by up to 6."
    return ""
