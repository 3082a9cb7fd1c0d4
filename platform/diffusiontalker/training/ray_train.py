"""``fit`` in Ray Train's workers: dataset shards, device, DDP, and checkpoints."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import CheckpointUploadMode, UserCallback
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE
from torch import nn

from diffusiontalker import storage
from diffusiontalker.config import TrainingPrecision, TrainSettings
from diffusiontalker.errors import UserError
from diffusiontalker.ray_errors import user_error
from diffusiontalker.training import ray_data
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.epoch import Epoch
from diffusiontalker.training.fit import CheckpointInterval, Metrics, OnStep, Save, fit
from diffusiontalker.training.optimization import Batch, trained_module
from diffusiontalker.training.profiling import StepProfiler
from diffusiontalker.training.progress import Point, StepProgress

ADDRESS = "RAY_ADDRESS"
"""The variable with the address of the cluster to use."""
WAIT_SECONDS = 0.05
"""Between two looks at whether a checkpoint is stored."""
MakeObjective = Callable[[], nn.Module]
"""Makes the objective of a stage, with weights drawn from torch's global generator."""


@dataclass(frozen=True)
class TrainLoopConfig:
    """The arguments of ``train_loop``, the same for every worker of a stage."""

    make_objective: MakeObjective
    settings: TrainSettings
    epoch: Epoch
    """Shared with the tasks of Ray Data that read the training data."""
    steps_per_epoch: int
    """Batches of one worker."""
    workers: int
    largest_task: int
    """See ``ray_data.largest_task``."""
    threads: int
    seed: int
    progress: StepProgress | None
    metrics: Metrics | None
    max_skipped: int
    interval: CheckpointInterval
    precision: TrainingPrecision = "fp32"
    tf32: bool = False
    compile: bool = False
    overfit: int | None = None
    """Batches to learn by heart."""
    profile_steps: int | None = None
    profile_folder: Path | None = None

    @property
    def on_point(self) -> Callable[[Point], None] | None:
        """Reports points of the history, where progress is reported."""
        return None if self.progress is None else self.progress.add_point

    def on_step(self, rank: int) -> OnStep | None:
        """Reports steps, on rank 0, and profiles them, where that is wanted."""
        progress = self.progress if rank == 0 else None
        if self.profile_steps is None or self.profile_folder is None:
            return progress
        path = self.profile_folder / f"rank-{rank}.json.gz"
        return StepProfiler(self.profile_steps, path, progress)

    def task(self) -> nn.Module:
        """The objective with its initial weights, the same on every worker and in every attempt."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        torch.manual_seed(self.seed)
        task = self.make_objective()
        if self.compile:
            for network in trained_module(task).children():
                network.compile(dynamic=True)  # the lengths of batches differ
        return task

    def batches(
        self, train: ray.data.DataIterator, device: torch.device
    ) -> Callable[[int, int], Iterable[Batch]]:
        """The batches of an epoch, by its number, without the first ``done`` of this worker."""

        def of(epoch: int, done: int) -> Iterable[Batch]:
            self.epoch.set(epoch, ray_data.unread(done, self.workers, self.largest_task))
            return ray_data.batches(train, device, done)

        return of if self.overfit is None else repeated(of, self.overfit, self.steps_per_epoch)

    def fit(
        self,
        train: ray.data.DataIterator,
        val: ray.data.DataIterator,
        device: torch.device,
        resume: AbstractContextManager[Path | None],
        on_checkpoint: Callable[[RunState, Save], None],
        rank: int = 0,
        parallel: Callable[[nn.Module], nn.Module] = lambda module: module,
    ) -> RunState:
        """``fit`` with these arguments, on the batches of this worker."""
        batches = self.batches(train, device)
        held = self.overfit is not None
        return fit(
            self.task(),
            batches,
            lambda: islice(batches(0, 0), self.overfit) if held else ray_data.batches(val, device),
            self.settings,
            steps_per_epoch=self.steps_per_epoch,
            seed=self.seed,
            device=device,
            rank=rank,
            parallel=parallel,
            precision=self.precision,
            resume=resume,
            metrics=self.metrics,
            max_skipped=self.max_skipped,
            interval=self.interval,
            on_step=self.on_step(rank),
            on_point=self.on_point if rank == 0 else None,
            on_checkpoint=on_checkpoint,
        )


def repeated(
    batches: Callable[[int, int], Iterable[Batch]], count: int, steps: int
) -> Callable[[int, int], Iterable[Batch]]:
    """Epochs of ``steps`` batches that repeat the first ``count`` of epoch 0."""
    held: list[Batch] = []

    def of(epoch: int, done: int) -> Iterable[Batch]:
        if not held:
            held.extend(islice(batches(0, 0), count))
        return islice(cycle(held), done, steps)

    return of


def train_loop(config: dict[str, Any]) -> None:
    """Ray Train's ``train_loop_per_worker``; ``config["loop"]`` is a ``TrainLoopConfig``."""
    own: TrainLoopConfig = config["loop"]
    own.fit(
        ray.train.get_dataset_shard("train"),
        ray.train.get_dataset_shard("val"),
        ray.train.torch.get_device(),
        open_checkpoint(ray.train.get_checkpoint()),
        CheckpointReporter(),
        ray.train.get_context().get_world_rank(),
        partial(wrap_ddp, accumulates=own.settings.accumulate > 1),
    )


