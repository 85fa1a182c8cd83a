"""Paths in a question: which are attached, which are rejected, and which stay text."""

from __future__ import annotations

from pathlib import Path
from urllib.request import pathname2url

import pytest

from llava_gateway.cli.console import Failure
from llava_gateway.cli.image_paths import find_images, mentions_image
from tests import sample_images


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the user's current folder, which is also the home, with images in it."""
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


IMAGES = ("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "heif", "hif", "jp2", "j2k")
RARE = ("psd", "ico", "tga", "ppm", "pgm", "pbm", "svg", "svgz", "dng", "nef", "nrw", "cr2", "cr3", "arw", "raf", "orf", "rw2", "pef")
DOCUMENTS = ("pdf", "mp4", "m4v", "mov", "webm", "mkv", "avi")


@pytest.mark.parametrize("suffix", [*IMAGES, *RARE, *DOCUMENTS])
def test_files_of_every_kind_are_found_in_a_question(suffix: str) -> None:
    """As a file that is there, as a path to one that is not, and as an address."""
    Path(f"one.{suffix}").write_bytes(b"content")
    assert find_images(f"What is in one.{suffix}?").names == (f"one.{suffix}",)
    with pytest.raises(Failure, match="There is no file"):
        find_images(f"What is in ./another.{suffix.upper()}?")
    assert find_images(f"What is in https://example.com/one.{suffix}?").names == (f"https://example.com/one.{suffix}",)


def found(text: str) -> tuple[str, list[str]]:
    """Return the question to ask, and the attached file names, relative to the folder."""
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
    assert refused.value.message == f"There is no file {name}."
    assert "--no-paths" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "question", "addresses"),
    [
        ("What is in https://example.com/c.png?size=2", "What is in the picture", ["https://example.com/c.png?size=2"]),
        ("https://example.com/c.png What is this?", "What is this?", ["https://example.com/c.png"]),
        ("What is this? (see https://example.com/a_(1).jpg).", "What is this? (see the picture).", ["https://example.com/a_(1).jpg"]),
        ("这是什么：https://example.com/图.png？", "这是什么：https://example.com/图.png？", []),
        ("描述https://example.com/c.png里的形状", "描述这张图片里的形状", ["https://example.com/c.png"]),
        ("Compare http://a.example/1.png, http://a.example/2.png", "Compare", ["http://a.example/1.png", "http://a.example/2.png"]),
        ("What is https://example.com/page?", "What is https://example.com/page?", []),
    ],
)
def test_addresses_of_images_are_found(text: str, question: str, addresses: list[str]) -> None:
    named = find_images(text)
    assert list(named.names) == addresses
    assert named.question(range(1, len(addresses) + 1), len(addresses)) == question


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


@pytest.mark.parametrize(
    "question",
    [
        *("What is in this picture?", "Describe the image.", "What do these photos show?", "Read the attached screenshot"),
        *("这张图里有什么？", "这是什么照片？图中有几个人？", "描述一下这幅图片", "照片里是谁？"),
    ],
)
def test_a_question_that_speaks_of_an_image(question: str) -> None:
    assert mentions_image(question)


@pytest.mark.parametrize(
    "question",
    [
        *(
            "What is an image?",
            "How do I print photos?",
            "Who painted the picture of Dorian Gray?",
            "Imagine this.",
            "What is this imagery?",
        ),
        *("什么是图像识别？", "这个故事讲了什么？", "怎么画图？", "推荐几本讲摄影的书"),
    ],
)
def test_a_question_about_images_in_general_speaks_of_none(question: str) -> None:
    assert not mentions_image(question)
