"""Writes a session for people to read: as Markdown, and as a self-contained HTML page (pure).

Both show the current branch. Our own few words in them are English or Chinese, like the conversation.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from llava_gateway.context.words import is_chinese
from llava_gateway.sessions.archive import Filed
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.turn import Turn

_WORDS = {
    "en": {
        "image": "Picture {}",
        "system": "System prompt",
        "untitled": "Untitled",
        "cancelled": "Stopped.",
        "incomplete": "The answer broke off.",
        "branch": "{} of {}",
    },
    "zh": {
        "image": "图片{}",
        "system": "系统提示",
        "untitled": "未命名",
        "cancelled": "已停止。",
        "incomplete": "回答中断。",
        "branch": "第 {} 个，共 {} 个",
    },
}
_STYLE = """
:root { color-scheme: light dark; --text: #1f1d1a; --quiet: #67625b; --line: #d9d4cc; --ground: #fdfcfa; }
@media (prefers-color-scheme: dark) { :root { --text: #ece8e1; --quiet: #a49d93; --line: #3d3934; --ground: #191714; } }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.6 system-ui, "PingFang SC", "Noto Sans CJK SC", sans-serif; }
main { max-width: 720px; margin: 0 auto; padding: 32px 16px 64px; }
h1 { font-size: 24px; line-height: 1.3; }
.quiet { color: var(--quiet); font-size: 13px; margin: 4px 0; }
.turn, .system { border-top: 1px solid var(--line); padding: 24px 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
.question { font-weight: 600; margin-bottom: 12px; }
figure { margin: 0 0 12px; }
img { display: block; max-width: 100%; max-height: 480px; width: auto; height: auto; border-radius: 10px; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
PAGE_POLICY = f"default-src 'none'; img-src data:; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
"""What the page may load: the images in it and its own style. No scripts, and nothing from elsewhere."""
_MARKS = re.compile(r"([\\`*_{}\[\]<>#|!])")


def markdown(session: Session, images: Mapping[str, Filed], names: Mapping[str, str] | None = None) -> Iterator[str]:
    """Write the conversation as Markdown, part by part. Answers are unchanged, questions become quotations.

    Args:
        names: the file names of the images, by image id. Without them an image is only mentioned.
    """
    words = _words(session)
    yield f"# {_plain(_title(session, words))}\n\n*{_plain(_about(session))}*\n"
    if session.defaults.system:
        yield f"\n**{words['system']}**\n\n{_quoted(session.defaults.system)}\n"
    number, siblings = 0, session.branches.siblings
    for turn in session.turns:
        blocks = ["---"]
        for part in turn.images:
            number += 1
            alt, image = words["image"].format(number), images[part.image_id]
            blocks.append(f"![{alt}]({names[part.image_id]})" if names else f"[{alt}, {image.width} × {image.height}]")
        end = _end(turn, siblings[turn.parent], words)
        blocks += [_quoted(turn.prompt), *filter(None, (turn.answer, f"*{_plain(end)}*" if end else ""))]
        yield "".join(f"\n{block}\n" for block in blocks)


def page(session: Session, images: Mapping[str, Filed]) -> Iterator[bytes]:
    """Write the conversation as an HTML page, in pieces. Its images are inside the page, and everything said is escaped as text."""
    words = _words(session)
    title = escape(_title(session, words))
    yield (
        f'<!doctype html>\n<html lang="{_language(session)}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{PAGE_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n'
        f'<body>\n<main>\n<h1>{title}</h1>\n<p class="quiet">{escape(_about(session))}</p>\n'
    ).encode()
    if session.defaults.system:
        yield f'<section class="system"><p class="quiet">{words["system"]}</p>{_paragraph(session.defaults.system)}</section>\n'.encode()
    number, siblings = 0, session.branches.siblings
    for turn in session.turns:
        yield b'<section class="turn">\n'
        for part in turn.images:
            number += 1
            yield _figure(images[part.image_id], words["image"].format(number)).encode()
        yield f"{_paragraph(turn.prompt, 'text question')}\n{_paragraph(turn.answer) if turn.answer else ''}\n".encode()
        yield f'<p class="quiet">{escape(_end(turn, siblings[turn.parent], words))}</p>\n</section>\n'.encode()
    yield b"</main>\n</body>\n</html>\n"


def _figure(image: Filed, name: str) -> str:
    source = f"data:{image.media_type};base64,{image.base64}"
    tag = f'<img src="{source}" width="{image.width}" height="{image.height}" alt="{name}">'
    return f'<figure>{tag}<figcaption class="quiet">{name}</figcaption></figure>\n'


def _paragraph(text: str, kind: str = "text") -> str:
    return f'<p class="{kind}" dir="auto">{escape(text)}</p>'


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines() or [""])


def _plain(text: str) -> str:
    """Escape all Markdown in a text."""
    return _MARKS.sub(r"\\\1", text)


def _about(session: Session) -> str:
    return " · ".join(filter(None, (session.model, f"{session.updated_at:%Y-%m-%d %H:%M} UTC")))


def _end(turn: Turn, siblings: Sequence[int], words: Mapping[str, str]) -> str:
    """Return the line under an answer: how the answer ended, which model wrote it, and its number among the branches."""
    branch = words["branch"].format(siblings.index(turn.id) + 1, len(siblings)) if len(siblings) > 1 else ""
    return " · ".join(filter(None, (words.get(turn.status, ""), turn.model, branch)))


def _title(session: Session, words: Mapping[str, str]) -> str:
    return " ".join(session.title.split()) or words["untitled"]


def _language(session: Session) -> str:
    return "zh" if is_chinese(" ".join([session.title, *(turn.prompt for turn in session.turns[:3])])) else "en"


def _words(session: Session) -> Mapping[str, str]:
    return _WORDS[_language(session)]
