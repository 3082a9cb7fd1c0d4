"""One Ray Train run in which two data loaders feed the same workers in turn."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer
from torch import Tensor, nn

from diffusiontalker.benchmarks.data.loader import loader
from diffusiontalker.config import Settings
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.model.talker import Talker
from diffusiontalker.training import architecture, objectives, ray_data, ray_train
from diffusiontalker.training.stage_run import StageRun
from diffusiontalker.training.weight_average import WeightAverage
from diffusiontalker.training.windows import MotionWindows

WARM_UP = 5
"""Training steps before the first measurement."""
RAY, TORCH = "ray", "torch"
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One combination of loader and consumer."""

    loader: str
    """``RAY`` or ``TORCH``."""
    step: bool
    """Whether each batch goes through a training step, or is discarded."""
    pause: float = 0.0
    """Seconds to sleep after every batch."""


@dataclass(frozen=True)
class EpochTiming:
    """Sizes and times of an epoch of one worker, or of all of them together."""

    windows: int
    frames: int
    """Without padding."""
    cells: int
    """Frames with padding."""
    seconds: float
    """From the start to the end of the last step, start-up of the loader included."""
    start: float
    """Seconds before the first batch."""
    waiting: float
    """Seconds of waiting for batches after that."""

    @property
    def windows_per_second(self) -> float:
        """Windows of all workers."""
        return self.windows / self.seconds

    @property
    def frames_per_second(self) -> float:
        """Frames of all workers, without padding."""
        return self.frames / self.seconds

    @property
    def waiting_share(self) -> float:
        """Share of the time after the first batch in which a worker waits for data."""
        return self.waiting / (self.seconds - self.start)

    @property
    def padding_share(self) -> float:
        """Share of padding in the frames."""
        return 1 - self.frames / self.cells


def combined(workers: Sequence[EpochTiming]) -> EpochTiming:
    """The timing of an epoch over all workers, which run in parallel."""
    return EpochTiming(
        windows=sum(timing.windows for timing in workers),
        frames=sum(timing.frames for timing in workers),
        cells=sum(timing.cells for timing in workers),
        seconds=max(timing.seconds for timing in workers),
        start=max(timing.start for timing in workers),
        waiting=max(timing.waiting for timing in workers),
    )


def median_timing(repeats: Sequence[EpochTiming]) -> EpochTiming:
    """The median of each figure over the repeats."""
    return EpochTiming(
        **{name: median(vars(timing)[name] for timing in repeats) for name in vars(repeats[0])}
    )


def measure(
    data: CorpusFolder, settings: Settings, cases: Sequence[Case], passes: int, repeats: int,
    workers: int, place: StageRun,
) -> list[EpochTiming]:  # fmt: skip
    """Run an epoch of each case in turn, ``repeats`` times; the median timing of each case.

    An epoch has ``passes`` passes over the set.

    Raises:
        UserError: a shard cannot be read.
    """
    manifest, train = data.manifest, settings.training
    examples = MotionWindows(train.teacher.window, manifest.identities, manifest.emotions)
    size = train.teacher.batch
    batches = passes * ray_data.batches_of(data, "train", examples, size) // workers
    train_set = ray_data.dataset(data, "train", examples, size, passes, train.seed)
    trainer = TorchTrainer(
        run,  # type: ignore[arg-type]  # a value may be returned
        train_loop_config={
            "data": data,
            "settings": settings,
            "cases": list(cases),
            "batches": batches,
            "repeats": repeats,
            "place": place,
        },
        datasets={"train": train_set},
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, resources_per_worker={"CPU": settings.resources.worker_cpus}
        ),
        run_config=ray.train.RunConfig(name=place.name, storage_path=str(place.storage)),
    )
    found = trainer.fit().return_value  # type: ignore[attr-defined]  # only the old Result lacks it
    return [median_timing([combined(ranks) for ranks in case]) for case in found]


def run(config: dict[str, Any]) -> list[list[list[EpochTiming]]]:
    """Ray Train's function: the timing of each worker, by case and repeat."""
    settings: Settings = config["settings"]
    cases: list[Case] = config["cases"]
    repeats: int = config["repeats"]
    place: StageRun = config["place"]
    torch.set_num_threads(settings.resources.threads)
    torch.manual_seed(settings.training.seed)
    by_hand = by_torch(config["data"], settings, config["batches"])
    sources: dict[str, Callable[[], Iterable[Batch]]] = {RAY: by_ray, TORCH: lambda: by_hand}
    step = None
    if any(case.step for case in cases):
        step = Step(config["data"], settings)
        # A warm-up epoch, in which everything with a one-time start-up starts.
        for number, batch in enumerate(itertools.chain(by_ray(), by_hand)):
            if number < WARM_UP:
                step(batch)
    found: list[list[list[EpochTiming]]] = [[] for _ in cases]
    for turn in range(repeats * len(cases)):
        number = turn % len(cases)
        case = cases[number]
        torch.distributed.barrier()
        mine = feed(sources[case.loader], case, step)
        ranks: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(ranks, mine)
        found[number].append(ranks)
        if place.board is not None and torch.distributed.get_rank() == 0:
            done, all_of_them = turn + 1, repeats * len(cases)
            place.board.put.remote(place.stage, done / all_of_them, f"{done} of {all_of_them}")
    return found


def by_ray() -> Iterable[Batch]:
    """An epoch of this worker through Ray Data, as in training."""
    return ray_data.batches(ray.train.get_dataset_shard("train"), torch.device("cpu"))


def by_torch(data: CorpusFolder, settings: Settings, batches: int) -> Iterable[Batch]:
    """Epochs of ``batches`` batches of this worker through a PyTorch DataLoader."""
    context = ray.train.get_context()
    train = settings.training
    return loader(
        data.folder, data.manifest, train.teacher.window, train.teacher.batch, batches,
        context.get_world_rank(), context.get_world_size(),
    )  # fmt: skip


def feed(
    source: Callable[[], Iterable[Batch]], case: Case, step: Callable[[Batch], None] | None
) -> EpochTiming:
    """Consume an epoch and time it."""
    windows = frames = cells = 0
    waiting = 0.0
    first = done = begun = time.monotonic()
    for number, batch in enumerate(source()):
        got = time.monotonic()
        if number == 0:
            first = done = got
        waiting += got - done
        if case.step and step is not None:
            step(batch)
        time.sleep(case.pause)
        done = time.monotonic()
        mask = batch["mask"]
        windows += len(mask)
        frames += int(mask.sum())
        cells += mask.numel()
    return EpochTiming(windows, frames, cells, done - begun, first - begun, waiting)


class Step:
    """The teacher's training step, as in ``fit``."""

    def __init__(self, data: CorpusFolder, settings: Settings) -> None:
        self.talker = Talker(architecture.teacher_config(settings, data))
        self.talker.set_scales(*data.manifest.statistics())
        self.task = objectives.TeacherObjective(self.talker, settings.losses.teacher)
        self.settings = settings.training.teacher
        self.average = WeightAverage(self.talker, self.settings.ema)
        self.parameters = [p for p in self.task.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=self.settings.learning_rate)
        self.parallel = ray_train.wrap_ddp(self.task)
        self.generator = torch.Generator().manual_seed(settings.training.seed)

    def __call__(self, batch: Batch) -> None:
        losses = self.parallel(batch, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm or math.inf)
        self.optimizer.step()
        self.average.update(self.talker)
        losses["loss"].item()
