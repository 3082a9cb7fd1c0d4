"""How much load a served student bears on this machine, and what serving adds to the runtime."""

import math
import os
from io import BytesIO
from statistics import median, median_high
from time import perf_counter, sleep
from typing import Any

import numpy as np
import orjson
import soundfile

from diffusiontalker import storage
from diffusiontalker.animation import beat
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.recording import decode_recording
from diffusiontalker.benchmarks import cores
from diffusiontalker.benchmarks.machine import machine
from diffusiontalker.benchmarks.serving import load, server
from diffusiontalker.benchmarks.serving.load import PUSH_SECONDS
from diffusiontalker.benchmarks.serving.server import Server
from diffusiontalker.config import ServeBenchmarkSettings
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation.goals import at_least, at_most
from diffusiontalker.runtime.student import Student
from diffusiontalker.training.progress import StageDisplay

STREAMS, LATENCY_MS, OVERHEAD_MS = 100, 50.0, 5.0
"""Aims: streams per core, p99 of a push, and what serving adds to a request at p50."""
GROWTH = 0.1
"""What counts as flat: a replica may hold a tenth more after the soak (our choice)."""
FULL = 5.0
"""Seconds of twice the soak's load, which fill a replica before its memory is counted."""
WARM = 2.0
"""Seconds of load before any is measured."""
TURNS, TURN = 30, 1.0
"""Of the runtime alone and of one caller, in seconds of the latter. A core that is shared with
others is at two thirds of its speed for seconds at a time: many short turns meet both alike."""
REST = 0.003
"""Seconds that a replica waits for its only caller's next request. The runtime alone rests as long,
for a core that never does is quicker than any that serves."""
ENOUGH = 0.95
"""Of the pushes whose moments were counted."""
TAKES = 3
"""Of each number of streams; the one with the median p99 counts. A machine that is shared may stand
still for 0.1 s, and one such moment in eight seconds is more than one push in a hundred."""
BATCH = 64
PACKAGES = ("aiohttp", "fastapi", "numpy", "onnxruntime", "ray", "uvicorn")
Json = dict[str, Any]


def run(settings: ServeBenchmarkSettings) -> Json:
    """Measure all, and write ``serve.json`` into ``out``, after each case what there is.

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
    storage.write_json(out / "serve.json", report)
    return report


def speech(seconds: float) -> bytes:
    """A WAV of noise in syllables: what it says does not change how long it takes."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(0).normal(0, 0.1, len(time))
    file = BytesIO()
    soundfile.write(file, noise * (1 + np.sin(8 * np.pi * time)) / 2, SAMPLE_RATE, format="WAV")
    return file.getvalue()


def _title(replicas: int, batch: int) -> str:
    many = f"{replicas} replica{'s' * (replicas > 1)}"
    return many if batch > 1 else f"{many}, no batches"


def _alone(served: Server, student: Student, recording: bytes) -> Json:
    """One caller, and the runtime in this process with and without a rest before each recording,
    on the replica's core, in turns: medians of the turns' medians, and of the differences within a
    turn."""
    url = f"{served.url}/v1/animate"
    load.alone(url, recording, WARM)

    def turn() -> tuple[float, float, float]:
        with cores.on(served.core):
            busy, rested = (median(_bare(student, recording, rest)) for rest in (0, REST))
        outcome = load.alone(url, recording, TURN)
        if not outcome.latencies:
            raise UserError(f"{url}: answered nothing ({', '.join(outcome.failed) or 'refused'})")
        return 1000 * busy, 1000 * rested, 1000 * median(outcome.latencies)

    turns = [turn() for _ in range(TURNS)]
    return {
        "turns": TURNS,
        "in_a_row_ms": median(busy for busy, _, _ in turns),
        "runtime_ms": median(rested for _, rested, _ in turns),
        "served_ms": median(asked for _, _, asked in turns),
        "overhead_ms": median(asked - rested for _, rested, asked in turns),
    }


def _bare(student: Student, recording: bytes, rest: float, repeats: int = 20) -> list[float]:
    """Seconds of the runtime in this process: from the file to the same answer."""

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
    load.run(load.closed(url, recording, 2, WARM))
    case = {"replicas": replicas, "own_cores": served.own_cores}
    found = []
    for callers in settings.callers:
        outcome = load.run(load.closed(url, recording, callers, seconds))
        found.append({**case, "loop": "closed", "callers": callers, **outcome.report()})
    most = _most(found)
    for share in settings.shares:
        outcome = load.run(load.opened(url, recording, share * most, seconds))
        found.append({**case, "loop": "open", "share": share, **outcome.report()})
    return found


def _streams(
    served: Server, replicas: int, batch: int, student: Student,
    settings: ServeBenchmarkSettings, display: StageDisplay,
) -> list[Json]:  # fmt: skip
    """More and more streams, until a push takes too long in most of ``TAKES``."""
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
        told = {
            "replicas": replicas, "own_cores": served.own_cores, "batch": batch, "streams": count,
            **middle(takes, expected),
        }  # fmt: skip
        found.append(told)
        if not told["held"]:
            break
    return found


def middle(takes: list[Json], expected: int) -> Json:
    """Of takes with the same streams the one with the median p99, the p99 of all, and whether it is
    held: below ``LATENCY_MS``, nothing refused or failed in any, and nearly all of the
    ``expected`` pushes answered."""
    times = [math.inf if take["p99_ms"] is None else take["p99_ms"] for take in takes]
    found = takes[times.index(median_high(times))]
    held = all(
        not take["failed"] and not take["refused"] and take["answered"] >= ENOUGH * expected
        for take in takes
    )
    return {
        **found,
        "p99_ms_of_takes": [take["p99_ms"] for take in takes],
        "held": held and median_high(times) < LATENCY_MS,
    }


def _most(recordings: list[Json]) -> float:
    """Answers a second where the most callers ask: what the server bears."""
    closed = (case for case in recordings if case["loop"] == "closed")
    return max(closed, key=lambda case: case["callers"])["per_second"]


def _soak(
    served: Server, recordings: list[Json], recording: bytes, settings: ServeBenchmarkSettings,
    display: StageDisplay,
) -> Json:  # fmt: skip
    """The largest share of the most, for long: what fails, and what the replica holds."""
    share = max(settings.shares)
    rate = share * _most(recordings)
    url = f"{served.url}/v1/animate"
    # What a replica holds when as many wait as may: more than that would be growth.
    load.run(load.opened(url, recording, 2 * rate, FULL))
    before = served.replicas_bytes()
    total = round(rate * settings.soak)
    outcome = load.run(
        load.opened(url, recording, rate, settings.soak, lambda done: display.count(done, total))
    )
    after = served.replicas_bytes()
    return {
        "seconds": settings.soak, "share": share, **outcome.report(),
        "mb_before": before / 1e6, "mb_after": after / 1e6,
    }  # fmt: skip


def aims(report: Json) -> list[Json]:
    """Each aim with its value, its target, and whether it is met."""
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
