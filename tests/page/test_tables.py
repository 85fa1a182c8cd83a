"""Answers that are JSON: asked for by a schema, shown as tables, copied as CSV."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from tests import sample_images
from tests.page.visit import Scripted, Visit, file
from tests.scripted_engine import ScriptedEngine, says

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red")), "circle.png")


async def test_a_ready_made_schema_makes_the_model_answer_in_a_table(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, permissions=["clipboard-read", "clipboard-write"])
    page = visitor.page
    await page.get_by_role("button", name="Options").click()
    dialog = page.get_by_role("dialog", name="Options")
    await dialog.get_by_label("Answer format").select_option(label="Table: shapes and their colours, background, text")
    await expect(dialog.get_by_label("JSON schema", exact=True)).to_have_value("""{
  "type": "object",
  "properties": {
    "background": {
      "type": "string"
    },
    "shapes": {
      "type": "array",
      "items": {
        "type": "object",
        "properties": {
          "color": {
            "type": "string"
          },
          "shape": {
            "type": "string"
          }
        },
        "required": [
          "color",
          "shape"
        ]
      }
    },
    "text": {
      "type": "string"
    }
  },
  "required": [
    "background",
    "shapes",
    "text"
  ]
}""")
    await page.keyboard.press("Escape")
    await expect(page.locator(".composer-line")).to_contain_text("1 changed")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("Describe this image as JSON.")
    shapes = visitor.answer.get_by_role("table").nth(1)
    assert await shapes.get_by_role("row").all_inner_texts() == ["color\tshape", "red\tcircle"]
    await expect(visitor.answer.get_by_role("table").first).to_contain_text("white")
    await visitor.answer.get_by_role("button", name="Copy as CSV").nth(1).click()
    assert await page.evaluate("navigator.clipboard.readText()") == "color,shape\r\nred,circle\r\n"
    await visitor.answer.get_by_role("button", name="JSON").click()
    raw = json.loads(await visitor.answer.locator("pre").inner_text())
    assert (raw["background"], raw["shapes"]) == ("white", [{"color": "red", "shape": "circle"}])
    # The form is the chat's: it is there after a reload, the table too.
    await page.reload()
    await expect(visitor.answer.get_by_role("table")).to_have_count(2)
    await expect(page.locator(".composer-line")).to_contain_text("1 changed")


TABLES = {
    '[{"a": 1, "b": "x"}, {"b": null, "c": [1, 2]}]': ["a\tb\tc", "1\tx\t", "\t\t1, 2"],
    '```json\n{"a": {"b": 1}, "c": true}\n```': ['a\t{"b":1}', "c\ttrue"],
}
NO_TABLES = ['"words"', "12", "[1, 2]", "[]", "{}", '{"a": 1', 'Here: {"a": 1}']


async def test_objects_and_lists_of_them_are_tables_and_nothing_else_is(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine()
    served = await scripted(engine)
    visitor = await visit(served.url, locale="zh-CN")
    for answer, rows in TABLES.items():
        engine.script = says(answer)
        await visitor.ask("Hi")
        assert await visitor.answer.get_by_role("table").get_by_role("row").all_inner_texts() == rows
        await expect(visitor.answer.get_by_role("button", name="复制为 CSV")).to_have_count(1)
    for answer in NO_TABLES:
        engine.script = says(answer)
        await visitor.ask("Hi")
        await expect(visitor.answer).to_have_text(answer)
        assert await visitor.answer.get_by_role("table").count() == 0


async def test_what_is_copied_is_right_csv_and_no_formula(visit: Visit, scripted: Scripted) -> None:
    value = [{"item": 'a "b", c', "n": -1.5}, {"item": "=HYPERLINK(1)", "n": "-2"}, {"item": "-x\ny", "n": "<img src=x onerror=alert(1)>"}]
    served = await scripted(ScriptedEngine(says(json.dumps(value))))
    visitor = await visit(served.url, permissions=["clipboard-read", "clipboard-write"])
    await visitor.ask("Hi")
    assert await visitor.answer.locator("img").count() == 0
    await visitor.answer.get_by_role("button", name="Copy as CSV").click()
    copied = await visitor.page.evaluate("navigator.clipboard.readText()")
    assert copied == 'item,n\r\n"a ""b"", c",-1.5\r\n\'=HYPERLINK(1),-2\r\n"\'-x\ny",<img src=x onerror=alert(1)>\r\n'
