"""/healthz, /readyz and /metrics: whether a replica is alive and ready, and what was counted."""

import asyncio

import aiohttp
import ray
from fastapi import APIRouter, Response
from pydantic import BaseModel

from serve.dependencies import CallerDependency, ServiceDependency
from serve.http.problems import Problem, responses
from serve.metrics import PREFIX

router = APIRouter()
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
SHOWN_PREFIXES = (f"ray_{PREFIX}", "ray_serve_")
"""Of the metrics that are shown; the cluster's own are Ray's to show."""
TIMEOUT = 5.0
"""Seconds."""


class Status(BaseModel):
    """One word."""

    status: str


@router.get("/healthz", summary="Whether the process is alive")
async def healthz() -> Status:
    """Needs no key."""
    return Status(status="ok")


@router.get("/readyz", summary="Whether requests can be answered", responses=responses(503))
async def readyz(service: ServiceDependency) -> Status:
    """That is, whether the first student is loaded. Needs no key."""
    try:
        async with asyncio.timeout(TIMEOUT):
            await service.students.load(service.students.default.name)
    except TimeoutError as error:
        raise Problem(503, "the student is still being loaded", retry_after=1) from error
    return Status(status="ready")


@router.get(
    "/metrics",
    summary="Metrics of all replicas",
    responses={
        200: {"content": {"text/plain": {}}},
        **responses(401, 403, 421, 422, 429, 500, 503),
    },
    response_class=Response,
)
async def metrics(service: ServiceDependency, caller: CallerDependency) -> Response:
    """In Prometheus's text format, collected from the nodes of the cluster."""
    return Response(await service.node_metrics.get(_collect), media_type=PROMETHEUS)


async def _collect() -> bytes:
    """The metrics of all nodes. Raises Problem: 503, a node does not answer."""
    nodes = [node for node in ray.nodes() if node["Alive"]] if ray.is_initialized() else []
    addresses = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in nodes]
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            texts = await asyncio.gather(*(_fetch(session, address) for address in addresses))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Problem(503, "the nodes' metrics cannot be read now", retry_after=10) from error
    # In a thread: these are megabytes on a large cluster, and live streams would wait.
    return await asyncio.to_thread(lambda: merge(texts).encode())


async def _fetch(session: aiohttp.ClientSession, address: str) -> str:
    async with session.get(f"http://{address}/metrics") as response:
        response.raise_for_status()
        return await response.text()


def merge(texts: list[str]) -> str:
    """The metrics of ``SHOWN_PREFIXES`` of all nodes, with one HELP and TYPE line for each."""
    comments: dict[str, str] = {}
    samples: dict[str, list[str]] = {}
    name = ""
    for line in "\n".join(texts).splitlines():
        if line.startswith("# "):
            name = line.split(" ")[2]
            comments.setdefault(name, "")
            if line not in comments[name]:
                comments[name] += line + "\n"
        elif line.startswith(SHOWN_PREFIXES):
            samples.setdefault(name, []).append(line + "\n")
    return "".join(comments.get(name, "") + "".join(lines) for name, lines in samples.items())
