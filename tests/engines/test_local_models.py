"""The records of the embedded engine's models."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_gateway.engines.local_models import RECORD, ModelFile, ModelRecord, folder_name, read_models, write_record
from llava_gateway.options import Options

RECORD_OF_SMALL = ModelRecord(
    name="Owner/Small-GGUF:Q8_0",
    files=(
        ModelFile(role="text", path=Path("small-00001-of-00002.gguf"), size=10, sha256="0" * 64),
        ModelFile(role="text", path=Path("small-00002-of-00002.gguf"), size=9, sha256="1" * 64),
        ModelFile(role="projector", path=Path("/elsewhere/mmproj.gguf"), size=5, sha256="2" * 64),
    ),
    source="hf:Owner/Small-GGUF",
    revision="abc",
    licence="apache-2.0",
    accepted=True,
    options=Options(temperature=0.5, stop=("</s>",)),
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write_record(tmp_path, RECORD_OF_SMALL)
    assert read_models(tmp_path) == (written,)
    assert written.record == RECORD_OF_SMALL
    assert written.paths("text") == (written.folder / "small-00001-of-00002.gguf", written.folder / "small-00002-of-00002.gguf")
    assert written.paths("projector") == (Path("/elsewhere/mmproj.gguf"),)


def test_a_newer_record_replaces_the_older_one(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD_OF_SMALL)
    newer = write_record(tmp_path, RECORD_OF_SMALL.model_copy(update={"name": "owner/small-gguf:q8_0", "revision": "def"}))
    assert read_models(tmp_path) == (newer,)


def test_what_is_no_model_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "downloading").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / RECORD).write_text('{"name": 7}')
    (tmp_path / "a file").write_text("")
    assert read_models(tmp_path) == ()
    assert "broken can't be read" in caplog.text
    assert read_models(tmp_path / "nowhere") == ()


@pytest.mark.parametrize("name", ["..", ".", "../../etc/passwd", "a/b:c", "a\\b", "C:x", "名字"])
def test_a_folder_name_stays_inside_the_models_folder(name: str) -> None:
    folder = folder_name(name)
    assert folder not in (".", "..")
    assert folder.isascii()
    assert not set(folder) & set('/\\:*?"<>|')
