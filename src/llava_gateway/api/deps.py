"""The values that routes take from their app and from the request, other than its body."""

from __future__ import annotations

from fastapi import FastAPI, Request

from llava_gateway.api.body_limits import BodyBudget
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.votes import Votes


def provide(app: FastAPI, gateway: Gateway, votes: Votes, bodies: BodyBudget) -> None:
    """Give the app's routes the values that the functions below return."""
    app.state.gateway = gateway
    app.state.votes = votes
    app.state.bodies = bodies


def gateway_in(app: FastAPI) -> Gateway:
    """Return the gateway of an app, for code that runs the app; routes use `gateway_of`."""
    found: Gateway = app.state.gateway
    return found


def bodies_in(app: FastAPI) -> BodyBudget:
    found: BodyBudget = app.state.bodies
    return found


def gateway_of(request: Request) -> Gateway:
    return gateway_in(request.app)


def votes_of(request: Request) -> Votes:
    found: Votes = request.app.state.votes
    return found


def request_id(request: Request) -> str:
    """Return the id that the outermost middleware gave this request. It is in the X-Request-Id header of the response."""
    found: str = request.scope["state"]["request_id"]
    return found
