"""The limit on open files, and what it allows."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from llava_gateway.cli.checks import check_slots
from llava_gateway.cli.serve import too_few_files
from llava_gateway.gateway.build import build_gateway
from llava_gateway.gateway.files import connections_limit, files_wanted, raise_files_limit, slots_wanted
from llava_gateway.settings import Settings
from tests.scripted_engine import ScriptedEngine


@pytest.fixture
def hard() -> Iterator[int]:
    """Put the limit of this process back after the test. Returns the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_answers_at_once_are_limited_by_the_limit_on_open_files(hard: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (264, hard))
    assert connections_limit() == 100


def test_the_limit_is_raised_as_far_as_it_may_be(hard: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (264, hard))
    raise_files_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, 65_536)
    raise_files_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, 65_536), hard)


def test_slots_that_do_not_fit_are_told(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = Settings(engine="ollama"), Settings(engine="ollama", ollama_slots=4096)
    assert (slots_wanted(many), files_wanted(many)) == (4096, 8256)
    assert slots_wanted(Settings(openai_base_url="http://127.0.0.1:9/v1")) == 1 + 8 + 1
    monkeypatch.setattr("llava_gateway.cli.checks.raise_files_limit", lambda: None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (264, hard))
    assert (too_few_files(few), check_slots(few).status) == ([], "ok")
    (line,) = too_few_files(many)
    for told in (line, check_slots(many).detail + check_slots(many).advice):
        assert all(part in told for part in ("4096 slots", "100 answers", "ulimit -n 8256"))
    assert check_slots(many).status == "warn"


def test_no_engine_gets_more_requests_than_there_are_files(hard: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (264, hard))
    gateway = build_gateway(Settings(queue_size=30), [ScriptedEngine(slots=150), ScriptedEngine(name="openai", slots=8)])
    assert [(queue.slots, queue.queue_size) for queue in gateway.queues.values()] == [(100, 0), (8, 0)]
