"""`llava-gateway sessions` against a running gateway with the demo model."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import httpx2
import pytest

from llava_gateway.error_sentences import message_of
from tests.cli.program import Done, run


@pytest.fixture
def session_id(demo_url: str, red_circle: Path) -> str:
    with httpx2.Client(base_url=demo_url, timeout=60, trust_env=False) as client:
        made: str = client.post("/sessions", json={"title": "收据 of May"}).json()["id"]
        client.post(f"/sessions/{made}/turns", files={"image": red_circle.read_bytes()})
        return made


def sessions(demo_url: str, *arguments: str, stdin: bytes = b"") -> Done:
    return run("sessions", *arguments, "--url", demo_url, stdin=stdin)


def test_they_are_listed(demo_url: str, session_id: str) -> None:
    for arguments in ((), ("list",)):
        done = sessions(demo_url, *arguments)
        head, row, *_ = done.out.splitlines()
        assert head.split() == ["id", "title", "turns", "model", "changed"]
        assert row.split()[:6] == [session_id[:8], "收据", "of", "May", "1", "demo"]
    assert json.loads(sessions(demo_url, "list", "--json").out)["sessions"][0]["id"] == session_id


def test_one_is_shown_by_how_its_id_begins(demo_url: str, session_id: str) -> None:
    done = sessions(demo_url, "show", session_id[:10])
    assert done.out.startswith("# 收据 of May\n")
    assert "\n[Picture 1, 112 × 112]\n\n> Describe this image.\n\nA red circle on a white background.\n" in done.out
    assert json.loads(sessions(demo_url, "show", session_id, "--json").out)["id"] == session_id


def test_what_names_none_or_several_is_said(demo_url: str, session_id: str, tmp_path: Path) -> None:
    """The first digit of an id has 16 values, so two of 17 ids begin alike."""
    file = tmp_path / "session.json"
    file.write_text('{"format": "llava-gateway-session", "version": 1, "session": {"turns": []}}')
    again = sessions(demo_url, "import", *[str(file)] * 17)
    assert again.code == 0, again.err
    firsts = [line[0] for line in again.out.splitlines()]
    for named in ("zzz", next(digit for digit in firsts if firsts.count(digit) > 1)):
        done = sessions(demo_url, "show", named)
        assert (done.code, "`llava-gateway sessions` lists them." in done.err) == (1, True)


def test_words_are_found_and_shown_where_they_stand(demo_url: str, session_id: str) -> None:
    done = sessions(demo_url, "search", "RED", "circle")
    assert f"{session_id[:8]}  收据 of May\n  answer 1: A red circle on a white background.\n" in done.out
    assert sessions(demo_url, "search", "no such words").code == 1


def test_a_session_goes_to_a_file_and_comes_back(demo_url: str, session_id: str, tmp_path: Path) -> None:
    done = sessions(demo_url, "export", session_id, "-o", str(tmp_path))
    file = tmp_path / "收据 of May.zip"
    assert (done.code, "收据 of May.zip" in done.err) == (0, True)
    assert "images/1.png" in zipfile.ZipFile(file).namelist()
    again = sessions(demo_url, "export", session_id, "-o", str(file))
    assert (again.code, "--force" in again.err) == (1, True)
    assert sessions(demo_url, "export", session_id, "-o", str(file), "--force").code == 0
    imported = sessions(demo_url, "import", str(file))
    assert imported.out.endswith("  收据 of May\n")
    assert imported.out[:32] != session_id
    page = sessions(demo_url, "export", session_id, "--format", "html", "-o", "-")
    assert page.out.startswith("<!doctype html>")


def test_what_is_no_session_is_not_taken_in(demo_url: str, tmp_path: Path) -> None:
    done = sessions(demo_url, "import", "-", stdin=b"{}")
    assert (done.code, message_of("invalid_archive", {}) in done.err) == (1, True)
    assert sessions(demo_url, "import", str(tmp_path / "nowhere")).code == 2


def test_one_is_renamed_deleted_and_brought_back(demo_url: str, session_id: str) -> None:
    assert sessions(demo_url, "rename", session_id[:12], "Shapes").out == f"{session_id[:8]}  Shapes\n"
    assert sessions(demo_url, "delete", session_id).out == f"{session_id} is deleted.\n"
    assert sessions(demo_url, "show", session_id).code == 1
    assert sessions(demo_url, "list", "--deleted").out.splitlines()[1].split()[:2] == [session_id[:8], "Shapes"]
    assert sessions(demo_url, "restore", session_id[:8]).out == f"{session_id[:8]}  Shapes\n"
    assert sessions(demo_url, "show", session_id).code == 0
    again = sessions(demo_url, "restore", session_id[:8])
    assert (again.code, "`llava-gateway sessions list --deleted` lists them." in again.err) == (1, True)
    assert sessions(demo_url, "restore", session_id).code == 1


@pytest.mark.parametrize("command", ["list", "search"])
def test_flags_may_stand_before_the_command(command: str, demo_url: str, session_id: str) -> None:
    words = ("circle",) if command == "search" else ()
    done = run("sessions", "--json", "--url", demo_url, command, *words, LLAVA_GATEWAY_URL="http://127.0.0.1:9")
    assert session_id in [row["id"] for row in json.loads(done.out)["sessions"]], done.err
    behind = run("sessions", "--url", "http://127.0.0.1:9", command, *words, "--url", demo_url)
    assert (behind.code, session_id[:8] in behind.out) == (0, True), behind.err


def test_without_a_gateway_there_are_no_sessions_to_speak_of() -> None:
    done = run("sessions")
    assert (done.code, "`llava-gateway serve`" in done.err) == (1, True)
