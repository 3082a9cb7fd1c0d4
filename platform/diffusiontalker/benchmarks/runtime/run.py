"""Speed of the student, in PyTorch and as artifacts, beside HuBERT-base and talkers on top of it.

All in one run on one machine, from the waveform to the coefficients.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np
import torch
from pydantic_core import to_jsonable_python

from diffusiontalker import storage
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.waveform import prepare_waveform
from diffusiontalker.benchmarks.runtime import latency, page, process
from diffusiontalker.benchmarks.runtime.references import V1, Hubert, megabytes
from diffusiontalker.benchmarks.runtime.table import title
from diffusiontalker.config import ExportSettings, Precision, RuntimeBenchmarkSettings
from diffusiontalker.corpus.manifest import open_corpus
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.environment import machine
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation import evaluate
from diffusiontalker.evaluation.goals import at_least, at_most
from diffusiontalker.evaluation.models import animate
from diffusiontalker.export import artifact
from diffusiontalker.export.model_card import model_card
from diffusiontalker.model.talker import Talker
from diffusiontalker.pipeline.finished import summary_of
from diffusiontalker.runtime.student import Student
from diffusiontalker.summary.run import SUMMARY, ExportReport, Goal
from diffusiontalker.training.checkpoints import load_talker
from diffusiontalker.training.progress import StageDisplay

SPEED, TIMES_HUBERT, LINEAR = 25_000.0, 100.0, 0.8
SIZE, IMPORT, PUSH, MEMORY = 3.4, 0.5, 4.0, 1.5
"""Aims, in megabytes, seconds, milliseconds, and the size of the audio."""
USUAL, LONG = 10.0, 600.0
"""Seconds of the recordings of the aims of speed."""
LONGEST_PEER = 30.0
"""Seconds: the attention of HuBERT takes memory with the square of the length."""
SHORT_SPEECH, LONG_SPEECH = 60.0, 3600.0
"""Seconds of the recordings whose memory is compared."""
PEER_STEPS = (2, 16)
SHIPPING = ExportSettings().precision
"""Default of ``jobs/distill.py``; the aims are for it."""
PYTORCH, HUBERT, SHIPPED = "student, PyTorch fp32", "HuBERT-base alone", f"artifact, {SHIPPING}"
PACKAGES = ("numpy", "onnxruntime", "torch", "transformers")
Json = dict[str, Any]


@dataclass(frozen=True)
class Chosen:
    """The student that is measured, and speech to measure with."""

    name: str
    steps: int
    talker: Talker
    card: str
    clips: Sequence[Clip]
    """Of validation."""


@dataclass(frozen=True)
class Exported:
    """An artifact of the student."""

    folder: Path
    found: ExportReport


@dataclass(frozen=True)
class Subject:
    """A measured implementation, and its size in megabytes (1e6 bytes)."""

    call: Callable[[np.ndarray], object]
    """Samples (n,) at 16 kHz to coefficients."""
    size_mb: float
    peer: bool = False
    """A baseline that runs on HuBERT."""


def run(settings: RuntimeBenchmarkSettings) -> Json:
    """Measure everything, and write ``runtime.json`` and ``runtime.html``.

    Raises:
        UserError: no such run, or it has no student or no validation clips.
    """
    chosen = choose(storage.location(settings.run))
    out = storage.location(settings.out)
    storage.make_folder(out)
    before = os.getloadavg()
    longest = max(*settings.lengths, settings.stream_seconds, SHORT_SPEECH)
    samples = speech(chosen.clips, longest)
    with tempfile.TemporaryDirectory(prefix="diffusiontalker-benchmark-") as name:
        exported = _export(chosen, Path(name))
        sizes, speeds = _speeds(chosen, exported, samples, settings)
        shipped = exported[SHIPPING].folder
        streamed = _stream(
            Student(shipped), samples[: round(settings.stream_seconds * SAMPLE_RATE)]
        )
        with StageDisplay("memory"):
            memory = _memory(shipped, samples[: round(SHORT_SPEECH * SAMPLE_RATE)])
    with StageDisplay("import"):
        imported = process.import_seconds()
    report = {
        "machine": machine(PACKAGES),
        "load_average": {"before": before, "after": os.getloadavg()},
        "settings": settings.model_dump(mode="json"),
        "student": {"name": chosen.name, "steps": chosen.steps},
        "sizes_mb": sizes,
        "exports": {precision: one.found for precision, one in exported.items()},
        "speeds": against_hubert(speeds),
        "streaming": streamed,
        "memory": memory,
        "import_seconds": imported,
    }
    report["aims"] = aims(report)
    storage.write_json(out / "runtime.json", to_jsonable_python(report))
    page.write_page(out / "runtime.html", report)
    return report


def choose(root: Path) -> Chosen:
    """The last student of a finished run, and the run's validation clips.

    Raises:
        UserError: no finished run, its summary is damaged or names no student, or it has no
            validation clips.
    """
    summary = summary_of(root)
    if not summary.students:
        raise UserError(f"{root}/{SUMMARY}: names no student; give the run=... of a distillation")
    student, shards = summary.students[-1], storage.location(summary.shards)
    clips = evaluate.load_clips(shards, open_corpus(shards), "val")
    talker = load_talker(storage.location(student.folder))
    return Chosen(student.name, student.steps, talker, model_card(summary, student.name), clips)


def speech(clips: Sequence[Clip], seconds: float) -> np.ndarray:
    """The clips concatenated and repeated to ``seconds``: (n,) at 16 kHz."""
    return np.resize(np.concatenate([clip.audio for clip in clips]), round(seconds * SAMPLE_RATE))


def against_hubert(speeds: Sequence[Json]) -> list[Json]:
    """The speeds with each one's ratio to HuBERT alone, of the same length and threads."""
    found = []
    for one in speeds:
        alone = speed_of(speeds, HUBERT, one["seconds"], one["threads"])
        ratio = alone and one["frames_per_second"] / alone["frames_per_second"]
        found.append({**one, "times_hubert": ratio})
    return found


