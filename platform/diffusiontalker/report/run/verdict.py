"""The sentences at the top of the page: what was trained, how good it is, does distillation pay?

All are said from the numbers, either way. The baseline is mandatory: the undistilled teacher,
sampled in as few steps as the student.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.evaluation import goals
from diffusiontalker.report.metric_columns import (
    BY_KEY,
    Column,
    duration,
    plain,
    rows_of,
    splits_of,
)

JUDGED = ("energy_score", "lbe", "mbe")
"""Errors that decide, the proper score first; our choice."""
LEVEL = 0.01
"""Relative differences below this count as level; our choice, to call no noise a victory."""

Outcome = Literal["wins", "loses", "level", "mixed", "unknown"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What the numbers say: the outcome, one headline, and a sentence per piece of evidence."""

    outcome: Outcome
    headline: str
    evidence: tuple[str, ...]


def headline(summary: Mapping[str, Any]) -> str:
    """One sentence for anybody: what was trained, in how long, and whether it is what was meant."""
    text = "A model that turns speech into a face"
    seconds = [value for value in (summary.get("seconds") or {}).values() if value is not None]
    if seconds:
        took = duration(sum(seconds)).replace(" ", "\N{NO-BREAK SPACE}")
        text += f", trained in {took}"
    words = standing(summary)
    return f"{text}: {words}." if words else f"{text}."


def standing(summary: Mapping[str, Any]) -> str:
    """How many goals were met, and how many are open; empty where a run has none."""
    states = [goals.state(goal) for goal in summary.get("goals") or []]
    if not states:
        return ""
    left = states.count("open")
    return f"{states.count('met')} of {len(states)} goals met" + (f", {left} open" if left else "")


def lead(summary: Mapping[str, Any]) -> str:
    """What the student does, how fast, and how near its lips come, in plain words."""
    steps = _student_steps(summary)
    if steps is None:
        return ""
    text = f"In {_in(steps)} it makes {len(CHANNELS)} coefficients of a face from speech"
    artifact = summary.get("artifact") or {}
    if (fps := artifact.get("fps")) is not None:
        text += f", {plain(fps)} frames a second on one CPU core ({plain(fps / FPS)} x real time)"
    if (size := artifact.get("size_mb")) is not None:
        text += f", and takes {size:.1f} MB"
    parts, most = [], 0
    for split in splits_of(summary):
        student, _ = pair_at(summary, split, steps)
        full = _full_teacher(student, rows_of(summary, split)) if student else None
        if student and full and (change := compare(student, full).get("lbe")) is not None:
            most = full["steps"]
            parts.append(f"{_smaller(change)} with {goals.SPEAKERS.get(split, split)}")
    if parts:
        text += (
            f". Against its teacher in {_in(most)}, the distance of its lips from the recording is "
            + _list(parts)
        )
    return f"{text}."


def _smaller(change: float) -> str:
    """A relative change of a distance."""
    if abs(change) < LEVEL:
        return "the same"
    return f"{abs(change):.0%} {'smaller' if change < 0 else 'greater'}"


def _student_steps(summary: Mapping[str, Any]) -> int | None:
    """Steps of the last student; None without one."""
    return min((row["steps"] for row in summary["rows"] if row["distilled"]), default=None)


def verdict(summary: Mapping[str, Any]) -> Verdict:
    """Compare the student of the fewest steps with the undistilled teacher at the same steps.

    It wins if it is better in at least one of ``JUDGED`` on some test split and worse in none.
    """
    steps = _student_steps(summary)
    if steps is None:
        return Verdict("unknown", "No student was distilled in this run.", ())
    better, worse, compared = set(), set(), 0
    evidence = []
    for split, title in splits_of(summary).items():
        student, teacher = pair_at(summary, split, steps)
        if student is None or teacher is None:
            continue
        changes = compare(student, teacher)
        compared += len(changes)
        better |= {BY_KEY[key].label for key, change in changes.items() if change <= -LEVEL}
        worse |= {BY_KEY[key].label for key, change in changes.items() if change >= LEVEL}
        if changes:
            evidence.append(_evidence(title, student, teacher, changes))
        evidence.extend(_against_full(title, student, rows_of(summary, split)))
    if not compared:
        headline = (
            f"No verdict on distillation: the undistilled teacher was not measured at {_in(steps)}."
        )
        return Verdict("unknown", headline, tuple(evidence))
    outcome: Outcome
    if better and worse:
        outcome, headline = "mixed", f"At {_in(steps)}, distillation wins in part"
        headline += f": better in {_list(better - worse)}" if better - worse else ""
        headline += f", worse in {_list(worse - better)}" if worse - better else ""
        both = better & worse
        headline += f"; in {_list(both)} it depends on the speakers." if both else "."
    elif better:
        outcome = "wins"
        headline = f"At {_in(steps)}, distillation beats the undistilled teacher."
    elif worse:
        outcome = "loses"
        headline = f"At {_in(steps)}, distillation does not beat the undistilled teacher."
    else:
        outcome = "level"
        headline = (
            f"At {_in(steps)}, distillation does not beat the undistilled teacher: they are level."
        )
    return Verdict(outcome, headline, tuple(evidence))


