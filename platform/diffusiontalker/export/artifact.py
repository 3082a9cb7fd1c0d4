"""Exporting an artifact: a folder with configuration, graphs and model card, without pickle."""

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
from diffusiontalker.audio.front_end import TRAINING
from diffusiontalker.audio.level import normalize
from diffusiontalker.audio.log_mel import OVERLAP, PER_FRAME, STEM, log_mel
from diffusiontalker.config import ExportSettings
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.diffusion.noise import NEVER
from diffusiontalker.errors import UserError
from diffusiontalker.export import precision
from diffusiontalker.export.graph import export_onnx
from diffusiontalker.model.talker import Talker
from diffusiontalker.runtime.artifact import (
    CARD,
    CONFIG,
    GRAPHS,
    PARTS,
    ArtifactConfig,
    read_config,
)
from diffusiontalker.runtime.graphs import Graphs
from diffusiontalker.runtime.noise import NoiseParameters
from diffusiontalker.runtime.offline import log_mel_chunks
from diffusiontalker.runtime.stream_batch.layer_history import LayerHistory
from diffusiontalker.runtime.stream_parameters import StreamParameters
from diffusiontalker.runtime.student import Student
from diffusiontalker.runtime.voice_statistics import VoiceStatistics, moments
from diffusiontalker.summary.run import ExportReport

STUDENT = "student"
"""The folder of its artifact in a run's."""
TOLERANCE = 1e-3
"""Largest difference of a coefficient between the graph and PyTorch that an export may have."""
PLAIN = ExportSettings(precision="fp32")
"""Nothing is compressed, so no clips are needed."""


class RefusedError(UserError):
    """An export in a precision whose errors grow beyond the limits."""


def export(
    talker: Talker,
    steps: int,
    folder: Path,
    card: str,
    settings: ExportSettings = PLAIN,
    clips: Sequence[Clip] = (),
) -> ExportReport:
    """Make an artifact, check it against PyTorch, and only then store it.

    Args:
        talker: a student.
        steps: sampling steps, unrolled into the graph.
        folder: local or in S3. An artifact there is removed first: while files are written,
            ``Student`` reports a missing one.
        card: text of the model card.
        settings: precision of the weights, and by how much errors may grow for it.
        clips: of validation, to calibrate and to measure a precision below fp32 with.

    Returns:
        the precision; below fp32 also what it costs on validation.

    Raises:
        RefusedError: errors grow ``too_much``; ``folder`` is unchanged.
        UserError: the folder cannot be written, or the graphs do not agree with the model.
    """
    if talker.config.feature_dim is not None:
        raise UserError(
            "a model on the frozen encoder's features cannot be exported: the artifact holds no "
            "such encoder"
        )
    check_place(folder)
    config = ArtifactConfig(
        release=__version__,
        steps=steps,
        precision=settings.precision,
        look_ahead=talker.config.look_ahead,
        identities=list(talker.config.identities),
        emotions=list(talker.config.emotions),
        model=talker.config.to_dict(),
        front_end=TRAINING,
        stream=None if talker.config.look_ahead is None else StreamParameters(),
        noise=_noise_of(talker),
        blinks=talker.blinks,
    )
    with TemporaryDirectory(prefix="artifact-") as name:
        made = Path(name)
        (made / CONFIG).write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
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
    """Raise UserError unless a folder is empty, holds an artifact, or what an interrupted export
    left of one."""
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
    """Whether a file in an artifact's folder is of the artifact, or a partial upload."""
    return name in PARTS or ("/" not in name and name.startswith(".") and name.endswith(".tmp"))


