"""``progress.json``: the stages of a run as ``jobs/status.py`` shows them, on disk or in S3."""

import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker import storage
from diffusiontalker.config import Settings
from diffusiontalker.errors import UserError
from diffusiontalker.event_files import FOLDER as TENSORBOARD
from diffusiontalker.ray_errors import user_error
from diffusiontalker.summary.durations import clock
from diffusiontalker.summary.run import TEACHER

FILE = "progress.json"
WRITE_EVERY = 10.0
"""Seconds between two writes of one stage's progress."""
SILENT = 90.0
"""Seconds without a sign of life after which a stage may have been killed: one comes every second,
and is written every ``WRITE_EVERY``."""
State = Literal["running", "done", "kept", "failed", "interrupted"]


class StageProgress(BaseModel):
    """One stage of a run."""

    state: State
    share: float = 0.0
    """0-1 of the stage that is done."""
    text: str = ""
    """Epoch, loss and throughput, or the first line of an error."""
    started: float
    """Unix time."""
    updated: float
    """Unix time."""
    seconds: float | None = None
    """That it took, once it is done."""
    figures: dict[str, float] = {}
    """The last training losses and the last validation."""


class RunProgress(BaseModel):
    """``progress.json``."""

    planned: list[str]
    """The stages of the run, in order."""
    host: str
    process: int
    stages: dict[str, StageProgress] = {}


class ProgressFile:
    """Keeps ``progress.json`` of a run up to date. A failure to write it ends no stage."""

    def __init__(self, root: Path, stages: Sequence[str]) -> None:
        """``stages``: those that are planned, in order; none: nothing is written."""
        self.path = root / FILE
        self.run = RunProgress(planned=list(stages), host=socket.gethostname(), process=os.getpid())
        self.written = 0.0
        self.lock = threading.Lock()
        """The thread that displays a stage updates it while this one ends it."""

    def begin(self, stage: str) -> None:
        """A stage starts."""
        now = time.time()
        self.run.stages[stage] = StageProgress(state="running", started=now, updated=now)
        self._write()

    def update(self, stage: str, share: float, text: str) -> None:
        """``share`` (0-1) of a stage is done."""
        own = self.run.stages[stage]
        if own.state != "running":
            return  # the thread that displays it was late
        own.share, own.text, own.updated = share, text, time.time()
        if own.updated - self.written > WRITE_EVERY:
            self._write()

    def add_point(self, stage: str, point: dict[str, float]) -> None:
        """A point of a training stage's history."""
        self.run.stages[stage].figures |= point

    def end(self, stage: str, state: Literal["done", "kept"], seconds: float) -> None:
        """A stage is done, or was done before (kept)."""
        now = time.time()
        own = self.run.stages.get(stage) or StageProgress(state=state, started=now, updated=now)
        own.state, own.seconds, own.share, own.text, own.updated = state, seconds, 1.0, "", now
        self.run.stages[stage] = own
        self._write()

    def fail(self, stage: str, error: BaseException) -> None:
        """A stage that began has ended with an error, or was interrupted."""
        own, interrupted = self.run.stages[stage], isinstance(error, KeyboardInterrupt)
        own.state, own.updated = "interrupted" if interrupted else "failed", time.time()
        error = user_error(error) or error
        own.text = "" if interrupted else (str(error).strip() or repr(error)).splitlines()[0]
        self._write()

    def _write(self) -> None:
        if not self.run.planned:
            return
        with self.lock:
            self.written = time.time()
            try:
                storage.write_json(self.path, self.run.model_dump(mode="json"))
            except UserError:
                return


def planned(settings: Settings, students: bool = True) -> list[str]:
    """The stages of a run with these settings, in order; without ``students``, of its teacher."""
    own_corpus, own_encoder = settings.corpus.path is None, settings.encoder.name is None
    teacher = [
        *(["corpus"] if own_corpus else []),
        *(["encoder"] if own_encoder else []),
        "features",
        TEACHER,
    ]
    if not students:
        return teacher
    labelled = settings.pseudo_labels.recordings and settings.diffusion.rounds
    exported = settings.diffusion.rounds and not settings.model.student.frozen_features
    return [
        *teacher,
        *(["pseudo-labels"] if labelled else []),
        *(f"round-{steps}" for steps in settings.diffusion.rounds),
        "evaluation",
        *(["export"] if exported else []),
    ]


def read(root: Path) -> RunProgress:
    """The progress of a run. Raises UserError: there is none, or it is damaged."""
    path = root / FILE
    if not storage.is_file(path):
        raise UserError(f"{root}: holds no {FILE}; give the folder of a run")
    try:
        return RunProgress.model_validate(storage.read_json(path))
    except ValidationError as error:
        raise UserError(f"{path}: is damaged; the run writes it anew as it goes on") from error


def table(run: RunProgress, now: float) -> Table:
    """The chain of stages: what is done, what runs and how long it takes yet, what is to come."""
    out = Table("stage", "state", "time", "", box=SIMPLE_HEAD)
    begun = [index for index, name in enumerate(run.planned) if name in run.stages]
    for index, name in enumerate(run.planned):
        if (own := run.stages.get(name)) is not None:
            out.add_row(name, *_row(own, now))
        else:  # features that come with the shards are not extracted
            out.add_row(name, "not needed" if index < max(begun, default=0) else "to come", "", "")
    for name in run.stages.keys() - set(run.planned):
        out.add_row(name, *_row(run.stages[name], now))
    return out


def _row(own: StageProgress, now: float) -> tuple[str, str, str]:
    figures = ", ".join(
        f"{name} {own.figures[key]:.4g}"
        for key, name in (("val_loss", "validation loss"), ("skipped", "steps skipped"))
        if own.figures.get(key)
    )
    if own.state != "running":
        seconds = "" if own.seconds is None else clock(own.seconds)
        return own.state, seconds, own.text or figures
    spent, silent = own.updated - own.started, now - own.updated
    if silent > SILENT:
        state = f"no sign for {clock(silent)}"
        return state, clock(spent), f"{own.share:.0%}; if it was killed, the same command goes on"
    left = f"{clock(spent / own.share - spent)} left" if own.share > 0.02 else ""
    return "running", clock(spent), ", ".join(filter(None, (f"{own.share:.0%}", own.text, left)))


def as_lines(root: Path) -> list[Any]:
    """What ``jobs/status.py`` prints. Raises UserError as ``read``."""
    run = read(root)
    return [
        table(run, time.time()),
        f"process      {run.process} on {run.host}",
        f"curves       tensorboard --logdir {root / TENSORBOARD}",
    ]
