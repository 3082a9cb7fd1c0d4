"""WebSockets that Ray Serve refuses or loses are closed with a code and a reason."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.admission.api_keys import SUBPROTOCOL
from serve.http.problems import TITLES, Problem

DETAILS = {
    404: "there is no stream at this path; it is /v1/stream",
    429: "all replicas are full; try again shortly",
    503: "no replica is there now; try again shortly",
}
CLOSE_TIMEOUT = 1.0
"""Seconds to send the reason: a peer that reads nothing must not hold up a shutdown."""
LOST = Problem(503, "the server lost this stream, or was too busy to begin it; begin it again")


class CloseReasons:
    """ASGI middleware. Where no replica accepts a WebSocket, Ray Serve sends the messages of an
    HTTP response, which uvicorn turns into a 500; where a replica dies, it sends nothing, and the
    connection closes with 1006."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "websocket":
            return await self._app(scope, receive, send)
        accepted = closed = False
        problem = LOST

        async def watched(message: Message) -> None:
            nonlocal accepted, closed, problem
            match message["type"]:
                case "http.response.start":
                    problem = _problem(message["status"])
                case "http.response.body":
                    pass
                case kind:
                    accepted = accepted or kind == "websocket.accept"
                    closed = closed or kind in ("websocket.close", "websocket.http.response.start")
                    await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if not closed:
                await _close(scope, send, accepted, problem)


def _problem(status: int) -> Problem:
    known = status if status in TITLES else 500
    return Problem(known, DETAILS.get(status, TITLES[known]))


async def _close(scope: Scope, send: Send, accepted: bool, problem: Problem) -> None:
    """Accept first, if that is still to do: browsers hide from a page why a handshake failed."""
    code, reason = problem.close_frame
    with suppress(OSError, RuntimeError, TimeoutError):  # the peer has disconnected
        async with asyncio.timeout(CLOSE_TIMEOUT):
            if not accepted:
                ours = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
                await send({"type": "websocket.accept", "subprotocol": ours})
            await send({"type": "websocket.send", "text": problem.websocket_message(closing=True)})
            await send({"type": "websocket.close", "code": code, "reason": reason})