def is_preempted() -> bool:
    """Whether a worker's machine is about to be taken away: a barrier for all workers."""
    return ray.train.get_preemption_info() is not None


def wrap_ddp(task: nn.Module, accumulates: bool = False) -> nn.Module:
    """The task wrapped for DDP.

    Some parameters never have a gradient, such as HuBERT's mask embedding. They are found in the
    first step alone (a static graph), or where gradients accumulate, in every one.
    """
    found = {"find_unused_parameters": True} if accumulates else {"static_graph": True}
    return ray.train.torch.prepare_model(task, move_to_device=False, parallel_strategy_kwargs=found)


class CheckpointReporter:
    """Reports checkpoints, on rank 0, and after an epoch its metrics. Ray Train stores them while
    training goes on, one at a time: the next waits, or local copies would fill the disk where
    storage is slow."""

    def __init__(self) -> None:
        self.last: Path | None = None
        """The local copy of the last checkpoint, which Ray Train removes when it is stored."""

    def __call__(self, state: RunState, save: Save) -> None:
        """Report a checkpoint."""
        metrics: dict[str, Any] = {"epoch": state.epoch}
        if state.partial is None:
            metrics |= state.history[-1]
        if ray.train.get_context().get_world_rank():
            ray.train.report(metrics, checkpoint_upload_mode=CheckpointUploadMode.ASYNC)
            return
        # Where it cannot be stored, Ray Train ends this process.
        while self.last is not None and self.last.exists():
            time.sleep(WAIT_SECONDS)
        self.last = Path(tempfile.mkdtemp(prefix="diffusiontalker-"))
        try:
            save(self.last)
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(self.last),
                checkpoint_upload_mode=CheckpointUploadMode.ASYNC,  # which removes the folder
            )
        except BaseException:
            shutil.rmtree(self.last, ignore_errors=True)
            raise


class WorkerFailures(UserCallback):
    """Prints that workers were lost, and keeps a mistake of the user's from being tried again.

    Ray Train runs it in its controller, and starts the workers again after every other error, S3
    that does not answer among them.
    """

    def __init__(self, stage: str, board: ray.actor.ActorHandle | None) -> None:
        self.stage, self.board = stage, board

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called with the errors by rank. Raises UserError: then the controller gives up."""
        for error in worker_exceptions.values():
            mistake = user_error(error)
            if mistake is not None and storage.NO_ANSWER not in str(mistake):
                raise mistake
        rank, error = next(iter(worker_exceptions.items()))
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
        line = f"{self.stage:<12} lost worker {rank} ({reason})"
        if self.board is not None:
            self.board.print_line.remote(self.stage, line)


@contextmanager
def open_checkpoint(checkpoint: ray.train.Checkpoint | None) -> Iterator[Path | None]:
    """A local folder with the checkpoint's files; None if there is none."""
    if checkpoint is None:
        yield None
    else:
        with checkpoint.as_directory() as folder:
            try:
                yield Path(folder)
            except UserError as error:
                run = checkpoint.path.rpartition("/")[0]
                raise UserError(f"{error}; remove {run} to start it again") from error


def on_cluster() -> bool:
    """Whether this process has joined a cluster, instead of starting a Ray of its own."""
    return os.environ.get(ADDRESS, "local") != "local"


@contextmanager
def cluster_address() -> Iterator[None]:
    """Within it, what Ray Train starts inherits this cluster's address.

    When a trial is ended, Ray Train's ``PlacementGroupCleaner`` frees the CPUs of its workers. It
    looks for the cluster on the machine, and where two Rays run there, or one has left its address
    in ``/tmp/ray``, it fails and the trials that follow wait for CPUs that nobody uses (Ray 2.60).
    """
    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add(ADDRESS)
    try:
        yield
    finally:
        if before is None:
            del os.environ[ADDRESS]
        else:
            os.environ[ADDRESS] = before
