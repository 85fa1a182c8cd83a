"""Replaces the documents of a question by their pages: each an image of its own, after a label and before the text of the page.

From there on they are ordinary images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llava_gateway.chat import Message
from llava_gateway.context.tokens import Scale
from llava_gateway.context.words import frame_label, is_chinese, page_label, sheet_label, text_layer
from llava_gateway.errors import GatewayError, ImageError, Place
from llava_gateway.images.pages import MOST_PAGES, Document, Found, may_have_pages, pages_note, too_many
from llava_gateway.images.plan import Size
from llava_gateway.images.store import ImageStore
from llava_gateway.notes import Note, note
from llava_gateway.parts import Attached, Page, Part, Sight, TextPart, Upload


@dataclass(frozen=True, slots=True)
class Room:
    """The room that the documents of a question share.

    Attributes:
        tokens: of the context that are free for them.
        cost: returns the tokens of an image of this size and sight as it is shown if there is room.
        scale: estimates the tokens of a text.
        most_images: most images that the model takes; None for any number.
    """

    tokens: int
    cost: Callable[[Size, Sight], int]
    scale: Scale
    most_images: int | None = None

    def words(self, text: str) -> int:
        """Estimate the tokens of a text and of what separates it from its neighbours. Cautious about a vocabulary that nobody knows yet."""
        return (1 if self.scale.seen else 2) * self.scale.message(text)


@dataclass(frozen=True, slots=True)
class Expanded:
    """Messages in which pages have taken the place of documents.

    Attributes:
        places: the place in the request of each image, for errors. The pages of a document share one.
        notes: which pages are shown, and what was left out.
        added: tokens of the words that were added.
    """

    messages: tuple[Message, ...]
    places: tuple[Place, ...]
    notes: tuple[Note, ...] = ()
    added: int = 0


@dataclass(frozen=True, slots=True)
class _Opened:
    """A document of the question, and the upload that it came in."""

    upload: Upload
    document: Document


async def expand(
    messages: tuple[Message, ...], places: Sequence[Place], images: ImageStore, texts: dict[Page, str], room: Callable[[int], Room]
) -> Expanded:
    """Replace each upload that has pages or frames.

    Args:
        places: the place in the request of each image.
        texts: the text layers that this request has read already; those that are read here are added.
        room: returns the room beside this many other images. It is asked for only if there are documents.

    Raises ImageError, InvalidRequest, Overloaded.
    """
    attached = [part for message in messages for part in message.attachments]
    opened: dict[int, _Opened] = {}
    notes: list[Note] = []
    for index, (part, place) in enumerate(zip(attached, places, strict=True)):
        if isinstance(part, Upload) and part.page is None and (document := await _document(part, images, place, several=len(attached) > 1)):
            notes += document.notes
            if document.has_many:
                opened[index] = _Opened(part, document)
    if not opened:
        return Expanded(messages, tuple(places), tuple(notes))
    beside = room(len(attached) - len(opened))
    share = replace(beside, tokens=beside.tokens // len(opened))
    pages: dict[int, tuple[Part, ...]] = {}
    left = MOST_PAGES - (len(attached) - len(opened))
    for index, one in opened.items():
        chinese = is_chinese(next(message.text_without_notes for message in messages if any(one.upload is part for part in message.parts)))
        try:
            parts, page_notes, used = await _pages(one, share, images, texts, left, chinese=chinese)
        except ImageError as error:
            raise error if error.place else error.at(*places[index]) from None
        pages[index], left = parts, left - used
        notes += page_notes
    return _written(messages, places, pages, notes, beside.scale)


def has_open_documents(messages: Sequence[Message]) -> bool:
    """Return whether there are documents whose pages the gateway chooses."""
    uploads = (part for message in messages for part in message.parts if isinstance(part, Upload))
    return any(upload.selection.is_default and may_have_pages(upload.data) for upload in uploads)


async def one_page(upload: Upload, images: ImageStore, place: Place) -> Upload:
    """Return the upload of one image: of a document, its first wanted page."""
    document = await _document(upload, images, place, several=False)
    if document is None or not document.has_many:
        return upload
    page = next((each.page for each in document.found if min(each.size) > 0), document.found[0].page)
    return replace(upload, page=page)


async def _document(upload: Upload, images: ImageStore, place: Place, *, several: bool) -> Document | None:
    """Open a file that has several pages or frames, or of which the client wants some; None for an ordinary image.

    If the request has `several` files, an error about a choice of pages says which file it is about.
    """
    if upload.selection.is_default and not may_have_pages(upload.data):
        return None
    try:
        return await images.examine(upload.data, upload.selection)
    except GatewayError as error:
        if several or not error.place:
            error.at(*place, *error.place)
        raise


async def _pages(
    one: _Opened, room: Room, images: ImageStore, known: dict[Page, str], most: int, *, chinese: bool
) -> tuple[tuple[Part, ...], list[Note], int]:
    """Choose the pages of a document. Returns (parts, notes, number of pages)."""
    upload, document = one.upload, one.document
    by_default = upload.selection.is_default
    found = [each for each in document.found if min(each.size) > 0 or not by_default]
    if not found:
        raise _unreadable(document, document.found[0].page)
    notes: list[Note] = []
    if by_default:
        found = found[: most if room.most_images is None else min(most, room.most_images)]
        fitting = _fitting([room.cost(each.size, upload.sight) for each in found], room.tokens)
        # Of a video, frames from its beginning to its end.
        found = [found[place * len(found) // fitting] for place in range(fitting)] if document.kind == "VIDEO" else found[:fitting]
    for each in found:
        if min(each.size) <= 0:
            raise _unreadable(document, each.page)
    if len(found) > most or not found:
        raise too_many(document.kind)
    texts = await _texts(document, [each.page for each in found], upload, images, known)
    labels = [_label(each.page, chinese=chinese) for each in found]
    shown, cut = _with_texts(found, texts, upload.sight, room, sum(map(room.words, labels)) // len(labels), by_default=by_default)
    if by_default:
        used = None if shown[0][0].page.frames else pages_note(document, [each.page for each, _ in shown])
        notes += [used] if used else []
        last = shown[-1][0].page.index
        unreadable = [each.page for each in document.found if min(each.size) <= 0 and each.page.index <= last + 1]
        notes += [note("page_unreadable", page=page.number) for page in unreadable]
    if cut:
        notes.append(note("text_layer_cut"))
    parts: list[Part] = []
    for (each, text), label in zip(shown, labels, strict=False):  # those shown are the first of those found
        parts += [TextPart(label, note=True), replace(upload, page=each.page)]
        if text:
            parts.append(TextPart(text_layer(text, each.page.number, chinese=chinese), note=True))
    return tuple(parts), notes, len(shown)


def _unreadable(document: Document, page: Page) -> ImageError:
    """Return the error for a page or frame that can't be read."""
    if document.has_pages:
        return ImageError("page_damaged", values={"page": page.number, "count": document.count}, code="page_damaged")
    return ImageError("frame_damaged", values={"frame": page.number}, code="page_damaged")


