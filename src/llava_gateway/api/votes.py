"""Votes on compared answers: stored with their metrics, counted by model, exported as JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llava_gateway.api import openapi
from llava_gateway.api.bodies import CandidateBody, VoteBody
from llava_gateway.api.deps import gateway_of, votes_of
from llava_gateway.api.json_body import read_body
from llava_gateway.api.native_json import check_length, timings_json
from llava_gateway.api.response import json_response
from llava_gateway.chat import Timings, Usage
from llava_gateway.errors import InvalidRequest
from llava_gateway.votes import MAX_TEXT_CHARS, Candidate, Vote

router = APIRouter(responses=openapi.ERRORS)


@router.post("/votes", tags=["votes"], summary="Vote for the best of several answers", status_code=201, openapi_extra=openapi.VOTE)
async def vote(request: Request) -> Response:
    """Store a vote, in memory or on disk like sessions. When there are too many votes, the oldest are dropped; of a very long prompt only
    the beginning is kept.
    """
    gateway = gateway_of(request)
    settings = gateway.settings
    body = await read_body(request, VoteBody)
    check_length("prompt", body.prompt, settings)
    if body.best is not None and body.best >= len(body.candidates):
        raise InvalidRequest("best_beyond", values={"best": body.best, "count": len(body.candidates)}, param="best")
    cast = Vote(datetime.now(UTC), body.prompt[:MAX_TEXT_CHARS], tuple(body.images), tuple(map(_candidate, body.candidates)), body.best)
    if gateway.journal:
        await gateway.journal.add_vote(cast)
    votes_of(request).add(cast)
    return await json_response(vote_json(cast), 201)


@router.get("/votes", tags=["votes"], summary="List all votes, newest first, and the results of each model")
async def list_votes(request: Request) -> Response:
    votes = votes_of(request)
    return await json_response({"votes": [vote_json(vote) for vote in votes], "tally": [asdict(standing) for standing in votes.tally()]})


@router.delete("/votes", tags=["votes"], summary="Delete all votes", status_code=204)
async def forget_votes(request: Request) -> Response:
    if journal := gateway_of(request).journal:
        await journal.remove_votes()
    votes_of(request).clear()
    return Response(status_code=204)


def vote_json(vote: Vote) -> dict[str, Any]:
    return {
        "at": vote.at.isoformat(timespec="seconds"),
        "prompt": vote.prompt,
        "images": list(vote.images),
        "best": vote.best,
        "candidates": [
            {
                "model": candidate.model,
                "engine": candidate.engine,
                "preset": candidate.preset,
                "detail": candidate.detail,
                "options": dict(candidate.options),
                "answer": candidate.answer,
                "timings": timings_json(candidate.timings),
                "usage": asdict(candidate.usage),
            }
            for candidate in vote.candidates
        ],
    }


def _candidate(body: CandidateBody) -> Candidate:
    return Candidate(
        model=body.model,
        engine=body.engine,
        answer=body.answer,
        preset=body.preset,
        detail=body.detail,
        options=body.options,
        timings=Timings(**body.timings.model_dump()),
        usage=Usage(**body.usage.model_dump()),
    )
