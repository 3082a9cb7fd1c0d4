"""Whether a replica lives, whether it is ready, and what all of them counted."""

import asyncio

import aiohttp
import ray
from fastapi import APIRouter, Response
from pydantic import BaseModel
from serve.metrics import PREFIX
from serve.problems import Problem, responses
from serve.service import Asking, Serving

router = APIRouter()
TEXT = "text/plain; version=0.0.4; charset=utf-8"
SHOWN = (f"ray_{PREFIX}", "ray_serve_")
"""Beginnings of the metrics' names that are shown; the cluster's own are Ray's to show."""
PATIENCE = 5.0
"""Seconds."""


class Status(BaseModel):
    """One word."""

    status: str


@router.get("/healthz", summary="Whether it lives")
async def healthz() -> Status:
    """Needs no key."""
    return Status(status="ok")


@router.get("/readyz", summary="Whether it can work", responses=responses(503))
async def readyz(service: Serving) -> Status:
    """That is, whether the first student is loaded. Needs no key."""
    try:
        async with asyncio.timeout(PATIENCE):
            await service.students.load(service.students.default.name)
    except TimeoutError as error:
        raise Problem(503, "the student is still being loaded", retry_after=1) from error
    return Status(status="ready")


@router.get(
    "/metrics",
    summary="What all replicas counted",
    responses={
        200: {"content": {"text/plain": {}}},
        **responses(401, 403, 421, 422, 429, 500, 503),
    },
    response_class=Response,
)
async def metrics(caller: Asking) -> Response:
    """In Prometheus's text format, collected from the nodes of the cluster."""
    nodes = [node for node in ray.nodes() if node["Alive"]] if ray.is_initialized() else []
    places = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in nodes]
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            texts = await asyncio.gather(*(_read(session, place) for place in places))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Problem(503, "the nodes' metrics cannot be read now", retry_after=10) from error
    return Response(_merged(texts), media_type=TEXT)


async def _read(session: aiohttp.ClientSession, place: str) -> str:
    async with session.get(f"http://{place}/metrics") as answer:
        answer.raise_for_status()
        return await answer.text()


def _merged(texts: list[str]) -> str:
    """Our lines of all nodes; what is told of a metric stands once, before its values."""
    told: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    name = ""
    for line in "\n".join(texts).splitlines():
        if line.startswith("# "):
            name = line.split(" ")[2]
            told.setdefault(name, "")
            if line not in told[name]:
                told[name] += line + "\n"
        elif line.startswith(SHOWN):
            values.setdefault(name, []).append(line + "\n")
    return "".join(told.get(name, "") + "".join(lines) for name, lines in values.items())
