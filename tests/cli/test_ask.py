from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llava_gateway.cli import ask as asking
from llava_gateway.cli.ask import split
from llava_gateway.cli.console import Failure
from llava_gateway.cli.main import app
from llava_gateway.error_sentences import message_of
from llava_gateway.errors import ModelNotFound, UnsupportedImageType
from llava_gateway.notes import note
from llava_gateway.options import OPTION_LIMITS
from tests.cli.program import COMMAND, LIMIT, environment, run, running, until
from tests.synthetic_llava import ENDLESS

QUESTION = "What is in this picture?"


def test_without_a_server_one_is_started_and_ended(red_circle: Path) -> None:
    done = run("ask", str(red_circle), QUESTION)
    assert done.out == "A red circle on a white background.\n"
    assert (done.code, done.err) == (0, "")


def test_a_running_gateway_is_found_where_the_settings_say(demo_url: str, red_circle: Path) -> None:
    port = demo_url.rpartition(":")[2]
    done = run("ask", str(red_circle), QUESTION, "--model", "nope", LLAVA_GATEWAY_PORT=port)
    assert (done.code, done.out) == (1, "")
    nope = ModelNotFound("model_not_found_named", values={"model": "nope", "installed": ("demo",)})
    assert done.err == f"Error: {nope.message}\nHint: {nope.hint}\n"


def test_the_url_comes_from_the_environment_too(demo_url: str, red_circle: Path) -> None:
    assert run("ask", str(red_circle), LLAVA_GATEWAY_URL=demo_url.removeprefix("http://")).out.startswith("A red circle")


def test_an_image_comes_from_stdin(demo_url: str, red_circle: Path) -> None:
    assert run("ask", "-", QUESTION, "--url", demo_url, stdin=red_circle.read_bytes()).out.startswith("A red circle")
    assert run("ask", "-", "--url", demo_url, stdin=red_circle.read_bytes()).out.startswith("A red circle")


def test_several_images_keep_their_order(demo_url: str, red_circle: Path, blue_square: Path) -> None:
    done = run("ask", str(red_circle), str(blue_square), "Describe the second picture.", "--url", demo_url)
    assert "blue square" in done.out
    done = run("ask", str(blue_square), str(red_circle), "Describe the second picture.", "--url", demo_url)
    assert "red circle" in done.out


def test_a_phone_image_is_read_upright(demo_url: str, rotated_letters: Path) -> None:
    done = run("ask", str(rotated_letters), "Read the text.", "--url", demo_url, "--verbose")
    assert "F7" in done.out
    assert note("rotated", degrees=90).text in done.err
    assert "64 tokens" in done.err


def test_a_warning_goes_to_stderr_unasked(demo_url: str, red_circle: Path) -> None:
    asked = ("ask", str(red_circle), "--max-image-tokens", "10", "--url", demo_url)
    done = run(*asked)
    assert (done.out, done.err.count("warning: ")) == ("A red circle on a white background.\n", 1), done.err
    assert run(*asked, "--json").err == ""
    assert (
        run("chat", "--url", demo_url, "--max-image-tokens", "10", stdin=f"/image {red_circle}\nWhat is it?\n".encode()).err.count(
            "warning: "
        )
        == 1
    )


def test_images_without_a_question_are_all_described(demo_url: str, red_circle: Path, blue_square: Path) -> None:
    assert run("ask", str(red_circle), str(blue_square), "--url", demo_url).out == (
        "Picture 1: A red circle on a white background. Picture 2: A blue square on a white background.\n"
    )


def test_json_is_the_answer_of_the_rest_interface(demo_url: str, red_circle: Path) -> None:
    done = run("ask", str(red_circle), QUESTION, "--json", "--url", demo_url)
    answer = json.loads(done.out)
    assert answer["message"] == {"role": "assistant", "content": "A red circle on a white background."}
    assert answer["images"][0]["width"] == 112
    assert answer["session_id"] is None


def test_a_question_needs_no_image(demo_url: str) -> None:
    assert run("ask", "Who are you?", "--url", demo_url).out.startswith("I am a tiny demo model.")


