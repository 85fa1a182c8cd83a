from __future__ import annotations

import io

from llava_gateway.cli.console import console, printable


def test_control_characters_go_and_everything_else_stays() -> None:
    assert printable("a\x1b[2Jb\x07\r\x9b31mc\td\ne 红 🙂") == "a[2Jb31mc\td\ne 红 🙂"


def test_lines_stay_whole_and_brackets_are_text() -> None:
    file = io.StringIO()
    console(file).print("[bold]" + "x" * 300)
    assert file.getvalue() == "[bold]" + "x" * 300 + "\n"
