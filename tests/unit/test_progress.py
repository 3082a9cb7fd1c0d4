"""What people see of a long run where output is no terminal: few lines, and the right ones."""

import json
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from diffusiontalker.summary.durations import clock
from diffusiontalker.training import progress
from diffusiontalker.training.progress import JsonLog, StageDisplay


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (2 * 3600 + 10 * 60 + 59, "2 h 10 min"),
    ],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that tests set."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_a_log_gets_few_lines(now: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with StageDisplay("teacher") as display:
        for _ in range(100):  # 50 s, twice a second
            now.seconds += 0.5
            display.count(int(now.seconds - 100), 100)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "teacher started",
        "teacher 20% 20 of 100, 1 min 22 s left",
        "teacher 41% 41 of 100, 59 s left",
        "teacher done in 50 s",
    ]


def test_a_log_for_programs_is_an_object_a_line(
    now: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with StageDisplay("teacher", log=JsonLog("runs/a")) as display:
        now.seconds += 30
        display.update(0.5, "loss 1")
        display.print_line("teacher      lost worker 1 (gone)")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["started", "progress", "message", "done"]
    assert {(line["run"], line["stage"]) for line in lines} == {("runs/a", "teacher")}
    assert lines[1]["share"] == 0.5
    assert lines[-1]["seconds"] == 30


def test_a_share_alone_needs_no_words(
    now: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with StageDisplay("corpus") as display:
        now.seconds += 30
        display.update(0.5)
        now.seconds += 30
        display.update(0.01, "[just begun]")  # no guess from so little; brackets are no markup
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1:3] == ["corpus 50% 30 s left", "corpus 1% [just begun]"]


def test_a_failed_stage_is_not_said_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), StageDisplay("corpus"):
        raise KeyError("broken")
    assert "done" not in capsys.readouterr().out


def test_a_board_that_does_not_answer_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    board = SimpleNamespace(get=SimpleNamespace(remote=lambda stage, *_: stage))
    monkeypatch.setattr(progress.ray, "get", refuse)
    started = time.monotonic()
    with StageDisplay("teacher", board) as display:
        assert display.thread is not None
        time.sleep(1.2)
        assert display.thread.is_alive()
    assert not display.thread.is_alive()
    assert time.monotonic() - started < 5


def test_a_board_is_followed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = progress.ProgressBoard()
    board = SimpleNamespace(get=SimpleNamespace(remote=own.get))
    monkeypatch.setattr(progress.ray, "get", lambda entry, timeout: entry)
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    own.put("round-2", 0.25, "loss 1")
    own.print_line("round-2", "a worker was lost")
    own.add_point("round-2", {"step": 1, "loss": 2.0})
    own.add_point("teacher", {"step": 9, "loss": 9.0})
    points: list[dict[str, float]] = []
    with StageDisplay("round-2", board, points.append):
        time.sleep(1.2)
        own.add_point("round-2", {"step": 2, "loss": 1.0})
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("a worker was lost") == 1
    assert any(line.startswith("round-2       25% loss 1") for line in lines)
    assert points == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]  # the last at its end


def test_steps_report_throughput_of_all_workers(now: SimpleNamespace) -> None:
    own = progress.ProgressBoard()

    def remote(call: Callable[..., None]) -> SimpleNamespace:
        return SimpleNamespace(remote=call)

    board = SimpleNamespace(put=remote(own.put), add_point=remote(own.add_point))
    steps = progress.StepProgress(board, "teacher", epochs=2, steps_per_epoch=10, workers=3)
    for number in range(1, 6):
        steps(1, number, 4, 0.5)
        now.seconds += 1.0 if number < 5 else 0.0
    assert own.get("teacher")[0] == (0.75, "epoch 2/2, loss 0.5000, 15 windows/s")
    steps.add_point({"step": 5, "loss": 0.5})
    (point,) = own.get("teacher")[2]
    assert point["windows_per_second"] == 15.0
    assert 10 < point["peak_memory_mb"] < 100_000
    assert own.get("teacher", 0, 1)[1:] == ([], [])
    # a run that is resumed within an epoch, in another process
    again = progress.StepProgress(board, "teacher", epochs=2, steps_per_epoch=10, workers=3)
    now.seconds += 1000.0
    for number in range(6, 11):
        again(1, number, 4, 0.5)
        now.seconds += 1.0 if number < 10 else 0.0
    assert again.rate == 15.0
