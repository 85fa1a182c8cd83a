"""The bodies of responses about sessions as types, only for /openapi.json (see `api/results.py`)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from llava_gateway.api.results import Note, Result, StoredImage, Timings, Usage
from llava_gateway.chat import Detail, FinishReason, Policy
from llava_gateway.engines.base import EngineName
from llava_gateway.sessions.turn import TurnStatus


class TurnImage(StoredImage):
    detail: Detail | None
    region: list[float] | None


class TurnMessage(Result):
    role: Literal["assistant"]
    content: str


class Turn(Result):
    id: int
    after: int | None
    siblings: list[int]
    index: int
    prompt: str
    images: list[TurnImage]
    message: TurnMessage | None
    status: TurnStatus
    model: str
    finish_reason: FinishReason | None
    error_code: str | None
    options: dict[str, Any]
    usage: Usage
    timings: Timings
    warnings: list[Note]
    created_at: datetime


class SessionRow(Result):
    id: str
    title: str
    model: str | None
    engine: EngineName | None
    created_at: datetime
    updated_at: datetime
    turn_count: int
    temporary: bool = Field(description="Whether it is never written to disk.")


class Match(Result):
    turn: int | None
    place: Literal["title", "prompt", "answer"] = Field(alias="in")
    before: str
    text: str
    after: str


class FoundSession(SessionRow):
    matches: list[Match] = Field(default_factory=list, description="Only with `q`.")


class Sessions(Result):
    sessions: list[FoundSession]


class ChosenImage(Result):
    pinned: bool | None
    detail: Detail | None


class Session(SessionRow):
    system: str
    policy: Policy | None
    preset: str | None
    options: dict[str, Any]
    detail: Detail | None
    format: Literal["json"] | dict[str, Any] | None
    glossary: list[str]
    images: dict[str, ChosenImage]
    tokens: int | None
    running: bool
    turns: list[Turn]
