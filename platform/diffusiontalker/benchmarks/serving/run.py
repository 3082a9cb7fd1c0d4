"""Capacity of a server on this machine, and the latency that serving adds to the runtime."""

import math
import os
from io import BytesIO
from statistics import median, median_high
from time import perf_counter, sleep
from typing import Any

import numpy as np
import orjson
import soundfile
from pydantic_core import to_jsonable_python

from diffusiontalker import storage
from diffusiontalker.animation import beat
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.recording import decode_recording
from diffusiontalker.benchmarks import cores
from diffusiontalker.benchmarks.serving import load, server
from diffusiontalker.benchmarks.serving.load import PUSH_SECONDS
from diffusiontalker.benchmarks.serving.server import Server
from diffusiontalker.config import ServeBenchmarkSettings
from diffusiontalker.environment import machine
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation.goals import at_least, at_most
from diffusiontalker.report.wording import pluralize
from diffusiontalker.runtime.student import Student
from diffusiontalker.summary.run import Goal
from diffusiontalker.training.progress import StageDisplay

STREAMS, LATENCY_MS, OVERHEAD_MS = 100, 50.0, 5.0
"""Goals: streams per core, p99 of a push, and the overhead of serving a request at p50."""
GROWTH = 0.1
"""Maximum relative growth of a replica's memory over the soak test; our choice."""
FILL = 5.0
"""Seconds of twice the soak's load, which fill the queues before memory is measured."""
WARM = 2.0
"""Seconds of warm-up load."""
TURNS, TURN = 30, 1.0
"""Number of alternations between runtime and server, and seconds of the latter. The speed of a
shared core may drop by a third for seconds: with many short turns that affects both alike."""
REST = 0.003
"""Seconds that a replica waits for the next request of a sequential caller. The runtime alone
sleeps as long before each call: a core that is never idle is faster."""
MIN_ANSWERED = 0.95
"""Share of the expected pushes that must be answered."""
TAKES = 3
"""Repeats per number of streams, of which the one with the median p99 counts: a single stall of
0.1 s of a shared machine affects more than 1 % of the pushes of eight seconds."""
BATCH = 64
PACKAGES = ("aiohttp", "fastapi", "numpy", "onnxruntime", "ray", "uvicorn")
Json = dict[str, Any]


def run(settings: ServeBenchmarkSettings) -> Json:
    """Measure everything, and write ``serve.json`` into ``out`` after each case.

    Raises:
        UserError: no such artifact, the server does not start, or ``out`` cannot be written.
    """
    student = Student(settings.model)
    out = storage.location(settings.out)
    storage.make_folder(out)
    before = os.getloadavg()
    recording = speech(settings.recording)
    report: Json = {
        "machine": machine(PACKAGES),
        "settings": settings.model_dump(mode="json"),
        "proxy": server.proxy(),
        "recordings": [],
        "streams": [],
    }
    cases = [(replicas, BATCH) for replicas in settings.replicas]
    cases.insert(1, (settings.replicas[0], 1))
    own = settings.own_cores
    for number, (replicas, batch) in enumerate(cases):
        with (
            StageDisplay(_title(replicas, batch)) as display,
            server.running(settings.model, replicas, batch, own) as served,
        ):
            if number == 0:
                report["alone"] = _alone(served, student, recording)
            if batch == BATCH:
                report["recordings"] += _recordings(served, replicas, recording, settings)
            report["streams"] += _streams(served, replicas, batch, student, settings, display)
        if number == 0 and settings.soak:
            with (
                StageDisplay("soak") as display,
                server.running(settings.model, replicas, batch, own) as served,
            ):
                report["soak"] = _soak(served, report["recordings"], recording, settings, display)
        storage.write_json(out / "serve.json", report)
    report["load_average"] = {"before": before, "after": os.getloadavg()}
    report["aims"] = aims(report)
    storage.write_json(out / "serve.json", to_jsonable_python(report))
    return report