def test_options_reach_the_model(demo_url: str, red_circle: Path) -> None:
    cut = run("ask", str(red_circle), QUESTION, "--num-predict", "2", "--json", "--url", demo_url)
    assert json.loads(cut.out)["finish_reason"] == "length"
    stopped = run("ask", str(red_circle), QUESTION, "--stop", " circle", "--stop", "xyz", "--url", demo_url)
    assert stopped.out == "A red\n"
    refused = run("ask", str(red_circle), QUESTION, "--preset", "wild", "--url", demo_url)
    assert refused.code == 1
    assert message_of("unknown_preset", {"preset": "wild"}) in refused.err
    told = run("ask", str(red_circle), QUESTION, "--system", "Answer in Chinese.", "--preset", "factual", "--url", demo_url)
    assert "红色圆形" in told.out


def test_format_takes_json_or_a_schema_in_a_file(demo_url: str, red_circle: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"background": {"enum": ["white"]}}, "required": ["background"]}')
    asked = ("ask", str(red_circle), "Describe this image as JSON.", "--url", demo_url, "--format")
    assert json.loads(run(*asked, str(schema)).out) == {"background": "white"}
    assert json.loads(run(*asked, "json").out)["background"] == "white"
    for wrong in ("nowhere.json", str(red_circle)):
        done = run(*asked, wrong)
        assert done.code == 2
        assert "--format" in done.err


def test_wishes_for_an_image_reach_the_gateway(demo_url: str, red_circle: Path, blue_square: Path) -> None:
    asked = ("ask", str(red_circle), QUESTION, "--url", demo_url)
    whole = run(*asked, "--detail", "low", "--image-size", "112x112", "--max-image-tokens", "64", "--policy", "strict", "--json")
    assert whole.code == 0, whole.err
    assert json.loads(whole.out)["images"][0]["sent"]["detail"] == "low"
    part = run(*asked, "--region", "0.25,0.25,0.5,0.5", "--json")
    assert part.code == 0, part.err
    refused = run("ask", str(red_circle), str(blue_square), QUESTION, "--url", demo_url, "--region", "0,0,0.5,0.5")
    assert refused.code == 1
    assert message_of("region_of_several", {"count": 2}) in refused.err
    assert run(*asked, "--region", "0.9,0,0.5,0.5").err.startswith(f"Error: {message_of('region_beyond', {})}")
    assert run(*asked, "--detail", "ultra").code == 2


def test_read_text_comes_from_a_file_stdin_or_the_flag(demo_url: str, red_circle: Path, tmp_path: Path) -> None:
    text = tmp_path / "read.txt"
    text.write_text("TOTAL 12.50 " * 20)
    asked = ("ask", str(red_circle), QUESTION, "--json", "--url", demo_url)

    def tokens(*flags: str, stdin: bytes = b"") -> int:
        done = run(*asked, *flags, stdin=stdin)
        assert done.code == 0, done.err
        count: int = json.loads(done.out)["usage"]["prompt_tokens"]
        return count

    bare = tokens()
    assert tokens("--ocr-text", str(text)) == tokens("--ocr-text", "-", stdin=text.read_bytes()) == tokens("--ocr-text", text.read_text())
    assert tokens("--ocr-text", str(text)) > bare + 20
    assert "There is no file nowhere.txt" in run(*asked, "--ocr-text", "nowhere.txt").err
    assert "is not UTF-8" in run(*asked, "--ocr-text", str(red_circle)).err
    twice = run("ask", "-", QUESTION, "--ocr-text", "-", "--url", demo_url, stdin=red_circle.read_bytes())
    assert (twice.code, "Only one thing can come from stdin." in twice.err) == (2, True)


def test_files_may_begin_with_a_byte_order_mark(demo_url: str, red_circle: Path, tmp_path: Path) -> None:
    """Notepad and PowerShell write one."""
    schema, plain, marked = (tmp_path / name for name in ("schema.json", "plain.txt", "marked.txt"))
    schema.write_text('{"type": "object"}', "utf-8-sig")
    plain.write_text("Total 16.00", "utf-8")
    marked.write_text("Total 16.00", "utf-8-sig")
    assert run("ask", str(red_circle), QUESTION, "--format", str(schema), "--url", demo_url).code == 0

    def tokens(text: Path) -> int:
        done = run("ask", str(red_circle), QUESTION, "--ocr-text", str(text), "--json", "--url", demo_url)
        count: int = json.loads(done.out)["usage"]["prompt_tokens"]
        return count

    assert tokens(marked) == tokens(plain)


