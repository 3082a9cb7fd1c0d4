"""The training stages: the small encoder, the teacher, one distillation round.

A stage's run is named by the hash of all that determines its result: running the same again resumes
it, and a changed configuration never loads an old checkpoint.
"""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import torch
from ray.train import UserCallback
from ray.train.torch import TorchTrainer
from torch import nn

from diffusiontalker import storage
from diffusiontalker.audio.log_mel import look_ahead
from diffusiontalker.config import (
    ContextSettings,
    DecoderSettings,
    MotionTrainSettings,
    Settings,
    SharedModelSettings,
    TrainSettings,
    round_settings,
)
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest
from diffusiontalker.errors import UserError
from diffusiontalker.features.timing import reach
from diffusiontalker.model.talker import Talker, TalkerConfig, copy_matching_weights
from diffusiontalker.training import checkpoints, objectives, ray_data, ray_train
from diffusiontalker.training.checkpoints import RunState, load_talker, save_talker
from diffusiontalker.training.fit import Metrics, Save, diverged_epoch, fit, trained_module
from diffusiontalker.training.progress import StepProgress
from diffusiontalker.training.ray_train import MakeObjective, TrainLoopConfig
from diffusiontalker.training.windows import MotionWindows, PhonemeWindows, Windowing, base_phoneme

NOBODY = "unknown"
"""The only entry of a library whose labels no clip has."""
ENCODER_WINDOW = 2.0
"""Seconds of a training window of the small encoder."""


@dataclass(frozen=True)
class Data:
    """A corpus on disk."""

    folder: Path
    manifest: Manifest


@dataclass(frozen=True)
class StageRun:
    """A run of a stage: where it stores checkpoints, its name, and who follows its progress."""

    storage: Path
    name: str
    stage: str
    board: ray.actor.ActorHandle | None = None
    metrics: Metrics | None = None
    """Validation metrics after every epoch, beside the losses."""
    on_epoch: Callable[[dict[str, Any]], None] | None = None
    """Called after every epoch with its metrics, where training runs in this process."""
    callbacks: tuple[UserCallback, ...] = ()
    """Callbacks of Ray Train's controller, where training runs in workers."""


def train_encoder(
    settings: Settings, data: Data, run: StageRun, out: Path
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
    workers = max(settings.training.workers, 1)
    make = partial(_make_phoneme_objective, small.hidden, small.depth, len(phonemes))
    task = make()
    assert isinstance(task, PhonemeObjective)
    shape = task.model.config
    stride, field = reach(list(shape.conv_kernel), list(shape.conv_stride))
    train = TrainSettings(
        epochs=schedule.epochs,
        passes=schedule.passes,
        batch=max(round(schedule.batch_seconds / ENCODER_WINDOW / workers), 1),
        learning_rate=schedule.learning_rate,
    )
    history = _fit(
        settings, train, data, PhonemeWindows(ENCODER_WINDOW, phonemes, stride, field), make,
        task, run,
    )  # fmt: skip
    save_encoder(task.model, out)
    return history


def train_teacher(
    settings: Settings, data: Data, run: StageRun, out: Path
) -> list[dict[str, float]]:
    """Train the teacher on cached features; writes ``talker.json`` and ``model.safetensors``."""
    mean, deviation = data.manifest.statistics()
    make = partial(
        _make_teacher_objective, settings, teacher_config(settings, data), mean, deviation
    )
    return _fit_motion(settings, settings.training.teacher, data, make, run, out)


def train_round(
    settings: Settings, data: Data, teacher: Path, steps: int, run: StageRun, out: Path
) -> list[dict[str, float]]:
    """One round: a student of ``steps`` steps from the model in folder ``teacher``."""
    make = partial(_make_round_objective, settings, student_config(settings, data), teacher, steps)
    return _fit_motion(settings, round_settings(settings, steps), data, make, run, out)


def teacher_config(settings: Settings, data: Data) -> TalkerConfig:
    """The teacher's architecture. Only the frozen features depend on later audio: all else
    is as causal as the student, which can so be initialised from the teacher."""
    shared, teacher = settings.model.shared, settings.model.teacher
    return replace(
        _config(shared, data, teacher.context, teacher.decoder),
        feature_dim=data.manifest.feature_dim,
        encoder_width=shared.encoder_width if teacher.log_mel else 0,
        encoder_depth=shared.encoder_depth if teacher.log_mel else 0,
    )


def student_config(settings: Settings, data: Data) -> TalkerConfig:
    """The student's architecture, the same in every round: the first round compresses."""
    shared, student = settings.model.shared, settings.model.student
    return replace(
        _config(shared, data, student.context, student.decoder),
        encoder_width=shared.encoder_width,
        encoder_depth=shared.encoder_depth,
    )


def _config(
    shared: SharedModelSettings, data: Data, context: ContextSettings, decoder: DecoderSettings
) -> TalkerConfig:
    """What teacher and student share. Where no clip has an identity (emotion), that half of the
    personalizer is switched off, over a library of one entry."""
    identities, emotions = data.manifest.identities, data.manifest.emotions
    own, ms = shared.personalizer, shared.look_ahead_ms
    return TalkerConfig(
        identities=tuple(identities) or (NOBODY,),
        emotions=tuple(emotions) or (NOBODY,),
        audio_dim=shared.audio_dim,
        context=context,
        decoder=decoder,
        personalizer=own.model_copy(
            update={
                "use_identity": own.use_identity and bool(identities),
                "use_emotion": own.use_emotion and bool(emotions),
            }
        ),
        schedule=shared.schedule,
        look_ahead=None if ms is None else look_ahead(ms),
    )


def _phonemes(data: Data) -> list[str]:
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
    settings: Settings, config: TalkerConfig, mean: np.ndarray, deviation: np.ndarray
) -> objectives.TeacherObjective:
    talker = Talker(config)
    talker.set_statistics(mean, deviation)
    return objectives.TeacherObjective(talker, settings.losses.teacher)


