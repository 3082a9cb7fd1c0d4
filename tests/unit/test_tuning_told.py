"""From the thread that trains to Ray Tune: an epoch at a time, the end, and what went wrong."""

import math
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from tests.unit.sweeps import sweep

from diffusiontalker import pipeline, storage
from diffusiontalker.config import Settings
from diffusiontalker.errors import UserError
from diffusiontalker.training.runs import Telling
from diffusiontalker.tuning import space, told, trial
from diffusiontalker.tuning.records import FIGURES, handed
from diffusiontalker.tuning.told import Figures, Told, ToldByWorkers
from diffusiontalker.tuning.trial import Plan, TrialRun, tell

# Python itself takes SystemExit for the ordinary end of a thread.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:[\s\S]*SystemExit:pytest.PytestUnhandledThreadExceptionWarning"
)
MOMENT = 0.05
"""Seconds in which a thread that may go on would have done so."""


class Training(threading.Thread):
    """Trains so many epochs, and notes which it has begun."""

    def __init__(self, listener: Told, epochs: int, error: Exception | None = None) -> None:
        super().__init__(daemon=True)
        self.told, self.epochs, self.error = listener, epochs, error
        self.begun: list[int] = []
        self.exp: float | None = None
        """The weight that it trains with, if that is looked at."""
        self.whole = False

    def run(self) -> None:
        for epoch in range(1, self.epochs + 1):
            self.begun.append(epoch)
            self.told.epoch({"epochs": epoch})
        if self.error is not None:
            self.told.fail(self.error)
            return
        self.whole = True
        self.told.end({"epochs": self.epochs})


def ended(thread: threading.Thread) -> bool:
    thread.join(timeout=5)
    return not thread.is_alive()


def waits(thread: threading.Thread) -> bool:
    thread.join(timeout=MOMENT)
    return thread.is_alive()


# the hand-over


def test_epochs_come_one_by_one_and_the_end_after_them() -> None:
    hears = Told()
    training = Training(hears, 3)
    training.start()
    assert [hears.next() for _ in range(4)] == [
        {"epochs": 1}, {"epochs": 2}, {"epochs": 3}, {"epochs": 3, "done": True},
    ]  # fmt: skip
    assert ended(training)
    assert training.whole


def test_training_waits_until_it_is_asked_for_the_next_epoch() -> None:
    hears = Told()
    training = Training(hears, 3)
    training.start()
    for epoch in (1, 2):
        assert hears.next() == {"epochs": epoch}
        assert waits(training)
        assert training.begun == list(range(1, epoch + 1))
    hears.stop()
    assert ended(training)


def test_the_first_epoch_is_trained_before_anyone_asks() -> None:
    training = Training(hears := Told(), 2)
    training.start()
    assert waits(training)
    assert training.begun == [1]
    hears.stop()
    assert ended(training)


def test_stop_ends_a_training_that_waits() -> None:
    hears = Told()
    training = Training(hears, 3)
    training.start()
    hears.next()
    hears.stop()
    assert ended(training)
    assert training.begun == [1]
    assert not training.whole


def test_stop_ends_a_training_at_the_end_of_its_epoch() -> None:
    hears, goes_on = Told(), threading.Event()
    over: list[int] = []

    def train() -> None:
        goes_on.wait(5)
        over.append(1)  # the epoch itself is not cut short
        hears.epoch({"epochs": 1})
        over.append(2)

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    hears.stop()
    assert waits(thread)
    goes_on.set()
    assert ended(thread)
    assert over == [1]


def test_stop_after_the_end_is_nothing() -> None:
    hears = Told()
    training = Training(hears, 1)
    training.start()
    assert hears.next() == {"epochs": 1}
    assert hears.next()["done"] is True
    hears.stop()
    hears.stop()
    assert ended(training)


def test_what_broke_the_training_off_is_raised_where_it_is_awaited() -> None:
    lost = OSError("the disk is gone")
    hears = Told()
    training = Training(hears, 1, lost)
    training.start()
    assert hears.next() == {"epochs": 1}
    with pytest.raises(OSError) as caught:
        hears.next()
    assert caught.value is lost
    assert ended(training)