async def _texts(document: Document, pages: Sequence[Page], upload: Upload, images: ImageStore, known: dict[Page, str]) -> list[str]:
    """Return the text layer of each page; reads those that are not known."""
    if document.kind != "PDF" or not upload.selection.text_layer:
        return [""] * len(pages)
    if unread := [page for page in pages if page not in known]:
        known |= zip(unread, await images.texts(upload.data, [page.index for page in unread]), strict=True)
    return [known[page] for page in pages]


def _fitting(costs: Sequence[int], tokens: int) -> int:
    """Return how many of the first images fit; at least one is shown in any case."""
    total = 0
    for count, cost in enumerate(costs):
        total += cost
        if total > tokens and count:
            return count
    return len(costs)


def _with_texts(
    found: Sequence[Found], texts: Sequence[str], sight: Sight, room: Room, label: int, *, by_default: bool
) -> tuple[list[tuple[Found, str]], bool]:
    """Choose pages and their texts within the room. Returns (the pages with their texts, whether a text was cut).

    By default, a page is shown only if its image and its text fit, except for the first. Pages that the client chose are all shown, with as
    much text as fits. Each page has a label of about `label` tokens.
    """
    shown: list[tuple[Found, str]] = []
    left, cut = room.tokens, False
    if not by_default:
        left -= sum(room.cost(each.size, sight) + label for each in found)
    for each, text in zip(found, texts, strict=True):
        cost = room.cost(each.size, sight) + label if by_default else 0
        length = room.words(text_layer(text, each.page.number)) if text else 0
        if by_default and shown and cost + length > left:
            break
        left -= cost
        kept = _cut(text, max(0, left - room.words(text_layer("", each.page.number))), room)
        cut = cut or kept != text
        left -= room.words(text_layer(kept, each.page.number)) if kept else 0
        shown.append((each, kept))
    return shown, cut


def _cut(text: str, tokens: int, room: Room) -> str:
    """Return the beginning of a text that takes at most this many tokens, up to the end of a line if possible."""
    if not text or room.words(text) <= tokens:
        return text
    kept = text[: len(text) * tokens // room.words(text)]
    while kept and room.words(kept) > tokens:
        kept = kept[: len(kept) * 9 // 10]
    line, end, _ = kept.rpartition("\n")
    return (line if end and len(line) > len(kept) // 2 else kept).rstrip()


def _label(page: Page, *, chinese: bool) -> str:
    if page.frames:
        return sheet_label(len(page.frames), chinese=chinese)
    if page.kind in ("PDF", "TIFF"):
        return page_label(page.number, page.count, chinese=chinese)
    return frame_label(page.number, page.count, page.seconds, chinese=chinese)


def _written(
    messages: Sequence[Message], places: Sequence[Place], pages: dict[int, tuple[Part, ...]], notes: list[Note], scale: Scale
) -> Expanded:
    """Put the pages into the messages."""
    written, all_places, added, index = [], [], 0, 0
    for message in messages:
        parts: list[Part] = []
        for part in message.parts:
            if not isinstance(part, Attached):
                parts.append(part)
                continue
            own = pages.get(index, (part,))
            parts += own
            all_places += [places[index]] * sum(isinstance(each, Attached) for each in own)
            added += sum(scale.estimate(each.text) for each in own if isinstance(each, TextPart))
            index += 1
        written.append(replace(message, parts=tuple(parts)))
    return Expanded(tuple(written), tuple(all_places), tuple(notes), added)
