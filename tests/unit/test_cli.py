"""How a job ends: exit status and one line for the user's mistake, a traceback for ours."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import pytest
import ray.exceptions
import typer
from ray.train import ControllerError, WorkerGroupError

from diffusiontalker import cli, cluster
from diffusiontalker.errors import UserError
from diffusiontalker.ray_errors import user_error


def run(job: Callable[..., None], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["job", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main(job)
    return int(ended.value.code or 0)


def raising(error: BaseException) -> Callable[[], None]:
    def job() -> None:
        raise error

    return job


def test_success(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def job(
        config: cli.Config = None,
        overrides: cli.Overrides = None,
        seed: Annotated[int, typer.Option()] = 0,
    ) -> None:
        print(config, overrides, seed)

    assert run(job, monkeypatch, "--config", "a.yaml", "--seed", "3", "x.y=1", "z=2") == 0
    assert capsys.readouterr().out == "a.yaml ['x.y=1', 'z=2'] 3\n"
    assert run(job, monkeypatch) == 0
    assert capsys.readouterr().out == "None None 0\n"


def test_users_mistake_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raising(UserError("face.glb:\n  no such\tfile")), monkeypatch) == 2
    said = capsys.readouterr()
    assert said.err == "error: face.glb: no such file\n"
    assert said.out == ""


@pytest.mark.parametrize(
    ("resumes", "said"),
    [(True, "interrupted; the same command continues from here\n"), (False, "interrupted\n")],
)
def test_interrupt_is_130_and_promises_no_more_than_is_true(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], resumes: bool, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(SystemExit) as ended:
        cli.main(raising(KeyboardInterrupt()), resumes=resumes)
    assert ended.value.code == 130
    assert capsys.readouterr().err == said


def test_to_be_asked_to_end_is_to_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    def job() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            ended.append("what it had started")

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert run(job, monkeypatch) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended


def test_our_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["job"])
    with pytest.raises(ZeroDivisionError):
        cli.main(raising(ZeroDivisionError("ours")))


def test_unknown_options_are_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(seed: Annotated[int, typer.Option(min=0)] = 0) -> None:
        raise AssertionError("must not run")

    for arguments in (["--sed", "1"], ["--seed", "many"], ["--seed", "-1"], ["extra"]):
        assert run(job, monkeypatch, *arguments) == 2
        assert "Traceback" not in capsys.readouterr().err


def test_help_tells_what_the_job_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(config: cli.Config = None, overrides: cli.Overrides = None) -> None:
        """Bake a cake."""

    assert run(job, monkeypatch, "--help") == 0
    text = capsys.readouterr().out
    assert "Bake a cake." in text
    assert "--config" in text
    assert "[KEY=VALUE]..." in text


# the user's mistake inside what Ray raises


def task_error(cause: Exception) -> ray.exceptions.RayTaskError:
    return ray.exceptions.RayTaskError("work", "a long traceback", cause)


MISTAKE = UserError("corpus.minutes: too few")


def chained() -> Exception:
    try:
        try:
            raise MISTAKE
        except UserError as error:
            raise ValueError("wrapped") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda: MISTAKE, id="itself"),
        pytest.param(lambda: task_error(MISTAKE), id="task"),
        pytest.param(lambda: task_error(MISTAKE).as_instanceof_cause(), id="task-as-cause"),
        pytest.param(lambda: task_error(task_error(MISTAKE)), id="task-in-task"),
        pytest.param(
            lambda: WorkerGroupError("failed", {0: RuntimeError("other"), 1: task_error(MISTAKE)}),
            id="train-workers",
        ),
        pytest.param(
            lambda: ControllerError(task_error(MISTAKE).as_instanceof_cause()),
            id="train-controller",
        ),
        pytest.param(chained, id="chained"),
    ],
)
def test_users_mistake_is_found(error: Callable[[], BaseException]) -> None:
    found = user_error(error())
    assert type(found) is UserError
    assert str(found) == str(MISTAKE)


def test_a_task_s_mistake_ends_a_session_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(cluster, "configure", lambda: None)
    raised = task_error(MISTAKE).as_instanceof_cause()  # as ray.get raises it
    assert isinstance(raised, UserError)
    assert "a long traceback" in str(raised)
    with pytest.raises(UserError) as caught, cluster.session():
        raise raised
    assert str(caught.value) == str(MISTAKE)
    with pytest.raises(UserError) as caught, cluster.session():
        raise MISTAKE
    assert caught.value is MISTAKE


APPENDED = (
    "Failed to apply UDF transform after 1/1 attempts (total backoff 0.0s).\nTo change retry "
    "attempts, backoff, or which errors are retried, configure `ray.data.DataContext`."
)
TRACEBACK = f"""Training failed due to worker errors:
[Rank 0 Error Snippet]:
Traceback (most recent call last):
  File "training/stream.py", line 40, in batches
    for batch in shard.iter_batches(batch_size=size):
ray.exceptions.RayTaskError(UserError): \x1b[36mray::SplitCoordinator.get()\x1b[39m (pid=7381)
  File "storage.py", line 5, in read
    raise UserError(said) from error
diffusiontalker.errors.UserError: a/train-0.parquet: not to be read; check it first

The above exception was the direct cause of the following exception:

diffusiontalker.errors.UserError: a/train-0.parquet: the shard is corrupt; prepare it again
{APPENDED}"""


@pytest.mark.parametrize(
    "error",
    [
        # What a worker could not send as an object comes as the text of its traceback.
        WorkerGroupError(TRACEBACK, {0: RuntimeError("could not be unpickled")}),
        ControllerError(RuntimeError(TRACEBACK)),
        ray.exceptions.RayTaskError("work", TRACEBACK, RuntimeError("lost")),
    ],
)
def test_users_mistake_is_found_in_the_text_of_a_traceback(error: Exception) -> None:
    found = user_error(error)
    assert found is not None
    assert str(found) == "a/train-0.parquet: the shard is corrupt; prepare it again"


def test_what_ray_data_appends_is_left_out() -> None:
    mistake = UserError(f"a/train-0.parquet: the shard is corrupt; prepare it again\n{APPENDED}")
    found = user_error(WorkerGroupError("failed", {0: task_error(mistake)}))
    assert str(found) == "a/train-0.parquet: the shard is corrupt; prepare it again"


def test_a_full_disk_is_named_by_what_could_not_be_written() -> None:
    mistake = UserError("cannot write runs/a/model.safetensors: No space left on device")
    assert str(user_error(task_error(mistake))) == str(mistake)


def test_a_full_disk_is_for_the_user_to_mend() -> None:
    found = user_error(task_error(OSError(28, "No space left on device")))
    assert found is not None
    assert "the disk is full" in str(found)


def test_no_mistake_of_the_user() -> None:
    loop = ValueError("a")
    loop.__cause__ = loop_back = KeyError("b")
    loop_back.__context__ = loop  # chains may be circular
    for error in (
        loop,
        task_error(ValueError("ours")),
        WorkerGroupError("x", {0: OSError("disk")}),
    ):
        assert user_error(error) is None
