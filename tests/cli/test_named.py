"""Paths in a question: what is attached, what is refused, and what stays text."""

from __future__ import annotations

from pathlib import Path
from urllib.request import pathname2url

import pytest

from llava_gateway.cli.console import Failure
from llava_gateway.cli.named import find_images
from tests import sample_images


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the person is in, which is their home too, with images in it."""
    image = sample_images.encoded(sample_images.shape("circle", "red"))
    for name in ("c.png", "b.png", "my pics/a (1).png", "pics/IMG.HEIC", "it's.png", "图片c.png", "what?.png", "scan"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image)
    (tmp_path / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def found(text: str) -> tuple[str, list[str]]:
    """The question that is asked, and the names of the files that are attached, each within the folder."""
    named = find_images(text)
    names = [Path(name).resolve().relative_to(Path.cwd()).as_posix() for name in named.names]
    return named.question(range(1, len(names) + 1), len(names)), names


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("./c.png", "c.png"),
        ("c.png", "c.png"),
        ("pics/IMG.HEIC", "pics/IMG.HEIC"),
        ("{folder}/c.png", "c.png"),
        ("~/c.png", "c.png"),
        ("../{folder.name}/c.png", "c.png"),
        ("./scan", "scan"),
        ("'./c.png'", "c.png"),
        ('"c.png"', "c.png"),
        ("“./c.png”", "c.png"),
        ("<./c.png>", "c.png"),
        ("`./c.png`", "c.png"),
        ("(./c.png)", "c.png"),
        ("'{folder}/my pics/a (1).png'", "my pics/a (1).png"),
        (r"{folder}/my\ pics/a\ \(1\).png", "my pics/a (1).png"),
        ("{folder}/my pics/a (1).png", "my pics/a (1).png"),
        ("{address}", "my pics/a (1).png"),
        (r"./it\'s.png", "it's.png"),
        ("./what?.png", "what?.png"),
    ],
)
def test_every_way_to_write_a_path_attaches_the_image(typed: str, name: str, folder: Path) -> None:
    path = typed.format(folder=folder, address=f"file://{pathname2url(str(folder / 'my pics/a (1).png'))}")
    assert found(path) == ("", [name])
    assert found(f"{path} What is this?") == ("What is this?", [name])
    assert found(f"What is in this image {path}?") == ("What is in this image?", [name])
    assert found(f"What is this: {path}") == ("What is this", [name])


@pytest.mark.parametrize(
    ("text", "question", "names"),
    [
        ("Describe ./c.png.", "Describe the picture.", ["c.png"]),
        ("What's in ./c.png and what is it's colour?", "What's in the picture and what is it's colour?", ["c.png"]),
        ("Compare ./c.png and ./b.png.", "Compare Picture 1 and Picture 2.", ["c.png", "b.png"]),
        ("What differs? ./c.png, ./b.png", "What differs?", ["c.png", "b.png"]),
        ("'./c.png' './b.png' What differs?", "What differs?", ["c.png", "b.png"]),
        ("这是什么：./c.png？", "这是什么？", ["c.png"]),
        ("描述./c.png里的形状", "描述这张图片里的形状", ["c.png"]),
        ("看图片c.png里有什么", "看这张图片里有什么", ["图片c.png"]),
        ("./c.png和./b.png有什么不同？", "图片1和图片2有什么不同？", ["c.png", "b.png"]),
    ],
)
def test_the_question_reads_on_without_the_path(text: str, question: str, names: list[str]) -> None:
    assert found(text) == (question, names)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("What is in ./d.png?", "./d.png"),
        ("What is in photos/d.png?", "photos/d.png"),
        ("/nowhere/d.png What is this?", "/nowhere/d.png"),
        ("~/d.png", "~/d.png"),
        (r"Describe C:\Users\me\d.png", r"C:\Users\me\d.png"),
        ("Describe C:/Users/me/d.jpeg, please", "C:/Users/me/d.jpeg"),
        ("'/no where/d.png' What?", "/no where/d.png"),
        ("/no where/d.png", "/no where/d.png"),
        ("file:///nowhere/d.png What?", "file:///nowhere/d.png"),
        ("描述/nowhere/d.png", "/nowhere/d.png"),
        ("Compare ./c.png and ./d.png", "./d.png"),
        ("./c.png.jpg", "./c.png.jpg"),
    ],
)
def test_a_path_to_no_image_is_refused(text: str, name: str) -> None:
    with pytest.raises(Failure) as refused:
        find_images(text)
    assert refused.value.message == f"There is no image file {name}."
    assert "--no-paths" in refused.value.hint


def test_an_address_of_an_image_is_refused() -> None:
    with pytest.raises(Failure, match=r"^https://example\.com/c\.png is not fetched\.$"):
        find_images("What is https://example.com/c.png?size=2")


@pytest.mark.parametrize(
    "text",
    [
        "Is it like d.png?",
        "What is the format of .jpg/.png files?",
        r"What does the regex \d+\.png match?",
        "What does /usr/bin/env do, and ./notes.txt?",
        "Either and/or neither, 1/2, n/a?",
        "Is c.png-based fine, c.png.bak, or c.pngx?",
        "What is https://example.com/page?",
        "x" * 5000 + ".png",
        "  Two  spaces: ",
        "",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert found(text) == (text, [])
