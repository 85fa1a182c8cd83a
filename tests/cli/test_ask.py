from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llava_gateway.chat import OPTION_LIMITS
from llava_gateway.cli.ask import split
from llava_gateway.cli.console import Failure
from llava_gateway.cli.main import app
from tests.cli.program import COMMAND, environment, run, running, until
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
    assert done.err == "Error: No engine has the model 'nope'.\nHint: Installed with vision: demo.\n"


def test_the_url_comes_from_the_environment_too(demo_url: str, red_circle: Path) -> None:
    assert run("ask", str(red_circle), LLAVA_GATEWAY_URL=demo_url.removeprefix("http://")).out.startswith("A red circle")


def test_a_picture_comes_from_stdin(demo_url: str, red_circle: Path) -> None:
    assert run("ask", "-", QUESTION, "--url", demo_url, stdin=red_circle.read_bytes()).out.startswith("A red circle")
    assert run("ask", "-", "--url", demo_url, stdin=red_circle.read_bytes()).out.startswith("A red circle")


def test_several_pictures_keep_their_order(demo_url: str, red_circle: Path, blue_square: Path) -> None:
    done = run("ask", str(red_circle), str(blue_square), "Describe the second picture.", "--url", demo_url)
    assert "blue square" in done.out
    done = run("ask", str(blue_square), str(red_circle), "Describe the second picture.", "--url", demo_url)
    assert "red circle" in done.out


def test_a_phone_picture_is_read_upright(demo_url: str, rotated_letters: Path) -> None:
    done = run("ask", str(rotated_letters), "Read the text.", "--url", demo_url, "--verbose")
    assert "F7" in done.out
    assert "rotated 90 degrees" in done.err
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


def test_pictures_without_a_question_are_all_described(demo_url: str, red_circle: Path, blue_square: Path) -> None:
    assert run("ask", str(red_circle), str(blue_square), "--url", demo_url).out == (
        "Picture 1: A red circle on a white background. Picture 2: A blue square on a white background.\n"
    )


def test_json_is_the_answer_of_the_rest_interface(demo_url: str, red_circle: Path) -> None:
    done = run("ask", str(red_circle), QUESTION, "--json", "--url", demo_url)
    answer = json.loads(done.out)
    assert answer["message"] == {"role": "assistant", "content": "A red circle on a white background."}
    assert answer["images"][0]["width"] == 112
    assert answer["session_id"] is None


def test_a_question_needs_no_picture(demo_url: str) -> None:
    assert run("ask", "Who are you?", "--url", demo_url).out.startswith("I am a tiny demo model.")


def test_options_reach_the_model(demo_url: str, red_circle: Path) -> None:
    cut = run("ask", str(red_circle), QUESTION, "--num-predict", "2", "--json", "--url", demo_url)
    assert json.loads(cut.out)["finish_reason"] == "length"
    stopped = run("ask", str(red_circle), QUESTION, "--stop", " circle", "--stop", "xyz", "--url", demo_url)
    assert stopped.out == "A red\n"
    refused = run("ask", str(red_circle), QUESTION, "--preset", "wild", "--url", demo_url)
    assert refused.code == 1
    assert "There is no preset 'wild'." in refused.err
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


def test_wishes_for_a_picture_reach_the_gateway(demo_url: str, red_circle: Path, blue_square: Path) -> None:
    asked = ("ask", str(red_circle), QUESTION, "--url", demo_url)
    whole = run(*asked, "--detail", "low", "--image-size", "112x112", "--max-image-tokens", "64", "--policy", "strict", "--json")
    assert whole.code == 0, whole.err
    assert json.loads(whole.out)["images"][0]["sent"]["detail"] == "low"
    part = run(*asked, "--region", "0.25,0.25,0.5,0.5", "--json")
    assert part.code == 0, part.err
    refused = run("ask", str(red_circle), str(blue_square), QUESTION, "--url", demo_url, "--region", "0,0,0.5,0.5")
    assert refused.code == 1
    assert "There is one region for 2 pictures." in refused.err
    assert run(*asked, "--region", "0.9,0,0.5,0.5").err.startswith("Error: The region reaches beyond the picture")
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


def test_what_is_wrong_with_a_picture_is_said_with_its_name(demo_url: str, red_circle: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no picture")
    done = run("ask", str(red_circle), str(text), QUESTION, "--url", demo_url)
    assert done.code == 1
    assert f"{text}: This is not a picture format we read" in done.err
    assert "Hint: Accepted: JPEG, PNG" in done.err


def test_an_address_where_nothing_or_something_else_answers(red_circle: Path) -> None:
    done = run("ask", str(red_circle), QUESTION, "--url", "127.0.0.1:9")
    assert done.code == 1
    assert "No gateway answers at http://127.0.0.1:9." in done.err
    assert "llava-gateway serve" in done.err
    assert run("ask", str(red_circle), QUESTION, "--url", "http://127.0.0.1:port").code == 2


async def test_ctrl_c_stops_the_answer(endless_url: str) -> None:
    options = [word for name, value in ENDLESS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    async with running("ask", "go", *options, "--url", endless_url) as process:
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
        timeout=30,
        check=False,
    )
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "pictures", "question"),
    [
        (["{red}", "What?"], ["{red}"], "What?"),
        (["{red}", "{red}"], ["{red}", "{red}"], ""),
        (["{red}"], ["{red}"], ""),
        (["-"], ["-"], ""),
        (["-", "What?"], ["-"], "What?"),
        (["Who are you?"], [], "Who are you?"),
        (["{red}", "Is it like photo.png"], ["{red}"], "Is it like photo.png"),
        (["{red}", "What is this? " * 30], ["{red}"], "What is this? " * 30),
    ],
)
def test_all_arguments_but_the_last_are_pictures(arguments: list[str], pictures: list[str], question: str, red_circle: Path) -> None:
    def path(text: str) -> str:
        return text.format(red=red_circle)

    assert split([path(argument) for argument in arguments]) == ([path(picture) for picture in pictures], question)


@pytest.mark.parametrize("arguments", [["phot.jpg"], ["my photo.HEIC"], ["{red}", "phot.jpg"], ["{folder}"]])
def test_a_mistyped_file_name_is_not_taken_for_the_question(arguments: list[str], red_circle: Path) -> None:
    with pytest.raises(Failure, match="There is no picture file"):
        split([argument.format(red=red_circle, folder=red_circle.parent) for argument in arguments])


def test_a_missing_picture_is_named() -> None:
    done = run("ask", "nowhere.jpg", "What", "is", "this?")
    assert done.code == 2
    assert done.err == "Error: There is no picture file nowhere.jpg.\nHint: A question goes into quotes, after the pictures.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of this kind are not there")
def test_a_terminal_gets_the_words(demo_url: str, red_circle: Path) -> None:
    ours, theirs = os.openpty()
    command = [*COMMAND, "ask", str(red_circle), QUESTION, "--url", demo_url]
    try:
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment(TERM="xterm")) as process:
            assert process.wait(timeout=30) == 0
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "A red circle on a white background.\r\n" in shown
