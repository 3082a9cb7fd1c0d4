"""What a stream has sent and its replica has not yet processed."""

import asyncio
from collections import deque
from typing import NoReturn

from fastapi import WebSocket, WebSocketDisconnect
from serve import flow
from serve.problems import Problem
from starlette.types import Message

MOST = 4 * 2**20
"""Bytes that may wait where nothing before us stops reading; ``flow.Flow`` lets fewer come."""


class Inbox:
    """The messages of a WebSocket in their order, read as they come: so it is noticed at once when
    the peer goes, however much is still to be processed."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._acknowledged = flow.offered(socket.scope)
        self._messages: deque[Message] = deque()
        self._waiting = self._taken = 0
        self._more = asyncio.Event()

    async def fill(self) -> NoReturn:
        """Read until the end.

        Raises:
            WebSocketDisconnect: the peer has gone.
            Problem: it sends faster than its messages are processed, and nothing slows it down.
        """
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            if self._waiting > MOST:
                raise Problem(429, f"more than {MOST} bytes wait to be processed; send more slowly")
            self._waiting += flow.weight(message)
            self._messages.append(message)
            self._more.set()

    async def take(self) -> Message:
        """The next message, when it is there."""
        while not self._messages:
            self._more.clear()
            await self._more.wait()
        return self._pop()

    def follow(self, most: int) -> bytes | None:
        """The samples of the next message, if it is there and holds at most ``most`` bytes of
        them."""
        if not self._messages:
            return None
        content = self._messages[0].get("bytes")
        if content is None or len(content) > most:
            return None
        self._pop()
        return content

    async def acknowledge(self) -> None:
        """Let more come for what was taken, now and then."""
        if self._acknowledged and self._taken >= flow.WINDOW // 4:
            taken, self._taken = self._taken, 0
            await self._socket.send(flow.acknowledgement(taken))

    def _pop(self) -> Message:
        message = self._messages.popleft()
        self._waiting -= flow.weight(message)
        self._taken += flow.weight(message)
        return message
