"""The whole chain: corpus, encoder, features, teacher, rounds, evaluation, artifact, report.

Each stage leaves a folder, on disk or in S3, named by the hash of all that determines it. The
last file in it is ``stage.json``: a stage whose folder holds one is not run again; one that was
killed goes on from its last checkpoint; a changed setting changes the name, so an old result is
never picked up.
"""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from diffusiontalker import __version__, storage
from diffusiontalker.animation import writers
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.config import (
    ExportJobSettings,
    ExportSettings,
    Precision,
    Settings,
    fingerprint,
)
from diffusiontalker.corpus.manifest import SPLITS, open_corpus, verify
from diffusiontalker.corpus.procedural import generation
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation import evaluate, goals, measure, streaming
from diffusiontalker.evaluation.evaluate import Subject
from diffusiontalker.export import artifact
from diffusiontalker.features import stage as features
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.model.talker import Talker
from diffusiontalker.report.run import page
from diffusiontalker.report.run.console import console_table
from diffusiontalker.report.run.sample import Sample
from diffusiontalker.runtime.student import Student
from diffusiontalker.stage_keys import (
    encoder_key,
    evaluation_key,
    look_ahead_key,
    round_key,
    teacher_key,
)
from diffusiontalker.training import fit, stages
from diffusiontalker.training.checkpoints import load_talker
from diffusiontalker.training.progress import StageDisplay, start_progress_board
from diffusiontalker.training.stages import Data, StageRun

DONE = "stage.json"
"""The last file of a stage: its folder is whole."""
HISTORY = "history.json"
"""The losses of a training run, in its stage's folder."""
LOOK_AHEAD = "look_ahead.json"
"""What look-ahead costs, where it was measured for a run."""
PACKAGES = ("torch", "ray", "transformers", "numpy", "pyarrow", "onnxruntime", "openfacefx")
Json = dict[str, Any]
Model = tuple[str, int, Path]
"""Name, sampling steps, and the folder of the weights."""


class Run:
    """One run's folder and its stages."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = storage.location(settings.output)
        storage.make_folder(self.root)
        self.board = start_progress_board()
        self.seconds: dict[str, float] = {}
        self.encoder = settings.encoder.name
        """The frozen encoder: the user's, or once it is trained our own."""

    def describe(self) -> None:
        """Write what the run works with beside its settings (``preflight.check``)."""
        storage.write_json(self.root / "environment.json", environment())

    def stage(self, name: str, folder: Path, work: Callable[[Path, StageDisplay], object]) -> Path:
        """Run ``work`` into ``folder`` unless that was done before; returns the folder."""
        mark = folder / DONE
        if storage.is_file(mark):
            self.seconds[name] = storage.read_json(mark)["seconds"]
            print(f"{name:<12} is there already: kept", flush=True)
            return folder
        storage.make_folder(folder)
        started = time.monotonic()
        with StageDisplay(name, self.board) as display:
            work(folder, display)
        self.seconds[name] = round(time.monotonic() - started, 1)
        storage.write_json(mark, {"seconds": self.seconds[name]})
        return folder

    @contextmanager
    def timed(self, name: str) -> Iterator[StageDisplay]:
        """A step that leaves no folder of its own, and is done anew every time."""
        started = time.monotonic()
        with StageDisplay(name) as display:
            yield display
        self.seconds[name] = round(time.monotonic() - started, 1)

    def folder(self, name: str, key: str) -> Path:
        """The folder of a stage whose result ``key`` determines."""
        return self.root / f"{name}-{key}"

    def place(self, name: str, key: str) -> StageRun:
        """Where Ray Train keeps the run of a stage."""
        return StageRun(self.root / "train", f"{name}-{key}", name, self.board)


def distill(settings: Settings) -> Path:
    """Run the chain of ``settings``; returns the run's folder.

    Raises:
        UserError: whatever the user can mend, in one line; what was done stays done.
    """
    run = Run(settings)
    run.describe()
    data = prepare_data(run)
    models = train_all(run, data)
    summary = evaluate_all(run, data, models)
    deliver(run, data, models, summary)
    return run.root


def corpus_data(run: Run) -> Data:
    """The procedural corpus, or the user's shards."""
    settings = run.settings.corpus
    if settings.path is not None:
        folder = storage.location(settings.path)
        return Data(folder, open_corpus(folder))
    folder = run.stage(
        "corpus",
        run.folder("corpus", generation.key_of(settings)),
        lambda out, display: generation.make(out, settings, display.count),
    )
    return Data(folder, open_corpus(folder))


