"""A session as Markdown and as a page: their content, and that text from a conversation is never markup."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from llava_gateway.parts import ImagePart, Part, TextPart
from llava_gateway.sessions.archive import Filed
from llava_gateway.sessions.session import Session
from llava_gateway.sessions.transcript import PAGE_POLICY, markdown, page
from llava_gateway.sessions.turn import Turn
from tests.session_values import a_session

RED = "a" * 64
IMAGES = {RED: Filed(b"red pixels", "image/png", 64, 48)}
EVIL = """</p></style></title><script>alert(1)</script><img src=x onerror=alert(2)> &amp; "quotes' ]]> <!-- """


def session(prompt: str = "What is it?", answer: str = "A **red** circle.", title: str = "Shapes", system: str = "") -> Session:
    parts: tuple[Part, ...] = (ImagePart(RED), TextPart("A label of ours.", note=True), TextPart(prompt))
    return a_session(title=title, model="demo", system=system).with_turn(Turn(parts, answer, model="demo"))


def written(one: Session) -> str:
    return b"".join(page(one, IMAGES)).decode()


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said += data


def test_markdown_has_questions_as_quotations_and_answers_as_they_are() -> None:
    text = "".join(markdown(session("What\nis it?", system="Be brief."), IMAGES, {RED: "images/1.png"}))
    assert text.startswith("# Shapes\n\n*demo · ")
    assert text.endswith("---\n\n![Picture 1](images/1.png)\n\n> What\n> is it?\n\nA **red** circle.\n\n*demo*\n")
    assert "**System prompt**\n\n> Be brief." in text
    assert "A label of ours" not in text


def test_markdown_alone_only_tells_of_its_images() -> None:
    assert "\n[Picture 1, 64 × 48]\n" in "".join(markdown(session(), IMAGES))


def test_a_title_is_no_markup_in_markdown() -> None:
    assert "".join(markdown(session(title="*a* [b](c)\n# d"), IMAGES)).startswith("# \\*a\\* \\[b\\](c) \\# d\n")


@pytest.mark.parametrize("what", ["prompt", "answer", "title", "system"])
def test_nothing_that_was_said_is_markup_on_the_page(what: str) -> None:
    plain, evil = Elements(written(session(**{"system": "x", what: "harmless"}))), Elements(written(session(**{"system": "x", what: EVIL})))
    assert evil.found == plain.found
    assert " ".join(EVIL.split()) in " ".join(evil.said.split())


def test_the_page_has_its_images_and_its_own_policy_allows_nothing_else() -> None:
    elements = Elements(written(session()))
    (image,) = [attributes for tag, attributes in elements.found if tag == "img"]
    assert image["src"] == f"data:image/png;base64,{base64.b64encode(b'red pixels').decode()}"
    assert (image["width"], image["height"], image["alt"]) == ("64", "48", "Picture 1")
    assert {tag for tag, _ in elements.found}.isdisjoint({"script", "link", "iframe", "form", "a", "object"})
    assert {"http-equiv": "Content-Security-Policy", "content": PAGE_POLICY} in [attributes for _, attributes in elements.found]
    style = re.search(r"<style>(.*?)</style>", written(session()), re.DOTALL)
    assert style
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()}'" in PAGE_POLICY


def test_our_own_words_follow_the_language_of_the_conversation() -> None:
    chinese = session("这是什么？", "一个红色的圆形。", title="图形", system="简短回答。")
    assert "![图片1](1.png)" in "".join(markdown(chinese, IMAGES, {RED: "1.png"}))
    assert "**系统提示**" in "".join(markdown(chinese, IMAGES))
    assert '<html lang="zh">' in written(chinese)
    assert '<html lang="en">' in written(session())


def test_only_the_current_branch_is_written_and_it_says_that_there_are_others() -> None:
    branched = session().after(0).with_turn(Turn((TextPart("Anything else?"),), "No", "cancelled", "demo"))
    for text in ("".join(markdown(branched, IMAGES)), written(branched)):
        assert "What is it?" not in text
        assert "Stopped. · demo · 2 of 2" in text
    assert "1 of 2" in "".join(markdown(branched.on_branch(1), IMAGES))


def test_an_empty_session_has_a_name() -> None:
    assert "".join(markdown(Session(), {})).startswith("# Untitled\n")
    assert "<h1>Untitled</h1>" in written(Session())
