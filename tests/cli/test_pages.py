"""Documents at the command line: pages behind a file's name, flags for all files, and the same in a chat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava_gateway.cli.ask import split
from llava_gateway.cli.image_paths import find_images
from llava_gateway.cli.pages import choice_of, file_of, page_fields
from tests.cli.program import Done, run
from tests.images.test_animation import film
from tests.pdfs import pdf


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "report.pdf"
    path.write_bytes(pdf("One", "Two", "Three"))
    return path


def shown(done: Done) -> list[int]:
    assert done.code == 0, done.err
    changes = [image["changes"][0] for image in json.loads(done.out)["images"]]
    return [change["values"].get("page", change["values"].get("frame")) for change in changes]


def test_pages_stand_behind_the_name(demo_url: str, report: Path) -> None:
    ask = ("What does it say?", "--json", "--url", demo_url)
    assert shown(run("ask", f"{report}#2-3", *ask)) == [2, 3]
    assert shown(run("ask", f"{report}#3", str(report), *ask, "--pages", "1")) == [3, 1], "the flag is for files without a choice"
    assert shown(run("ask", f"What does {report}#2 say?", *ask[1:])) == [2]


def test_flags_choose_for_all_files(demo_url: str, report: Path, tmp_path: Path) -> None:
    moving = tmp_path / "moving.gif"
    moving.write_bytes(film("GIF"))
    ask = ("What is there?", "--json", "--url", demo_url)
    assert shown(run("ask", str(report), str(moving), *ask, "--pages", "2", "--frames", "1,5")) == [2, 1, 5]
    assert shown(run("ask", f"{moving}#3", *ask)) == [3]


def test_what_was_left_out_is_told_with_the_flag(demo_url: str, tmp_path: Path) -> None:
    long = tmp_path / "long.pdf"
    long.write_bytes(pdf(*["x"] * 40))
    done = run("ask", str(long), "What does it say?", "--url", demo_url)
    assert "--pages" in done.err


def test_a_page_that_is_not_there_is_said_with_the_name_of_the_file(demo_url: str, report: Path) -> None:
    done = run("ask", f"{report}#9", "What?", "--url", demo_url)
    assert done.code == 1
    assert "3 pages" in done.err


def test_a_chat_takes_pages_too(demo_url: str, report: Path) -> None:
    done = run("chat", f"{report}#2", "--url", demo_url, "--verbose", stdin=b"What does it say?\n")
    assert (done.code, "Page 2 of 3." in done.err or "report.pdf" in done.err) == (0, True)


def test_choices_are_told_from_names(tmp_path: Path) -> None:
    assert (file_of("a.pdf#1-3,7"), choice_of("a.pdf#1-3,7")) == ("a.pdf", "1-3,7")
    assert (file_of("a#b.pdf"), choice_of("a#b.pdf")) == ("a#b.pdf", "")
    odd = tmp_path / "scan#2.pdf"
    odd.write_bytes(pdf("x"))
    assert split([str(odd)]) == ([str(odd)], "")
    assert find_images(f"Read {odd}").names == (str(odd),)


def test_each_file_has_its_own_fields_as_soon_as_one_has_a_choice() -> None:
    files = [(pdf("x"), "2"), (film("GIF"), "")]
    assert page_fields(files, {"pages": "", "frames": "0"}) == [("pages", "2"), ("frames", ""), ("pages", ""), ("frames", "0")]