def prepare_data(run: Run) -> Data:
    """The corpus with features of the frozen encoder; those that it comes with, if they are."""
    settings, data = run.settings, corpus_data(run)
    if run.encoder is None:
        run.encoder = str(train_encoder(run, data))
    encoder = FrozenEncoder(run.encoder, settings.encoder.layers, settings.encoder.revision)
    weights = encoder.fingerprint()
    if data.manifest.feature_fingerprint == weights:
        # Once per content: a flipped bit found now costs less than one found by epoch three.
        # Where features are extracted, every shard is compared with its hash on the way.
        run.stage(
            "verify",
            run.folder("verify", fingerprint(str(data.folder), data.manifest.fingerprint)),
            lambda _, display: verify(data.folder, data.manifest, display.count),
        )
        return data
    cache = settings.extraction.cache
    folder = run.stage(
        "features",
        (storage.location(cache) if cache else run.root)
        / features.cache_name(data.manifest, weights),
        lambda out, display: features.extract(
            data.folder, out, encoder, settings.extraction, settings.resources.gpu, display.count
        ),
    )
    return Data(folder, open_corpus(folder))


def train_encoder(run: Run, data: Data) -> Path:
    """The folder of an encoder trained on the corpus's phonemes, as Hugging Face writes it."""
    s = run.settings
    key = encoder_key(s, identity(data))
    return run.stage(
        "encoder",
        run.folder("encoder", key),
        lambda out, _: keep_history(
            "encoder", out, stages.train_encoder(s, data, run.place("encoder", key), out)
        ),
    )


def train_all(run: Run, data: Data) -> list[Model]:
    """The teacher, then the student of every round."""
    diffusion = run.settings.diffusion
    models = [("teacher", diffusion.steps, train_teacher(run, data))]
    for steps in diffusion.rounds:
        models.append((f"student-{steps}", steps, train_round(run, data, models[-1][2], steps)))
    return models


def train_teacher(run: Run, data: Data) -> Path:
    """The teacher's folder, with its weights and history."""
    s, key = run.settings, teacher_key(run.settings, identity(data))
    return run.stage(
        "teacher",
        run.folder("teacher", key),
        lambda out, _: keep_history(
            "teacher", out, stages.train_teacher(s, data, run.place("teacher", key), out)
        ),
    )


def train_round(run: Run, data: Data, teacher: Path, steps: int) -> Path:
    """The folder of the student of ``steps`` steps."""
    s, key = run.settings, round_key(run.settings, steps, teacher.name, identity(data))
    name = f"round-{steps}"
    return run.stage(
        name,
        run.folder(name, key),
        lambda out, _: keep_history(
            name, out, stages.train_round(s, data, teacher, steps, run.place(name, key), out)
        ),
    )


def evaluate_all(run: Run, data: Data, models: list[Model]) -> Json:
    """Evaluate every model; returns the summary (without what only the artifact can tell)."""
    settings = run.settings
    subjects = []
    for name, steps, folder in models:
        is_teacher = name == "teacher"
        grid = settings.evaluation.teacher_steps if is_teacher else (steps,)
        for count in grid:
            subjects.append(
                Subject(
                    name, str(folder), count, not is_teacher,
                    run.encoder if is_teacher else None,
                    settings.encoder.layers if is_teacher else (),
                    settings.encoder.revision if is_teacher else None,
                )
            )  # fmt: skip

    def work(out: Path, display: StageDisplay) -> None:
        rows, floor = evaluate.evaluate(
            subjects, data.folder, settings.evaluation, settings.diffusion.sampler, display.count
        )
        check_measured(rows)
        storage.write_json(out / "rows.json", {"rows": rows, "floor": floor})

    key = evaluation_key(settings, [folder.name for *_, folder in models], identity(data))
    folder = run.stage("evaluation", run.folder("evaluation", key), work)
    manifest = data.manifest
    return {
        "corpus": {
            "source": manifest.source,
            "fingerprint": manifest.fingerprint,
            "minutes": manifest.seconds() / 60,
            "minutes_by_split": {s: manifest.seconds(s) / 60 for s in SPLITS},
            "clips": {s: sum(x.clips for x in manifest.shards if x.split == s) for s in SPLITS},
            "speakers": len(manifest.identities),
            "unseen_speakers": settings.corpus.unseen_speakers
            if settings.corpus.path is None
            else None,
            "emotions": manifest.emotions,
        },
        **storage.read_json(folder / "rows.json"),
        "environment": environment(),
    }


