"""What a model gets of a stored image: the files, a drawing of them, and the steps to them in words."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from llava_gateway import __version__
from llava_gateway.api import openapi
from llava_gateway.api.bodies import ImageQuery, ViewQuery
from llava_gateway.api.deps import gateway_of
from llava_gateway.api.forms import read_query
from llava_gateway.api.head import wants_head_only
from llava_gateway.api.native_json import note_json, notes_json
from llava_gateway.api.response import JSONResponse, unless_known
from llava_gateway.api.sight import wishes
from llava_gateway.errors import InvalidRequest, NotFound
from llava_gateway.gateway.attachments import Seen
from llava_gateway.images.layout import drawn_size
from llava_gateway.images.steps import in_words, shown_pieces, steps
from llava_gateway.parts import Sight

router = APIRouter(responses=openapi.ERRORS)

FOR_EVER = "private, max-age=31536000, immutable"
ASK_AGAIN = "private, no-cache"
"""Browsers cache it, but revalidate each time: the same model may see images differently on another day."""


@router.get("/images/{image_id}", tags=["images"], summary="Return a stored image", openapi_extra=openapi.IMAGE)
async def get_image(request: Request, image_id: str) -> Response:
    """Return the canonical image: upright, sRGB, without metadata. With `model`, return what that model gets of it: the first file, or
    the file that `piece` names, counted from 0 in the order they are sent.
    """
    gateway = gateway_of(request)
    query = read_query(request, ImageQuery)
    image = gateway.images.get(image_id)
    if query.model is None:
        if given := query.model_fields_set:
            raise InvalidRequest("needs_model", values={"name": min(given)}, param="model")
        await image.stored()
        headers = _headers(image_id, FOR_EVER)
        known = unless_known(request, headers)
        return known or Response(await gateway.images.read(image), media_type=image.media_type, headers=headers)
    pieces = (await gateway.image_requests.seen(image, query.model, Sight(**wishes(query)))).rendition.pieces
    if query.piece >= len(pieces):
        raise NotFound("piece_beyond", values={"count": len(pieces)}, param="piece")
    piece = pieces[query.piece]
    headers = _headers(f"sent-{hashlib.sha256(piece.data).hexdigest()}", ASK_AGAIN)
    return unless_known(request, headers) or Response(piece.data, media_type=piece.media_type, headers=headers)


@router.get("/images/{image_id}/view", tags=["images"], summary="Show an image as a model sees it", openapi_extra=openapi.VIEW)
async def view_image(request: Request, image_id: str) -> Response:
    """Draw the files that are sent, as a PNG: padding is hatched, tiles and overview are numbered in the order they are sent, and a
    region is marked on the overview. As JSON (`Accept: application/json`, or `format=json`), list the steps to the files, the files and
    their tokens.
    """
    gateway = gateway_of(request)
    query = read_query(request, ViewQuery)
    image = gateway.images.get(image_id)
    seen = await gateway.image_requests.seen(image, query.model, Sight(**wishes(query)))
    if _wants_json(query, request.headers.get("accept", "")):
        body = JSONResponse(view_json(await image.stored(), seen))
        headers = _headers(hashlib.sha256(body.body).hexdigest(), ASK_AGAIN)
        body.headers.update(headers)
        return unless_known(request, headers) or body
    headers = _headers(_drawing_tag(seen), ASK_AGAIN)
    if known := unless_known(request, headers):
        return known
    if wants_head_only(request):
        return StreamingResponse((), media_type="image/png", headers=headers)  # without Content-Length, which only the drawing has
    return Response(await gateway.images.view(image, seen.profile, seen.sight), media_type="image/png", headers=headers)


def view_json(image_id: str, seen: Seen) -> dict[str, Any]:
    rendition, file = seen.rendition, seen.image.latest
    file_steps = 1 + len(file.changes)
    width, height = drawn_size(seen.plan.canvases)
    return {
        "id": image_id,
        "model": seen.model.name,
        "family": seen.profile.family,
        "profile": in_words(seen.plan),
        "drawing": {"width": width, "height": height},
        "steps": [
            {**note_json(step), "of": "file" if index < file_steps else "model"}
            for index, step in enumerate(steps(file, seen.plan, seen.rendition))
        ],
        "pieces": [
            {
                "role": shown.role,
                "width": shown.piece.width,
                "height": shown.piece.height,
                "box": shown.box,
                "format": shown.piece.format,
                "bytes": len(shown.piece.data),
                "tokens": shown.tokens,
            }
            for shown in shown_pieces(seen.plan, rendition)
        ],
        "tokens": rendition.tokens,
        "label": rendition.label,
        "detail": rendition.detail,
        "notes": notes_json(rendition.notes),
    }


def _wants_json(query: ViewQuery, accept: str) -> bool:
    if query.format is not None:
        return query.format == "json"
    return "application/json" in accept and "image/" not in accept


def _drawing_tag(seen: Seen) -> str:
    """Return a tag for the drawing without drawing it: from the pieces, their layout, and the version of the drawing code."""
    digest = hashlib.sha256(f"{__version__} {seen.plan.canvases}".encode())
    for piece in seen.rendition.pieces:
        digest.update(piece.data)
    return digest.hexdigest()


def _headers(tag: str, lasting: str) -> dict[str, str]:
    return {"ETag": f'"{tag}"', "Cache-Control": lasting, "Vary": "Accept"}