class Plain:
    """Ray's queue, without Ray."""

    def __init__(self, **_: Any) -> None:
        self.items: list[Any] = []

    def put(self, item: Any) -> None:
        self.items.append(item)

    def get(self) -> Any:
        return self.items.pop(0)


def test_workers_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "Queue", Plain)
    hears = ToldByWorkers()
    for epoch in (1, 2):
        hears.epoch({"epochs": epoch})
    hears.end({"epochs": 2})
    assert [hears.next() for _ in range(3)] == [
        {"epochs": 1}, {"epochs": 2}, {"epochs": 2, "done": True},
    ]  # fmt: skip
    sent: ToldByWorkers = pickle.loads(pickle.dumps(hears))  # to Ray Train's controller
    sent.epoch({"epochs": 3})
    assert sent._said.items == [({"epochs": 3}, None)]


# what a trial tells


def plan(folder: Path) -> Plan:
    of = sweep(changes={"training.workers": 0})
    nothing: Any = None
    return Plan(space.base_of(of), ["teacher"], nothing, None, folder)


def heard(monkeypatch: pytest.MonkeyPatch, folder: Path, train: Callable[..., Figures],
          **params: Any) -> Told:  # fmt: skip
    """What was told of a trial that trains as ``train`` does, to its end."""
    monkeypatch.setattr(trial, "train", train)
    hears = Told()
    trial._guarded(plan(folder), params, folder, hears)
    return hears


def test_a_trial_has_its_own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def train(given: Plan, settings: Settings, folder: Path, hears: Told) -> Figures:
        assert settings == given.base.model_copy(
            update={"losses": given.base.losses.model_copy(update={"exp": 3.0})}
        )
        return {"lbe": 0.5, "folder": folder}

    hears = heard(monkeypatch, tmp_path, train, **{"losses.exp": 3.0})
    assert hears.next() == {"lbe": 0.5, "folder": tmp_path, "done": True}


@pytest.mark.parametrize(
    "error",
    [
        UserError("too few takes"),
        ray.exceptions.RayTaskError("work", "a traceback", UserError("too few takes")),
    ],
)
def test_the_users_mistake_is_the_end_of_a_trial(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def train(*_: Any) -> Figures:
        raise error

    assert heard(monkeypatch, tmp_path, train).next() == {
        "error": "too few takes", "done": True, "epochs": 0, "seconds": 0.0,
        "lbe": math.inf, "energy_score": math.inf, "upper_energy": math.inf,
    }  # fmt: skip


def test_settings_that_do_not_go_together_are_the_end_of_it_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train(*_: Any) -> Figures:
        raise AssertionError("must not train")

    said = heard(monkeypatch, tmp_path, train, **{"student_losses.energy_chunk": 97}).next()
    assert "energy_chunk 97 is longer than training.window 96" in said["error"]
    assert said["done"] is True


def test_any_other_error_is_raised_so_that_the_trial_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train(*_: Any) -> Figures:
        raise ZeroDivisionError("ours")

    hears = heard(monkeypatch, tmp_path, train)
    with pytest.raises(ZeroDivisionError, match="ours"):
        hears.next()


METRICS = {
    "epoch": 2, "step": 40, "seconds": 1.5, "val_loss": 0.9, "val_lbe": 0.1,
    "val_energy_score": math.nan, "val_upper_energy": 0.3,
}  # fmt: skip


def test_an_epoch_is_told_with_those_of_the_stages_before() -> None:
    hears = Told()
    said: list[Figures] = []
    hears.epoch = said.append
    Telling(partial(tell, hears, 5)).after_report(None, [METRICS, {"of": "another worker"}], None)
    [figures] = said
    assert figures["epochs"] == 7
    assert figures["seconds"] == 1.5
    assert [figures[name] for name in FIGURES] == [0.1, math.inf, 0.3]  # NaN would win any race
    assert figures["val_loss"] == 0.9
    assert "step" not in figures


# its stages


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Path | None]]:
    """What is trained, and from which model; each stage takes a moment."""
    trained: list[tuple[Any, Path | None]] = []

    def train(given: Plan, settings: Settings, stage: Any, model: Path | None, folder: Path,
              told: Callable[[dict[str, Any]], None]) -> list[dict[str, float]]:  # fmt: skip
        trained.append((stage, model))
        (folder / str(stage)).mkdir(parents=True)
        told({**METRICS, "epoch": 1, "val_energy_score": 0.2})
        return [{"step": 1, "loss": 5.0}, {**METRICS, "val_energy_score": len(trained) / 10}]

    monkeypatch.setattr(trial, "_train", train)
    return trained


