"""What the controller of Ray Train does where a worker fails."""

from types import SimpleNamespace
from typing import Any

import pytest

from diffusiontalker import storage
from diffusiontalker.errors import UserError
from diffusiontalker.training.ray_train import WorkerFailures


def failures(board: Any = None) -> WorkerFailures:
    return WorkerFailures("teacher", board)


def test_a_mistake_of_the_user_is_not_tried_again() -> None:
    mistake = UserError("train-0.parquet: the shard is corrupt")
    with pytest.raises(UserError, match="the shard is corrupt"):
        failures().after_exception(None, {0: RuntimeError("gloo: connection closed"), 1: mistake})


def test_storage_that_does_not_answer_is_tried_again() -> None:
    outage = UserError(f"cannot write s3://a/b: the server {storage.NO_ANSWER}")
    failures().after_exception(None, {0: outage})


def test_a_lost_worker_is_printed() -> None:
    lines: list[tuple[str, str]] = []
    line = SimpleNamespace(remote=lambda *given: lines.append(given))
    own = failures(SimpleNamespace(print_line=line))
    own.after_exception(None, {1: RuntimeError("a\nThe worker died unexpectedly.")})
    own.after_exception(None, {0: RuntimeError()})
    assert lines == [
        ("teacher", "teacher      lost worker 1 (The worker died unexpectedly.)"),
        ("teacher", "teacher      lost worker 0 (RuntimeError)"),
    ]
    failures().after_exception(None, {1: RuntimeError("gone")})  # nobody to print it
