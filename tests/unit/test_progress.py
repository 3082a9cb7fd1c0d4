"""What people see of a long run where output is no terminal: few lines, and the right ones."""

import time
from types import SimpleNamespace

import pytest

from diffusiontalker.summary.durations import clock
from diffusiontalker.training import progress
from diffusiontalker.training.progress import StageDisplay


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

    board = SimpleNamespace(get=SimpleNamespace(remote=lambda stage: stage))
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
    board = SimpleNamespace(
        get=SimpleNamespace(remote=lambda stage: {"round-2": (0.25, "loss 1")}[stage])
    )
    monkeypatch.setattr(progress.ray, "get", lambda entry, timeout: entry)
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    with StageDisplay("round-2", board):
        time.sleep(1.2)
    assert "round-2       25% loss 1" in capsys.readouterr().out
