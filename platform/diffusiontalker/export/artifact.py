"""The artifact: a folder with configuration, graphs and model card, and nothing pickled."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml

from diffusiontalker import __version__, storage
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import normalize
from diffusiontalker.audio.log_mel import OVERLAP, PER_FRAME, STEM, log_mel
from diffusiontalker.config import ExportSettings
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.export import precision
from diffusiontalker.export.graph import export_onnx
from diffusiontalker.model.talker import Talker
from diffusiontalker.runtime.artifact import (
    CARD,
    CONFIG,
    FORMAT_VERSION,
    GRAPHS,
    PARTS,
    files,
    graphs,
    read_config,
)
from diffusiontalker.runtime.student import Student, chunks
from diffusiontalker.runtime.voice import Statistics, moments
from diffusiontalker.summary.run import ExportReport

STUDENT = "student"
"""The folder of its artifact in a run's."""
TOLERANCE = 1e-3
"""Largest difference of a coefficient between the graph and PyTorch that an export may have."""
PLAIN = ExportSettings(precision="fp32")
"""Nothing is compressed, so there is nothing to judge."""


class RefusedError(UserError):
    """An export in a precision that costs more than it may."""


def export(
    talker: Talker,
    steps: int,
    folder: Path,
    card: str,
    settings: ExportSettings = PLAIN,
    clips: Sequence[Clip] = (),
) -> ExportReport:
    """Make an artifact, check it against PyTorch, and only then put it in its place.

    Args:
        talker: a student.
        steps: sampling steps, unrolled into the graph.
        folder: local or in S3. An artifact there is removed first: while the files are written, one
            is missing, and ``Student`` says so.
        card: text of the model card.
        settings: precision of the weights, and by how much errors may grow for it.
        clips: of validation, to calibrate and to judge a precision below fp32 with.

    Returns:
        the precision; below fp32 also what it costs on validation.

    Raises:
        RefusedError: the precision costs ``too_much``; ``folder`` is left alone.
        UserError: the folder cannot be written, or the graphs do not agree with the model.
    """
    if talker.config.feature_dim is not None:
        raise UserError("only a student can be exported: a teacher needs its frozen encoder")
    check_place(folder)
    config = {
        "format_version": FORMAT_VERSION,
        "release": __version__,
        "steps": steps,
        "precision": settings.precision,
        "fps": FPS,
        "sample_rate": SAMPLE_RATE,
        "look_ahead": talker.config.look_ahead,
        "channels": list(CHANNELS),
        "identities": list(talker.config.identities),
        "emotions": list(talker.config.emotions),
        "model": talker.config.to_dict(),
    }
    with TemporaryDirectory(prefix="artifact-") as name:
        made = Path(name)
        (made / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
        (made / CARD).write_text(card)
        export_onnx(talker, steps, made)
        check(made, talker, steps)
        found = _compress(made, settings, clips)
        storage.make_folder(folder)
        for name in filter(_is_part, storage.files(folder)):
            storage.remove(folder / name)
        storage.store(made, folder)
    return found


def check_place(folder: Path) -> None:
    """An artifact replaces the one in its folder, or what an interrupted export left of one; a
    folder of something else is no place for it. Raises UserError."""
    if storage.is_bucket(folder):
        raise UserError(f"{folder}: is a whole bucket; give the artifact a prefix of its own")
    there = storage.files(folder)
    strange = [name for name in there if not _is_part(name)]
    if strange and not there.keys() >= {CONFIG, *GRAPHS}:
        raise UserError(
            f"{folder}: holds other files, such as {strange[0]}, and an artifact has a folder of "
            "its own; name another, or empty that one"
        )


def _is_part(name: str) -> bool:
    """Whether a file in an artifact's folder is of the artifact, or a part that was begun."""
    return name in PARTS or ("/" not in name and name.startswith(".") and name.endswith(".tmp"))


def _compress(folder: Path, settings: ExportSettings, clips: Sequence[Clip]) -> ExportReport:
    """Bring a checked fp32 artifact to the wanted precision, and judge it."""
    if settings.precision == "fp32":
        return ExportReport(precision="fp32")
    if not clips:
        raise UserError(f"{settings.precision}: no validation clips to judge it with; use fp32")
    some = clips[:: max(len(clips) // settings.clips, 1)][: settings.clips]
    student = Student(folder)
    heard = precision.hears(student, some)
    voices = [recording for recording, _ in heard]
    before = precision.judge(student, some, voices)
    if settings.precision == "fp16":
        for name in graphs(student.config):
            precision.half(folder / name)
    else:
        precision.int8(folder, some)
    small = Student(folder)
    after = precision.judge(small, some, voices)
    pairs = zip(heard, precision.hears(small, some), strict=True)
    found = ExportReport(
        precision=settings.precision,
        clips=len(some),
        fp32=before,
        validation=after,
        growth=precision.growth(before, after),
        voices_changed=sum(was != now for was, now in pairs),
    )
    if why := too_much(found, settings):
        raise RefusedError(f"{settings.precision}: {why}: use a higher precision")
    return found


def too_much(found: ExportReport, settings: ExportSettings) -> str | None:
    """Why what a precision costs, as ``export`` returns it, is above the limits, if it is."""
    for key, share in found.growth.items():
        if not share <= settings.max_growth:
            return (
                f"{key} on validation grows by {share:.1%}, from {found.fp32[key]:.4f} to "
                f"{found.validation[key]:.4f}; at most {settings.max_growth:.1%} is allowed "
                "(max_growth)"
            )
    # Of a few clips, too, one may be equally near to two emotions.
    changed, most = found.voices_changed, max(int(settings.max_changed * found.clips), 1)
    if changed > most:
        return (
            f"another identity or emotion is recognised in {changed} of {found.clips} clips of "
            f"validation, as recordings or as streams; at most {most} may change (max_changed)"
        )
    return None


@torch.inference_mode()
def check(folder: Path, talker: Talker, steps: int, frames: int = 90) -> float:
    """Largest difference of a coefficient between the fp32 artifact and the PyTorch student.

    A clip of noise, heard and moved in chunks of unequal length where the student is causal.

    Raises:
        UserError: it is above ``TOLERANCE``.
    """
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.07, frames * SAMPLE_RATE // FPS)
    samples = normalize(noise.astype(np.float32))
    x_T = rng.standard_normal((frames, len(CHANNELS)), np.float32)
    student = Student(folder)
    mask = torch.ones(1, frames, 1)
    heard = talker.encode(torch.from_numpy(log_mel(samples))[None], mask)
    voice = talker.embed_voice(heard, mask)
    condition = talker.condition(heard, voice.identity, voice.emotion, mask)
    theirs = talker.generate(condition, torch.from_numpy(x_T)[None], steps)[0].numpy()

    statistics, state = Statistics(), student.new_state()
    mel = next(chunks(samples, student.look_ahead, frames))
    cuts = [0, frames] if student.look_ahead is None else [0, 1, 3, frames // 2, frames]
    features = []
    for begin, end in pairwise(cuts):
        part, said = student.listen(mel[PER_FRAME * begin : PER_FRAME * end + OVERLAP], state)
        statistics.add(moments(said))
        features.append(part)
    identity, emotion = student.embed(statistics)
    modulation = student.modulate(identity[None], emotion[None])
    parts = [
        student.move(part, x_T[begin:end], modulation, state)
        for part, (begin, end) in zip(features, pairwise(cuts), strict=True)
    ]
    ours = [np.concatenate(parts)]
    if student.look_ahead is not None:
        ours.append(_frame_by_frame(student, mel, x_T, modulation))
    difference = float(np.abs(np.stack(ours) - theirs).max())
    if difference > TOLERANCE:
        raise UserError(
            f"{folder}: the exported graphs differ from the model by {difference:.2g}, "
            f"more than {TOLERANCE}"
        )
    return difference


def _frame_by_frame(
    student: Student, mel: np.ndarray, noise: np.ndarray, modulation: np.ndarray
) -> np.ndarray:
    """The same face (T, 52) by the graph of a single frame."""
    history, row, face = student.history(), np.zeros(1, np.int64), []
    for t in range(len(noise)):
        past = history.past(row, row + t)
        log_mel = mel[None, PER_FRAME * t : PER_FRAME * t + STEM]
        made, _, now = student.frame(log_mel, noise[None, t : t + 1], modulation, past)
        history.keep(row, row + t, now)
        face.append(made)
    return np.concatenate(face)


def size_mb(folder: Path) -> float:
    """Megabytes (1e6 bytes) of everything an artifact ships."""
    found = storage.sizes(folder)
    return sum(found[name] for name in files(read_config(folder))) / 1e6
