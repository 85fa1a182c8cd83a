"""What routes take from the app that they are in, and from the request beside its body."""

from __future__ import annotations

from fastapi import FastAPI, Request

from llava_gateway.gateway.gateway import Gateway
from llava_gateway.votes import Votes


def provide(app: FastAPI, gateway: Gateway, votes: Votes) -> None:
    """Give the routes of an app what the functions below find."""
    app.state.gateway = gateway
    app.state.votes = votes


def gateway_in(app: FastAPI) -> Gateway:
    """The gateway of an app, for what runs the app; routes take `gateway_of`."""
    found: Gateway = app.state.gateway
    return found


def gateway_of(request: Request) -> Gateway:
    return gateway_in(request.app)


def votes_of(request: Request) -> Votes:
    found: Votes = request.app.state.votes
    return found


def request_id(request: Request) -> str:
    """The id the outermost middleware gave this request; it is in the X-Request-Id header of the response."""
    found: str = request.scope["state"]["request_id"]
    return found
