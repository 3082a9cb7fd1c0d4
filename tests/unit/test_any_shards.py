"""One model on any shards: which model is meant, what it samples, and what is shown."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tests import refusals, summaries
from tests.unit import models

from diffusiontalker import config, storage
from diffusiontalker.config import EvaluateJobSettings
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.evaluation import measure
from diffusiontalker.evaluation import models as evaluated
from diffusiontalker.evaluation.models import ExportedModel, TrainedModel, to_frames
from diffusiontalker.pipeline import any_shards
from diffusiontalker.runtime import artifact
from diffusiontalker.summary.run import ClipRow, Errors, Evaluation, Floors, SplitMetrics
from diffusiontalker.training.checkpoints import save_talker


def settings(*overrides: str) -> EvaluateJobSettings:
    return config.load_as(EvaluateJobSettings, None, ["shards=shards", *overrides])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of a teacher and a student."""
    folder = tmp_path / "run"
    for name, teacher in (("teacher-a", True), ("round-2-a", False)):
        save_talker(folder / name, models.talker(teacher=teacher))
        storage.write_json(folder / name / "stage.json", {"seconds": 1.0})
    plain = config.load(None, [f"output={folder}", "encoder.layers=[0, 1]"]).model_dump(mode="json")
    there = summaries.content(
        models=[{"name": "teacher", "steps": 16, "folder": "/gone/teacher-a"},
                {"name": "student-2", "steps": 2, "folder": str(folder / "round-2-a")}],
        settings=plain,
    )  # fmt: skip
    storage.write_json(folder / "summary.json", there)
    return folder


def test_a_model_of_a_run(run: Path) -> None:
    name, model = any_shards.model_of(settings(f"run={run}", "model=student-2"))
    assert name == "student-2"
    assert model == TrainedModel(str(run / "round-2-a"), 2, "ddim", 3)
    assert "it has teacher, student-2" in refusals.refusal(
        lambda: any_shards.model_of(settings(f"run={run}", "model=student-4"))
    )


def test_a_teacher_has_the_encoder_of_its_run(run: Path) -> None:
    wanted = settings(f"run={run}", "model=teacher", "steps=4")
    assert "0 folders encoder-" in refusals.refusal(lambda: any_shards.model_of(wanted))
    (run / "encoder-b").mkdir()
    (run / "encoder-b" / "config.json").write_text("{}")
    _, model = any_shards.model_of(wanted)
    assert model == TrainedModel(
        str(run / "teacher-a"), 4, "ddim", 3, (str(run / "encoder-b"), (0, 1), None)
    )


def test_the_shipped_student_is_measured_unless_another_is_named() -> None:
    name, model = any_shards.model_of(settings())
    assert name == "shipped"
    assert isinstance(model, ExportedModel)
    assert model.steps == 2
    for own in ("steps=2", "sampler=ancestral"):
        assert "an artifact has its own" in refusals.refusal(
            lambda one=own: any_shards.model_of(settings(one))
        )
    assert "no such artifact" in refusals.refusal(
        lambda: any_shards.model_of(settings("model=nowhere"))
    )


@pytest.fixture
def clip(hand_made: Callable[..., Clip]) -> Clip:
    audio = 0.1 * np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    return hand_made(31, audio=audio)  # a frame more than its audio


def test_an_artifact_samples_frames_of_the_recording(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def animate(audio: np.ndarray, rate: int, seed: int, where: str) -> Any:
        calls.append(seed)
        face = np.full((30, 52), seed / 100, np.float32)
        return SimpleNamespace(coefficients=face, identity=None, emotion="anger")

    monkeypatch.setattr(evaluated, "Student", lambda _: SimpleNamespace(animate=animate))
    found = ExportedModel("there", 2, seeds=3).load()(clip, 5)
    assert calls == [15, 16, 17]
    assert found.samples.shape == (3, 31, 52)
    assert found.samples[:, -1, 0] == pytest.approx([0.15, 0.16, 0.17])
    assert (found.identity, found.emotion) == ("", "anger")


def test_a_trained_student_samples_by_the_clips_number(run: Path, clip: Clip) -> None:
    sample = TrainedModel(str(run / "round-2-a"), 2, "ddim", seeds=2).load()
    one, same, other = sample(clip, 1), sample(clip, 1), sample(clip, 2)
    assert one.samples.shape == (2, 31, 52)
    np.testing.assert_array_equal(one.samples, same.samples)
    assert not np.array_equal(one.samples, other.samples)
    assert not np.array_equal(one.samples[0], one.samples[1])


def test_speakers_that_a_model_does_not_know_have_no_score(run: Path, clip: Clip) -> None:
    library = TrainedModel(str(run / "round-2-a"), 2, "ddim", seeds=2).identities()
    assert tuple(library) == models.IDENTITIES
    scored = SplitMetrics(identity_f1=0.0, emotion_f1=0.5)
    assert measure.without_strangers(scored, [clip], library).identity_f1 == 0.0  # ada
    found = measure.without_strangers(scored, [replace(clip, identity="zoe")], library)
    assert (found.identity_f1, found.emotion_f1) == (None, 0.5)
    assert "auto" not in ExportedModel(str(artifact.location("shipped")), 4, 2).identities()


def test_faces_get_the_length_of_the_recording() -> None:
    face = np.arange(3.0)[:, None] * np.ones(52)
    assert to_frames(face, 2)[:, 0].tolist() == [0, 1]
    assert to_frames(face, 5)[:, 0].tolist() == [0, 1, 2, 2, 2]


def test_tables_show_the_recordings_beside_the_model() -> None:
    row = summaries.row("student-[b]", 2, closure=0.5, fps=9.0)
    floor: dict[str, Floors | None] = {"test_seen": Floors(recording=Errors(closure=0.75))}
    clip = ClipRow(name="student-[b]", steps=2, distilled=True, split="test_seen", clip="a",
                   identity="[ada]", emotion=None, frames=9, errors={"mbe": 0.25})  # fmt: skip
    table, *groups = any_shards.tables(Evaluation(rows=(row,), floor=floor, clips=(clip,)))
    assert [next(iter(own.columns[0].cells)).plain for own in groups] == ["[ada]", "unknown"]
    assert [list(own.columns[2].cells) for own in groups] == [["0.250"], ["0.250"]]
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("student-[b]") == 2
    (closed,) = [line.split() for line in text.splitlines() if "Lips closed" in line]
    assert closed[-3:] == ["50", "75", "–"]
    assert "Frames/s" not in text


def test_an_artifact_recognises_the_labels_that_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"use_identity": True, "use_emotion": False}
    config = SimpleNamespace(model={"personalizer": own})
    monkeypatch.setattr(artifact, "read_config", lambda _: config)
    assert ExportedModel("there", 2, 2).recognised() == ["identity"]
