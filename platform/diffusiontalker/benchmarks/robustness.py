"""How an artifact's lips fare on recordings through rooms, microphones and lines.

The test splits of a corpus are animated clean and through each of ``LINES``; the recorded faces are
the same, so only the audio makes the difference.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE, degradation
from diffusiontalker.config import RobustnessBenchmarkSettings
from diffusiontalker.corpus.manifest import open_corpus
from diffusiontalker.corpus.shards import Clip, phones_of
from diffusiontalker.environment import machine
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation.evaluate import load_clips
from diffusiontalker.features.augmentation import babble
from diffusiontalker.objectives import metrics
from diffusiontalker.objectives.behaviour import behaviour
from diffusiontalker.pipeline.finished import summary_of
from diffusiontalker.report.metric_columns import BY_KEY
from diffusiontalker.report.splits import FLOOR_TITLES
from diffusiontalker.runtime import artifact
from diffusiontalker.runtime.student import Student
from diffusiontalker.summary.run import SUMMARY, Errors

FIGURES = ("lbe", "closure", "closure_auc", "rounding_auc", "jaw_in_pauses")
Line = Callable[[np.ndarray, Sequence[np.ndarray], np.random.Generator], np.ndarray]
"""Audio (n,), that of other clips, and a generator: audio (n,)."""
LINES: dict[str, Line] = {
    "clean": lambda audio, others, rng: audio,
    "8 kHz": lambda audio, others, rng: degradation.low_pass(audio, 4000),
    "telephone, mu-law": lambda audio, others, rng: degradation.telephone(audio, "ulaw"),
    "Opus, 12 kbit/s": lambda audio, others, rng: degradation.opus(audio, 12),
    "MP3, 32 kbit/s": lambda audio, others, rng: degradation.mp3(audio, 32),
    "room, RT60 0.5 s": lambda audio, others, rng: degradation.convolved(
        audio, degradation.room_response(0.5, 3, rng)
    ),
    "babble, 10 dB": lambda audio, others, rng: degradation.with_noise(
        audio, babble(len(audio), others, 4, rng), 10
    ),
    "white noise, 15 dB": lambda audio, others, rng: degradation.with_noise(
        audio, degradation.coloured_noise(len(audio), 0, rng), 15
    ),
    "clipped by 12 dB": lambda audio, others, rng: degradation.clipped(audio, 12),
}


class LineMetrics(BaseModel):
    """The metrics of one split through one line."""

    split: str
    line: str
    metrics: Errors
    """Those of ``FIGURES``; of the recorded faces without LBE, which is 0."""


class Report(BaseModel):
    """``robustness.json``."""

    machine: dict[str, Any]
    model: str
    corpus: str
    clips: dict[str, int]
    """By split."""
    rows: tuple[LineMetrics, ...]


def run(settings: RobustnessBenchmarkSettings) -> Report:
    """Animate the test splits through every line, and write ``robustness.json``.

    Raises:
        UserError: no such artifact or corpus, or it has no test split.
    """
    out = storage.location(settings.out)
    storage.make_folder(out)
    student, folder = Student(settings.model), corpus_of(settings)
    manifest = open_corpus(folder)
    clips = {
        split: load_clips(folder, manifest, split)[: settings.clips]
        for split in manifest.test_splits()
    }
    rows: list[LineMetrics] = []
    for split, own in clips.items():
        recorded = figures([clip.coefficients for clip in own], own)
        true = recorded.model_copy(update={"lbe": None})
        rows.append(LineMetrics(split=split, line=FLOOR_TITLES["recording"], metrics=true))
        for name, line in LINES.items():
            found = figures(faces(student, own, line), own)
            rows.append(LineMetrics(split=split, line=name, metrics=found))
            print(f"line         {name}, {split}", flush=True)
    report = Report(
        machine=machine(("onnxruntime", "soundfile")),
        model=str(student.folder),
        corpus=str(folder),
        clips={split: len(own) for split, own in clips.items()},
        rows=tuple(rows),
    )
    storage.write_json(out / "robustness.json", report.model_dump(mode="json"))
    return report


def corpus_of(settings: RobustnessBenchmarkSettings) -> Path:
    """The folder of shards: as set, or of the run in whose folder the artifact lies. Raises
    UserError."""
    if settings.corpus is not None:
        return storage.location(settings.corpus)
    run = artifact.location(settings.model).parent
    if not storage.is_file(run / SUMMARY):
        raise UserError(
            f"{settings.model}: is in no folder of a run; give shards to animate as corpus=FOLDER"
        )
    return storage.location(summary_of(run).shards)


def faces(student: Student, clips: Sequence[Clip], line: Line) -> list[np.ndarray]:
    """A face (T, 52) for each clip through a line; the same clip has the same noise, and through
    the same line the same audio, every time."""
    out = []
    for seed, clip in enumerate(clips):
        others = [other.audio for other in clips if other is not clip] or [clip.audio]
        audio = line(clip.audio, others, np.random.default_rng(seed))
        level = degradation.matched_level(audio, clip.audio)
        face = student.animate(level, SAMPLE_RATE, seed=seed).coefficients
        out.append(face[: len(clip.coefficients)])
    return out


def figures(faces: Sequence[np.ndarray], clips: Sequence[Clip]) -> Errors:
    """Metrics of faces, of which each belongs to the clip beside it; a face may be shorter."""
    lbe = [
        metrics.lbe(face, clip.coefficients[: len(face)])
        for face, clip in zip(faces, clips, strict=True)
    ]
    known = behaviour(faces, [phones_of(clip) for clip in clips]) | {"lbe": float(np.mean(lbe))}
    return Errors(**{key: known[key] for key in FIGURES})


def table(report: Report) -> Table:
    """One line per split and line."""
    out = Table(title="Through rooms, microphones and lines", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("Split", "Line"):
        out.add_column(heading, no_wrap=True)
    columns = [BY_KEY[key] for key in FIGURES]
    for column in columns:
        out.add_column(
            f"{column.label}{f', {column.unit}' if column.unit else ''}", justify="right"
        )
    for row in report.rows:
        shown = [column.show(column.of(row.metrics)) for column in columns]
        out.add_row(row.split, row.line, *shown)
    return out
