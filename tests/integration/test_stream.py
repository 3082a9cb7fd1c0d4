"""Real Ray: the order of batches, epochs, a resumed run on S3, and shards that cannot be read."""

import hashlib
import os
import sys
import uuid
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle
from tests import jobs
from tests.corruption import flip
from tests.s3 import Server
from tests.tiny import CONFIG, OVERRIDES
from torch import Tensor, nn

from diffusiontalker import storage
from diffusiontalker.config import CorpusSettings, Settings, TrainSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import CorpusFolder, Manifest, open_corpus, write_manifest
from diffusiontalker.corpus.procedural import generation, planning
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.ray_errors import user_error
from diffusiontalker.training import ray_data, stage_run
from diffusiontalker.training.epoch import Epoch
from diffusiontalker.training.progress import start_progress_board
from diffusiontalker.training.windows import MotionWindows, ShardReader, located, shard_groups

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not know this file
EXAMPLES = MotionWindows(32, ["ada"], ["anger"])
BATCH = 4
CPU = torch.device("cpu")


def write(folder: Path) -> Manifest:
    """Five shards of training clips, from 20 to 50 frames, and one of validation."""
    rng = np.random.default_rng(0)

    def clip(name: str, split: str) -> Clip:
        frames = int(rng.integers(20, 51))
        return Clip(
            name, "ada", "anger", split, None, np.zeros(frames * 16_000 // 30, np.float32),
            rng.uniform(0, 1, (frames, 52)).astype(np.float32),
            features=rng.normal(size=(frames, 6)), log_mel=rng.normal(size=(2 * frames, 80)),
        )  # fmt: skip

    infos = [
        shards.write_shard(
            folder / f"{split}-{k}.parquet", [clip(f"{k}-{i}", split) for i in range(7 + k)]
        )
        for split, count in (("train", 5), ("val", 1))
        for k in range(count)
    ]
    write_manifest(folder, Manifest("hand", infos, ["ada"], ["anger"], feature_dim=6))
    return open_corpus(folder)


def sum_of(coefficients: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(coefficients).tobytes()).hexdigest()[:12]


def sums(data: ray.data.Dataset) -> list[str]:
    found = ray_data.batches(data.iterator(), CPU)
    return [sum_of(batch["coefficients"].numpy()) for batch in found]


def expected(folder: Path, manifest: Manifest, epoch: int, passes: int, seed: int) -> list[str]:
    """The batches of an epoch, in order, read without Ray."""
    groups = shard_groups(located(manifest.of("train"), folder), EXAMPLES, BATCH)
    read = ShardReader(groups, EXAMPLES, BATCH, seed, lambda: epoch)
    batches = read({"turn": np.arange(passes * len(groups))})
    return [sum_of(batch["coefficients"]) for batch in batches]


def test_order_is_that_of_seed_and_epoch(ray_s3: Server, tmp_path: Path) -> None:
    manifest, epoch = write(tmp_path), Epoch()
    own = CorpusFolder(tmp_path, manifest)
    data = ray_data.dataset(own, "train", EXAMPLES, BATCH, 3, 7, epoch)
    seen = {}
    for number in (0, 2, 0):
        epoch.set(number)
        found = sums(data)
        assert found == expected(tmp_path, manifest, number, passes=3, seed=7)
        assert len(found) == 3 * ray_data.batches_of(own, "train", EXAMPLES, BATCH)
        assert seen.setdefault(number, found) == found
    # short clips have no other crops, so that a batch may come again
    assert len(set(seen[0]) & set(seen[2])) < len(seen[0]) / 2
    # one shard at a time gives what many at once gave
    alone = ray_data.dataset(own, "train", EXAMPLES, BATCH, 3, 7, epoch)
    alone.context.execution_options.resource_limits = ray.data.ExecutionResources(cpu=0.5)
    assert sums(alone) == seen[0]


def test_validation_is_the_same_every_time(ray_s3: Server, tmp_path: Path) -> None:
    data = ray_data.dataset(CorpusFolder(tmp_path, write(tmp_path)), "val", EXAMPLES, BATCH)
    assert sums(data) == sums(data) != []


def test_a_corrupt_shard_ends_the_stream_with_its_name(ray_s3: Server, tmp_path: Path) -> None:
    manifest = write(tmp_path)
    flip(tmp_path / "train-2.parquet", "coefficients")
    with pytest.raises(Exception) as caught:
        sums(ray_data.dataset(CorpusFolder(tmp_path, manifest), "train", EXAMPLES, BATCH))
    cause = user_error(caught.value)
    assert isinstance(cause, UserError)
    assert "train-2.parquet: the shard is corrupt" in str(cause)


def test_a_corrupt_shard_in_a_training_worker_is_one_line(ray_s3: Server, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    settings = CorpusSettings(
        speakers=2, unseen_speakers=1, minutes=0.5, eval_clips=4, expected_draws=2
    )
    plans = planning.plan(settings)
    infos = [
        shards.write_shard(
            corpus / f"{split}-00000.parquet",
            [generation.make_clip(plan, settings) for plan in plans if plan.split == split],
        )
        for split in ("train", "val")
    ]
    write_manifest(corpus, Manifest("procedural", infos, ["s000", "s001"], ["neutral"]))
    shard = corpus / "train-00000.parquet"
    flip(shard, "audio")  # which the encoder's pipeline of data reads, far from this process
    done = jobs.call(
        "train", "--config", CONFIG, *OVERRIDES, f"output={tmp_path / 'run'}",
        f"corpus.path={corpus}",
    )  # fmt: skip
    assert "encoder      started" in done.stdout
    assert f"{shard}: the shard is corrupt" in jobs.mistake(done)
    assert "attempts" not in done.stderr
    assert "lost worker" not in done.stdout, "a mistake was tried again"


class Witness(nn.Module):
    """A task that notes what it was given, and dies once, at a step of its own."""

    def __init__(self, notes: Path, last: int) -> None:
        super().__init__()
        self.notes, self.last, self.name = notes, last, ""
        self.weight = nn.Parameter(torch.ones(()))
        self.steps = 0

    @property
    def trained(self) -> nn.Module:
        return self

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        if self.training:
            rank = ray.train.get_context().get_world_rank()
            note = f"{rank} {sum_of(batch['coefficients'].numpy())} {torch.rand(()).item()}\n"
            self.name = self.name or f"{uuid.uuid4().int}"  # of a worker's one attempt
            with (self.notes / self.name).open("a") as file:
                file.write(note)
            self.steps += 1
            died = self.notes / "died"
            if rank == 1 and self.steps == self.last and not died.exists():
                # what the controller has not heard of by now would be trained anew
                ray.train.get_all_reported_checkpoints()
                died.touch()
                os._exit(1)
        mask = batch["mask"][..., None]
        error = ((batch["coefficients"] - self.weight).square() * mask).mean()
        return {"loss": error}


def test_a_killed_run_on_s3_goes_on_with_the_data_of_its_epoch(
    ray_s3: Server, tmp_path: Path
) -> None:
    root = storage.location(f"s3://{ray_s3.bucket()}/run")
    manifest = write(root / "corpus")
    own = {"training": {"workers": 2, "seed": 3}, "resources": {"worker_cpus": 0.25}}
    settings = Settings.model_validate({"output": str(tmp_path), **own})
    train = TrainSettings(epochs=3, passes=2, batch=2 * BATCH)
    board = start_progress_board()
    own = CorpusFolder(root / "corpus", manifest)
    per_epoch = ray_data.batches_of(own, "train", EXAMPLES, BATCH) * train.passes // 2
    history = stage_run.fit_stage(
        settings, train, own, EXAMPLES,
        lambda: Witness(tmp_path, per_epoch + 5), Witness(tmp_path, 0),
        stage_run.StageRun(root / "train", uuid.uuid4().hex, "witness", board),
    )  # fmt: skip
    _, lines, points = ray.get(board.get.remote("witness"))
    # Worker 1 dies, and worker 0 fails for want of it: whichever is seen first.
    assert lines
    assert all(line.startswith("witness      lost worker ") for line in lines)
    assert {"gradient_norm", "learning_rate", "windows_per_second", "loss"} <= points[0].keys()
    assert [p["step"] for p in points if "val_loss" in p][-1] == 3 * per_epoch
    assert (tmp_path / "died").is_file()
    assert [point["step"] for point in history if "val_loss" in point] == [
        per_epoch, 2 * per_epoch, 3 * per_epoch,
    ]  # fmt: skip

    # two workers that lived one epoch and a part, and two that did the rest
    notes = [
        [line.split() for line in path.read_text().splitlines()]
        for path in tmp_path.iterdir()
        if path.name.isdigit()
    ]
    before = sorted((n for n in notes if len(n) < 2 * per_epoch), key=lambda n: n[0][0])
    after = sorted((n for n in notes if len(n) == 2 * per_epoch), key=lambda n: n[0][0])
    assert [len(before), len(after)] == [2, 2]
    epochs = [
        [line for one in before for line in one[:per_epoch]],
        [line for one in after for line in one[:per_epoch]],
        [line for one in after for line in one[per_epoch:]],
    ]
    for number, lines in enumerate(epochs):
        full = Counter(expected(root / "corpus", manifest, number, train.passes, seed=3))
        given = Counter(sum for _, sum, _ in lines)
        # every batch once, but for the odd one that two workers cannot share
        assert not given - full
        assert (full - given).total() <= 1
    # what was begun anew is what was lost: the batches, and what dropout would have drawn
    for early, late in zip(before, after, strict=True):
        assert early[per_epoch:] == late[: len(early) - per_epoch]
        assert len(early) > per_epoch
