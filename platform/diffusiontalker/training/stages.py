"""Each stage as a Ray Train run: the small encoder, the teacher, one distillation round.

A run is named by the hash of what determines its result, so that running the same again resumes
exactly that run, and a changed configuration never finds an old checkpoint.
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
)
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest
from diffusiontalker.errors import UserError
from diffusiontalker.features.timing import reach
from diffusiontalker.model.talker import Talker, TalkerConfig, inherit
from diffusiontalker.training import checkpoints, objectives, ray_data, ray_train
from diffusiontalker.training.checkpoints import RunState, load_talker, save_talker
from diffusiontalker.training.fit import Judge, Save, diverged, fit, trained_of
from diffusiontalker.training.progress import Steps
from diffusiontalker.training.ray_train import TaskMaker, Work
from diffusiontalker.training.windows import Examples, MotionExamples, PhonemeExamples, base_phoneme

NOBODY = "unknown"
"""The one entry of a library of which no clip names any."""
ENCODER_WINDOW = 2.0
"""Seconds of a training window of the small encoder."""


@dataclass(frozen=True)
class Data:
    """A corpus on disk."""

    folder: Path
    manifest: Manifest


@dataclass(frozen=True)
class Place:
    """Where a run keeps its checkpoints, what it is called, and who hears how far it is."""

    storage: Path
    name: str
    stage: str
    board: ray.actor.ActorHandle | None = None
    judge: Judge | None = None
    """Metrics of the model after every epoch, beside its losses on validation."""
    on_epoch: Callable[[dict[str, Any]], None] | None = None
    """Called after every epoch with its figures, where this process trains."""
    callbacks: tuple[UserCallback, ...] = ()
    """Of Ray Train's controller, where there are workers."""


def train_encoder(
    settings: Settings, data: Data, place: Place, out: Path
) -> list[dict[str, float]]:
    """Train the small HuBERT on the corpus's phonemes and save it as a Hugging Face folder.

    Returns the history of losses.

    Raises:
        UserError: the corpus holds no phoneme alignment.
    """
    # Imported here alone: transformers takes seconds to load, and other stages do without it.
    from diffusiontalker.training.small_encoder import EncoderTask, save_encoder

    phonemes = _phonemes(data)
    small, schedule = settings.encoder.small, settings.training.encoder
    workers = max(settings.training.workers, 1)
    make = partial(_make_encoder_task, small.hidden, small.depth, len(phonemes))
    task = make()
    assert isinstance(task, EncoderTask)
    shape = task.model.config
    stride, field = reach(list(shape.conv_kernel), list(shape.conv_stride))
    train = TrainSettings(
        epochs=schedule.epochs,
        passes=schedule.passes,
        batch=max(round(schedule.batch_seconds / ENCODER_WINDOW / workers), 1),
        learning_rate=schedule.learning_rate,
    )
    history = _fit(
        settings, train, data, PhonemeExamples(ENCODER_WINDOW, phonemes, stride, field), make,
        task, place,
    )  # fmt: skip
    save_encoder(task.model, out)
    return history


def train_teacher(
    settings: Settings, data: Data, place: Place, out: Path
) -> list[dict[str, float]]:
    """Train the teacher on cached features; writes ``talker.json`` and ``model.safetensors``."""
    mean, deviation = data.manifest.statistics()
    make = partial(_make_teacher_task, settings, teacher_config(settings, data), mean, deviation)
    return _fit_motion(settings, settings.training.teacher, data, make, place, out)


def train_round(
    settings: Settings, data: Data, teacher: Path, steps: int, place: Place, out: Path
) -> list[dict[str, float]]:
    """One round: a student of ``steps`` steps from the model in folder ``teacher``."""
    make = partial(_make_round_task, settings, student_config(settings, data), teacher, steps)
    return _fit_motion(settings, round_settings(settings, steps), data, make, place, out)


def round_settings(settings: Settings, steps: int) -> MotionTrainSettings:
    """How long and how fast the round of ``steps`` steps trains."""
    first = steps == settings.diffusion.rounds[0]
    return settings.training.first_round if first else settings.training.round


def teacher_config(settings: Settings, data: Data) -> TalkerConfig:
    """The teacher's shape. It hears what is to come through the frozen encoder alone: all else is
    as causal as the student, which may so begin where the teacher ends."""
    shared, teacher = settings.model.shared, settings.model.teacher
    return replace(
        _config(shared, data, teacher.context, teacher.decoder),
        feature_dim=data.manifest.feature_dim,
        encoder_width=shared.encoder_width if teacher.log_mel else 0,
        encoder_depth=shared.encoder_depth if teacher.log_mel else 0,
    )


def student_config(settings: Settings, data: Data) -> TalkerConfig:
    """The student's shape, the same in every round: compression happens in the first."""
    shared, student = settings.model.shared, settings.model.student
    return replace(
        _config(shared, data, student.context, student.decoder),
        encoder_width=shared.encoder_width,
        encoder_depth=shared.encoder_depth,
    )


def _config(
    shared: SharedModelSettings, data: Data, context: ContextSettings, decoder: DecoderSettings
) -> TalkerConfig:
    """What teacher and student share. Of what no clip names, the personalizer learns nothing: it
    is switched off there, over a library of one."""
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


def _make_encoder_task(hidden: int, depth: int, phonemes: int) -> nn.Module:
    from diffusiontalker.training.small_encoder import EncoderTask, small_hubert

    return EncoderTask(small_hubert(hidden, depth), phonemes)


