"""Replicas, nodes and price for a number of live streams: Erlang's formula, checked by simulation.

Streams arrive independently (a Poisson process) and last for a while, so that their number varies
around its mean, the load in erlang. A stream that finds no place is refused. Places are what the
serving benchmark measured: the streams that one replica holds in real time.
"""

import heapq
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker import storage
from diffusiontalker.config import CapacityBenchmarkSettings
from diffusiontalker.errors import UserError

ROUTING = 1.05
"""Replicas for those that Erlang's formula gives, as the router does not know which one is free."""


@dataclass(frozen=True)
class Plan:
    """What a load needs."""

    streams: float
    """Mean number at a time: arrivals a second times seconds of a stream."""
    replicas: int
    nodes: int
    refused: float
    """Share of new streams that are refused, by the formula."""
    simulated: float
    """The same by simulation."""
    price_per_hour: float
    per_stream_hour: float


def erlang_b(load: float, places: int) -> float:
    """The share of arrivals that find all ``places`` taken (Erlang, 1917), for a Poisson process of
    ``load`` erlang and any distribution of durations; by the recursion over places."""
    inverse = 1.0
    for place in range(1, places + 1):
        inverse = 1 + inverse * place / load
        if math.isinf(inverse):
            return 0.0
    return 1 / inverse


def replicas_for(load: float, per_replica: int, refused: float) -> int:
    """The fewest replicas of ``per_replica`` streams that refuse at most the share ``refused``, if
    each stream goes to a replica with a free place."""
    low, high = 0, 1
    while erlang_b(load, high * per_replica) > refused:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if erlang_b(load, middle * per_replica) > refused:
            low = middle
        else:
            high = middle
    return high


def simulate(
    load: float, replicas: int, per_replica: int, arrivals: int, seed: int = 0, spread: float = 1.0
) -> float:
    """The share of ``arrivals`` that are refused, after others have filled the replicas.

    As Ray Serve's router does, each goes to the less busy of two replicas drawn at random, and is
    refused if that one is full. Durations are log-normal with mean 1; ``spread``: the standard
    deviation of their logarithm.
    """
    draw = np.random.default_rng(seed)
    filling = math.ceil(5 * load)
    total = filling + arrivals
    times = np.cumsum(draw.exponential(1 / load, total)).tolist()
    durations = draw.lognormal(-(spread**2) / 2, spread, total).tolist()
    choices = draw.integers(replicas, size=(total, 2)).tolist()
    busy = [0] * replicas
    ends: list[tuple[float, int]] = []
    refused = 0
    for number, now in enumerate(times):
        while ends and ends[0][0] <= now:
            busy[heapq.heappop(ends)[1]] -= 1
        one, other = choices[number]
        chosen = one if busy[one] <= busy[other] else other
        if busy[chosen] >= per_replica:
            refused += number >= filling
            continue
        busy[chosen] += 1
        heapq.heappush(ends, (now + durations[number], chosen))
    return refused / arrivals


def plan(streams: float, per_replica: int, settings: CapacityBenchmarkSettings) -> Plan:
    """Replicas, nodes and price for a mean number of streams."""
    least = replicas_for(streams, per_replica, settings.refused)
    for_places = math.ceil(ROUTING * least) if least > 1 else 1
    # Autoscaling keeps the mean of a replica at its target, below what it holds.
    replicas = max(for_places, math.ceil(streams / settings.target_ongoing_requests), 1)
    nodes = math.ceil(replicas / settings.replicas_per_node)
    price = nodes * settings.price_per_node_hour
    simulated = simulate(streams, replicas, per_replica, settings.arrivals)
    share = erlang_b(streams, replicas * per_replica)
    return Plan(streams, replicas, nodes, share, simulated, price, price / streams)


def run(settings: CapacityBenchmarkSettings) -> list[Plan]:
    """A plan for each number of streams; writes ``capacity.json`` into ``out``.

    Raises:
        UserError: ``figures`` holds no number of streams that a replica held.
    """
    per_replica = measured(settings) if settings.figures else settings.per_replica
    found = [plan(streams, per_replica, settings) for streams in settings.streams]
    out = storage.location(settings.out)
    storage.make_folder(out)
    report = {"per_replica": per_replica, "plans": [asdict(one) for one in found]}
    storage.write_json(out / "capacity.json", report)
    return found


def measured(settings: CapacityBenchmarkSettings) -> int:
    """The most streams that one replica held, of ``serve.json``. Raises UserError."""
    assert settings.figures is not None
    path = storage.location(settings.figures)
    try:
        report: dict[str, Any] = storage.read_json(path)
        return max(c["streams"] for c in report["streams"] if c["held"] and c["replicas"] == 1)
    except (UserError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"figures={path}: no streams that one replica held; `python jobs/benchmark.py serve` "
            "measures them"
        ) from error


def table(plans: list[Plan]) -> Table:
    """The plans, a row each."""
    out = Table("streams", "replicas", "nodes", "refused", "simulated", "price an hour",
                "a stream", box=SIMPLE_HEAD)  # fmt: skip
    for one in plans:
        out.add_row(
            f"{one.streams:g}", str(one.replicas), str(one.nodes), f"{one.refused:.2%}",
            f"{one.simulated:.2%}", f"{one.price_per_hour:.2f}", f"{one.per_stream_hour:.5f}",
        )  # fmt: skip
    return out