def speed_of(speeds: Sequence[Json], subject: str, seconds: float, threads: int) -> Json | None:
    """The row of a subject; None if it was not run."""
    key = {"subject": subject, "seconds": seconds, "threads": threads}
    return next((one for one in speeds if key.items() <= one.items()), None)


def aims(report: Json) -> list[Goal]:
    """Each aim with its value, its target, and whether it is met; None: it was not measured."""
    usual = speed_of(report["speeds"], SHIPPED, USUAL, 1) or {}
    long = speed_of(report["speeds"], SHIPPED, LONG, 1)
    memory, streaming = report["memory"] or {}, report["streaming"] or {}
    return [
        at_least(f"{SHIPPED}: frames/s on one thread, 10 s", usual.get("frames_per_second"), SPEED),
        at_least(f"{SHIPPED}: times HuBERT-base alone", usual.get("times_hubert"), TIMES_HUBERT),
        at_least(
            f"{SHIPPED}: frames/s at 10 min, of those at 10 s",
            long["frames_per_second"] / usual["frames_per_second"] if long and usual else None,
            LINEAR,
        ),
        at_most(f"{SHIPPED}: MB", report["sizes_mb"][SHIPPED], SIZE),
        at_most(
            "memory of 1 h beyond that of 1 min, as a multiple of its audio",
            memory.get("growth"),
            MEMORY,
        ),
        at_most("import of the runtime in s", report["import_seconds"], IMPORT),
        at_most("streaming: p99 of a push of 40 ms in ms", streaming.get("p99_ms"), PUSH),
    ]


