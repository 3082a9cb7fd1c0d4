"""``progress.json``: what ``jobs/status.py`` shows of a run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from tests.refusals import refusal

from diffusiontalker import storage
from diffusiontalker.config import Settings
from diffusiontalker.errors import UserError
from diffusiontalker.pipeline import progress_file
from diffusiontalker.pipeline.progress_file import ProgressFile

SETTINGS = Settings.model_validate(
    {"output": "a", "diffusion": {"steps": 4, "rounds": [2, 1]}, "corpus": {"path": "shards"}}
)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that tests set."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(progress_file, "time", SimpleNamespace(time=lambda: now.seconds))
    return now


def shown(root: Path, now: float) -> dict[str, str]:
    """The printed row of each stage."""
    console = Console(width=150)
    with console.capture() as capture:
        console.print(progress_file.table(progress_file.read(root), now))
    rows = [" ".join(line.split()) for line in capture.get().splitlines()[3:]]
    return {row.partition(" ")[0]: row.partition(" ")[2] for row in rows if row}


def test_stages_are_those_of_the_settings() -> None:
    assert progress_file.planned(SETTINGS) == [
        "encoder", "features", "teacher", "round-2", "round-1", "evaluation", "export",
    ]  # fmt: skip
    more = SETTINGS.model_copy(
        update={
            "corpus": SETTINGS.corpus.model_copy(update={"path": None}),
            "encoder": SETTINGS.encoder.model_copy(update={"name": "a/b"}),
            "pseudo_labels": SETTINGS.pseudo_labels.model_copy(update={"recordings": "c"}),
        }
    )
    assert progress_file.planned(more)[:4] == ["corpus", "features", "teacher", "pseudo-labels"]
    assert progress_file.planned(more, students=False) == ["corpus", "features", "teacher"]


def test_a_run_from_its_start_to_a_failure(tmp_path: Path, now: SimpleNamespace) -> None:
    own = ProgressFile(tmp_path, progress_file.planned(SETTINGS))
    own.end("features", "kept", 65.0)
    own.begin("teacher")
    now.seconds += 50
    own.add_point("teacher", {"step": 5, "val_loss": 0.25, "loss": 0.5})
    own.update("teacher", 0.25, "epoch 1/2")
    assert shown(tmp_path, now.seconds + 5) == {
        "encoder": "not needed",
        "features": "kept 1 min 05 s",
        "teacher": "running 50 s 25%, epoch 1/2, 2 min 30 s left",
        "round-2": "to come",
        "round-1": "to come",
        "evaluation": "to come",
        "export": "to come",
    }
    silent = shown(tmp_path, now.seconds + 200)["teacher"]
    assert silent.startswith("no sign for 3 min 20 s")
    own.end("teacher", "done", 200.0)
    own.update("teacher", 0.5, "late")  # by the thread that displays it
    own.begin("round-2")
    text = "of Ray\ndiffusiontalker.errors.UserError: a shard is corrupt"
    own.fail("round-2", RuntimeError(text))
    own.begin("round-1")
    own.fail("round-1", KeyboardInterrupt())
    found = shown(tmp_path, now.seconds)
    assert found["teacher"] == "done 3 min 20 s validation loss 0.25"
    assert found["round-2"] == "failed a shard is corrupt"
    assert found["round-1"] == "interrupted"


def test_it_is_written_now_and_then(tmp_path: Path, now: SimpleNamespace) -> None:
    own = ProgressFile(tmp_path, progress_file.planned(SETTINGS))
    own.begin("teacher")
    for _ in range(30):
        now.seconds += 1
        own.update("teacher", now.seconds / 1e4, "")
    shares = progress_file.read(tmp_path).stages["teacher"].share
    assert 0.1 < shares < 0.103  # after 11 and 22 seconds


def test_a_storage_that_fails_ends_nothing(
    tmp_path: Path, now: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UserError("the disk is full")

    own = ProgressFile(tmp_path, progress_file.planned(SETTINGS))
    monkeypatch.setattr(storage, "write_json", refuse)
    own.begin("teacher")
    own.end("teacher", "done", 1.0)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    assert "give the folder of a run" in refusal(lambda: progress_file.as_lines(tmp_path))
    (tmp_path / "progress.json").write_text('{"planned": 3}')
    assert "is damaged" in refusal(lambda: progress_file.as_lines(tmp_path))
