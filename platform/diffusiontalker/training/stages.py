"""The training stages: the small encoder, the teacher, one distillation round.

A stage's run is named by the hash of all that determines its result: running the same again resumes
it, and a changed configuration never loads an old checkpoint.
"""

from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from diffusiontalker.config import (
    MotionTrainSettings,
    Settings,
    TrainSettings,
    round_settings,
)
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.corpus.phonemes import base_phoneme
from diffusiontalker.diffusion.noise import NEVER, gaze_threshold
from diffusiontalker.errors import UserError
from diffusiontalker.features.timing import reach
from diffusiontalker.model.talker import Talker, TalkerConfig, copy_matching_weights
from diffusiontalker.training import objectives
from diffusiontalker.training.architecture import student_config, teacher_config
from diffusiontalker.training.checkpoints import load_talker, save_talker
from diffusiontalker.training.motion_statistics import MotionStatistics, motion_statistics
from diffusiontalker.training.ray_train import MakeObjective
from diffusiontalker.training.stage_run import StageRun, fit_stage
from diffusiontalker.training.windows import MotionWindows, PhonemeWindows

ENCODER_WINDOW = 2.0
"""Seconds of a training window of the small encoder."""


def train_encoder(
    settings: Settings, data: CorpusFolder, run: StageRun, out: Path
) -> list[dict[str, float]]:
    """Train the small HuBERT on the corpus's phonemes and save it as a Hugging Face folder.

    Returns the history of losses.

    Raises:
        UserError: the corpus holds no phoneme alignment.
    """
    # Imported here: transformers takes seconds to load, and other stages do not need it.
    from diffusiontalker.training.small_encoder import PhonemeObjective, save_encoder

    phonemes = _phonemes(data)
    small, schedule = settings.encoder.small, settings.training.encoder
    make = partial(_make_phoneme_objective, small.hidden, small.depth, len(phonemes))
    task = make()
    assert isinstance(task, PhonemeObjective)
    shape = task.model.config
    stride, field = reach(list(shape.conv_kernel), list(shape.conv_stride))
    train = TrainSettings(
        epochs=schedule.epochs,
        passes=schedule.passes,
        batch=max(round(schedule.batch_seconds / ENCODER_WINDOW), settings.training.workers, 1),
        learning_rate=schedule.learning_rate,
    )
    history = fit_stage(
        settings, train, data, PhonemeWindows(ENCODER_WINDOW, phonemes, stride, field), make,
        task, run,
    )  # fmt: skip
    save_encoder(task.model, out)
    return history


def train_teacher(
    settings: Settings, data: CorpusFolder, run: StageRun, out: Path
) -> list[dict[str, float]]:
    """Train the teacher on cached features; writes ``talker.json`` and ``model.safetensors``."""
    statistics = motion_statistics(data, settings.model.shared.blinks)
    make = partial(_make_teacher_objective, settings, teacher_config(settings, data), statistics)
    return _fit_motion(settings, settings.training.teacher, data, make, run, out)


def train_scratch(
    settings: Settings, data: CorpusFolder, steps: int, run: StageRun, out: Path
) -> list[dict[str, float]]:
    """Train the student's network without a teacher for ``steps`` sampling steps: the baseline of
    a student of as many."""
    statistics = motion_statistics(data, settings.model.shared.blinks)
    config = student_config(settings, data)
    make = partial(_make_teacher_objective, settings, config, statistics, steps)
    return _fit_motion(settings, settings.training.teacher, data, make, run, out)


def train_round(
    settings: Settings, data: CorpusFolder, teacher: Path, steps: int, run: StageRun, out: Path
) -> list[dict[str, float]]:
    """One round: a student of ``steps`` steps from the model in folder ``teacher``."""
    make = partial(_make_round_objective, settings, student_config(settings, data), teacher, steps)
    return _fit_motion(settings, round_settings(settings, steps), data, make, run, out)


def _phonemes(data: CorpusFolder) -> list[str]:
    found: set[str] = set()
    for shard in data.manifest.of("train"):
        for clip in shards.read_table(data.folder / shard.file, ["phones"]).column(0).to_pylist():
            found.update(base_phoneme(p) for p in clip or ())
    if not found:
        raise UserError(
            "the corpus holds no phoneme times to train an encoder on; set encoder.name to a "
            "Hugging Face speech model such as facebook/hubert-base-ls960"
        )
    return sorted(found)


def _make_phoneme_objective(hidden: int, depth: int, phonemes: int) -> nn.Module:
    from diffusiontalker.training.small_encoder import PhonemeObjective, small_hubert

    return PhonemeObjective(small_hubert(hidden, depth), phonemes)


def _make_teacher_objective(
    settings: Settings, config: TalkerConfig, statistics: MotionStatistics,
    steps: int | None = None,
) -> objectives.TeacherObjective:  # fmt: skip
    talker = Talker(config)
    talker.set_scales(statistics.mean, statistics.deviation)
    if settings.model.shared.noise == "ar2":
        noise, gaze = statistics.correlations, gaze_threshold(statistics.saccade_rate)
    else:
        noise, gaze = np.zeros_like(statistics.correlations), NEVER
    talker.set_movement(noise, statistics.movement_variance, gaze)
    talker.set_blinks(statistics.blink_shape, statistics.blink_rate)
    return objectives.TeacherObjective(
        talker, settings.losses.teacher, settings.augmentation.lost_bands, steps
    )


def _make_round_objective(
    settings: Settings, config: TalkerConfig, teacher: Path, steps: int
) -> objectives.RoundObjective:
    guide = load_talker(teacher)
    student = Talker(config)
    copy_matching_weights(student, guide)
    return objectives.RoundObjective(
        student, guide, steps, settings.losses.student, settings.augmentation
    )


def _fit_motion(
    settings: Settings, train: MotionTrainSettings, data: CorpusFolder, make: MakeObjective,
    run: StageRun, out: Path,
) -> list[dict[str, float]]:  # fmt: skip
    task = make()
    assert isinstance(task, objectives.TeacherObjective | objectives.RoundObjective)
    windowing = MotionWindows(
        train.window, data.manifest.identities, data.manifest.emotions,
        blinks=bool(task.talker.blinks.shape), features=task.takes_features,
    )  # fmt: skip
    history = fit_stage(settings, train, data, windowing, make, task, run)
    save_talker(out, task.talker)
    return history
