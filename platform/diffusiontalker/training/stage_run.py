"""One run of a training stage: in this process, or in Ray Train's workers."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from torch import nn

from diffusiontalker import storage
from diffusiontalker.config import (
    Settings,
    TrainSettings,
)
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.errors import UserError
from diffusiontalker.training import checkpoint_folder, checkpoints, ray_data, ray_train
from diffusiontalker.training.checkpoint_folder import CheckpointFolder, CheckpointWriter
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.epoch import Epoch
from diffusiontalker.training.fit import CheckpointInterval, Metrics, Save
from diffusiontalker.training.optimization import trained_module
from diffusiontalker.training.progress import StepProgress
from diffusiontalker.training.ray_train import MakeObjective, TrainLoopConfig, WorkerFailures
from diffusiontalker.training.reserved import shortage
from diffusiontalker.training.stopping import is_finished
from diffusiontalker.training.windows import Windowing

RAY_CHECKPOINT = "checkpoint_"
"""How the folders of Ray Train's checkpoints begin."""


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


def fit_stage(
    settings: Settings, train: TrainSettings, data: CorpusFolder, windowing: Windowing,
    make: MakeObjective, task: nn.Module, run: StageRun,
) -> list[dict[str, float]]:  # fmt: skip
    """Train in this process or in Ray Train's workers, and load the averaged weights of the last
    checkpoint into ``task``."""
    training = settings.training
    workers = max(training.workers, 1)
    size = training.worker_batch(train.batch)
    batches = ray_data.batches_of(data, "train", windowing, size) * train.passes
    if batches < workers:
        raise UserError(
            f"{run.stage}: {batches} training batches are too few for {workers} "
            "workers; lower training.workers or the batch, or add data"
        )
    # Ray Train gives every worker the same number of batches and drops the rest.
    steps, epoch = batches // workers, Epoch()
    train_set = ray_data.dataset(
        data, "train", windowing, size, train.passes, training.seed, epoch
    )  # fmt: skip
    val_set = ray_data.dataset(data, "val", windowing, train.batch)
    progress = None
    if run.board is not None:
        progress = StepProgress(run.board, run.stage, train.epochs, steps, workers)
    resources = settings.resources
    loop = TrainLoopConfig(
        make, train, epoch, steps, workers,
        ray_data.largest_task(data, "train", windowing, size, train.passes), resources.threads,
        training.seed, progress, run.metrics, resources.max_skipped_steps,
        CheckpointInterval(
            resources.checkpoint_steps,
            resources.checkpoint_minutes,
            ray_train.is_preempted if training.workers and ray_train.on_cluster() else None,
        ),
        training.precision, training.tf32, training.compile, training.overfit_batches,
        resources.profile_steps, run.storage / run.name / "profile",
    )  # fmt: skip
    print_restart(run, bool(training.workers))
    run_fit = fit_in_workers if training.workers else fit_in_process
    with run_fit(settings, loop, train_set, val_set, run) as folder:
        if folder is None:
            raise RuntimeError(f"{run.stage}: the run ended without a checkpoint")
        state = checkpoints.load_average(folder, trained_module(task))
    if state.partial is not None or not is_finished(state.epoch, state.history, train):
        raise UserError(
            f"{run.stage}: trained to the end, and the last checkpoint in {run.storage} is of "
            f"epoch {state.epoch} of {train.epochs}: another job trains there; end one of them, "
            "then run the same again"
        )
    return state.history


def print_restart(run: StageRun, workers: bool) -> None:
    """Print that a stage starts again, where it was begun with workers and goes on without, or the
    other way round: the two keep their checkpoints in ways of their own."""
    own, other = (RAY_CHECKPOINT, checkpoint_folder.EPOCH)[:: 1 if workers else -1]
    names = storage.files(run.storage / run.name)
    if any(n.startswith(other) for n in names) and not any(n.startswith(own) for n in names):
        was = "without workers (training.workers=0)" if workers else "with workers"
        print(f"{run.stage:<12} was begun {was}, and starts again", flush=True)


def fit_in_process(
    settings: Settings, loop: TrainLoopConfig, train_set: ray.data.Dataset,
    val_set: ray.data.Dataset, run: StageRun,
) -> AbstractContextManager[Path | None]:  # fmt: skip
    """Train in this process; opens the last checkpoint."""
    folder = CheckpointFolder(run.storage / run.name)
    device = torch.device("cuda" if settings.resources.gpu else "cpu")
    if settings.resources.gpu and not torch.cuda.is_available():
        raise UserError(
            f"{run.stage}: resources.gpu is set, and this process has no GPU; set training.workers "
            "to 1 or more, or resources.gpu=false"
        )

    def on_checkpoint(state: RunState, save: Save) -> None:
        writer.save(state, save)
        if run.on_epoch is not None and state.partial is None:
            writer.wait()  # the report may end the trial here, whose files are then removed
            run.on_epoch({"epoch": state.epoch, **state.history[-1]})

    with CheckpointWriter(folder) as writer:
        loop.fit(train_set.iterator(), val_set.iterator(), device, folder.last(), on_checkpoint)
    return folder.last()


def fit_in_workers(
    settings: Settings, loop: TrainLoopConfig, train_set: ray.data.Dataset,
    val_set: ray.data.Dataset, run: StageRun,
) -> AbstractContextManager[Path | None]:  # fmt: skip
    """Train in the workers of Ray Train; opens the last checkpoint."""
    resources = settings.resources
    filesystem, path = storage.for_arrow(run.storage)
    callbacks: list[Any] = [*run.callbacks, WorkerFailures(run.stage, run.board)]
    trainer = StageTrainer(
        ray_train.train_loop,
        train_loop_config={"loop": loop},
        datasets={"train": train_set, "val": val_set},
        dataset_config=ray.train.DataConfig(datasets_to_split=["train"]),
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.training.workers,
            use_gpu=resources.gpu,
            resources_per_worker={"CPU": resources.worker_cpus}
            | ({"GPU": resources.gpus_per_worker} if resources.gpu else {}),
        ),
        torch_config=TorchConfig(backend="gloo" if resources.gpus_per_worker < 1 else None),
        run_config=ray.train.RunConfig(
            name=run.name,
            storage_filesystem=filesystem,
            storage_path=path,
            failure_config=ray.train.FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            callbacks=callbacks,
        ),
    )
    if ray_train.on_cluster():  # a private Ray was compared with the settings before
        waits = shortage(settings, ray.cluster_resources(), ray.available_resources())
        if waits is not None:
            print(f"{run.stage:<12} {waits}", flush=True)
    with ray_train.cluster_address():
        result = trainer.fit()
    return ray_train.open_checkpoint(result.checkpoint)


class StageTrainer(TorchTrainer):
    """A ``TorchTrainer`` that leaves Ctrl-C to the job, which ends Ray and with it the workers.

    Ray Train's own handler waits for its controller, which does not answer while workers start,
    and stays installed after the stage (Ray 2.60).
    """

    def _register_sigint_handler(self, controller: Any) -> None:
        return