def deliver(run: Run, data: Data, models: list[Model], summary: Json) -> None:
    """The artifact, the sample, the summary and the report."""
    name, steps, folder = models[-1]
    summary["settings"] = run.settings.model_dump(mode="json")
    summary["licence"] = run.settings.export.licence
    talker = load_talker(folder)
    with run.timed("export"):
        exported = ship(
            talker, steps, run.root / artifact.STUDENT, artifact.model_card(summary, name),
            run.settings.export, evaluate.load_clips(data.folder, data.manifest, "val"),
        )  # fmt: skip
    student = Student(run.root / artifact.STUDENT)
    clips = evaluate.load_clips(data.folder, data.manifest, data.manifest.test_splits()[0])
    clip = held_out_clip(clips)
    face = student.animate(clip.audio, SAMPLE_RATE).coefficients
    write_sample(run.root / "sample", clip, face)
    with run.timed("streaming") as display:
        streamed = streaming.measure(student, clips, run.settings.export.clips, display.count)
    summary["artifact"] = {
        "fps": artifact_fps(student, clip),
        "size_mb": artifact.size_mb(student.folder),
        "params_m": sum(tensor.numel() for tensor in talker.deployed().values()) / 1e6,
        "threads": 1,
        "export": exported,
        "streaming": streamed,
    }
    summary["look_ahead"] = look_ahead_rows(run, data)
    summary["shards"] = str(data.folder)
    summary["models"] = [
        {"name": name, "steps": steps, "folder": str(folder)} for name, steps, folder in models
    ]
    summary["seconds"] = run.seconds
    summary["goals"] = goals.check(summary, name)
    teacher_talker = load_talker(models[0][2])
    heard = measure.embed_and_sample(
        teacher_talker, clip, models[0][1], run.settings.diffusion.sampler, 1, seed=0
    )
    frames = min(len(face), len(clip.coefficients))
    sample = Sample(
        text=clip.text or "",
        identity=clip.identity or "unknown",
        emotion=clip.emotion or "unknown",
        audio=clip.audio,
        sample_rate=SAMPLE_RATE,
        truth=clip.coefficients[:frames],
        student=face[:frames],
        teacher=heard.samples[0][:frames],
    )
    trained = [folder for _, _, folder in models]
    if run.settings.encoder.name is None:
        trained.insert(0, storage.location(str(run.encoder)))
    histories = {
        folder.name.rsplit("-", 1)[0]: storage.read_json(folder / HISTORY) for folder in trained
    }
    storage.write_json(run.root / "summary.json", summary)
    page.write_report(run.root / "report.html", summary, histories, sample)


def look_ahead_rows(run: Run, data: Data) -> list[Json]:
    """What look-ahead costs, where ``jobs/benchmark.py look-ahead`` measured it with the run's
    settings; of other settings it says nothing of this run."""
    path = run.root / LOOK_AHEAD
    if not storage.is_file(path):
        return []
    found = storage.read_json(path)
    if isinstance(found, dict) and found.get("key") == look_ahead_key(run.settings, identity(data)):
        rows: list[Json] = found["rows"]
        return rows
    print(f"{path}: of other settings, so the report leaves it out", flush=True)
    return []


def ship(
    talker: Talker, steps: int, folder: Path, card: str, settings: ExportSettings,
    clips: list[Clip],
) -> Json:  # fmt: skip
    """Export in the wanted precision, or if that is refused in a higher one: a long run ends with
    an artifact. Arguments and result are those of ``artifact.export``."""
    higher: dict[Precision, Precision] = {"int8": "fp16", "fp16": "fp32"}
    try:
        return artifact.export(talker, steps, folder, card, settings, clips)
    except artifact.RefusedError as error:
        instead = higher[settings.precision]
        print(f"{error}\nexported in {instead} instead", flush=True)
        settings = settings.model_copy(update={"precision": instead})
        return ship(talker, steps, folder, card, settings, clips)


def summary_of(root: Path) -> Json:
    """The summary of a finished run, which names folders where they are now. Raises UserError if
    there is none."""
    if not storage.is_file(root / "summary.json"):
        raise UserError(f"{root}: holds no summary.json; give the folder of a finished run")
    found: Json = storage.read_json(root / "summary.json")
    for model in found.get("models") or []:
        # What else may be wrong with it, whoever asks for a model says.
        if isinstance(model, dict) and "folder" in model:
            model["folder"] = _moved(root, model["folder"])
    if "shards" in found:
        found["shards"] = _moved(root, found["shards"])
    return found


