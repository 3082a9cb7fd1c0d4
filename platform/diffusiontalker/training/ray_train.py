"""``fit`` in Ray Train's workers: dataset shards, device, DDP, and checkpoints."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import UserCallback
from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE
from torch import nn

from diffusiontalker import storage
from diffusiontalker.config import TrainSettings
from diffusiontalker.errors import UserError
from diffusiontalker.ray_errors import user_error
from diffusiontalker.training import ray_data
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.epoch import Epoch
from diffusiontalker.training.fit import Batch, Metrics, Save, fit
from diffusiontalker.training.progress import Point, StepProgress

ADDRESS = "RAY_ADDRESS"
"""The variable with the address of the cluster to use."""
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
    """Of one worker."""
    threads: int
    seed: int
    progress: StepProgress | None
    metrics: Metrics | None
    max_skipped: int

    @property
    def on_point(self) -> Callable[[Point], None] | None:
        """Reports points of the history, where progress is reported."""
        return None if self.progress is None else self.progress.add_point

    def task(self) -> nn.Module:
        """The objective with its initial weights, the same on every worker and in every attempt."""
        torch.set_num_threads(self.threads)
        torch.manual_seed(self.seed)
        return self.make_objective()

    def batches(
        self, train: ray.data.DataIterator, device: torch.device
    ) -> Callable[[int], Iterable[Batch]]:
        """The batches of an epoch, by its number."""

        def of(epoch: int) -> Iterable[Batch]:
            self.epoch.set(epoch)
            return ray_data.batches(train, device)

        return of


def train_loop(config: dict[str, Any]) -> None:
    """Ray Train's ``train_loop_per_worker``; ``config["loop"]`` is a ``TrainLoopConfig``."""
    own: TrainLoopConfig = config["loop"]
    rank, device = ray.train.get_context().get_world_rank(), ray.train.torch.get_device()
    val = ray.train.get_dataset_shard("val")
    fit(
        own.task(),
        own.batches(ray.train.get_dataset_shard("train"), device),
        lambda: ray_data.batches(val, device),
        own.settings,
        steps_per_epoch=own.steps_per_epoch,
        seed=own.seed,
        device=device,
        rank=rank,
        parallel=wrap_ddp,
        resume=open_checkpoint(ray.train.get_checkpoint()),
        metrics=own.metrics,
        max_skipped=own.max_skipped,
        on_step=own.progress if rank == 0 else None,
        on_point=own.on_point if rank == 0 else None,
        on_epoch=report_epoch,
    )


def wrap_ddp(task: nn.Module) -> nn.Module:
    """The task wrapped for DDP; HuBERT's mask embedding gets no gradient."""
    return ray.train.torch.prepare_model(
        task, move_to_device=False, parallel_strategy_kwargs={"find_unused_parameters": True}
    )


def report_epoch(state: RunState, save: Save) -> None:
    """Report an epoch's metrics, and on rank 0 a checkpoint: a barrier for all workers."""
    metrics = {"epoch": state.epoch, **state.history[-1]}
    if ray.train.get_context().get_world_rank():
        ray.train.report(metrics)
        return
    folder = Path(tempfile.mkdtemp(prefix="diffusiontalker-"))
    try:
        save(folder)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
