"""The tools for agents: what each of them asks, and how its answer is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llava_gateway.api.bodies import AskBody, Body, parse_body
from llava_gateway.api.mcp.tools import TOOLS, CompareBody, LookBody, PageBody, ReadBody, Source, call, tool_answer
from llava_gateway.chat import JSON
from llava_gateway.errors import InvalidRequest

ROOT = Path(__file__).parents[3]
ID = "ab" * 32
LINK = "https://host.example/a.png"
DATA = "data:image/png;base64,AAAA"
ANSWER: JSON = {
    "model": "m",
    "message": {"role": "assistant", "content": "Red."},
    "images": [{"id": ID, "width": 3, "height": 4, "sent": {"tokens": 64}}],
    "context": {"warnings": [{"code": "b", "message": "Second."}]},
    "warnings": [{"code": "a", "message": "First."}],
}


async def read(name: str, param: str) -> str:
    """Stand for a reader of files: their content is their name."""
    return f"{param}={name}"


async def asked(name: str, **arguments: Any) -> JSON:
    """Return the question that a tool asks."""
    found: list[JSON] = []

    async def ask(body: JSON) -> JSON:
        parse_body(AskBody, body)
        found.append(body)
        return ANSWER

    await call(name, arguments, ask, read)
    (body,) = found
    return body


@pytest.mark.parametrize(("tool", "body"), [*zip(TOOLS, (LookBody, ReadBody, CompareBody, PageBody), strict=True)])
def test_the_described_arguments_are_those_that_are_read(tool: str, body: type[Body]) -> None:
    schema = TOOLS[tool].schema
    assert set(schema["properties"]) == set(body.model_fields)
    assert set(schema["required"]) == {name for name, field in body.model_fields.items() if field.is_required()}


@pytest.mark.parametrize("page", ["docs/cli.md", "skills/llava-gateway/SKILL.md"])
def test_the_tools_are_described_with_their_arguments(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for name, tool in TOOLS.items():
        listed = ", ".join(f"{argument}?" if argument in tool.optional else argument for argument in tool.arguments)
        assert f"`{name}({listed})`" in text


async def test_a_question_about_an_image() -> None:
    assert await asked("look_at_image", image=ID, question="Why?") == {"prompt": "Why?", "images": [{"image_id": ID}]}
    whole = await asked("look_at_image", image="a.png", question="Why?", region=[0, 0, 0.5, 1], detail="high")
    assert whole["images"] == [{"data": "image=a.png", "region": [0, 0, 0.5, 1], "detail": "high"}]


async def test_text_is_read_in_full_detail() -> None:
    body = await asked("read_text", image=LINK, region=[0, 0, 1, 0.5])
    assert body["images"] == [{"image_url": LINK, "region": [0, 0, 1, 0.5], "detail": "high"}]
    assert body["preset"] == "factual"
    assert body["prompt"]


async def test_images_are_compared_in_their_order() -> None:
    body = await asked("compare_images", images=[DATA, "b.png", ID], question="Which?")
    assert body == {"prompt": "Which?", "images": [{"data": DATA}, {"data": "images.1=b.png"}, {"image_id": ID}]}


async def test_a_page_of_a_pdf() -> None:
    body = await asked("describe_pdf_page", pdf="a.pdf", page=3, question="What?")
    assert body == {"prompt": "What?", "images": [{"data": "pdf=a.pdf", "pages": "3"}]}


@pytest.mark.parametrize(
    ("tool", "arguments", "param"),
    [
        ("nothing", {}, "name"),
        ("look_at_image", {"image": "a.png"}, "question"),
        ("look_at_image", {"image": "a.png", "question": ""}, "question"),
        ("look_at_image", {"image": "a.png", "question": "Why?", "zoom": 2}, "zoom"),
        ("look_at_image", {"image": "a.png", "question": "Why?", "region": [0, 0, 50, 50]}, "region"),
        ("look_at_image", {"image": 3, "question": "Why?"}, "image"),
        ("compare_images", {"images": ["a.png"], "question": "Which?"}, "images"),
        ("describe_pdf_page", {"pdf": "a.pdf", "page": 0, "question": "What?"}, "page"),
        ("describe_pdf_page", {"pdf": ID, "page": 1, "question": "What?"}, "pdf"),
    ],
)
async def test_wrong_arguments_are_named(tool: str, arguments: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await asked(tool, **arguments)
    assert caught.value.param == param


async def test_without_a_reader_there_are_no_paths() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await Source(None).image("/etc/passwd", "image")
    assert (caught.value.reason, caught.value.param) == ("image_not_named", "image")
    assert await Source(None).image(f" {ID}\n", "image") == {"image_id": ID}
    assert await Source(None).image("A" * 5000, "image") == {"data": "A" * 5000}


def test_an_answer_ends_with_the_image_for_the_next_question() -> None:
    found = tool_answer(ANSWER)
    assert found.text == f"Red.\n\nimage_id: {ID}\nNote: First.\nNote: Second."
    assert found.values == {
        "text": "Red.",
        "model": "m",
        "images": [{"image_id": ID, "width": 3, "height": 4, "tokens": 64}],
        "warnings": ["First.", "Second."],
    }
    assert tool_answer({**ANSWER, "images": [], "warnings": [], "context": {"warnings": []}}).text == "Red."