def _compress(folder: Path, settings: ExportSettings, clips: Sequence[Clip]) -> ExportReport:
    """Bring a checked fp32 artifact to the wanted precision, and measure what that costs."""
    if settings.precision == "fp32":
        return ExportReport(precision="fp32")
    if not clips:
        raise UserError(f"{settings.precision}: no validation clips to measure it with; use fp32")
    some = clips[:: max(len(clips) // settings.clips, 1)][: settings.clips]
    student = Student(folder)
    recognised = precision.all_voices(student, some)
    voices = [recording for recording, _ in recognised]
    before = precision.validation_errors(student, some, voices)
    if settings.precision == "fp16":
        for name in student.config.graphs:
            precision.fp16(folder / name)
    else:
        precision.int8(folder, some)
    small = Student(folder)
    after = precision.validation_errors(small, some, voices)
    pairs = zip(recognised, precision.all_voices(small, some), strict=True)
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
    # Among few clips, too, one may be equally near to two emotions.
    changed, most = found.voices_changed, max(int(settings.max_changed * found.clips), 1)
    if changed > most:
        return (
            f"another identity or emotion is recognised in {changed} of {found.clips} clips of "
            f"validation, as recordings or as streams; at most {most} may change (max_changed)"
        )
    return None


@torch.inference_mode()
def check(folder: Path, talker: Talker, steps: int, frames: int = 90) -> float:
    """Largest difference of a coefficient, or of the probability that a blink begins, between the
    fp32 artifact and the PyTorch student.

    On a clip of noise, in chunks of unequal length where the student is causal.

    Raises:
        UserError: it is above ``TOLERANCE``.
    """
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.07, frames * SAMPLE_RATE // FPS)
    samples = normalize(noise.astype(np.float32))
    x_T = rng.standard_normal((frames, len(CHANNELS)), np.float32)
    student = Student(folder)
    mask = torch.ones(1, frames, 1)
    audio = talker.encode(torch.from_numpy(log_mel(samples))[None], mask)
    voice = talker.embed_voice(audio, mask)
    condition = talker.condition(audio, voice.identity, voice.emotion, mask)
    faces = talker.generate(condition, torch.from_numpy(x_T)[None], steps)[0]
    theirs = np.column_stack([faces.numpy(), condition.blink[0].sigmoid().numpy()])

    graphs, statistics = student.graphs, VoiceStatistics()
    state = graphs.new_state()
    mel = next(log_mel_chunks(samples, student.look_ahead, frames=frames))
    cuts = [0, frames] if student.look_ahead is None else [0, 1, 3, frames // 2, frames]
    features = []
    for begin, end in pairwise(cuts):
        part, frame_voice = graphs.encode(mel[PER_FRAME * begin : PER_FRAME * end + OVERLAP], state)
        statistics.add(moments(frame_voice))
        features.append(part)
    modulation = graphs.modulate(*graphs.personalise(*statistics()))
    parts = [
        np.column_stack(graphs.decode(part, x_T[begin:end], modulation, state))
        for part, (begin, end) in zip(features, pairwise(cuts), strict=True)
    ]
    ours = [np.concatenate(parts)]
    if student.look_ahead is not None:
        ours.append(_frame_by_frame(graphs, mel, x_T, modulation))
    difference = float(np.abs(np.stack(ours) - theirs).max())
    if not difference <= TOLERANCE:  # NaN, too
        raise UserError(
            f"{folder}: the exported graphs differ from the model by {difference:.2g}, "
            f"more than {TOLERANCE}"
        )
    return difference


def _frame_by_frame(
    graphs: Graphs, mel: np.ndarray, noise: np.ndarray, modulation: np.ndarray
) -> np.ndarray:
    """Coefficients and probability of a blink, (T, 53), by the graph of a single frame."""
    history, row, made = LayerHistory(graphs.history_sizes), np.zeros(1, np.int64), []
    for t in range(len(noise)):
        log_mel = mel[None, PER_FRAME * t : PER_FRAME * t + STEM]
        frame, blink, _, layers = graphs.frame(
            log_mel, noise[None, t : t + 1], modulation, history.read(row, row + t)
        )
        history.write(row, row + t, layers)
        made.append(np.column_stack([frame, blink]))
    return np.concatenate(made)


def size_mb(folder: Path) -> float:
    """Megabytes (1e6 bytes) of everything an artifact ships."""
    found = storage.sizes(folder)
    return sum(found[name] for name in read_config(folder).files) / 1e6


def _noise_of(talker: Talker) -> NoiseParameters:
    lag_1, lag_2 = (tuple(lags) for lags in talker.noise_correlations.tolist())
    threshold = talker.gaze_threshold.item()
    return NoiseParameters(lag_1, lag_2, threshold if threshold < NEVER else None)
