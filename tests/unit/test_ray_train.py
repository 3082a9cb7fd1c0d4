"""What Ray Train is given."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import get_env_vars_to_propagate

from diffusiontalker import config
from diffusiontalker.training import ray_train
from diffusiontalker.training.checkpoint_folder import CheckpointFolder
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.reserved import shortage
from diffusiontalker.training.stage_run import StageRun, StageTrainer, fit_in_process


def test_what_train_starts_is_given_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    own = SimpleNamespace(gcs_address="192.0.2.1:6379")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: own)
    with ray_train.cluster_address():
        assert get_env_vars_to_propagate()["RAY_ADDRESS"] == own.gcs_address
    assert "RAY_ADDRESS" not in os.environ
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with ray_train.cluster_address():
        assert get_env_vars_to_propagate()["RAY_ADDRESS"] == own.gcs_address
    assert os.environ["RAY_ADDRESS"] == "auto"


def test_what_a_stage_waits_for_is_printed() -> None:
    own = config.load(None, ["output=runs/a", "training.workers=8", "resources.gpu=true"])
    plenty = {"CPU": 9.0, "GPU": 8.0}
    assert shortage(own, plenty, plenty) is None
    assert "8.5 CPUs" in str(shortage(own, {"CPU": 4.0, "GPU": 8.0}, plenty))
    assert "the cluster has 0" in str(shortage(own, {"CPU": 64.0}, {"CPU": 64.0}))
    assert "3 are free" in str(shortage(own, plenty, plenty | {"GPU": 3.0}))


def test_a_checkpoint_waits_until_the_one_before_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train stores any number of them at a time, each from a copy on the disk."""
    context = SimpleNamespace(get_world_rank=lambda: 0)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    alive: list[Path] = []

    def report(metrics: object, checkpoint: ray.train.Checkpoint, **_: object) -> None:
        assert not any(path.exists() for path in alive)
        alive.append(Path(checkpoint.path))
        threading.Timer(0.1, shutil.rmtree, [checkpoint.path]).start()

    monkeypatch.setattr(ray.train, "report", report)
    own = ray_train.CheckpointReporter()
    for _ in range(2):
        own(RunState(history=[{"val_loss": 1.0}]), lambda folder: None)
    assert len(alive) == 2


def test_an_epoch_is_reported_when_its_checkpoint_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep may end a trial there, and remove its folder."""
    store = CheckpointFolder.save

    def slow(*args: Any) -> None:
        time.sleep(0.1)
        store(*args)

    monkeypatch.setattr(CheckpointFolder, "save", slow)
    kept: list[bool] = []
    run = StageRun(
        tmp_path, "a", "teacher",
        on_epoch=lambda _: kept.append((tmp_path / "a" / "last.json").is_file()),
    )  # fmt: skip
    data = SimpleNamespace(iterator=lambda: None)

    def fit(*args: Any) -> None:
        args[-1](RunState(1, history=[{"val_loss": 1.0}]), lambda to: (to / "a").write_text("b"))

    own = config.load(None, ["output=runs/a"])
    with fit_in_process(own, SimpleNamespace(fit=fit), data, data, run) as folder:  # type: ignore[arg-type]
        assert folder is not None
    assert kept == [True]


def test_ctrl_c_is_the_jobs() -> None:
    """And Ray Train has the method that would take it."""
    assert callable(TorchTrainer._register_sigint_handler)
    before = signal.getsignal(signal.SIGINT)
    trainer = object.__new__(StageTrainer)
    trainer._register_sigint_handler(None)
    assert signal.getsignal(signal.SIGINT) is before
