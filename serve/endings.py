"""Streams that Ray Serve refuses or loses end with a reason, as those that a replica ends."""

import asyncio
from contextlib import suppress

from serve.access import PROTOCOL
from serve.problems import TITLES, Problem
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DETAILS = {
    404: "there is no stream at this path; it is /v1/stream",
    429: "all replicas are full; try again shortly",
    503: "no replica is there now; try again shortly",
}
PATIENCE = 1.0
"""Seconds for a peer to read how its stream ended: one that reads nothing holds up no shutdown."""
LOST = Problem(503, "the server lost this stream, or was too busy to begin it; begin it again")


class Explained:
    """ASGI middleware. Where no replica takes a stream, Ray Serve sends the messages of an HTTP
    response, which uvicorn turns into a 500; where a replica dies, it sends nothing, and the stream
    ends with 1006."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "websocket":
            return await self._app(scope, receive, send)
        accepted = ended = False
        problem = LOST

        async def watched(message: Message) -> None:
            nonlocal accepted, ended, problem
            match message["type"]:
                case "http.response.start":
                    problem = _problem(message["status"])
                case "http.response.body":
                    pass
                case kind:
                    accepted = accepted or kind == "websocket.accept"
                    ended = ended or kind in ("websocket.close", "websocket.http.response.start")
                    await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if not ended:
                await _end(scope, send, accepted, problem)


def _problem(status: int) -> Problem:
    known = status if status in TITLES else 500
    return Problem(known, DETAILS.get(status, TITLES[known]))


async def _end(scope: Scope, send: Send, accepted: bool, problem: Problem) -> None:
    """Accept, if that is still to do: of any other answer a browser tells its page nothing."""
    code, reason = problem.close
    with suppress(OSError, RuntimeError, TimeoutError):  # it has gone
        async with asyncio.timeout(PATIENCE):
            if not accepted:
                ours = PROTOCOL if PROTOCOL in scope.get("subprotocols", ()) else None
                await send({"type": "websocket.accept", "subprotocol": ours})
            await send({"type": "websocket.send", "text": problem.message(closing=True)})
            await send({"type": "websocket.close", "code": code, "reason": reason})
