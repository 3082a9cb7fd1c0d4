"""WS /v1/stream: a live stream of samples in, frames out after the student's look-ahead."""

import asyncio

from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect
from pydantic import ValidationError

from diffusiontalker.errors import UserError
from diffusiontalker.runtime.stream import Stream
from serve import conditioning
from serve.admission.api_keys import SUBPROTOCOL
from serve.dependencies import ServiceDependency, get_caller
from serve.http.problems import Problem, as_invalid, operator_problem, validation_problem
from serve.service import Service
from serve.websocket.protocol import StreamQuery
from serve.websocket.session import Session, send_problem

router = APIRouter()


@router.websocket("/v1/stream")
async def stream(socket: WebSocket, service: ServiceDependency) -> None:
    """Samples in binary messages, ``pin`` and ``close`` in text; frames are sent when ready."""
    offered = [name.strip() for name in socket.headers.get("sec-websocket-protocol", "").split(",")]
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    limit = service.limits.stream_seconds
    try:
        async with asyncio.timeout(limit):
            await _run(socket, service)
    except TimeoutError:
        problem = Problem(408, f"a stream may last {limit:g} s; begin another")
        await _close(socket, service, problem)
    except Problem as problem:
        await _close(socket, service, problem)
    except UserError as error:
        await _close(socket, service, operator_problem(error))
    except WebSocketDisconnect:
        pass


@router.get("/v1/stream", include_in_schema=False)
async def upgrade_required() -> None:
    """A request without the headers of a WebSocket. Raises HTTPException."""
    raise HTTPException(
        426, "is a WebSocket; open it with ws:// or wss://, and let a proxy in between pass the "
        "headers Upgrade and Connection on", {"Upgrade": "websocket", "Connection": "Upgrade"},
    )  # fmt: skip


async def _run(socket: WebSocket, service: Service) -> None:
    caller = await get_caller(socket, service)
    query = _parameters(socket)
    served = service.students.find(query.model, query.steps)
    with service.streams.acquire(caller.id):
        socket.state.model = served.name
        student = await service.students.load(served.name)
        identity = await conditioning.identity(query.identity, service, served, student, caller)
        emotion = conditioning.emotion(query.emotion, student)
        with as_invalid("model"):
            live = Stream(
                service.stream_batch(student), query.rate, identity, emotion, query.seed,
                query.smooth_ms, query.mirror,
            )  # fmt: skip
        session = Session(socket, service, served, caller, student, live, query)
        try:
            await session.run()
        finally:
            socket.state.frames = live.frames
            service.metrics.count_frames(served.name, "stream", live.frames)


def _parameters(socket: WebSocket) -> StreamQuery:
    try:
        return StreamQuery.model_validate(dict(socket.query_params))
    except ValidationError as error:
        raise validation_problem(error.errors()[0]) from error


async def _close(socket: WebSocket, service: Service, problem: Problem) -> None:
    service.metrics.count_rejected(problem.status)
    await send_problem(socket, problem, closing=True)