def speech(seconds: float) -> bytes:
    """A WAV file of modulated noise: the time of inference does not depend on the content."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(0).normal(0, 0.1, len(time))
    file = BytesIO()
    soundfile.write(file, noise * (1 + np.sin(8 * np.pi * time)) / 2, SAMPLE_RATE, format="WAV")
    return file.getvalue()


def _title(replicas: int, batch: int) -> str:
    many = pluralize(replicas, "replica")
    return many if batch > 1 else f"{many}, no batches"


def _alone(served: Server, student: Student, recording: bytes) -> Json:
    """A sequential caller and, on the replica's core, the runtime in this process with and without
    a pause before each recording, alternately: medians over the turns, and of the differences
    within a turn."""
    url = f"{served.url}/v1/animate"
    load.sequential(url, recording, WARM)

    def turn() -> tuple[float, float, float]:
        with cores.on(served.core):
            busy, rested = (median(_times(student, recording, rest)) for rest in (0, REST))
        result = load.sequential(url, recording, TURN)
        if not result.latencies:
            raise UserError(f"{url}: answered nothing ({', '.join(result.failed) or 'refused'})")
        return 1000 * busy, 1000 * rested, 1000 * median(result.latencies)

    turns = [turn() for _ in range(TURNS)]
    return {
        "turns": TURNS,
        "in_a_row_ms": median(busy for busy, _, _ in turns),
        "runtime_ms": median(rested for _, rested, _ in turns),
        "served_ms": median(asked for _, _, asked in turns),
        "overhead_ms": median(asked - rested for _, rested, asked in turns),
    }


def _times(student: Student, recording: bytes, rest: float, repeats: int = 20) -> list[float]:
    """Seconds of the runtime in this process, from the file to the same response."""

    def once() -> float:
        sleep(rest)
        begun = perf_counter()
        sound = decode_recording(BytesIO(recording), "speech", to=SAMPLE_RATE)
        orjson.dumps(beat.layout(student.animate(sound.samples, sound.rate).coefficients, FPS))
        return perf_counter() - begun

    return [once() for _ in range(repeats + 3)][3:]


def _recordings(
    served: Server, replicas: int, recording: bytes, settings: ServeBenchmarkSettings
) -> list[Json]:
    url, seconds = f"{served.url}/v1/animate", settings.seconds
    load.run(load.closed_loop(url, recording, 2, WARM))
    case = {"replicas": replicas, "own_cores": served.own_cores}
    found = []
    for callers in settings.callers:
        result = load.run(load.closed_loop(url, recording, callers, seconds))
        found.append({**case, "loop": "closed", "callers": callers, **result.report()})
    capacity = _capacity(found)
    for share in settings.shares:
        result = load.run(load.open_loop(url, recording, share * capacity, seconds))
        found.append({**case, "loop": "open", "share": share, **result.report()})
    return found


def _streams(
    served: Server, replicas: int, batch: int, student: Student,
    settings: ServeBenchmarkSettings, display: StageDisplay,
) -> list[Json]:  # fmt: skip
    """Increasing numbers of streams, up to the first that is not held."""
    if student.look_ahead is None:
        return []
    url = served.url.replace("http://", "ws://") + "/v1/stream?format=binary"
    samples, _ = soundfile.read(
        BytesIO(speech(load.SPREAD + WARM + settings.seconds)), dtype="int16"
    )
    after = load.frames_after(student, samples)
    found: list[Json] = []
    for number, count in enumerate(settings.streams):
        takes = []
        for take in range(TAKES):
            done = number + (take + 1) / (TAKES + 1)
            display.update(done / len(settings.streams), f"{count} streams")
            takes.append(load.run(load.streams(url, samples, after, count, WARM)).report())
        expected = count * int(settings.seconds / PUSH_SECONDS)
        case = {
            "replicas": replicas, "own_cores": served.own_cores, "batch": batch, "streams": count,
            **median_take(takes, expected),
        }  # fmt: skip
        found.append(case)
        if not case["held"]:
            break
    return found


def median_take(takes: list[Json], expected: int) -> Json:
    """The repeat with the median p99, the p99 of all, and whether the load is held: a median below
    ``LATENCY_MS``, and in every repeat nothing refused or failed and nearly all of the ``expected``
    pushes answered."""
    times = [math.inf if take["p99_ms"] is None else take["p99_ms"] for take in takes]
    found = takes[times.index(median_high(times))]
    held = all(
        not take["failed"] and not take["refused"] and take["answered"] >= MIN_ANSWERED * expected
        for take in takes
    )
    return {
        **found,
        "p99_ms_of_takes": [take["p99_ms"] for take in takes],
        "held": held and median_high(times) < LATENCY_MS,
    }


def _capacity(recordings: list[Json]) -> float:
    """Responses per second with the most callers: the capacity of the server."""
    closed = (case for case in recordings if case["loop"] == "closed")
    return max(closed, key=lambda case: case["callers"])["per_second"]


def _soak(
    served: Server, recordings: list[Json], recording: bytes, settings: ServeBenchmarkSettings,
    display: StageDisplay,
) -> Json:  # fmt: skip
    """The largest share of the capacity for a long time: failures, and growth of memory."""
    share = max(settings.shares)
    rate = share * _capacity(recordings)
    url = f"{served.url}/v1/animate"
    # With full queues: memory beyond that is growth.
    load.run(load.open_loop(url, recording, 2 * rate, FILL))
    before = served.replicas_bytes()
    total = round(rate * settings.soak)
    result = load.run(
        load.open_loop(url, recording, rate, settings.soak, lambda done: display.count(done, total))
    )
    after = served.replicas_bytes()
    return {
        "seconds": settings.soak, "share": share, **result.report(),
        "mb_before": before / 1e6, "mb_after": after / 1e6,
    }  # fmt: skip


def aims(report: Json) -> list[Goal]:
    """Each goal with its value, its target, and whether it is met."""
    alone = report["alone"]
    found = [
        at_most(
            "ms that serving adds to a request at p50, one caller",
            alone["overhead_ms"],
            OVERHEAD_MS,
        )
    ]
    held = [c["streams"] for c in report["streams"] if c["held"] and c["replicas"] == 1]
    found.append(at_least("streams in real time of one replica", max(held, default=0), STREAMS))
    if (soak := report.get("soak")) is not None:
        found += [
            at_most("soak: failed or refused", soak["failed"] + soak["refused"], 0),
            at_most(
                "soak: memory after, of that before", soak["mb_after"] / soak["mb_before"],
                1 + GROWTH,
            ),
        ]  # fmt: skip
    return found