def _make_round_objective(
    settings: Settings, config: TalkerConfig, teacher: Path, steps: int
) -> objectives.RoundObjective:
    guide = load_talker(teacher)
    student = Talker(config)
    copy_matching_weights(student, guide)
    return objectives.RoundObjective(student, guide, steps, settings.losses.student)


def _fit_motion(
    settings: Settings, train: MotionTrainSettings, data: Data, make: MakeObjective, run: StageRun,
    out: Path,
) -> list[dict[str, float]]:  # fmt: skip
    windowing = MotionWindows(train.window, data.manifest.identities, data.manifest.emotions)
    task = make()
    history = _fit(settings, train, data, windowing, make, task, run)
    assert isinstance(task, objectives.TeacherObjective | objectives.RoundObjective)
    save_talker(out, task.talker)
    return history


def _fit(
    settings: Settings, train: TrainSettings, data: Data, windowing: Windowing, make: MakeObjective,
    task: nn.Module, run: StageRun,
) -> list[dict[str, float]]:  # fmt: skip
    """Train in this process or in Ray Train's workers, and load the averaged weights of the last
    checkpoint into ``task``."""
    training = settings.training
    workers = max(training.workers, 1)
    batches = ray_data.batches_of(data.manifest, "train", windowing, train.batch) * train.passes
    if batches < workers:
        raise UserError(
            f"{run.stage}: {batches} training batches are too few for {workers} "
            "workers; lower training.workers or the batch, or add data"
        )
    # Ray Train gives every worker the same number of batches and drops the rest.
    steps, epoch = batches // workers, ray_data.Epoch()
    train_set = ray_data.dataset(
        data.folder, data.manifest, "train", windowing, train.batch, train.passes, training.seed,
        epoch,
    )  # fmt: skip
    val_set = ray_data.dataset(data.folder, data.manifest, "val", windowing, train.batch)
    progress = None
    if run.board is not None:
        progress = StepProgress(run.board, run.stage, train.epochs, steps, workers)
    loop = TrainLoopConfig(
        make, train, epoch, steps, settings.resources.threads, training.seed, progress, run.metrics
    )
    fit_stage = _fit_in_workers if training.workers else _fit_here
    with fit_stage(settings, loop, train_set, val_set, run) as folder:
        if folder is None:
            raise RuntimeError(f"{run.stage}: the run ended without a checkpoint")
        state = checkpoints.load_average(folder, trained_module(task))
    if state.epoch < train.epochs and diverged_epoch(state.history) is None:
        raise UserError(
            f"{run.stage}: trained to the end, and the last checkpoint in {run.storage} is of "
            f"epoch {state.epoch} of {train.epochs}: another job trains there; end one of them, "
            "then run the same again"
        )
    return state.history


def _fit_here(
    settings: Settings, loop: TrainLoopConfig, train_set: ray.data.Dataset,
    val_set: ray.data.Dataset, run: StageRun,
) -> AbstractContextManager[Path | None]:  # fmt: skip
    """Train in this process; opens the last checkpoint."""
    folder = checkpoints.CheckpointFolder(run.storage / run.name)
    device = torch.device("cuda" if settings.resources.gpu else "cpu")
    val = val_set.iterator()

    def on_epoch(state: RunState, save: Save) -> None:
        with tempfile.TemporaryDirectory(prefix="diffusiontalker-") as local:
            save(Path(local))
            folder.save(Path(local), state.epoch)
        if run.on_epoch is not None:
            run.on_epoch({"epoch": state.epoch, **state.history[-1]})

    fit(
        loop.task(), loop.batches(train_set.iterator(), device),
        lambda: ray_data.batches(val, device), loop.settings, steps_per_epoch=loop.steps_per_epoch,
        seed=loop.seed, device=device, resume=folder.last(), metrics=loop.metrics,
        on_step=loop.progress, on_epoch=on_epoch,
    )  # fmt: skip
    return folder.last()


def _fit_in_workers(
    settings: Settings, loop: TrainLoopConfig, train_set: ray.data.Dataset,
    val_set: ray.data.Dataset, run: StageRun,
) -> AbstractContextManager[Path | None]:  # fmt: skip
    """Train in the workers of Ray Train; opens the last checkpoint."""
    resources = settings.resources
    callbacks: list[Any] = list(run.callbacks)  # Ray's types name those of its older Train
    trainer = TorchTrainer(
        ray_train.train_loop,
        train_loop_config={"loop": loop},
        datasets={"train": train_set, "val": val_set},
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.training.workers,
            use_gpu=resources.gpu,
            resources_per_worker={"CPU": resources.worker_cpus}
            | ({"GPU": 1} if resources.gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=run.name,
            **storage_options(run.storage),
            failure_config=ray.train.FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            callbacks=callbacks,
        ),
    )
    with ray_train.cluster_address():
        result = trainer.fit()
    return ray_train.open_checkpoint(result.checkpoint)


def storage_options(folder: Path) -> dict[str, Any]:
    """Ray Train's arguments for storing checkpoints in ``folder``, local or in S3."""
    if not storage.is_remote(folder):
        return {"storage_path": str(folder)}
    filesystem, path = storage.for_arrow(folder)
    return {"storage_filesystem": filesystem, "storage_path": path}
