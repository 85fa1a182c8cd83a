"""PDFs for tests, written by hand, so that each fault is where a test wants it."""

from __future__ import annotations

from collections.abc import Sequence

LETTER = (612.0, 792.0)


def pdf(*lines: str, box: tuple[float, float] = LETTER, count: int | None = None, catalog: str = "", extra: Sequence[str] = ()) -> bytes:
    """Write a PDF with one page for each of `lines`, in Helvetica, which every reader has.

    Args:
        box: size of the pages in points.
        count: number of pages that the file claims to have; None for the true one.
        catalog: further entries of the catalog.
        extra: further objects, numbered from 4 on.
    """
    contents = [f"BT /F1 36 Tf 40 {box[1] * 0.8:.0f} Td ({line}) Tj ET".encode("latin-1") for line in lines]
    return drawing(contents, box=box, count=count, catalog=catalog, extra=extra)


def drawing(
    contents: Sequence[bytes],
    *,
    box: tuple[float, float] = LETTER,
    count: int | None = None,
    catalog: str = "",
    extra: Sequence[str] = (),
    page: str = "",
    resources: str = "",
) -> bytes:
    """Write a PDF with one page for each content stream. `page` and `resources` are further entries of every page."""
    first = 4 + len(extra)
    kids = " ".join(f"{first + 2 * index} 0 R" for index in range(len(contents)))
    objects = [
        f"<</Type/Catalog/Pages 2 0 R {catalog}>>".encode(),
        f"<</Type/Pages/Count {len(contents) if count is None else count}/Kids[{kids}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *(each.encode("latin-1") for each in extra),
    ]
    for index, content in enumerate(contents):
        size = f"[0 0 {box[0]:.0f} {box[1]:.0f}]"
        used = f"<</Font<</F1 3 0 R>> {resources}>>"
        stream = first + 2 * index + 1
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox{size}/Resources{used}/Contents {stream} 0 R {page}>>".encode())
        objects.append(b"<</Length %d>>\nstream\n" % len(content) + content + b"\nendstream")
    return written(objects)


def written(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """Write objects, numbered from 1 on, with their table; the first is the catalog."""
    data, places = bytearray(b"%PDF-1.7\n"), []
    for number, one in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n" % number + one + b"\nendobj\n"
    table = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(data + b"trailer\n<</Root 1 0 R/Size %d %s>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, table))


def encrypted() -> bytes:
    """Write a PDF that says that it is encrypted with a password that nobody knows."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 0/Kids[]>>"]
    secret = b"<" + b"5A" * 32 + b">"
    lock = b"<</Filter/Standard/V 2/R 3/Length 128/P -4/O " + secret + b"/U " + secret + b">>"
    return written([*objects, lock], b"/Encrypt 3 0 R/ID[<00><00>]")


def with_form_field(value: str) -> bytes:
    """Write a PDF whose only ink is the value of a form field, which has no drawing of its own."""
    field = f"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V({value})/DA(/F1 60 Tf 0 g)/Rect[50 300 550 400]/F 4/MK<</BG[0.9 0.9 0.2]>>>>"
    form = "/AcroForm<</Fields[4 0 R]/DR<</Font<</F1 3 0 R>>>>/DA(/F1 60 Tf 0 g)/NeedAppearances true>>"
    return drawing([b""], catalog=form, extra=[field], page="/Annots[4 0 R]")


def without_ink(text: str) -> bytes:
    """Write a PDF whose text draws nothing, as where its font is missing: each letter is an empty drawing."""
    glyph = "<</Length 16>>\nstream\n600 0 0 0 0 0 d1\nendstream"
    names = "".join(f"/g{code} 4 0 R" for code in range(32, 127))
    codes = " ".join(["32", *(f"/g{code}" for code in range(32, 127))])
    widths = " ".join(["600"] * 95)
    font = (
        f"<</Type/Font/Subtype/Type3/FontBBox[0 0 600 600]/FontMatrix[0.001 0 0 0.001 0 0]/CharProcs<<{names}>>"
        f"/Encoding<</Type/Encoding/Differences[{codes}]>>/FirstChar 32/LastChar 126/Widths[{widths}]/ToUnicode 6 0 R>>"
    )
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap 1 begincodespacerange <00> <FF> endcodespacerange "
        "1 beginbfrange <20> <7E> <0020> endbfrange endcmap end end"
    )
    to_unicode = f"<</Length {len(cmap)}>>\nstream\n{cmap}\nendstream"
    return drawing([f"BT /F2 40 Tf 50 500 Td ({text}) Tj ET".encode()], extra=[glyph, font, to_unicode], resources="/Font<</F2 5 0 R>>")
