"""Messages of a WebSocket that were received and are not yet processed."""

import asyncio
from collections import deque
from typing import NoReturn

from fastapi import WebSocket, WebSocketDisconnect
from starlette.types import Message

from serve.http.problems import Problem
from serve.middleware import flow_control

MAX_BYTES = 4 * 2**20
"""Bytes that may wait where there is no flow control; ``FlowControl`` lets fewer arrive."""


class ReceiveBuffer:
    """A queue of messages, read as they arrive: so a disconnect is noticed at once, however much
    is still to be processed. It acknowledges to ``FlowControl`` what was processed."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._flow_controlled = flow_control.is_offered(socket.scope)
        self._messages: deque[Message] = deque()
        self._waiting_bytes = self._taken_bytes = 0
        self._arrived = asyncio.Event()

    async def fill(self) -> NoReturn:
        """Receive until the end.

        Raises:
            WebSocketDisconnect: the peer has disconnected.
            Problem: 429, it sends faster than its messages are processed, without flow control.
        """
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            if self._waiting_bytes > MAX_BYTES:
                raise Problem(
                    429, f"more than {MAX_BYTES} bytes wait to be processed; send more slowly"
                )
            self._waiting_bytes += flow_control.size(message)
            self._messages.append(message)
            self._arrived.set()

    async def get(self) -> Message:
        """The next message, as soon as there is one."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        return self._pop()

    def get_samples(self, max_bytes: int) -> bytes | None:
        """The next message, if it is there and holds samples, at most ``max_bytes`` of them."""
        if not self._messages:
            return None
        content = self._messages[0].get("bytes")
        if content is None or len(content) > max_bytes:
            return None
        self._pop()
        return content

    async def acknowledge(self) -> None:
        """Let more arrive for what was taken, in steps of a quarter of the window."""
        if self._flow_controlled and self._taken_bytes >= flow_control.WINDOW // 4:
            taken, self._taken_bytes = self._taken_bytes, 0
            await self._socket.send(flow_control.acknowledgement(taken))

    def _pop(self) -> Message:
        message = self._messages.popleft()
        self._waiting_bytes -= flow_control.size(message)
        self._taken_bytes += flow_control.size(message)
        return message