def _export(chosen: Chosen, root: Path) -> dict[Precision, Exported]:
    """The artifact in every precision, without limits on its errors, which are reported."""
    found: dict[Precision, Exported] = {}
    with StageDisplay("export") as display:
        for number, precision in enumerate(get_args(Precision)):
            display.update(number / len(get_args(Precision)), precision)
            anyway = ExportSettings(precision=precision).model_copy(
                update={"max_growth": math.inf, "max_changed": 1.0}
            )
            folder = root / precision
            found[precision] = Exported(
                folder,
                artifact.export(
                    chosen.talker, chosen.steps, folder, chosen.card, anyway, chosen.clips
                ),
            )
    return found


def _speeds(
    chosen: Chosen, exported: dict[Precision, Exported], samples: np.ndarray,
    settings: RuntimeBenchmarkSettings,
) -> tuple[dict[str, float], list[Json]]:  # fmt: skip
    """Sizes by subject, and a row for each subject, length and number of threads."""
    v1 = V1(Hubert(), chosen.talker.config)
    subjects: dict[str, Subject] = {}
    found = []
    for threads in settings.threads:
        subjects = _subjects(chosen, exported, v1, threads)
        for seconds in settings.lengths:
            recording = samples[: round(seconds * SAMPLE_RATE)]
            calls = {
                name: partial(subject.call, recording)
                for name, subject in subjects.items()
                if seconds <= LONGEST_PEER or not subject.peer
            }
            with _torch_threads(threads), StageDisplay(title(seconds, threads)) as display:
                turns = latency.interleaved(calls, settings.repeats, display.update)
            found += [row(name, seconds, threads, walls) for name, walls in turns.items()]
    return {name: subject.size_mb for name, subject in subjects.items()}, found


def row(subject: str, seconds: float, threads: int, walls: Sequence[float]) -> Json:
    """Speed of a subject from the wall seconds of its turns."""
    return {
        "subject": subject,
        "seconds": seconds,
        "threads": threads,
        "frames_per_second": seconds * FPS / median(walls),
        "wall_seconds": list(walls),
    }


def _subjects(
    chosen: Chosen, exported: dict[Precision, Exported], v1: V1, threads: int
) -> dict[str, Subject]:
    """All of them, by name."""
    hubert, talker = v1.hubert, chosen.talker
    found = {
        PYTORCH: Subject(
            lambda samples: animate(
                talker, None, prepare_waveform(samples, SAMPLE_RATE), chosen.steps, "ddim"
            ),
            megabytes(talker.deployed().values()),
        )
    }
    for precision, one in exported.items():
        student = Student(one.folder, threads)
        found[f"artifact, {precision}"] = Subject(
            partial(student.animate, rate=SAMPLE_RATE), artifact.size_mb(one.folder)
        )
    size = megabytes(hubert.model.parameters())
    found[HUBERT] = Subject(hubert, size, peer=True)
    size += megabytes(v1.talker.deployed().values())
    for every_step, steps in product((False, True), PEER_STEPS):
        name = f"(HuBERT + GRU) x {steps} steps" if every_step else f"HuBERT + GRU, {steps} steps"
        found[name] = Subject(
            partial(v1.animate, steps=steps, every_step=every_step), size, peer=True
        )
    return found


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _stream(student: Student, samples: np.ndarray) -> Json | None:
    """Latencies of the pushes; None for a student that takes whole recordings only."""
    if student.look_ahead is None:
        return None
    with StageDisplay("streaming"):
        found = latency.pushes(student, samples)
    return {
        "look_ahead_ms": student.stream().look_ahead_ms,
        **latency.distribution(found),
        "pushes_ms": [round(push, 4) for push in found],
    }


def _memory(folder: Path, samples: np.ndarray) -> Json | None:
    """Peak memory in MB for two lengths, and its growth as a multiple of the longer audio."""
    short, long = (process.peak_bytes(folder, samples, s) for s in (SHORT_SPEECH, LONG_SPEECH))
    if short is None or long is None:
        return None
    size = LONG_SPEECH * SAMPLE_RATE * np.dtype(np.float32).itemsize
    return {
        "minute_mb": short / 1e6,
        "hour_mb": long / 1e6,
        "audio_mb": size / 1e6,
        "growth": (long - short) / size,
    }
