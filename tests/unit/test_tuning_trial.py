"""One trial: what it reports to Ray Tune, its stages, and what went wrong."""

import math
from pathlib import Path
from typing import Any

import pytest
import ray
from tests.unit.sweeps import sweep

from diffusiontalker import storage
from diffusiontalker.config import Settings, changed
from diffusiontalker.errors import UserError
from diffusiontalker.pipeline.training import HISTORY
from diffusiontalker.summary.sweep import METRICS
from diffusiontalker.tuning import space, trial
from diffusiontalker.tuning.trial import Figures, TrialSetup, run_trial
from diffusiontalker.tuning.trial_store import trial_config

Reported = list[Figures]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> Reported:
    """What Ray Tune is given, without Ray."""
    found: Reported = []
    monkeypatch.setattr(trial.tune, "report", found.append)
    monkeypatch.setattr(trial.cluster, "configure", lambda: None)
    return found


def plan(folder: Path) -> TrialSetup:
    of = sweep(changes={"training.workers": 0})
    nothing: Any = None
    return TrialSetup(space.base_of(of), ["teacher"], nothing, None, folder)


def test_a_trial_has_its_own_settings_and_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reported: Reported
) -> None:
    def train(given: TrialSetup, settings: Settings, folder: Path) -> Figures:
        assert settings == changed(given.base, {"losses.teacher.exp": 3.0}, "test")
        return {"lbe": 0.5, "folder": folder}

    monkeypatch.setattr(trial, "train", train)
    for name in ("first", "again"):
        run_trial(trial_config(name, {"losses.teacher.exp": 3.0}), plan(tmp_path))
    assert reported == [
        {"lbe": 0.5, "folder": tmp_path / name, "done": True} for name in ("first", "again")
    ]


@pytest.mark.parametrize(
    "error",
    [
        UserError("too few takes"),
        ray.exceptions.RayTaskError("work", "a traceback", UserError("too few takes")),
    ],
)
def test_the_users_mistake_is_the_end_of_a_trial(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reported: Reported, error: Exception
) -> None:
    def train(*_: Any) -> Figures:
        raise error

    monkeypatch.setattr(trial, "train", train)
    run_trial(trial_config("a", {}), plan(tmp_path))
    assert reported == [
        {
            "error": "too few takes", "done": True, "epochs": 0, "seconds": 0.0,
            **dict.fromkeys(METRICS, math.inf),
        }
    ]  # fmt: skip


def test_settings_that_do_not_go_together_are_the_end_of_it_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reported: Reported
) -> None:
    def train(*_: Any) -> Figures:
        raise AssertionError("must not train")

    monkeypatch.setattr(trial, "train", train)
    run_trial(trial_config("a", {"losses.student.energy_chunk": 97}), plan(tmp_path))
    [end] = reported
    assert "energy_chunk 97 is longer" in end["error"]
    assert end["done"] is True


def test_any_other_error_is_raised_so_that_the_trial_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reported: Reported
) -> None:
    def train(*_: Any) -> Figures:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(trial, "train", train)
    with pytest.raises(ZeroDivisionError, match="ours"):
        run_trial(trial_config("a", {}), plan(tmp_path))
    assert reported == []


EPOCH = {
    "epoch": 2, "step": 40, "seconds": 1.5, "val_loss": 0.9, "val_lbe": 0.1,
    "val_energy_score": math.nan, "val_upper_energy": 0.3, "val_bilabials": 2.0,
    "val_open_bilabials": 0.5,
}  # fmt: skip


def check(figures: Figures) -> None:
    assert figures["epochs"] == 7
    assert figures["seconds"] == 1.5
    # NaN would win any race
    assert [figures[name] for name in METRICS] == [0.1, math.inf, 0.3, 0.25]
    assert figures["val_loss"] == 0.9
    assert "step" not in figures


def test_an_epoch_counts_those_of_the_stages_before(reported: Reported) -> None:
    trial.report(5, EPOCH)
    check(reported[0])


def test_without_phoneme_times_no_closure_is_missed_or_met() -> None:
    older = {key: value for key, value in EPOCH.items() if "bilabials" not in key}
    for epoch in ({**EPOCH, "val_bilabials": 0.0}, older):
        assert "missed_closures" not in trial.figures(epoch, 1)


def test_workers_report_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Reported = []
    report = object.__new__(trial.ReportCallback)  # which itself wants a session of Tune
    report.before = 5
    report._training_actor_item_queue = type("Queue", (), {"put": staticmethod(found.append)})
    report.after_report(None, [EPOCH, {"of": "another worker"}], None)
    check(found[0])


def test_a_stage_ends_when_tune_has_its_last_epoch() -> None:
    empty = iter([False, False, True])
    report = object.__new__(trial.ReportCallback)
    report._training_actor_item_queue = type("Queue", (), {"empty": lambda _: next(empty)})()
    report.wait()
    assert list(empty) == []


# its stages


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Path | None]]:
    """What is trained, and from which model; each stage takes a moment."""
    trained: list[tuple[Any, Path | None]] = []

    def train(given: TrialSetup, settings: Settings, stage: Any, model: Path | None, folder: Path,
              before: int) -> list[dict[str, float]]:  # fmt: skip
        trained.append((stage, model))
        (folder / str(stage)).mkdir(parents=True)
        trial.report(before, {**EPOCH, "epoch": 1, "val_energy_score": 0.2})
        return [{"step": 1, "loss": 5.0}, {**EPOCH, "val_energy_score": len(trained) / 10}]

    monkeypatch.setattr(trial, "_train", train)
    return trained


def chain(folder: Path) -> TrialSetup:
    of = sweep(stage="chain", changes={"diffusion.rounds": [8, 4], "training.teacher.epochs": 3})
    base = space.base_of(of)
    nothing: Any = None
    return TrialSetup(base, space.stages_of(of, base), nothing, folder / "start", folder)


def test_a_chain_descends_from_its_own_teacher(
    tmp_path: Path, stages: list[tuple[Any, Path | None]], reported: Reported
) -> None:
    given = chain(tmp_path)
    last = trial.train(given, given.base, tmp_path / "a")
    assert stages == [
        ("teacher", tmp_path / "start"), (8, tmp_path / "a" / "teacher"), (4, tmp_path / "a" / "8"),
    ]  # fmt: skip
    assert [one["epochs"] for one in reported] == [1, 3 + 1, 3 + 1 + 1]
    assert (last["epochs"], last["energy_score"]) == (5, 0.3)


def test_a_killed_trial_does_not_train_a_finished_stage_again(
    tmp_path: Path, stages: list[tuple[Any, Path | None]], reported: Reported
) -> None:
    given = chain(tmp_path)
    for stage in ("teacher", "8"):
        (tmp_path / "a" / stage).mkdir(parents=True)
        storage.write_json(tmp_path / "a" / stage / HISTORY, [EPOCH])
    last = trial.train(given, given.base, tmp_path / "a")
    assert stages == [(4, tmp_path / "a" / "8")]
    assert [one["epochs"] for one in reported] == [5]
    again = trial.train(given, given.base, tmp_path / "a")  # killed just before its end
    assert len(stages) == 1
    assert again == last