def test_bytes_on_the_command_line_that_are_no_text_are_named(demo_url: str) -> None:
    said = "描述".encode("gbk").decode("utf-8", "surrogateescape")
    done = run("ask", said, "--url", demo_url)
    assert done.code == 2
    assert "not in the encoding of this terminal" in done.err


def test_the_glossary_of_a_preset_is_told_to_the_model(red_circle: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('engine = "embedded"\nport = 1\n[presets.receipts]\nglossary = ["SKU: stock number", "TTL: total"]\n')

    def tokens(*flags: str) -> int:
        count: int = json.loads(run("ask", str(red_circle), QUESTION, "--json", "--config", str(settings), *flags).out)["usage"][
            "prompt_tokens"
        ]
        return count

    assert tokens("--preset", "receipts") > tokens() + 5


@pytest.mark.parametrize("name", OPTION_LIMITS)
def test_every_option_has_a_flag_with_its_range(name: str) -> None:
    limit, flag = OPTION_LIMITS[name], f"--{name.replace('_', '-')}"
    for beyond in (limit.low - 1, limit.high + 1):
        done = CliRunner().invoke(app, ["ask", "Hello", f"{flag}={beyond:.0f}"])
        assert done.exit_code == 2
        assert flag in done.stderr


def test_the_help_names_every_option_and_its_range() -> None:
    said = CliRunner().invoke(app, ["ask", "--help"], env={"COLUMNS": "200"}).stdout
    for name, limit in OPTION_LIMITS.items():
        assert f"--{name.replace('_', '-')} " in said
        assert f"[{limit.low:.10g}<=x<={limit.high:.10g}]" in said


def test_what_is_wrong_with_an_image_is_said_with_its_name(demo_url: str, red_circle: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no image")
    done = run("ask", str(red_circle), str(text), QUESTION, "--url", demo_url)
    assert done.code == 1
    no_image = UnsupportedImageType()
    assert f"{text}: {no_image.message}" in done.err
    assert f"Hint: {no_image.hint}" in done.err


def test_an_address_where_nothing_or_something_else_answers(red_circle: Path) -> None:
    done = run("ask", str(red_circle), QUESTION, "--url", "127.0.0.1:9")
    assert done.code == 1
    assert "No gateway answers at http://127.0.0.1:9." in done.err
    assert "llava-gateway serve" in done.err
    assert run("ask", str(red_circle), QUESTION, "--url", "http://127.0.0.1:port").code == 2


async def test_ctrl_c_stops_the_answer(endless_url: str) -> None:
    options = [word for name, value in ENDLESS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    async with running("ask", "go", *options, "--url", endless_url) as process:
        assert process.stdin is not None
        process.stdin.close()
        await until(process.stdout, r"\w{5}")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert process.stderr is not None
        assert await process.stderr.read() == b""


def test_a_reader_that_leaves_ends_it_without_a_word(demo_url: str, red_circle: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" | true', "sh", *COMMAND, "ask", str(red_circle), QUESTION, "--url", demo_url],
        capture_output=True,
        env=environment(),
        timeout=LIMIT,
        check=False,
    )
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "images", "question"),
    [
        (["{red}", "What?"], ["{red}"], "What?"),
        (["{red}", "{red}"], ["{red}"], ""),
        (["{red}"], ["{red}"], ""),
        (["-"], ["-"], ""),
        (["-", "What?"], ["-"], "What?"),
        (["Who are you?"], [], "Who are you?"),
        (["{red}", "Is it like photo.png"], ["{red}"], "Is it like photo.png"),
        (["{red}", "What is this? " * 30], ["{red}"], "What is this? " * 30),
    ],
)
def test_all_arguments_but_the_last_are_images(arguments: list[str], images: list[str], question: str, red_circle: Path) -> None:
    def path(text: str) -> str:
        return text.format(red=red_circle)

    assert split([path(argument) for argument in arguments]) == ([path(image) for image in images], question)


@pytest.mark.parametrize("arguments", [["phot.jpg"], ["my photo.HEIC"], ["{red}", "phot.jpg"], ["{folder}"]])
def test_a_mistyped_file_name_is_not_taken_for_the_question(arguments: list[str], red_circle: Path) -> None:
    with pytest.raises(Failure, match=r"There is no file|is a folder"):
        split([argument.format(red=red_circle, folder=red_circle.parent) for argument in arguments])


def test_an_image_that_the_question_names_is_attached(demo_url: str, red_circle: Path, blue_square: Path) -> None:
    done = run("ask", f"What is in this image '{red_circle}'?", "--url", demo_url)
    assert (done.code, done.out) == (0, "A red circle on a white background.\n")
    assert done.err == f"Attached {red_circle}.\n"
    done = run("ask", f"Describe {blue_square}", "--url", demo_url)
    assert (done.code, done.out) == (0, "A blue square on a white background.\n")


def test_an_image_that_is_given_and_named_is_attached_once(red_circle: Path, blue_square: Path) -> None:
    names, question = split([str(red_circle), f"Is '{blue_square}' larger than '{red_circle}'?"])
    assert names == [str(red_circle), str(blue_square)]
    assert question == "Is Picture 2 larger than Picture 1?"


def test_a_question_that_names_no_image_file_is_refused(demo_url: str, red_circle: Path) -> None:
    done = run("ask", "What is in ./nowhere.png?", "--url", demo_url)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: There is no file ./nowhere.png.\nHint: Correct the path.")
    assert run("ask", "https://example.com/c.png", "What is this?", "--url", demo_url).code == 2
    assert run("ask", "What is in ./nowhere.png?", "--no-paths", "--url", demo_url).code == 0
    assert split([f"What is '{red_circle}'?"], paths=False) == ([], f"What is '{red_circle}'?")


def test_an_image_named_in_a_question_is_named_when_it_is_wrong(demo_url: str, tmp_path: Path) -> None:
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("not a drawing")
    done = run("ask", f"What is in {drawing}?", "--url", demo_url)
    assert done.code == 1
    assert f"Error: {drawing}: {UnsupportedImageType().message}" in done.err


def test_an_image_that_is_piped_in_is_attached(demo_url: str, red_circle: Path) -> None:
    done = run("ask", "Describe this image.", "--url", demo_url, stdin=red_circle.read_bytes())
    assert (done.code, done.out) == (0, "A red circle on a white background.\n")
    assert done.err == "Attached the file from stdin.\n"


def test_an_image_in_a_file_is_attached_from_stdin(demo_url: str, red_circle: Path) -> None:
    with red_circle.open("rb") as file:
        done = subprocess.run(
            [*COMMAND, "ask", "Describe this image.", "--url", demo_url],
            stdin=file,
            capture_output=True,
            env=environment(),
            timeout=LIMIT,
            check=False,
        )
    assert done.stdout == b"A red circle on a white background.\n"


def test_text_that_is_piped_in_stands_before_the_question(demo_url: str) -> None:
    asked = ("ask", "Who are you?", "--json", "--url", demo_url)

    def tokens(stdin: bytes) -> int:
        count: int = json.loads(run(*asked, stdin=stdin).out)["usage"]["prompt_tokens"]
        return count

    assert tokens("Notes: ./nowhere.png is 4 \u20ac. ".encode() * 10) > tokens(b"") + 20
    assert tokens(b" \n") == tokens(b"")


def test_what_is_neither_image_nor_text_is_refused_from_stdin(demo_url: str) -> None:
    for stdin in (b"\x7fELF\xff\xfe", b"text\0more"):
        done = run("ask", "What is this?", "--url", demo_url, stdin=stdin)
        assert (done.code, done.out) == (2, "")
        assert "neither a supported file nor text" in done.err


def test_stdin_that_is_not_read_is_told(demo_url: str, red_circle: Path, blue_square: Path, tmp_path: Path) -> None:
    asked = ("ask", str(red_circle), QUESTION, "--url", demo_url)
    done = run(*asked, stdin=blue_square.read_bytes())
    assert (done.code, done.out) == (0, "A red circle on a white background.\n")
    assert "warning: stdin is not read if images are given." in done.err
    listed = tmp_path / "list.txt"
    listed.write_text("one.png\ntwo.png\n")
    with listed.open("rb") as file:  # as in a shell loop, which reads on after the command
        done_in_a_loop = subprocess.run([*COMMAND, *asked], stdin=file, capture_output=True, env=environment(), timeout=LIMIT, check=False)
        assert done_in_a_loop.stderr == b""
        assert file.read() == listed.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="shells of this kind are not there")
