"""What is refused while memory is nearly used up, and which limits count."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_gateway.gateway.memory_cap import MemoryCap, group_uses
from llava_gateway.settings import MiB, Settings
from tests import sample_images
from tests.scripted_engine import ScriptedEngine, Speaker, says
from tests.serving import Served, serving

CIRCLE = sample_images.encoded(sample_images.shape("circle", "red"))


class Used:
    share = 0.0

    def __call__(self) -> float:
        return self.share


async def statuses(served: Served, session_id: str) -> list[int]:
    """Return the statuses of requests with a new image, and of one without."""
    client, image = served.client, {"image": CIRCLE}
    responses = [
        await client.post("/ask", files=image),
        await client.post(f"/sessions/{session_id}/turns", files=image),
        await client.post("/images", files=image),
        await client.post("/read_ahead", files=image),
        await served.ask(),
    ]
    for response in responses:
        if response.status_code == 503:
            assert response.json()["error"]["code"] == "overloaded"
            assert response.headers["retry-after"] == "10"
    return [response.status_code for response in responses]


async def test_new_images_are_refused_first_then_every_question_and_running_answers_go_on() -> None:
    used, engine, speaker = Used(), ScriptedEngine(slots=2), Speaker()
    async with serving(Settings(port=0, image_workers=1), [engine]) as served:
        served.gateway.memory.uses = [lambda: 0.1, used]
        session_id = await served.session()
        engine.script = speaker
        speaker.say("One")
        async with served.stream() as running:
            assert (await anext(running))[0] == "delta"
            engine.script = says("Fine.")
            used.share = 0.84
            assert await statuses(served, session_id) == [200, 200, 201, 200, 200]
            used.share = 0.86
            assert await statuses(served, session_id) == [503, 503, 503, 503, 200]
            image_id = (await served.client.get(f"/sessions/{session_id}")).json()["turns"][0]["images"][0]["id"]
            assert (await served.ask(images=[{"image_id": image_id}])).status_code == 200
            used.share = 0.96
            assert await statuses(served, session_id) == [503, 503, 503, 503, 503]
            assert (await served.client.get("/sessions")).status_code == 200
            speaker.end()
            assert [name for name, _ in await running.rest()] == ["done"]
        used.share = 0.5
        assert await statuses(served, session_id) == [200, 200, 201, 200, 200]


async def test_the_memory_of_the_process_is_measured() -> None:
    for size, status in ((64 * MiB, 503), (1024 * 1024 * MiB, 200)):
        async with serving(Settings(port=0, memory_max_bytes=size, image_workers=1), [ScriptedEngine()]) as served:
            assert (await served.ask()).status_code == status


def test_a_limit_of_any_group_around_the_process_counts(tmp_path: Path) -> None:
    root, of = tmp_path / "cgroup", tmp_path / "self"
    inner = root / "gateway.slice" / "gateway.service"
    inner.mkdir(parents=True)
    of.write_text("0::/gateway.slice/gateway.service\n")
    (inner / "memory.max").write_text("max\n")
    (inner.parent / "memory.max").write_text("1000000\n")
    (inner.parent / "memory.current").write_text("900000\n")
    (inner.parent / "memory.stat").write_text("anon 300000\ninactive_file 400000\nactive_file 200000\n")
    (use,) = group_uses(root, of)
    assert use() == 0.5
    (inner.parent / "memory.current").write_text("1400000\n")
    assert use() == 1.0


def test_the_groups_of_older_systems_count_too(tmp_path: Path) -> None:
    root, of = tmp_path / "cgroup", tmp_path / "self"
    (root / "memory" / "docker").mkdir(parents=True)
    of.write_text("5:cpu,cpuacct:/docker\n4:memory:/docker\n0::/\n")
    (root / "memory" / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    (root / "memory" / "docker" / "memory.limit_in_bytes").write_text("1000\n")
    (root / "memory" / "docker" / "memory.usage_in_bytes").write_text("950\n")
    (use,) = group_uses(root, of)
    assert use() == 0.95


@pytest.mark.parametrize("text", ["", "0::/../other\n"])
def test_without_a_limit_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "self").write_text(text)
    assert list(group_uses(tmp_path / "cgroup", tmp_path / "self")) == []
    assert list(group_uses(tmp_path, tmp_path / "missing")) == []
    MemoryCap([]).check(images=True)
