"""The summary of a run as JSON: written and read, damaged, and of earlier releases."""

import math
from pathlib import Path
from typing import Any

import pytest
from tests import summaries
from tests.refusals import refusal
from tests.summaries import ARTIFACT, STREAMING

from diffusiontalker import storage
from diffusiontalker.errors import UserError
from diffusiontalker.summary.run import Costs, RunSummary


def whole() -> RunSummary:
    return summaries.run(
        summaries.row("teacher", 16, mbe=0.2, clips=56),
        summaries.row("student-2", 2, mbe=0.1, fps=1.0),
        floor={"test_seen": {"sampling": {"mbe": 0.1}}, "test_unseen": None},
        artifact={**ARTIFACT, "export": {"precision": "fp32"}, "streaming": STREAMING},
        models=[{"name": "teacher", "steps": 16, "folder": "a"},
                {"name": "student-2", "steps": 2, "folder": "b"}],
        seconds={"teacher": 1.0},
        goals=[{"name": "x", "value": 1.0, "target": "<= 2", "met": True}],
        settings={"output": "runs/a"},
    )  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    whole().write(file)
    assert RunSummary.read(file) == whole()
    content = storage.read_json(file)
    assert list(content["rows"][0])[:5] == ["name", "steps", "distilled", "split", "mbe"]
    assert content["rows"][0]["identity_f1"] is None
    assert [model.name for model in whole().students] == ["student-2"]


def test_json_holds_no_nan() -> None:
    for value in (math.nan, math.inf, -math.inf):
        assert Costs(fps=value).fps is None


def damaged(*place: str | int, value: Any) -> dict[str, Any]:
    """A summary in which the value at a place is another; ``del`` removes it."""
    content = whole().model_dump(mode="json")
    inner: Any = content
    for key in place[:-1]:
        inner = inner[key]
    if value is del_:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return content


del_ = object()


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (damaged("shards", value=del_), "shards"),
        (damaged("rows", value=7), "rows"),
        (damaged("rows", 1, "steps", value="two"), "rows.1.steps"),
        (damaged("models", value=None), "models"),
        (damaged("models", 1, value=7), "models.1"),
        (damaged("models", 0, "folder", value=del_), "models.0.folder"),
        (damaged("floor", "test_seen", "sampling", value=[1]), "floor.test_seen.sampling"),
        (damaged("artifact", "size_mb", value=del_), "artifact.size_mb"),
        ([1, 2], "the content"),
        ("text", "the content"),
    ],
)
def test_a_damaged_summary_is_refused_in_one_line(tmp_path: Path, content: Any, field: str) -> None:
    file = tmp_path / "summary.json"
    storage.write_json(file, content)
    said = refusal(lambda: RunSummary.read(file))
    assert said.startswith(f"{file}: not as this release writes it: {field}: ")
    assert "\n" not in said


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"rows": [')
    with pytest.raises(UserError, match="no JSON"):
        RunSummary.read(tmp_path / "summary.json")


def test_a_summary_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    content = whole().model_dump(mode="json", exclude_defaults=True)
    content["rows"][0].pop("clips")  # nobody counted them
    content["future"] = {"key": 1}
    storage.write_json(tmp_path / "summary.json", content)
    found = RunSummary.read(tmp_path / "summary.json")
    assert found.clips_of(found.rows[0]) is None
    (goal,) = found.goals
    assert (goal.clips, goal.share) == (None, False)
    assert found.artifact is not None
    assert found.artifact.streaming is not None
    assert found.artifact.streaming.settled_clips is None
