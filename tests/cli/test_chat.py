from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from llava_gateway.cli.client import GatewayClient
from llava_gateway.cli.ctrl_c import ctrl_c_stops
from llava_gateway.error_sentences import message_of
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests import sample_images
from tests.cli.program import COMMAND, LIMIT, environment, heeding_ctrl_c, run, running, until
from tests.scripted_engine import ScriptedEngine, says_then_waits
from tests.serving import serving
from tests.serving import until as until_true
from tests.synthetic_llava import ENDLESS

ENDLESS_FLAGS = [word for name, value in ENDLESS.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def lines(*typed: str) -> bytes:
    return ("\n".join(typed) + "\n").encode()


def session_of(said: str) -> str:
    return said.rpartition("--session ")[2].strip()


def test_the_second_question_remembers_the_image(demo_url: str, red_circle: Path) -> None:
    done = run("chat", str(red_circle), "--url", demo_url, stdin=lines("What is in this picture?", "What color is the background?"))
    assert done.code == 0
    assert done.out == "A red circle on a white background.\nThe background is white.\n"
    turns = httpx2.get(f"{demo_url}/sessions/{session_of(done.err)}").json()["turns"]
    assert [len(turn["images"]) for turn in turns] == [1, 0]


def test_without_a_server_the_chat_ends_with_the_program(red_circle: Path) -> None:
    done = run("chat", str(red_circle), stdin=lines("What is in this picture?", "What color is the background?"))
    assert done.out == "A red circle on a white background.\nThe background is white.\n"
    assert "--session" not in done.err


def test_a_chat_goes_on_later(demo_url: str, red_circle: Path) -> None:
    first = run("chat", str(red_circle), "--url", demo_url, stdin=lines("What is in this picture?"))
    again = run("chat", "--session", session_of(first.err), "--url", demo_url, stdin=lines("What color is the background?"))
    assert again.out == "The background is white.\n"
    assert "1 turns so far" in again.err
    gone = run("chat", "--session", "0" * 32, "--url", demo_url, stdin=lines("Hello"))
    assert gone.code == 1
    assert message_of("session_not_found", {}) in gone.err


def test_images_are_added_by_path_as_a_shell_would_write_it(
    demo_url: str, red_circle: Path, blue_square: Path, rotated_letters: Path
) -> None:
    typed = lines(
        f"/image {red_circle}",
        "What is in this picture?",
        f"/image '{blue_square}'",
        "What is in this picture?",
        f"/image {rotated_letters}",
        "Read the text.",
    )
    done = run("chat", "--url", demo_url, stdin=typed)
    assert done.out == 'A red circle on a white background.\nA blue square on a white background.\nThe text says "F7".\n'
    assert "a red circle.png: 112x112" in done.err
    assert note("rotated", degrees=90).text in done.err


def test_commands_change_what_follows(demo_url: str, red_circle: Path) -> None:
    typed = lines(
        "/options num_predict=2",
        "What is in this picture?",
        "/options num_predict=",
        "/system Answer in Chinese.",
        "What is in this picture?",
        "/model demo",
        "/new",
        "/system",
        "Who are you?",
        "/quit",
        "never asked",
    )
    done = run("chat", str(red_circle), "--url", demo_url, stdin=typed)
    cut, chinese, _, nothing = done.out.split("\n")
    assert len(cut) < len("A red circle")
    assert "红色圆形" in chinese
    assert nothing == ""
    assert "demo answers." in done.err
    assert "Answer in Chinese." in done.err
    turns = httpx2.get(f"{demo_url}/sessions/{session_of(done.err)}").json()["turns"]
    assert [turn["prompt"] for turn in turns] == ["Who are you?"]


def test_detail_and_policy_hold_for_the_chat_and_a_region_for_one_question(demo_url: str, red_circle: Path) -> None:
    typed = lines(
        "/detail high",
        "/policy sliding",
        "What is in this picture?",
        "What color is the background?",
        "/region 0.2,0.2,0.5,0.5",
        "/region",
        "/detail",
        "Who are you?",
    )
    done = run("chat", str(red_circle), "--region", "0.25,0.25,0.5,0.5", "--ocr-text", "no text", "--url", demo_url, stdin=typed)
    assert done.code == 0
    assert "Error" not in done.err
    assert "detail: high" in done.err
    assert "policy: sliding" in done.err
    assert "is about the part 0.2,0.2,0.5,0.5." in done.err
    session = httpx2.get(f"{demo_url}/sessions/{session_of(done.err)}").json()
    assert (session["policy"], len(session["turns"])) == ("sliding", 3)


def test_a_region_that_is_wrong_is_said_and_can_be_taken_back(demo_url: str, red_circle: Path) -> None:
    typed = lines("/region 0.5,0,0.9,1", "What is in this picture?", "/region", "What is in this picture?")
    done = run("chat", str(red_circle), "--url", demo_url, stdin=typed)
    assert f"Error: {message_of('region_beyond', {})}" in done.err
    assert done.out == "A red circle on a white background.\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("/options temperature=3", "temperature is a number from 0 to 2, not 3."),
        ("/options seed=x", "seed is a whole number from -1"),
        ("/options num_visual_tokens=1", "There is no option num_visual_tokens."),
        ("/options seed", "Write seed=VALUE"),
        ("/image nowhere.png", "There is no file nowhere.png."),
        ("/nowhere/c.png What is this?", "There is no file /nowhere/c.png."),
        ("What is ./nowhere.png?", "There is no file ./nowhere.png."),
        ("/model nope", "No engine has the model nope."),
        ("/detail ultra", "There is no detail ultra."),
        ("/region 5,5,5,5", "5,5,5,5 is not a part of an image."),
        ("/region 0,0,1", "0,0,1 is not a part of an image."),
        ("/policy drop", "There is no policy drop."),
        ("/dance", "There is no command /dance; /help lists them."),
        ("/help", "/image PATH"),
    ],
)
def test_what_can_not_be_done_is_said_and_the_chat_goes_on(typed: str, said: str, demo_url: str) -> None:
    done = run("chat", "--url", demo_url, stdin=lines(typed, "Who are you?"))
    assert said in done.err
    assert done.out.startswith("I am a tiny demo model.")
    assert done.code == 0