def _make_teacher_task(
    settings: Settings, config: TalkerConfig, mean: np.ndarray, deviation: np.ndarray
) -> objectives.TeacherTask:
    talker = Talker(config)
    talker.set_statistics(mean, deviation)
    return objectives.TeacherTask(talker, settings.losses.teacher)


def _make_round_task(
    settings: Settings, config: TalkerConfig, teacher: Path, steps: int
) -> objectives.RoundTask:
    guide = load_talker(teacher)
    student = Talker(config)
    inherit(student, guide)
    return objectives.RoundTask(student, guide, steps, settings.losses.student)


def _fit_motion(
    settings: Settings, train: MotionTrainSettings, data: Data, make: TaskMaker, place: Place,
    out: Path,
) -> list[dict[str, float]]:  # fmt: skip
    examples = MotionExamples(train.window, data.manifest.identities, data.manifest.emotions)
    task = make()
    history = _fit(settings, train, data, examples, make, task, place)
    assert isinstance(task, objectives.TeacherTask | objectives.RoundTask)
    save_talker(out, task.talker)
    return history


def _fit(
    settings: Settings, train: TrainSettings, data: Data, examples: Examples, make: TaskMaker,
    task: nn.Module, place: Place,
) -> list[dict[str, float]]:  # fmt: skip
    """Train in this process or in Ray Train's workers, and load the averaged weights of the last
    checkpoint into ``task``."""
    training = settings.training
    workers = max(training.workers, 1)
    batches = ray_data.batches_of(data.manifest, "train", examples, train.batch) * train.passes
    if batches < workers:
        raise UserError(
            f"{place.stage}: {batches} training batches are too few for {workers} "
            "workers; lower training.workers or the batch, or add data"
        )
    # Ray Train deals out as many batches to every worker and drops the rest.
    steps, epoch = batches // workers, ray_data.Epoch()
    train_set = ray_data.dataset(
        data.folder, data.manifest, "train", examples, train.batch, train.passes, training.seed,
        epoch,
    )  # fmt: skip
    val_set = ray_data.dataset(data.folder, data.manifest, "val", examples, train.batch)
    progress = None
    if place.board is not None:
        progress = Steps(place.board, place.stage, train.epochs, steps, workers)
    work = Work(
        make, train, epoch, steps, settings.resources.threads, training.seed, progress, place.judge
    )
    run = _fit_in_workers if training.workers else _fit_here
    with run(settings, work, train_set, val_set, place) as folder:
        if folder is None:
            raise RuntimeError(f"{place.stage}: the run ended without a checkpoint")
        state = checkpoints.load_average(folder, trained_of(task))
    if state.epoch < train.epochs and diverged(state.history) is None:
        raise UserError(
            f"{place.stage}: trained to the end, and the last checkpoint in {place.storage} is of "
            f"epoch {state.epoch} of {train.epochs}: another job trains there; end one of them, "
            "then run the same again"
        )
    return state.history


def _fit_here(
    settings: Settings, work: Work, train_set: ray.data.Dataset, val_set: ray.data.Dataset,
    place: Place,
) -> AbstractContextManager[Path | None]:  # fmt: skip
    """Train in this process; opens the last checkpoint."""
    kept = checkpoints.Kept(place.storage / place.name)
    device = torch.device("cuda" if settings.resources.gpu else "cpu")
    val = val_set.iterator()

    def on_epoch(state: RunState, save: Save) -> None:
        with tempfile.TemporaryDirectory(prefix="diffusiontalker-") as folder:
            save(Path(folder))
            kept.save(Path(folder), state.epoch)
        if place.on_epoch is not None:
            place.on_epoch({"epoch": state.epoch, **state.history[-1]})

    fit(
        work.task(), work.batches(train_set.iterator(), device),
        lambda: ray_data.batches(val, device), work.settings, steps_per_epoch=work.steps_per_epoch,
        seed=work.seed, device=device, resume=kept.last(), judge=work.judge, on_step=work.steps,
        on_epoch=on_epoch,
    )  # fmt: skip
    return kept.last()


def _fit_in_workers(
    settings: Settings, work: Work, train_set: ray.data.Dataset, val_set: ray.data.Dataset,
    place: Place,
) -> AbstractContextManager[Path | None]:  # fmt: skip
    """Train in the workers of Ray Train; opens the last checkpoint."""
    resources = settings.resources
    callbacks: list[Any] = list(place.callbacks)  # Ray's types name those of its older Train
    trainer = TorchTrainer(
        ray_train.work,
        train_loop_config={"work": work},
        datasets={"train": train_set, "val": val_set},
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.training.workers,
            use_gpu=resources.gpu,
            resources_per_worker={"CPU": resources.worker_cpus}
            | ({"GPU": 1} if resources.gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=place.name,
            **storage_options(place.storage),
            failure_config=ray.train.FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            callbacks=callbacks,
        ),
    )
    with ray_train.cluster_address():
        result = trainer.fit()
    return ray_train.opened(result.checkpoint)


def storage_options(folder: Path) -> dict[str, Any]:
    """Where Ray Train keeps checkpoints, in its words."""
    if not storage.is_remote(folder):
        return {"storage_path": str(folder)}
    filesystem, path = storage.for_arrow(folder)
    return {"storage_filesystem": filesystem, "storage_path": path}