def chain(folder: Path) -> Plan:
    of = sweep(stage="chain", changes={"diffusion.rounds": [8, 4], "training.teacher.epochs": 3})
    base = space.base_of(of)
    nothing: Any = None
    return Plan(base, space.stages_of(of, base), nothing, folder / "start", folder)


class Noted(Told):
    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []

    def epoch(self, figures: Figures) -> None:
        self.epochs.append(figures["epochs"])


def test_a_chain_descends_from_its_own_teacher(
    tmp_path: Path, stages: list[tuple[Any, Path | None]]
) -> None:
    given, hears = chain(tmp_path), Noted()
    last = trial.train(given, given.base, tmp_path / "a", hears)
    assert stages == [
        ("teacher", tmp_path / "start"), (8, tmp_path / "a" / "teacher"), (4, tmp_path / "a" / "8"),
    ]  # fmt: skip
    assert hears.epochs == [1, 3 + 1, 3 + 1 + 1]
    assert (last["epochs"], last["energy_score"]) == (5, 0.3)


def test_a_killed_trial_does_not_train_a_finished_stage_again(
    tmp_path: Path, stages: list[tuple[Any, Path | None]]
) -> None:
    given, hears = chain(tmp_path), Noted()
    for stage in ("teacher", "8"):
        (tmp_path / "a" / stage).mkdir(parents=True)
        storage.write_json(tmp_path / "a" / stage / pipeline.HISTORY, [METRICS])
    last = trial.train(given, given.base, tmp_path / "a", hears)
    assert stages == [(4, tmp_path / "a" / "8")]
    assert hears.epochs == [5]
    again = trial.train(given, given.base, tmp_path / "a", hears)  # killed just before its end
    assert len(stages) == 1
    assert again == last


# Ray Tune's side


@pytest.fixture
def runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[TrialRun, dict[Path, Training]]]:
    """A trial of three epochs as Ray Tune holds it, and all trainings by their folders."""
    threads: dict[Path, Training] = {}

    def train(given: Plan, settings: Settings, folder: Path, hears: Told) -> Figures:
        training = threads[folder] = Training(hears, 3)
        training.exp = settings.losses.exp
        training.run()  # in the thread of the trial
        return {"epochs": 3}

    monkeypatch.setattr(trial, "train", train)
    one = object.__new__(TrialRun)  # what Ray Tune sets up beside needs a cluster
    # An id of our own, which need not be that of Ray Tune: a killed sweep left this one.
    one._trial_info = type("Info", (), {"trial_id": "of Tune"})()
    one.setup(handed("earlier", {"losses.exp": 2.0}), plan(tmp_path))
    yield one, threads
    one.cleanup()


def test_a_step_is_an_epoch_and_a_process_takes_the_next_trial(
    runs: tuple[TrialRun, dict[Path, Training]], tmp_path: Path
) -> None:
    one, threads = runs
    assert one.step() == {"epochs": 1}
    assert one.step() == {"epochs": 2}
    first = one.thread
    assert one.reset_config(handed("next", {"losses.exp": 4.0})) is True
    assert not first.is_alive()
    assert one.step() == {"epochs": 1}
    assert {folder: training.exp for folder, training in threads.items()} == {
        tmp_path / "earlier": 2.0, tmp_path / "next": 4.0,
    }  # fmt: skip
    assert threads[tmp_path / "earlier"].begun == [1, 2]
    started = time.monotonic()
    one.cleanup()
    assert not one.thread.is_alive()
    assert time.monotonic() - started < 5


def test_the_same_settings_under_another_id_have_another_folder(
    runs: tuple[TrialRun, dict[Path, Training]], tmp_path: Path
) -> None:
    one, threads = runs
    one.step()
    one.reset_config(handed("again", {"losses.exp": 2.0}))
    one.step()
    assert {folder: training.exp for folder, training in threads.items()} == {
        tmp_path / "earlier": 2.0, tmp_path / "again": 2.0,
    }  # fmt: skip
