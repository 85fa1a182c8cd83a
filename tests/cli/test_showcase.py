from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava_gateway.cli.odd_images import TEXT_QUESTION, Odd
from llava_gateway.cli.showcase import page, summary
from llava_gateway.cli.side_by_side import Reply, Row, Setting, judge_row
from llava_gateway.notes import note
from tests.cli.program import LIMIT, run
from tests.ollama_server import RealOllama

WRONG = (
    "phone.jpg", "circle.heic", "circle.avif", "circle.tiff", "logo.png", "cut-out.png", "cmyk.jpg", "prophoto.jpg",
    "cut-off.jpg", "circle.png",
)  # fmt: skip
SETTING = Setting("demo", "0.34.2", "1.0", "2026-11-21", "A processor")
READ_F7 = Odd("An image", "a.png", b"", b"", TEXT_QUESTION, ("f7",))
DAMAGED = Odd("Half an image", "b.jpg", b"", b"", TEXT_QUESTION, ())
GOOD, BAD = Reply('The text says "F7".'), Reply('The text says "F77".')
REFUSED, BROKEN = Reply(error="image_parse_error: The image is damaged", refused=True), Reply(error="upstream_error: It could not answer")


def verdicts(row: Row) -> tuple[str, str]:
    return row.direct.verdict, row.ours.verdict


def test_what_goes_wrong_directly_goes_right_through_the_gateway(real_ollama: RealOllama) -> None:
    """Even if the settings would reject the conversation that does not fit."""
    limit = 3 * LIMIT  # about fifty questions
    done = run("showcase", "--json", "--model", "demo", limit=limit, OLLAMA_HOST=real_ollama.url, LLAVA_GATEWAY_POLICY="strict")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["setting"]["model"] == "demo:latest"
    assert found["setting"]["ollama"]
    rows = {row["name"]: row for row in found["rows"]}
    assert {row["ours"]["verdict"] for row in rows.values()} == {"right"}
    for name in (
        "phone.jpg",
        "circle.heic",
        "circle.tiff",
        "logo.png",
        "cut-out.png",
        "cmyk.jpg",
        "prophoto.jpg",
        "cut-off.jpg",
        "circle.png",
    ):
        assert rows[name]["direct"]["verdict"] == "wrong", rows[name]
    for name in ("cmyk-adobe.jpg", "deep.png", "checkerboard.png"):
        assert rows[name]["direct"]["verdict"] == "right", rows[name]
    assert rows["phone.jpg"]["ours"]["notes"] == [note("rotated", degrees=90).text]
    assert rows["small-print.png"]["ours"]["notes"][0].startswith("asked with region=")
    assert "old turns dropped, no images" in rows["circle.png"]["ours"]["notes"][0]


def test_without_an_ollama_it_says_so() -> None:
    done = run("showcase", "--model", "llava:7b")
    assert done.code == 1
    assert done.err.splitlines()[0] == "Error: Ollama does not answer."


def test_a_model_that_is_not_there_is_named(real_ollama: RealOllama) -> None:
    done = run("showcase", "--model", "llava:99b", OLLAMA_HOST=real_ollama.url)
    assert done.code == 1
    assert note("default_not_there", model="llava:99b").text in done.err


def test_one_way_to_print() -> None:
    assert run("showcase", "--json", "--markdown").code == 2


def test_the_images_can_be_kept(tmp_path: Path) -> None:
    assert run("showcase", "--save", str(tmp_path / "odd")).code == 1  # there is no Ollama
    names = {path.name for path in (tmp_path / "odd").iterdir()}
    assert {"phone.jpg", "circle.heic", "cut-off.jpg"} <= names


def test_a_folder_that_cannot_be_written_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert run("showcase", "--save", str(tmp_path / "file" / "odd")).code == 2


@pytest.mark.parametrize(
    ("odd", "plain", "direct", "ours", "expected"),
    [
        (READ_F7, GOOD, BAD, GOOD, ("wrong", "right")),
        (READ_F7, GOOD, REFUSED, BROKEN, ("wrong", "wrong")),
        (READ_F7, BAD, BAD, GOOD, ("unknown", "unknown")),
        (DAMAGED, BAD, GOOD, REFUSED, ("wrong", "right")),
        (DAMAGED, BAD, BROKEN, REFUSED, ("wrong", "right")),
    ],
)
def test_an_answer_is_judged_by_what_the_model_can_do(
    odd: Odd, plain: Reply, direct: Reply, ours: Reply, expected: tuple[str, str]
) -> None:
    assert verdicts(judge_row(odd, plain, direct, ours)) == expected


def test_what_is_not_judged_is_left_out_of_the_count() -> None:
    rows = [judge_row(READ_F7, GOOD, BAD, GOOD), judge_row(READ_F7, BAD, BAD, BAD)]
    assert summary(SETTING, rows) == (
        "Correct answers for 1 images: 0 from Ollama directly, 1 through the gateway. "
        "Not judged: 1, because demo does not recognise the plain image."
    )


def test_a_page_has_a_cell_for_whatever_is_said() -> None:
    said = Reply("a | b\n<script>" + "c" * 500)
    text = page(SETTING, [judge_row(READ_F7, GOOD, said, GOOD)])
    [row] = [line for line in text.splitlines() if line.startswith("| An image")]
    assert row.count(" | ") == 5
    assert "| f7 |" in row
    assert "<script>" not in row
    assert "**wrong**: a \\| b &lt;script>" in row
