"""Documents at the command line: pages behind a file's name, flags for all files, and the same in a chat."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llava_gateway.cli.ask import split
from llava_gateway.cli.console import Failure
from llava_gateway.cli.image_paths import find_images
from llava_gateway.cli.pages import choice_of, file_of, page_fields
from tests import sample_images
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


@pytest.mark.parametrize(
    ("given", "error", "hint"),
    [
        (["report.pdf#9"], "report.pdf: There is no page 9. The document has 3 pages.", "Pages count from 1."),
        (["photo.png", "report.pdf#9"], "report.pdf: There is no page 9. The document has 3 pages.", "Pages count from 1."),
        (["report.pdf#9-1"], "report.pdf: #9-1 must list pages, such as 1-3,7.", "Pages count from 1."),
        (["report.pdf#2", "photo.png#2"], "photo.png: There is no frame 2. The file is a single image.", "Leave the choice of frames out."),
        (["nothere.pdf"], "There is no file nothere.pdf.", "A question goes into quotes, after the images."),
        (["report.pdf#x"], "There is no file report.pdf#x.", "Pages of report.pdf are chosen by their numbers, such as report.pdf#1-3,7."),
        (["pics"], "pics is a folder.", "Give the files in it, such as pics/*.jpg. A question goes into quotes, after the images."),
        (["*.pdf"], "No file matches *.pdf.", "The shell finds the files only if their name is not in quotes."),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(
    demo_url: str, report: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], error: str, hint: str
) -> None:
    monkeypatch.chdir(report.parent)
    (report.parent / "pics").mkdir(exist_ok=True)
    Path("photo.png").write_bytes(sample_images.encoded(sample_images.shape("circle", "red")))
    done = run("ask", *given, "What?", "--url", demo_url)
    assert (done.code, done.err) == (1 if error.startswith(("report.pdf: ", "photo.png: ")) else 2, f"Error: {error}\nHint: {hint}\n")


@pytest.mark.parametrize("last", ["nothere.pdf", "nothere.pdf#3", "film.mp4", "scan.TGA", "photo.nef"])
def test_a_file_that_is_not_there_is_no_question(last: str) -> None:
    with pytest.raises(Failure, match=re.escape(f"There is no file {last}.")):
        split([last])


def test_the_same_pages_of_a_file_are_one_attachment(demo_url: str, report: Path) -> None:
    ask = ("What does it say?", "--json", "--url", demo_url)
    assert shown(run("ask", f"{report}#2", str(report.parent / "." / "report.pdf#2"), f"{report}#3", *ask)) == [2, 3]
    lines = f"/image {report}#2\n/image {report}#2\nWhat does it say?\n".encode()
    done = run("chat", "--url", demo_url, "--verbose", stdin=lines)
    assert (done.code, done.err.count("Page 2 of 3.")) == (0, 1), done.err


def test_a_document_is_called_by_its_name_in_a_question(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many images it becomes is not known yet, so numbers of images would be wrong."""
    monkeypatch.chdir(report.parent)
    Path("photo.png").write_bytes(sample_images.encoded(sample_images.shape("circle", "red")))
    assert split(["Compare report.pdf#2 and photo.png."]) == (["report.pdf#2", "photo.png"], "Compare report.pdf and photo.png.")
    assert split(["What does ./report.pdf say?"]) == (["report.pdf"], "What does report.pdf say?")
    assert split(["Compare photo.png and photo.png."]) == (["photo.png"], "Compare the picture and the picture.")


def test_a_piped_document_is_attached(demo_url: str, report: Path) -> None:
    done = run("ask", "What does it say?", "--url", demo_url, stdin=report.read_bytes())
    assert (done.code, "Attached the file from stdin." in done.err) == (0, True)


def test_an_error_in_a_chat_names_the_document(demo_url: str, report: Path) -> None:
    done = run("chat", f"{report}#9", "--url", demo_url, stdin=b"What?\n")
    assert f"Error: {report}: There is no page 9. The document has 3 pages." in done.err


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
