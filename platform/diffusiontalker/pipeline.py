"""The whole chain: corpus, encoder, features, teacher, rounds, evaluation, artifact, report.

Each stage leaves a folder named by the hash of all that determines it. A stage whose folder is
there is not run again; one that was killed goes on from its last checkpoint; a changed setting
changes the name, so an old result is never picked up.
"""

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from diffusiontalker import __version__
from diffusiontalker.animation import writers
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.config import Settings, fingerprint, to_yaml
from diffusiontalker.corpus import procedural
from diffusiontalker.corpus.manifest import SCHEMA_VERSION, SPLITS, open_corpus, verify
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation import evaluate, goals, measure
from diffusiontalker.evaluation.evaluate import Subject
from diffusiontalker.export import artifact
from diffusiontalker.features import stage as features
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.report import page
from diffusiontalker.report.console import console_table
from diffusiontalker.report.sample import Sample
from diffusiontalker.runtime.student import Student
from diffusiontalker.training import runs
from diffusiontalker.training.checkpoints import load_talker
from diffusiontalker.training.progress import Display, new_board
from diffusiontalker.training.runs import Data, Place

PACKAGES = ("torch", "ray", "transformers", "numpy", "pyarrow", "onnxruntime", "openfacefx")
Json = dict[str, Any]


class Run:
    """One run's folder and its stages."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = Path(settings.output).absolute()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / "settings.yaml").write_text(to_yaml(settings))
            (self.root / "environment.json").write_text(json.dumps(environment(), indent=1) + "\n")
        except OSError as error:
            raise UserError(
                f"{self.root}: cannot be written ({error.strerror}); choose another output=..."
            ) from error
        self.board = new_board()
        self.seconds: dict[str, float] = {}
        self.encoder = settings.encoder.name
        """The frozen encoder: the user's, or once it is trained our own."""

    def stage(self, name: str, key: str, work: Callable[[Path, Display], object]) -> Path:
        """Run ``work`` into a new folder unless the folder is there; returns the folder."""
        folder = self.root / f"{name}-{key}"
        clock = self.root / "seconds.json"
        known = json.loads(clock.read_text()) if clock.is_file() else {}
        if folder.is_dir():
            self.seconds[name] = known.get(folder.name, 0.0)
            print(f"{name:<12} is there already: kept", flush=True)
            return folder
        partial = self.root / f"{name}-{key}.partial"
        partial.mkdir(exist_ok=True)
        started = time.monotonic()
        with Display(name, self.board) as display:
            work(partial, display)
        self.seconds[name] = round(time.monotonic() - started, 1)
        partial.rename(folder)
        clock.write_text(json.dumps({**known, folder.name: self.seconds[name]}, indent=1) + "\n")
        return folder

    def place(self, name: str, key: str) -> Place:
        """Where Ray Train keeps the run of a stage."""
        return Place(self.root / "train", f"{name}-{key}", name, self.board)


def distill(settings: Settings) -> Path:
    """Run the chain of ``settings``; returns the run's folder.

    Raises:
        UserError: whatever the user can mend, in one line; what was done stays done.
    """
    run = Run(settings)
    data = prepare_data(run)
    teacher = train_teacher(run, data)
    models = [("teacher", settings.diffusion.steps, teacher)]
    for steps in settings.diffusion.rounds:
        models.append((f"student-{steps}", steps, train_round(run, data, models[-1][2], steps)))
    summary = evaluate_all(run, data, models)
    deliver(run, data, models, summary)
    return run.root


def corpus_data(run: Run) -> Data:
    """The procedural corpus, or the user's shards."""
    settings = run.settings.corpus
    if settings.path is not None:
        folder = Path(settings.path).absolute()
        manifest = open_corpus(folder)
        # Once per content: a flipped bit found now costs less than one found by epoch three.
        run.stage(
            "verify",
            fingerprint(str(folder), manifest.fingerprint),
            lambda _, display: verify(folder, manifest, display.count),
        )
        return Data(folder, manifest)
    folder = run.stage(
        "corpus",
        fingerprint(settings, SCHEMA_VERSION, __version__),
        lambda out, display: procedural.make(out, settings, display.count),
    )
    return Data(folder, open_corpus(folder))


def prepare_data(run: Run) -> Data:
    """The corpus with features of the frozen encoder."""
    settings, data = run.settings, corpus_data(run)
    layers = settings.encoder.layers
    if run.encoder is None:
        key = fingerprint("encoder", settings.encoder, settings.training.seed, identity(data))
        run.encoder = str(
            run.stage(
                "encoder",
                key,
                lambda out, _: keep_history(
                    out, runs.train_encoder(settings, data, run.place("encoder", key), out)
                ),
            )
        )
    name = run.encoder
    weights = FrozenEncoder(name, layers, settings.encoder.revision).fingerprint()
    training = settings.training
    folder = run.stage(
        "features",
        fingerprint("features", identity(data), weights),
        lambda out, display: features.extract(
            data.folder, out, name, layers, settings.encoder.revision, training.workers,
            training.gpu, display.count,
        ),
    )  # fmt: skip
    return Data(folder, open_corpus(folder))


