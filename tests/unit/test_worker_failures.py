"""What the controller of Ray Train does where a worker fails."""

from types import SimpleNamespace
from typing import Any

import pytest

from diffusiontalker.errors import UserError
from diffusiontalker.training.ray_train import WorkerFailures


def failures(board: Any = None) -> WorkerFailures:
    return WorkerFailures("teacher", board)


def test_a_mistake_of_the_user_is_not_tried_again() -> None:
    mistake = UserError("train-0.parquet: the shard is corrupt")
    with pytest.raises(UserError, match="the shard is corrupt"):
        failures().after_exception(None, {0: RuntimeError("gloo: connection closed"), 1: mistake})


def test_a_lost_worker_is_printed() -> None:
    lines: list[tuple[str, str]] = []
    line = SimpleNamespace(remote=lambda *given: lines.append(given))
    own = failures(SimpleNamespace(print_line=line))
    own.after_exception(None, {1: RuntimeError("a\nThe worker died unexpectedly.")})
    own.after_exception(None, {0: RuntimeError()})
    assert lines == [
        ("teacher", "teacher      lost worker 1 (The worker died unexpectedly.); goes on from the "
         "last checkpoint"),
        ("teacher", "teacher      lost worker 0 (RuntimeError); goes on from the last checkpoint"),
    ]  # fmt: skip
    failures().after_exception(None, {1: RuntimeError("gone")})  # nobody to print it
