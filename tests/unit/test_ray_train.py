"""What Ray Train is given."""

import os
from types import SimpleNamespace

import pytest
import ray
from ray.train.v2._internal.constants import get_env_vars_to_propagate

from diffusiontalker.training import ray_train


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