def train_teacher(run: Run, data: Data) -> Path:
    """The teacher's folder, with its weights and history."""
    s = run.settings
    key = fingerprint(
        "teacher", s.audio_dim, s.encoder.log_mel, s.student.encoder_width, s.student.encoder_depth,
        s.personalizer, s.context, s.decoder, s.diffusion.schedule, s.losses,
        s.training.window, s.training.teacher, s.training.seed, identity(data),
    )  # fmt: skip
    return run.stage(
        "teacher",
        key,
        lambda out, _: keep_history(
            out, runs.train_teacher(s, data, run.place("teacher", key), out)
        ),
    )


def train_round(run: Run, data: Data, teacher: Path, steps: int) -> Path:
    """The folder of the student of ``steps`` steps."""
    s = run.settings
    key = fingerprint(
        "round", steps, teacher.name, s.audio_dim, s.student, s.student_losses, s.training.window,
        runs.round_settings(s, steps), s.training.seed, identity(data),
    )  # fmt: skip
    name = f"round-{steps}"
    return run.stage(
        name,
        key,
        lambda out, _: keep_history(
            out, runs.train_round(s, data, teacher, steps, run.place(name, key), out)
        ),
    )


def evaluate_all(run: Run, data: Data, models: list[tuple[str, int, Path]]) -> Json:
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

    def work(out: Path, display: Display) -> None:
        rows, floor = evaluate.evaluate(
            subjects, data.folder, settings.evaluation, settings.diffusion.sampler, display.count
        )
        (out / "rows.json").write_text(json.dumps({"rows": rows, "floor": floor}))

    key = fingerprint(
        "evaluation", [s.folder for s in subjects], settings.evaluation, settings.diffusion.sampler,
        identity(data),
    )  # fmt: skip
    folder = run.stage("evaluation", key, work)
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
        **json.loads((folder / "rows.json").read_text()),
        "environment": environment(),
    }


def deliver(run: Run, data: Data, models: list[tuple[str, int, Path]], summary: Json) -> None:
    """The artifact, the sample, the summary and the report."""
    name, steps, folder = models[-1]
    talker = load_talker(folder)
    with Display("export", None):
        artifact.export(talker, steps, run.root / "student", artifact.model_card(summary, name))
    student = Student(run.root / "student")
    clip = held_out_clip(evaluate.load_clips(data.folder, data.manifest, "test_seen"))
    face = student.animate(clip.audio, SAMPLE_RATE).coefficients
    write_sample(run.root / "sample", clip, face)
    summary["artifact"] = {
        "fps": artifact_fps(student, clip),
        "size_mb": artifact.size_mb(student.folder),
        "params_m": sum(tensor.numel() for tensor in talker.deployed().values()) / 1e6,
        "threads": 1,
    }
    summary["seconds"] = run.seconds
    summary["goals"] = goals.check(summary, name)
    teacher_talker = load_talker(models[0][2])
    heard = measure.listen_and_sample(
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
        trained.insert(0, Path(str(run.encoder)))
    histories = {
        folder.name.rsplit("-", 1)[0]: json.loads((folder / "history.json").read_text())
        for folder in trained
    }
    (run.root / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    page.write_report(run.root / "report.html", summary, histories, sample)


def held_out_clip(clips: list[Clip]) -> Clip:
    """A clip of four to seven seconds if there is one: long enough to look at."""
    return min(clips, key=lambda clip: abs(len(clip.coefficients) / FPS - 5.5))


def write_sample(folder: Path, clip: Clip, face: np.ndarray) -> None:
    """The held-out sentence as wav, csv, json and glb."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sound = (clip.audio, SAMPLE_RATE)
    for suffix in (".csv", ".json", ".glb"):
        writers.write(folder / f"speech{suffix}", face, FPS, audio=sound)
    (folder / "speech.txt").write_text((clip.text or "") + "\n")


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


def keep_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Losses of a training run, for the curves."""
    (folder / "history.json").write_text(json.dumps(history))


def conclude(root: Path) -> None:
    """Print what people look for first: the table, the goals, and where the results lie."""
    summary = json.loads((root / "summary.json").read_text())
    console = Console()
    console.print(console_table(summary))
    for goal in summary["goals"]:
        word = {True: "met   ", False: "MISSED", None: "open  "}[goal["met"]]
        value = "–" if goal["value"] is None else f"{goal['value']:.4g}"
        print(f"{word} {goal['name']}: {value} (target {goal['target']})")
    print(f"\nreport    {root / 'report.html'}\nsummary   {root / 'summary.json'}")
    print(f"artifact  {root / 'student'}\nsample    {root / 'sample'}")
