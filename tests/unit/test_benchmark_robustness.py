"""The benchmark of rooms, microphones and lines, with a student of random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests import summaries
from tests.students import random_student

from diffusiontalker.benchmarks import robustness
from diffusiontalker.benchmarks.robustness import FIGURES, LINES, run, table
from diffusiontalker.config import RobustnessBenchmarkSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.stage_keys import DONE

PHONES = ["p", "ɑ", "w", "s", ""]


def clip(name: str, seed: int, phones: list[str] | None) -> Clip:
    rng = np.random.default_rng(seed)
    audio = rng.normal(0, 0.07, 24_000).astype(np.float32)
    face = rng.random((45, 52)).astype(np.float32)
    starts = None if phones is None else np.arange(len(phones), dtype=np.float32) * 0.3
    return Clip(name, "ann", None, "test_seen", None, audio, face, phones, starts)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_student(tmp_path_factory.mktemp("run") / "student")


def corpus(folder: Path, phones: list[str] | None = PHONES) -> Path:
    folder.mkdir()
    clips = [clip(f"c{i}", i, phones) for i in range(3)]
    info = shards.write_shard(folder / "test_seen-00000.parquet", clips)
    write_manifest(folder, Manifest("hand", [info], ["ann"], []))
    return folder


def settings(student: Path, tmp_path: Path, **more: object) -> RobustnessBenchmarkSettings:
    values = {"model": str(student), "out": str(tmp_path / "out"), **more}
    return RobustnessBenchmarkSettings.model_validate(values)


def test_every_line_of_every_split_is_measured_and_written(student: Path, tmp_path: Path) -> None:
    report = run(settings(student, tmp_path, corpus=str(corpus(tmp_path / "corpus"))))
    assert report.clips == {"test_seen": 3}
    recorded, *rows = report.rows
    assert [row.line for row in rows] == list(LINES)
    assert recorded.metrics.lbe is None
    for row in rows:
        assert all(getattr(row.metrics, key) is not None for key in FIGURES)
    clean = rows[0].metrics
    content = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert content["rows"][1]["line"] == "clean"
    assert content["rows"][1]["metrics"]["lbe"] == clean.lbe
    assert table(report).row_count == len(LINES) + 1


def test_every_line_but_the_clean_one_changes_the_audio() -> None:
    one, other = clip("a", 0, None).audio, clip("b", 1, None).audio
    for name, line in LINES.items():
        out = line(one, [other], np.random.default_rng(0))
        assert out.shape == one.shape
        assert np.array_equal(out, one) == (name == "clean")


def test_the_corpus_is_that_of_the_artifacts_run(student: Path, tmp_path: Path) -> None:
    own = corpus(student.parent / "features", None)
    (own / DONE).write_text("{}")
    summary = summaries.content(shards="elsewhere/features")
    (student.parent / "summary.json").write_text(json.dumps(summary))
    report = run(settings(student, tmp_path, clips=2))
    assert (report.corpus, report.clips) == (str(own), {"test_seen": 2})
    # without phoneme times there are no lip closures, but there are errors
    assert report.rows[1].metrics.closure is None
    assert report.rows[1].metrics.lbe is not None


def test_a_line_is_the_same_every_time(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("clean", "babble, 10 dB", "room, RT60 0.5 s")
    monkeypatch.setattr(robustness, "LINES", {name: LINES[name] for name in names})
    made = settings(student, tmp_path, corpus=str(corpus(tmp_path / "corpus")))
    assert run(made).rows == run(made).rows


def test_an_artifact_outside_a_run_needs_a_corpus(student: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.symlink_to(student)
    with pytest.raises(UserError, match="corpus"):
        run(settings(alone, tmp_path))
