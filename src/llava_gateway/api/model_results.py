"""The bodies of responses about models as types, only for /openapi.json (see `api/results.py`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llava_gateway.api.results import Note, Result
from llava_gateway.engines import memory, setup
from llava_gateway.engines.base import EngineName
from llava_gateway.engines.installer import Kind
from llava_gateway.engines.ollama_library_errors import Step


class MemoryFit(Result):
    verdict: memory.Verdict
    needed: int
    gpu: int | None
    context: int | None
    estimated: bool


class Machine(Result):
    """The main memory of the machine, in bytes."""

    total: int
    available: int


class Model(Result):
    name: str
    engine: EngineName
    vision: bool | None
    context_length: int | None
    loaded: bool
    loaded_context: int | None
    size_bytes: int | None
    family: str | None
    parameters: str | None
    quantization: str | None
    memory: MemoryFit | None


class DefaultModel(Result):
    model: str
    engine: EngineName
    reason: Note


class InstallProgress(Result):
    step: Step
    status: str = Field(description="Ollama's own word for the step.")
    digest: str | None
    completed: int | None
    total: int | None


class Installing(Result):
    model: str
    kind: Kind
    progress: InstallProgress | None


class Models(Result):
    models: list[Model]
    default: DefaultModel | None
    installing: list[Installing]
    memory: Machine
    may_change: bool


class Installed(Result):
    model: Model | None
    default: DefaultModel | None


class InstallProgressEvent(Result):
    event: Literal["progress"]
    data: InstallProgress


class InstalledEvent(Result):
    event: Literal["done"]
    data: Installed


class ModelfileExample(Result):
    name: str
    about: str
    base: str
    modelfile: str


class ModelfileExamples(Result):
    examples: list[ModelfileExample]


class OllamaState(Result):
    installed: bool | None
    running: bool
    version: str


class InstallAdvice(Result):
    page: str
    command: str | None


class StartAdvice(Result):
    command: str | None


class SuggestedModel(Result):
    model: str
    download_bytes: int
    memory: MemoryFit | None


class EmbeddedState(Result):
    installed: bool
    command: str = Field(description="The command that installs the engine.")


class Setup(Result):
    state: setup.State
    missing: setup.Missing | None
    next: setup.Next | None
    model: DefaultModel | None
    chosen_model: str | None
    embedded: EmbeddedState
    platform: setup.Platform
    ollama: OllamaState
    install: InstallAdvice
    start: StartAdvice
    suggested: list[SuggestedModel]
    may_change: bool