def test_a_question_may_begin_with_a_slash_after_a_space(demo_url: str) -> None:
    done = run("chat", "--url", demo_url, stdin=lines(" /Who are you?"))
    assert "There is no command" not in done.err
    assert done.out.strip()


def test_images_that_a_line_names_are_attached(demo_url: str, red_circle: Path, blue_square: Path, rotated_letters: Path) -> None:
    typed = lines(
        f"{rotated_letters} Read the text.",
        f"What is in this picture '{red_circle}'?",
        f"'{blue_square}'",
        "What is in this picture?",
        "What color is the background?",
    )
    done = run("chat", "--url", demo_url, stdin=typed)
    answers = done.out.splitlines()
    assert answers[:3] == ['The text says "F7".', "A red circle on a white background.", "A blue square on a white background."]
    session = httpx2.get(f"{demo_url}/sessions/{session_of(done.err)}").json()
    assert [(turn["prompt"], len(turn["images"])) for turn in session["turns"]] == [
        ("Read the text.", 1),
        ("What is in this picture?", 1),
        ("What is in this picture?", 1),
        ("What color is the background?", 0),
    ]


def test_images_within_a_line_go_by_their_numbers(demo_url: str, red_circle: Path, blue_square: Path) -> None:
    done = run("chat", str(red_circle), "--url", demo_url, stdin=lines("What is it?", f"Is '{blue_square}' like '{red_circle}' here?"))
    turns = httpx2.get(f"{demo_url}/sessions/{session_of(done.err)}").json()["turns"]
    assert (turns[1]["prompt"], len(turns[1]["images"])) == ("Is Picture 2 like Picture 3 here?", 2)


def test_a_line_that_failed_attaches_nothing(demo_url: str, red_circle: Path, tmp_path: Path) -> None:
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("not a drawing")
    done = run("chat", "--url", demo_url, stdin=lines(f"Compare '{red_circle}' with {drawing} now", "Who are you?"))
    assert message_of("unsupported_image_media_type", {}) in done.err
    turns = httpx2.get(f"{demo_url}/sessions/{session_of(done.err)}").json()["turns"]
    assert [len(turn["images"]) for turn in turns] == [0]


def test_paths_stay_text_where_that_is_wished(demo_url: str, red_circle: Path) -> None:
    done = run("chat", "--no-paths", "--url", demo_url, stdin=lines(f"Who are you, '{red_circle}'?", f"{red_circle} ?"))
    turns = httpx2.get(f"{demo_url}/sessions/{session_of(done.err)}").json()["turns"]
    assert [(turn["prompt"], turn["images"]) for turn in turns] == [(f"Who are you, '{red_circle}'?", [])]
    assert "There is no command" in done.err