@pytest.mark.parametrize("command", ["ask", "chat"])
def test_stdin_may_be_closed(command: str, demo_url: str, red_circle: Path) -> None:
    arguments = [command, str(red_circle), "--url", demo_url]
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *COMMAND, *arguments], capture_output=True, env=environment(), timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


@pytest.fixture
def idle_pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileIO]:
    """Return the write end of a pipe on stdin that is still empty."""
    reading, writing = os.pipe()
    monkeypatch.setattr(asking, "_STDIN_SECONDS", 0.01)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with FileIO(writing, "wb") as pipe:
            yield pipe
        wait_for_stdin()


def wait_for_stdin() -> None:
    """Wait until all input on stdin has been read."""
    for thread in threading.enumerate():
        if thread.name == "stdin":
            thread.join()


@pytest.mark.usefixtures("idle_pipe")
def test_a_pipe_that_nobody_writes_to_holds_nothing_up(demo_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    asking.ask(["Who are you?"], url=demo_url)
    said = capsys.readouterr()
    assert said.out.startswith("I am a tiny demo model.")
    assert "No input arrived on stdin" in said.err


def test_what_comes_through_stdin_too_late_is_an_error(demo_url: str, idle_pipe: FileIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer_slowly(*_: object, **__: object) -> dict[str, object]:
        idle_pipe.write(b"late")
        idle_pipe.close()
        wait_for_stdin()
        return {"warnings": [], "context": {"warnings": []}, "finish_reason": "stop"}

    monkeypatch.setattr("llava_gateway.cli.answer.show_answer", answer_slowly)
    with pytest.raises(Failure, match="sent before any input arrived"):
        asking.ask(["Who are you?"], url=demo_url)


def test_a_missing_image_is_named() -> None:
    done = run("ask", "nowhere.jpg", "What", "is", "this?")
    assert done.code == 2
    assert done.err == "Error: There is no file nowhere.jpg.\nHint: A question goes into quotes, after the images.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of this kind are not there")
def test_a_terminal_gets_the_words(demo_url: str, red_circle: Path) -> None:
    ours, theirs = os.openpty()
    command = [*COMMAND, "ask", str(red_circle), QUESTION, "--url", demo_url]
    try:
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment(TERM="xterm")) as process:
            assert process.wait(timeout=LIMIT) == 0
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "A red circle on a white background.\r\n" in shown


def test_an_answer_that_is_cut_says_how_to_have_more(demo_url: str, red_circle: Path) -> None:
    asked = ("ask", str(red_circle), "What shape is this?", "--url", demo_url)
    cut = run(*asked, "--num-predict", "1")
    assert cut.code == 0
    assert "warning: The answer was cut off after 1 token: --num-predict COUNT allows more." in cut.err
    assert "cut off" not in run(*asked).err
    assert (
        "/options num_predict=COUNT allows more"
        in run("chat", str(red_circle), "--num-predict", "1", "--url", demo_url, stdin=b"What?\n").err
    )


def test_a_question_about_an_image_that_is_not_there_is_told(demo_url: str, red_circle: Path) -> None:
    said = "The question mentions an image"
    alone = run("ask", "What is in this photo?", "--url", demo_url)
    assert (alone.code, said in alone.err) == (0, True)
    assert said not in run("ask", str(red_circle), "What is in this photo?", "--url", demo_url).err
    chatted = run(
        "chat",
        "--url",
        demo_url,
        stdin=f"What is in this photo?\n/image {red_circle}\nWhat is in this photo?\nAnd in this photo?\n".encode(),
    )
    assert chatted.err.count(said) == 1
