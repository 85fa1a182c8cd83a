"""The models that the embedded engine can run: a folder for each, with a record of its files (`model.json`).

MODELS_FOLDER/
  smolvlm-500m/
    model.json                 the record, written last: a folder without it is no model
    SmolVLM-500M-Q8_0.gguf     files that were downloaded
  ggml-org%2Fsmolvlm-500m-instruct-gguf%3Aq8_0/
    model.json                 may name files of other programs, with absolute paths: these are only read
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llava_gateway.options import Options

log = logging.getLogger(__name__)

RECORD = "model.json"
Role: TypeAlias = Literal["text", "projector", "adapter"]


class ModelFile(BaseModel):
    """One file of a model. A text model may be split: its parts have one role and come in their order.

    Attributes:
        path: name of a file in the model's folder, or an absolute path if it belongs to another program.
        size: bytes.
        sha256: in hexadecimal, as it was when the model was installed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    role: Role
    path: Path
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class ModelRecord(BaseModel):
    """How a model was installed, and what runs it.

    Attributes:
        source: where it came from: `hf:OWNER/REPO`, `file:` for files of this machine, or `model:NAME` for a model made from another one.
        revision: the commit of the repository that the files belong to.
        licence: name of the licence, as its repository has it; `accepted`: whether a person has accepted it.
        template: chat template in place of the file's own.
        system: instructions in place of a chat's own, if it has none.
        options: default options.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    name: str = Field(min_length=1, max_length=200)
    files: tuple[ModelFile, ...]
    source: str = ""
    revision: str = ""
    licence: str = ""
    accepted: bool = False
    template: str | None = None
    system: str | None = None
    options: Options = Options()


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model and its folder."""

    folder: Path
    record: ModelRecord

    def paths(self, role: Role) -> tuple[Path, ...]:
        """Return the absolute paths of the files with this role."""
        return tuple(self.folder / file.path for file in self.record.files if file.role == role)


def folder_name(name: str) -> str:
    """Return the name of a model's folder. Names that differ only in case share it."""
    quoted = quote(name.lower(), safe="")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2e")


def read_models(models_folder: Path) -> tuple[LocalModel, ...]:
    """Return all models in the folder, by name. A folder whose record can't be read is left out with a warning in the log."""
    found = []
    try:
        folders = sorted(entry for entry in models_folder.iterdir() if entry.is_dir())
    except OSError:
        return ()
    for folder in folders:
        try:
            record = ModelRecord.model_validate_json((folder / RECORD).read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValidationError) as error:
            log.warning("the model in %s can't be read: %s", folder, error)
            continue
        found.append(LocalModel(folder, record))
    return tuple(sorted(found, key=lambda model: model.record.name))


def write_record(models_folder: Path, record: ModelRecord) -> LocalModel:
    """Write the record of a model whose files are in place, and return the model. Replaces an older record at once or not at all."""
    folder = models_folder / folder_name(record.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{RECORD}.part"
    with part.open("w", encoding="utf-8") as file:
        file.write(record.model_dump_json(indent=2, exclude_defaults=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / RECORD)
    return LocalModel(folder, record)