def test_an_image_piped_in_as_lines_is_refused(demo_url: str, red_circle: Path) -> None:
    done = run("chat", "--url", demo_url, stdin=red_circle.read_bytes())
    assert (done.code, done.out) == (2, "")
    assert done.err == "Error: The piped input is not text.\nHint: Give an image as an argument: llava-gateway chat photo.jpg\n"


def test_an_image_that_can_not_be_read_ends_it_at_once(demo_url: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes.png"
    notes.write_text("no image")
    done = run("chat", str(notes), "--url", demo_url, stdin=lines("Hello"))
    assert done.code == 1
    assert message_of("unsupported_image_media_type", {}) in done.err


async def test_ctrl_c_stops_the_answer_and_not_the_program(endless_url: str) -> None:
    async with running("chat", *ENDLESS_FLAGS, "--url", endless_url) as process:
        assert process.stdin is not None
        process.stdin.write(lines("go"))
        await until(process.stdout, r"\w{5}")
        process.send_signal(signal.SIGINT)
        await until(process.stderr, r"\[stopped\]")
        process.stdin.write(lines("/options num_predict=3", "go on"))
        process.stdin.write_eof()
        _, err = await process.communicate()
        assert process.returncode == 0
    async with httpx2.AsyncClient(base_url=endless_url, trust_env=False) as client:
        turns = (await client.get(f"/sessions/{session_of(err.decode())}")).json()["turns"]
    assert [(turn["prompt"], turn["status"]) for turn in turns] == [("go", "cancelled"), ("go on", "complete")]
    assert turns[0]["message"]["content"]
    assert turns[0]["error_code"] is None  # a person stopped it; no client left


async def test_ctrl_c_before_the_first_word_is_a_person_s_stop_too() -> None:
    engine = ScriptedEngine(says_then_waits())
    async with serving(Settings(port=0), [engine]) as served, running("chat", "--url", served.url) as process:
        assert process.stdin is not None
        process.stdin.write(lines("go"))
        await until_true(lambda: engine.running == 1)
        process.send_signal(signal.SIGINT)
        await until(process.stderr, r"\[stopped\]")
        assert engine.running == 0
        (listed,) = served.gateway.sessions.list()
        turns = served.gateway.sessions.get(listed.id).turns
        assert [(turn.prompt, turn.status, turn.error_code) for turn in turns] == [("go", "cancelled", None)]


async def test_a_program_that_is_killed_is_a_client_that_left() -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    async with serving(Settings(port=0), [engine]) as served, running("chat", "--url", served.url) as process:
        assert process.stdin is not None
        process.stdin.write(lines("go"))
        await until(process.stdout, "One")
        process.kill()
        (session,) = served.gateway.sessions.list()
        await until_true(lambda: served.gateway.answers.get(session.id) is None)
        (turn,) = served.gateway.sessions.get(session.id).turns
        assert (turn.status, turn.error_code) == ("cancelled", "client_left")


def test_an_answer_at_its_length_limit_goes_on(demo_url: str, red_circle: Path) -> None:
    typed = lines(
        "/options num_predict=3 temperature=0", "Describe this image.", "/continue", "/options num_predict=64", "/continue", "/continue"
    )
    done = run("chat", str(red_circle), "--url", demo_url, stdin=typed)
    first, second, rest = done.out.splitlines()
    assert first + second + rest == "A red circle on a white background."
    assert done.err.count("/continue writes the rest") == 2
    assert message_of("answer_whole", {}) in done.err
    (turn,) = httpx2.get(f"{demo_url}/sessions/{session_of(done.err)}").json()["turns"]
    assert (turn["message"]["content"], turn["status"]) == ("A red circle on a white background.", "complete")


def test_without_an_answer_nothing_goes_on(demo_url: str) -> None:
    done = run("chat", "--url", demo_url, stdin=lines("/continue"))
    assert "There is no answer to continue yet." in done.err


async def test_ctrl_c_stops_an_answer_that_goes_on() -> None:
    engine = ScriptedEngine(says_then_waits("One"))
    async with serving(Settings(port=0), [engine]) as served, running("chat", "--url", served.url) as process:
        assert process.stdin is not None
        for typed, words in (("go", "One"), ("/continue", "two")):
            engine.script = says_then_waits(f" {words}") if words == "two" else engine.script
            process.stdin.write(lines(typed))
            await until(process.stdout, words)
            process.send_signal(signal.SIGINT)
            await until(process.stderr, r"\[stopped\]")
        (listed,) = served.gateway.sessions.list()
        turns = served.gateway.sessions.get(listed.id).turns
        assert [(turn.answer, turn.status, turn.error_code) for turn in turns] == [("One two", "cancelled", None)]


class SlowClient(GatewayClient):
    """A client that still waits for the gateway when Ctrl+C is pressed again."""

    def stop(self, session: str) -> bool:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it waited")


def test_a_second_ctrl_c_does_not_wait_for_the_gateway() -> None:
    client = SlowClient("http://127.0.0.1:9", None)
    with heeding_ctrl_c(), pytest.raises(KeyboardInterrupt), ctrl_c_stops(client, "a-session"):
        signal.raise_signal(signal.SIGINT)
    client.close()


def test_ctrl_c_ends_the_wait_if_the_gateway_does_not_answer() -> None:
    client = GatewayClient("http://127.0.0.1:9", None)
    with heeding_ctrl_c(), pytest.raises(KeyboardInterrupt), ctrl_c_stops(client, "a-session"):
        signal.raise_signal(signal.SIGINT)
    client.close()


async def test_ctrl_c_while_nothing_is_asked_says_how_to_leave(demo_url: str) -> None:
    async with running("chat", "--url", demo_url) as process:
        assert process.stdin is not None
        process.stdin.write(lines("/help"))
        await until(process.stderr, "stop the answer")
        process.send_signal(signal.SIGINT)
        await until(process.stderr, r"Ctrl\+D or /quit leaves\.")
        process.stdin.write_eof()
        assert await process.wait() == 0


async def reads(url: str) -> float:
    """Count the prompts that were read ahead to their end."""
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        metrics = (await client.get("/metrics")).text
    counts = re.findall(r'^llava_gateway_read_ahead_total\{.*outcome="read"\} (\S+)$', metrics, re.MULTILINE)
    return sum(map(float, counts))


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of this kind are not there")
async def test_on_a_terminal_images_are_read_while_the_question_is_typed(demo_url: str, tmp_path: Path) -> None:
    image = tmp_path / "ring.png"
    image.write_bytes(sample_images.encoded(sample_images.shape("circle", "purple", background="yellow")))
    before = await reads(demo_url)
    async with on_a_terminal("chat", str(image), "--url", demo_url) as (process, screen, keys):
        await until(screen, r"(?s)Ctrl\+D leaves.*> ")
        async with asyncio.timeout(LIMIT):
            while await reads(demo_url) == before:  # noqa: ASYNC110 (a question that comes at once goes first; the metrics send no event)
                await asyncio.sleep(0.02)
        os.write(keys, b"/help\n")  # starts no new read-ahead
        await until(screen, r"(?s)leave.*> ")
        os.write(keys, b"Describe this image.\n")
        await until(screen, r"(?s)purple circle.*> ")
        os.write(keys, b"\x04")
        session = (await until(screen, r"--session (\w{32})"))[1]
        assert await process.wait() == 0
    turn = httpx2.get(f"{demo_url}/sessions/{session}").json()["turns"][0]
    assert turn["usage"]["cached_tokens"] >= 64


@asynccontextmanager
async def on_a_terminal(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader, int]]:
    """Start a command on its own terminal. Yields the process, the text of its screen, and the descriptor for keys."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])", *COMMAND, *arguments]
    with heeding_ctrl_c():
        process = await asyncio.create_subprocess_exec(*command, stdin=theirs, env=environment(TERM="xterm"))
    os.close(theirs)
    screen = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: screen.feed_data(os.read(ours, 65536)))
    try:
        yield process, screen, ours
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of this kind are not there")
async def test_on_a_terminal_the_keys_themselves_work(endless_url: str) -> None:
    """Ctrl+C (0x03) as the terminal sends it, and Ctrl+D (0x04)."""
    async with on_a_terminal("chat", *ENDLESS_FLAGS, "--url", endless_url) as (process, screen, keys):
        await until(screen, r"(?s)Ctrl\+D leaves.*> ")
        os.write(keys, b"go\n")
        await until(screen, r"(?s)go\r\n.*\w{20}")
        os.write(keys, b"\x03")
        await until(screen, r"(?s)\[stopped\].*> ")
        os.write(keys, b"/options seed=5\n")
        await until(screen, r"(?s)seed +5.*> ")
        os.write(keys, b"\x04")
        await until(screen, "--session")
        assert await process.wait() == 0
