"""The chain's own rules, without Ray: what a run takes for its own, and what is done."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests import summaries
from torch import nn

from diffusiontalker import config, stage_keys, storage
from diffusiontalker.config import Settings, TrainSettings
from diffusiontalker.corpus.manifest import CorpusFolder, open_corpus
from diffusiontalker.errors import UserError
from diffusiontalker.pipeline import run as pipeline_run
from diffusiontalker.pipeline import training as pipeline_training
from diffusiontalker.pipeline.delivery import LOOK_AHEAD, look_ahead_rows
from diffusiontalker.pipeline.finished import summary_of
from diffusiontalker.pipeline.run import corpus_content
from diffusiontalker.stage_keys import DONE
from diffusiontalker.training import checkpoint_folder, checkpoints, stage_run
from diffusiontalker.training.checkpoints import PartialEpoch, RunState


class Task(nn.Linear):
    """An objective, as far as its checkpoints go."""

    @property
    def trained(self) -> nn.Module:
        return self


def settings(*overrides: str) -> Settings:
    return config.load("configs/quickstart.yaml", overrides)


def test_what_look_ahead_cost_with_other_settings_is_not_reported(
    corpus_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = CorpusFolder(corpus_folder, open_corpus(corpus_folder))

    def rows(*overrides: str) -> list[Any]:
        run: Any = SimpleNamespace(settings=settings(*overrides), root=tmp_path)
        return look_ahead_rows(run, data)

    assert rows() == ()
    key = stage_keys.look_ahead_key(settings(), corpus_content(data))
    file = tmp_path / LOOK_AHEAD
    measured = dict.fromkeys(("mbe", "lbe", "energy_score", "spread_upper"), 0.1)
    row = {"look_ahead_ms": 0.0, "split": "test_seen", "steps": 2, **measured}
    storage.write_json(file, {"key": key, "rows": [row]})
    assert rows() == rows("model.shared.look_ahead_ms=160", "resources.threads=2") != ()
    assert capsys.readouterr().out == ""
    assert rows("losses.teacher.exp=2") == ()
    assert str(file) in capsys.readouterr().out
    storage.write_json(file, [row])  # as an earlier release wrote it
    assert rows() == ()
    assert str(file) in capsys.readouterr().out


def test_every_round_is_distilled_from_the_model_before_it(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = CorpusFolder(corpus_folder, open_corpus(corpus_folder))
    own = f"output={tmp_path}", "diffusion={steps: 4, rounds: [2, 1]}"
    given: list[tuple[str, int]] = []

    def train_round(_: Any, __: Any, teacher: Path, steps: int, *___: Any) -> list[Any]:
        given.append((teacher.name.rpartition("-")[0], steps))
        return []

    monkeypatch.setattr(pipeline_run, "start_progress_board", lambda: None)
    monkeypatch.setattr(pipeline_training.stages, "train_teacher", lambda *_: [])
    monkeypatch.setattr(pipeline_training.stages, "train_round", train_round)
    models = pipeline_training.train_all(pipeline_run.Run(settings(*own)), data)
    assert given == [("teacher", 2), ("round-2", 1)]
    assert [(one.name, one.steps) for one in models] == [
        ("teacher", 4), ("student-2", 2), ("student-1", 1)
    ]  # fmt: skip
    # another model before a round is another round
    other = settings(*own, "training.first_round.epochs=9")
    pipeline_training.train_all(pipeline_run.Run(other), data)
    assert given[2:] == given[:2]


def test_a_run_that_was_moved_is_read_where_it_is(tmp_path: Path) -> None:
    own = tmp_path / "round-2-abc"
    own.mkdir()
    storage.write_json(own / DONE, {"seconds": 1.0})
    model = {"name": "student-2", "steps": 2, "folder": "/gone/round-2-abc"}
    there = summaries.content(models=[model], shards="/elsewhere/mine")
    storage.write_json(tmp_path / "summary.json", there)
    found = summary_of(tmp_path)
    assert [one.folder for one in found.models] == [str(own)]
    assert found.shards == "/elsewhere/mine"  # the user's own shards are in no run's folder


def test_a_run_whose_last_checkpoint_is_not_of_its_last_epoch_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(2, 2)
    found = RunState(epoch=1, history=[{"step": 1, "val_loss": 1.0}])

    @contextmanager
    def run(*_: object) -> Iterator[Path]:
        # As another job leaves it, which began the same run a little later.
        checkpoints.save_run(
            tmp_path, found, task, dict(task.state_dict()), torch.optim.AdamW(task.parameters())
        )
        yield tmp_path

    monkeypatch.setattr(stage_run, "fit_in_process", run)
    monkeypatch.setattr(
        stage_run, "ray_data",
        SimpleNamespace(
            batches_of=lambda *_: 8, largest_task=lambda *_: 8, dataset=lambda *_: None
        ),
    )  # fmt: skip
    monkeypatch.setattr(stage_run, "Epoch", object)
    given: Any = SimpleNamespace(folder=tmp_path, manifest=None)
    place = stage_run.StageRun(tmp_path / "train", "teacher-abc", "teacher")

    def fitted(epochs: int) -> list[dict[str, float]]:
        what: Any = None
        return stage_run.fit_stage(
            settings("training.workers=0"), TrainSettings(epochs=epochs), given, what,
            lambda: task, task, place,
        )  # fmt: skip

    with pytest.raises(UserError, match="epoch 1 of 2"):
        fitted(2)
    assert fitted(1) == found.history
    found.partial = PartialEpoch(3, 8, 1, 0.0, {}, 0)
    with pytest.raises(UserError, match="epoch 1 of 1"):
        fitted(1)
    found.partial = None
    found.history[0]["val_loss"] = float("nan")  # which ends before, and is told of elsewhere
    assert len(fitted(2)) == 1


def test_a_checkpoint_is_stored_before_its_epoch_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report may end a trial, whose checkpoints are then removed."""
    order: list[str] = []

    def slowly(*_: Any) -> None:
        time.sleep(0.05)
        order.append("stored")

    def train(_: Any, __: Any, ___: Any, ____: Any, on_checkpoint: Any) -> None:
        on_checkpoint(RunState(epoch=1, history=[{"step": 1, "val_loss": 1.0}]), lambda _: None)

    monkeypatch.setattr(checkpoint_folder.CheckpointFolder, "save", slowly)
    loop: Any = SimpleNamespace(fit=train)
    data: Any = SimpleNamespace(iterator=lambda: None)
    place = stage_run.StageRun(
        tmp_path, "t", "teacher", on_epoch=lambda _: order.append("reported")
    )
    stage_run.fit_in_process(settings(), loop, data, data, place)
    assert order == ["stored", "reported"]


@pytest.mark.parametrize("workers", [True, False])
def test_a_stage_that_starts_again_without_its_workers_prints_it(
    workers: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = stage_run.StageRun(tmp_path, "teacher-abc", "teacher")
    stage_run.print_restart(place, workers)
    own, other = ("checkpoint_1", "epoch-0001")[:: 1 if workers else -1]
    for name, printed in ((other, 1), (own, 0)):  # beside its own checkpoints the others are old
        (tmp_path / "teacher-abc" / name).mkdir(parents=True)
        (tmp_path / "teacher-abc" / name / "state.json").touch()
        stage_run.print_restart(place, workers)
        assert capsys.readouterr().out.count("starts again") == printed
