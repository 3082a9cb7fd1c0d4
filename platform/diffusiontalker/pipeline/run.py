"""The folder of a run, its stages and their times."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from diffusiontalker import storage
from diffusiontalker.config import Settings
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.environment import environment
from diffusiontalker.event_files import FOLDER as TENSORBOARD
from diffusiontalker.event_files import EventFiles
from diffusiontalker.pipeline.metrics import StageMetrics
from diffusiontalker.pipeline.progress_file import ProgressFile
from diffusiontalker.stage_keys import DONE, Content
from diffusiontalker.training.progress import (
    JsonLog,
    Point,
    StageDisplay,
    start_progress_board,
)
from diffusiontalker.training.stage_run import StageRun


class Run:
    """One run's folder and its stages."""

    def __init__(self, settings: Settings, planned: Sequence[str] = ()) -> None:
        """``planned``: the stages that ``jobs/status.py`` shows; none: their progress is not
        written."""
        self.settings = settings
        self.root = storage.location(settings.output)
        storage.make_folder(self.root)
        self.board = start_progress_board()
        self.progress = ProgressFile(self.root, planned)
        self.seconds: dict[str, float] = {}
        self.log = JsonLog(settings.output) if settings.resources.logs == "json" else None
        self.encoder = settings.encoder.name
        """The frozen encoder: the user's, or ours once it is trained."""
        self.pseudo_labelled: CorpusFolder | None = None
        """Speech with the teacher's faces, once there is a teacher."""

    def describe(self) -> None:
        """Write ``environment.json``, which marks the folder as a run's (``preflight.MARKS``)."""
        storage.write_json(self.root / "environment.json", environment())

    def stage(self, name: str, folder: Path, work: Callable[[Path, StageDisplay], object]) -> Path:
        """Run ``work`` into ``folder`` unless that was done before; returns the folder."""
        mark = folder / DONE
        if storage.is_file(mark):
            self.seconds[name] = storage.read_json(mark)["seconds"]
            self.progress.end(name, "kept", self.seconds[name])
            if self.log is not None:
                self.log.write(name, "kept")
            else:
                print(f"{name:<12} is there already: kept", flush=True)
            return folder
        storage.make_folder(folder)
        curves = EventFiles(self.root / TENSORBOARD / folder.name)

        def on_point(point: Point) -> None:
            add_point(curves, point)
            self.progress.add_point(name, point)

        try:
            with self.timed(name, on_point) as display:
                work(folder, display)
        finally:
            curves.close()
        storage.write_json(mark, {"seconds": self.seconds[name]})
        return folder

    @contextmanager
    def timed(
        self, name: str, on_point: Callable[[Point], None] | None = None
    ) -> Iterator[StageDisplay]:
        """A step with its progress; without ``stage``, one that is repeated in every session."""
        started = time.monotonic()
        metrics = StageMetrics(str(self.root), name)

        def take_point(point: Point) -> None:
            metrics.add_point(point)
            if on_point is not None:
                on_point(point)

        def on_update(share: float, text: str) -> None:
            metrics.update(share)
            self.progress.update(name, share, text)

        self.progress.begin(name)
        metrics.begin()
        try:
            with StageDisplay(name, self.board, take_point, on_update, self.log) as display:
                yield display
        except BaseException as error:
            self.progress.fail(name, error)
            raise
        finally:
            metrics.end()
        self.seconds[name] = round(time.monotonic() - started, 1)
        self.progress.end(name, "done", self.seconds[name])

    def folder(self, name: str, key: str) -> Path:
        """The folder of a stage whose result ``key`` determines."""
        return stage_folder(self.root, name, key)

    def place(self, name: str, key: str) -> StageRun:
        """Where Ray Train keeps the run of a stage."""
        return StageRun(self.root / "train", f"{name}-{key}", name, self.board)


def add_point(curves: EventFiles, point: Point) -> None:
    """Add a point of a training stage's history: losses, and validation after every epoch."""
    scalars = {
        f"validation/{key.removeprefix('val_')}" if key.startswith("val_") else f"training/{key}": v
        for key, v in point.items()
        if key != "step"
    }
    curves.add(scalars, int(point["step"]))


def stage_folder(root: Path, name: str, key: str) -> Path:
    """The folder of a stage in the folder ``root`` of its run."""
    return root / f"{name}-{key}"


def corpus_content(data: CorpusFolder) -> Content:
    """What identifies a corpus, for the keys of the stages that depend on it."""
    own = [data.manifest.fingerprint, data.manifest.feature_fingerprint]
    extra = data.pseudo_labelled
    return own if extra is None else [*own, extra.manifest.fingerprint]
