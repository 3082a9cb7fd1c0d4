"""What Ray Train is given."""

import os
import signal
from types import SimpleNamespace

import pytest
import ray
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import get_env_vars_to_propagate

from diffusiontalker import config
from diffusiontalker.training import ray_train
from diffusiontalker.training.reserved import shortage
from diffusiontalker.training.stage_run import StageTrainer


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


def test_ctrl_c_is_the_jobs() -> None:
    """And Ray Train has the method that would take it."""
    assert callable(TorchTrainer._register_sigint_handler)
    before = signal.getsignal(signal.SIGINT)
    trainer = object.__new__(StageTrainer)
    trainer._register_sigint_handler(None)
    assert signal.getsignal(signal.SIGINT) is before
