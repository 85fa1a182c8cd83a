"""What we write to the model beside the person's words: labels, hints and traces, in English or Chinese as the question is (pure)."""

from __future__ import annotations

from collections.abc import Sequence

TRACE_MAX_CHARS = 200
_END_CHARS = 5000


def is_chinese(text: str) -> bool:
    """Whether a text is mostly Chinese: at least a third of its letters are Han characters."""
    letters = [character for character in _ends(text) if character.isalpha()]
    return bool(letters) and 3 * sum("\u3400" <= letter <= "\u9fff" for letter in letters) >= len(letters)


def language_of(text: str) -> bool | None:
    """Whether it is Chinese; None for a text without letters."""
    return is_chinese(text) if any(map(str.isalpha, _ends(text))) else None


def _ends(text: str) -> str:
    """What is looked at of a text, however long it is: everybody waits meanwhile."""
    return text if len(text) <= 2 * _END_CHARS else text[:_END_CHARS] + text[-_END_CHARS:]


def image_label(number: int, *, chinese: bool = False) -> str:
    """Before an image, so that "the second image" means something."""
    return f"图片{number}：" if chinese else f"Picture {number}:"


def image_trace(number: int, description: str, *, chinese: bool = False) -> str:
    """In place of an image that the model no longer gets; in the language of the description, or where that has none as `chinese` says."""
    told = one_line(description)
    if language_of(told) or (chinese and language_of(told) is None):
        return f"（图片{number}已不再显示。它的内容是：{told}）" if told else f"（图片{number}已不再显示。）"
    return f"(Picture {number} is no longer shown. It was described as: {told})" if told else f"(Picture {number} is no longer shown.)"


def older_images(count: int, *, chinese: bool = False) -> str:
    """In place of images that went long ago."""
    if chinese:
        return f"（更早的{count}张图片也已不再显示。）"
    return f"({count} earlier pictures are no longer shown.)" if count > 1 else "(An earlier picture is no longer shown.)"


def anchor(number: int, description: str, *, chinese: bool = False) -> str:
    """Beside a question, about an image that is far behind; in the language of the description."""
    told = one_line(description)
    if language_of(told) or (chinese and language_of(told) is None):
        return f"（图片{number}在前面，内容是：{told}）"
    return f"(Picture {number} is further up; it shows: {told})"


def summary_note(text: str) -> str:
    """In place of the turns that a summary stands for."""
    told = one_line(text, most=10_000)
    return f"（此前对话的摘要：{told}）" if is_chinese(told) else f"(Summary of what was said before: {told})"


def summary_question(*, chinese: bool) -> str:
    """What the model is asked to make a summary."""
    if chinese:
        return "请用不超过五句话总结到目前为止的对话：问了什么、每张图片里有什么、得出了哪些结论。"
    return "Summarise this conversation so far in at most five sentences: what was asked, what is in each picture, what was found."


def glossary_note(lines: Sequence[str]) -> str:
    """After the system prompt: names and terms that may occur."""
    chinese = is_chinese("".join(lines))
    return "\n".join(("可能出现的名称和术语：" if chinese else "Names and terms that may occur:", *(f"- {line}" for line in lines)))


def ocr_note(text: str, question: str, images: int) -> str:
    """Before a question: what another program read in its images (none: in an earlier one), in the language of the question."""
    if is_chinese(question):
        return f"另一个程序从图片中读出的文字（可能有错）：\n{text.strip()}"
    where = "pictures" if images > 1 else "picture"
    return f"Text that another program read in the {where} (it may contain mistakes):\n{text.strip()}"


def one_line(text: str, most: int = TRACE_MAX_CHARS) -> str:
    """A text on one line, cut at a word (where there are any) if it is longer than `most` characters."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    cut = line[: most - 1]
    head, space, _ = cut.rpartition(" ")
    return f"{head if space and len(head) > most // 2 else cut}…"