def pair_at(summary: Mapping[str, Any], split: str, steps: int) -> tuple[Row | None, Row | None]:
    """The student and the undistilled teacher of a split at a number of steps."""
    rows = [row for row in rows_of(summary, split) if row["steps"] == steps]
    student = next((row for row in rows if row["distilled"]), None)
    teacher = next((row for row in rows if not row["distilled"]), None)
    return student, teacher


def compare(student: Row, teacher: Row) -> dict[str, float]:
    """Relative change (student - teacher) / teacher of each judged error that both have."""
    return {
        key: student[key] / teacher[key] - 1
        for key in JUDGED
        if student.get(key) is not None and teacher.get(key)
    }


def in_words(change: float) -> str:
    """A relative change of something that should be low: level, better or worse."""
    if abs(change) < LEVEL:
        return "level"
    return f"{abs(change):.1%} {'better' if change < 0 else 'worse'}"


def what_ran(summary: Mapping[str, Any]) -> str:
    """One sentence: on what, and from how many steps to how few."""
    corpus = summary.get("corpus") or {}
    rows = summary["rows"]
    full = max((row["steps"] for row in rows if not row["distilled"]), default=None)
    students = sorted({row["steps"] for row in rows if row["distilled"]}, reverse=True)
    text = "A diffusion teacher"
    if full is not None:
        text += f" of {full} steps"
    text += " learnt to move a face"
    minutes = (corpus.get("minutes_by_split") or {}).get("train", corpus.get("minutes"))
    if minutes is not None:
        text += f" from {duration(60 * minutes)} of speech"
    if corpus.get("speakers") is not None:
        text += f" by {plain(corpus['speakers'])} speakers"
    if students:
        text += f", and was distilled into students of {_list(map(str, students))} steps"
    return f"{text}."


def _evidence(title: str, student: Row, teacher: Row, changes: dict[str, float]) -> str:
    parts = []
    for key, change in changes.items():
        column = BY_KEY[key]
        parts.append(
            f"{column.label} {_shown(column, student)} against {_shown(column, teacher)} "
            f"({in_words(change)})"
        )
    return f"{title}, student against undistilled teacher: {'; '.join(parts)}."


def _against_full(title: str, student: Row, rows: list[Row]) -> list[str]:
    """What the student keeps of the teacher at all its steps, and what it saves."""
    full = _full_teacher(student, rows)
    if full is None:
        return []
    parts = [
        f"{BY_KEY[key].label} {in_words(change)}" for key, change in compare(student, full).items()
    ]
    if student.get("fps") and full.get("fps"):
        parts.append(f"{plain(round(student['fps'] / full['fps'], 1))} times the frames per second")
    if student.get("size_mb") and full.get("size_mb"):
        parts.append(f"{student['size_mb'] / full['size_mb']:.0%} of the size")
    if not parts:
        return []
    return [f"{title}, student against the teacher at {_in(full['steps'])}: {'; '.join(parts)}."]


def _full_teacher(student: Row, rows: list[Row]) -> Row | None:
    """The undistilled teacher of most steps, if they are more than the student's."""
    teachers = [row for row in rows if not row["distilled"] and row["steps"] > student["steps"]]
    return max(teachers, key=lambda row: int(row["steps"]), default=None)


def _shown(column: Column, row: Row) -> str:
    return column.show(row.get(column.key))


def _in(steps: int) -> str:
    return f"{steps} step{'' if steps == 1 else 's'}"


def _list(words: Any) -> str:
    ordered = [str(word) for word in words]
    if isinstance(words, set):
        ordered = [BY_KEY[key].label for key in JUDGED if BY_KEY[key].label in words]
    if len(ordered) < 2:
        return "".join(ordered)
    return f"{', '.join(ordered[:-1])} and {ordered[-1]}"
