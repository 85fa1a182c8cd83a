"""Files with a choice of pages behind their names: report.pdf#3-5, clip.gif#0,5, clip.gif#scenes:6."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_CHOICE = re.compile(r"#((?:scenes:)?[\d][\d,\- ]*|scenes:\d+)$")
CHOICE_IN_TEXT = re.compile(r"#(?:scenes:\d+|\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)(?!\w)")
"""A choice directly behind a name in a question."""


@dataclass(frozen=True)
class Document:
    """A file of several pages or frames that goes with the next question, and the choice behind its name ("" for what fits)."""

    name: str
    data: bytes
    choice: str

    @property
    def as_given(self) -> str:
        """The name with the choice behind it."""
        return f"{self.name}#{self.choice}" if self.choice else self.name


def file_of(name: str) -> str:
    """Return the name of the file, without a choice of pages."""
    return _CHOICE.sub("", name)


def choice_of(name: str) -> str:
    """Return the choice of pages behind a name; "" for none."""
    found = _CHOICE.search(name)
    return found[1] if found else ""


def has_pages(data: bytes, choice: str) -> bool:
    """Return whether a file must go with its question as it is, because the gateway decides about its pages then."""
    from llava_gateway.images.pages import may_have_pages  # only here: the help is shown without it

    return bool(choice) or may_have_pages(data)


def page_fields(files: Sequence[tuple[bytes, str]], given: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the form fields that choose pages.

    Args:
        files: each file with the choice behind its name.
        given: the flags --pages and --frames, which are for all files without a choice of their own.
    """
    if not any(choice for _, choice in files):
        return [(name, value) for name, value in given.items() if value]
    from llava_gateway.images.pages import PAGED, kind_of

    fields: list[tuple[str, str]] = []
    for data, choice in files:
        own = {"pages" if kind_of(data) in PAGED else "frames": choice} if choice else given
        fields += [(name, own.get(name, "")) for name in ("pages", "frames")]
    return fields
