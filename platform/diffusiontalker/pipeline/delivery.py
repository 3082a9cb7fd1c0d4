"""What a run ends with: artifact, sample, summary and report."""

from pathlib import Path

import numpy as np

from diffusiontalker import storage
from diffusiontalker.animation import writers
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.config import CorpusSettings, ExportSettings, Precision, Settings
from diffusiontalker.corpus.manifest import SPLITS, CorpusFolder, Manifest
from diffusiontalker.corpus.procedural import planning
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.environment import environment
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation import evaluate, goals, measure, streaming
from diffusiontalker.export import artifact
from diffusiontalker.export.model_card import model_card
from diffusiontalker.model.talker import Talker
from diffusiontalker.pipeline.run import Run, corpus_content
from diffusiontalker.pipeline.training import HISTORY, Model
from diffusiontalker.report.run import page
from diffusiontalker.report.run.plots import History
from diffusiontalker.report.run.sample import Sample
from diffusiontalker.runtime.artifact import CONFIG
from diffusiontalker.runtime.student import Student
from diffusiontalker.stage_keys import look_ahead_key
from diffusiontalker.summary.run import (
    SUMMARY,
    Artifact,
    Corpus,
    Evaluation,
    ExportReport,
    LookAhead,
    LookAheadRow,
    RunSummary,
    TrainedModel,
)
from diffusiontalker.training.checkpoints import load_talker

LOOK_AHEAD = "look_ahead.json"
"""What look-ahead costs, where it was measured for a run."""


def deliver(run: Run, data: CorpusFolder, models: list[Model], evaluation: Evaluation) -> None:
    """The artifact, the sample, the summary and the report."""
    settings, teacher, student = run.settings, models[0], models[-1]
    summary = RunSummary(
        corpus=corpus_summary(settings.corpus, data.manifest, run.pseudo_labelled),
        rows=evaluation.rows,
        floor=evaluation.floor,
        environment=environment(),
        settings=settings.model_dump(mode="json"),
        licence=settings.export.licence,
        look_ahead=look_ahead_rows(run, data),
        shards=str(data.folder),
        models=tuple(
            TrainedModel(name=m.name, steps=m.steps, folder=str(m.folder)) for m in models
        ),
    )
    talker = load_talker(student.folder)
    clips = evaluate.load_clips(data.folder, data.manifest, data.manifest.test_splits()[0])
    clip, measured = held_out_clip(clips), None
    if talker.config.feature_dim is None:
        shipped, measured = export_and_measure(run, data, talker, student, summary, clips)
        face = shipped.animate(clip.audio, SAMPLE_RATE).coefficients
    else:
        print("no artifact: the last model takes the frozen encoder's features", flush=True)
        if storage.is_file(run.root / artifact.STUDENT / CONFIG):
            print(f"{run.root / artifact.STUDENT}: is of an earlier run in this folder", flush=True)
        face = sampled_face(talker, clip, student.steps, settings)
    write_sample(run.root / "sample", clip, face)
    summary = summary.model_copy(update={"artifact": measured, "seconds": run.seconds})
    summary = summary.model_copy(update={"goals": goals.check(summary, student.name)})
    summary.write(run.root / SUMMARY)
    sample = report_sample(clip, face, load_talker(teacher.folder), teacher.steps, settings)
    page.write_report(run.root / "report.html", summary, histories(run, models), sample)


def export_and_measure(
    run: Run, data: CorpusFolder, talker: Talker, student: Model, summary: RunSummary,
    clips: list[Clip],
) -> tuple[Student, Artifact]:  # fmt: skip
    """The artifact of the last student, and its size, speed and cost of streaming on ``clips``."""
    settings = run.settings.export
    with run.timed("export"):
        exported = ship(
            talker, student.steps, run.root / artifact.STUDENT, model_card(summary, student.name),
            settings, evaluate.load_clips(data.folder, data.manifest, "val"),
        )  # fmt: skip
    shipped = Student(run.root / artifact.STUDENT)
    with run.timed("streaming") as display:
        streamed = streaming.measure(shipped, clips, settings.clips, display.count)
    return shipped, Artifact(
        fps=artifact_fps(shipped, held_out_clip(clips)),
        size_mb=artifact.size_mb(shipped.folder),
        params_m=sum(tensor.numel() for tensor in talker.deployed().values()) / 1e6,
        threads=1,
        export=exported,
        streaming=streamed,
    )


def ship(
    talker: Talker, steps: int, folder: Path, card: str, settings: ExportSettings,
    clips: list[Clip],
) -> ExportReport:  # fmt: skip
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


def corpus_summary(
    settings: CorpusSettings, manifest: Manifest, pseudo_labelled: CorpusFolder | None
) -> Corpus:
    """What the corpus holds, for the summary."""
    unseen = None
    if settings.path is None:
        unseen = sum(map(len, planning.speakers(settings)[1]))
    return Corpus(
        source=manifest.source,
        fingerprint=manifest.fingerprint,
        minutes=manifest.seconds() / 60,
        minutes_by_split={split: manifest.seconds(split) / 60 for split in SPLITS},
        clips={
            split: sum(shard.clips for shard in manifest.shards if shard.split == split)
            for split in SPLITS
        },
        speakers=len(manifest.identities),
        unseen_speakers=unseen,
        emotions=tuple(manifest.emotions),
        pseudo_labelled_minutes=(
            None if pseudo_labelled is None else pseudo_labelled.manifest.seconds() / 60
        ),
    )


def look_ahead_rows(run: Run, data: CorpusFolder) -> tuple[LookAheadRow, ...]:
    """What look-ahead costs, where ``jobs/benchmark.py look-ahead`` measured it with the run's
    settings; a measurement with other settings is not this run's, and is left out."""
    path = run.root / LOOK_AHEAD
    if not storage.is_file(path):
        return ()
    try:
        found = LookAhead.read(path)
    except UserError as error:
        print(f"{error}; the report leaves it out", flush=True)
        return ()
    if found.key == look_ahead_key(run.settings, corpus_content(data)):
        return found.rows
    print(f"{path}: of other settings, so the report leaves it out", flush=True)
    return ()


def report_sample(
    clip: Clip, face: np.ndarray, teacher: Talker, steps: int, settings: Settings
) -> Sample:
    """The held-out clip for the report, with the student's ``face`` and one of the teacher's."""
    sampled = sampled_face(teacher, clip, steps, settings)
    frames = min(len(face), len(clip.coefficients))
    return Sample(
        text=clip.text or "",
        identity=clip.identity or "unknown",
        emotion=clip.emotion or "unknown",
        audio=clip.audio,
        sample_rate=SAMPLE_RATE,
        truth=clip.coefficients[:frames],
        student=face[:frames],
        teacher=sampled[:frames],
    )


def sampled_face(talker: Talker, clip: Clip, steps: int, settings: Settings) -> np.ndarray:
    """A face (T, 52) for a clip, by the model in PyTorch."""
    sampler = settings.diffusion.sampler
    return measure.embed_and_sample(talker, clip, steps, sampler, 1, seed=0).samples[0]


def histories(run: Run, models: list[Model]) -> dict[str, History]:
    """The losses of all training stages by the stage's name."""
    trained = [model.folder for model in models]
    if run.settings.encoder.name is None:
        trained.insert(0, storage.location(str(run.encoder)))
    return {
        folder.name.rsplit("-", 1)[0]: storage.read_json(folder / HISTORY) for folder in trained
    }


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