def _moved(root: Path, folder: str) -> str:
    """A stage's folder: in the run's, wherever that was when the stage was done."""
    own = root / folder.rstrip("/").rpartition("/")[2]
    return str(own) if storage.is_file(own / DONE) else folder


def export_again(settings: ExportJobSettings) -> list[str]:
    """Export a student of a finished run once more; returns what there is to say of it.

    Raises:
        UserError: no such run or student, it has no validation clips, or the export is refused.
    """
    root = storage.location(settings.run)
    summary = summary_of(root)
    students = [model for model in summary.get("models", []) if model["name"] != "teacher"]
    known = [model["name"] for model in students]
    wanted = settings.model or (known[-1] if known else "")
    if wanted not in known:
        raise UserError(f"{root}: holds no student {wanted!r}; known: {', '.join(known) or 'none'}")
    student = next(model for model in students if model["name"] == wanted)
    shards = storage.location(summary["shards"])
    out = storage.location(settings.out)
    found = artifact.export(
        load_talker(storage.location(student["folder"])), student["steps"], out,
        artifact.model_card(summary, wanted, settings.licence), settings,
        evaluate.load_clips(shards, open_corpus(shards), "val"),
    )  # fmt: skip
    said = [f"artifact      {out}", f"size          {artifact.size_mb(out):.2f} MB"]
    for key, share in found.get("growth", {}).items():
        said.append(
            f"{key:<14}{found['validation'][key]:.4f} on {found['clips']} clips of validation, "
            f"{share:+.2%} against fp32"
        )
    if "voices_changed" in found:
        said.append(f"voices        {found['voices_changed']} of {found['clips']} changed")
    return said


def held_out_clip(clips: list[Clip]) -> Clip:
    """A clip of four to seven seconds if there is one: long enough to look at."""
    return min(clips, key=lambda clip: abs(len(clip.coefficients) / FPS - 5.5))


def write_sample(folder: Path, clip: Clip, face: np.ndarray) -> None:
    """The held-out sentence as wav, csv, json and glb."""
    storage.make_folder(folder)
    sound = (clip.audio, SAMPLE_RATE)
    for suffix in (".csv", ".json", ".glb"):
        writers.write(folder / f"speech{suffix}", face, FPS, audio=sound)
    storage.write_bytes(folder / "speech.txt", f"{clip.text or ''}\n".encode())


def artifact_fps(student: Student, clip: Clip) -> float:
    """Frames per second of the artifact on 10 s of speech, one thread, waveform to coefficients."""
    ten = np.resize(clip.audio, 10 * SAMPLE_RATE)
    return 10 * FPS / evaluate.median_seconds(lambda: student.animate(ten, SAMPLE_RATE), 15)


def environment() -> Json:
    """Versions and hardware, for the record."""
    return {
        "diffusiontalker": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        **{name: version(name) for name in PACKAGES},
    }


def commit() -> str | None:
    """The commit of the working tree this code runs from, if it is one."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty"],
            capture_output=True, text=True, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def identity(data: Data) -> list[str | None]:
    """What identifies a corpus: the content of its shards, and of its features."""
    return [data.manifest.fingerprint, data.manifest.feature_fingerprint]


def keep_history(stage: str, folder: Path, history: list[dict[str, float]]) -> None:
    """Losses of a training run, for the curves.

    Raises:
        UserError: training diverged_epoch.
    """
    if (epoch := fit.diverged_epoch(history)) is not None:
        raise UserError(
            f"{stage}: training diverged_epoch, its loss is not finite in epoch {epoch}; lower its "
            "learning_rate or clip_norm, or look for extreme values in the data"
        )
    storage.write_json(folder / HISTORY, history)


def check_measured(rows: list[Json]) -> None:
    """Whether every model gave faces that can be measured. Raises UserError."""
    for row in rows:
        for key in ("mbe", "lbe", "energy_score"):
            if row[key] is None:
                raise UserError(
                    f"evaluation: {key} of {row['name']} in {row['steps']} steps on {row['split']} "
                    "is not finite; train it with a lower learning_rate"
                )


def conclude(root: Path) -> None:
    """Print what people look for first: the table, the goals, and where the results lie."""
    summary = summary_of(root)
    console = Console()
    console.print(console_table(summary))
    for goal in summary["goals"]:
        print(goals.line(goal))
    print(f"\nreport    {root / 'report.html'}\nsummary   {root / 'summary.json'}")
    print(f"artifact  {root / artifact.STUDENT}\nsample    {root / 'sample'}")
