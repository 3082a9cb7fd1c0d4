"""Whether distillation pays: the student against the undistilled teacher at the same steps.

That baseline is mandatory. Every sentence follows from the numbers, whichever side they favour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from diffusiontalker.report.metric_columns import BY_KEY
from diffusiontalker.report.splits import rows_of, splits_of
from diffusiontalker.report.wording import plain, pluralize
from diffusiontalker.summary.run import Row, RunSummary

JUDGED = ("energy_score", "lbe", "mbe")
"""Errors that decide, the proper score first; our choice."""
LEVEL = 0.01
"""Relative differences below this count as level, so that noise is no win; our choice."""

Outcome = Literal["wins", "loses", "level", "mixed", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """The outcome, one headline, and a sentence per piece of evidence."""

    outcome: Outcome
    headline: str
    evidence: tuple[str, ...]


def verdict(summary: RunSummary) -> Verdict:
    """Compare the student of the fewest steps with the undistilled teacher at the same steps.

    It wins if it is better in at least one of ``JUDGED`` on some test split and worse in none.
    """
    steps = student_steps(summary)
    if steps is None:
        return Verdict("unknown", "No student was distilled in this run.", ())
    better: set[str] = set()
    worse: set[str] = set()
    evidence, compared = [], 0
    for split, title in splits_of(summary).items():
        student, teacher = pair_at(summary, split, steps)
        if student is None or teacher is None:
            continue
        changes = compare(student, teacher)
        compared += len(changes)
        better |= {key for key, change in changes.items() if change <= -LEVEL}
        worse |= {key for key, change in changes.items() if change >= LEVEL}
        if changes:
            evidence.append(_evidence(title, student, teacher, changes))
        evidence.extend(_against_full(title, student, rows_of(summary, split)))
    if compared:
        return Verdict(*_judge(better, worse, pluralize(steps, "step")), tuple(evidence))
    headline = (
        f"No verdict on distillation: the undistilled teacher was not measured at "
        f"{pluralize(steps, 'step')}."
    )
    return Verdict("unknown", headline, tuple(evidence))


def _judge(better: set[str], worse: set[str], steps: str) -> tuple[Outcome, str]:
    """Outcome and headline from the keys of ``JUDGED`` that are better and worse on some split."""
    if better and worse:
        headline = f"At {steps}, distillation wins in part"
        headline += f": better in {_labels(better - worse)}" if better - worse else ""
        headline += f", worse in {_labels(worse - better)}" if worse - better else ""
        both = better & worse
        headline += f"; in {_labels(both)} it depends on the speakers." if both else "."
        return "mixed", headline
    if better:
        return "wins", f"At {steps}, distillation beats the undistilled teacher."
    headline = f"At {steps}, distillation does not beat the undistilled teacher"
    return ("loses", f"{headline}.") if worse else ("level", f"{headline}: they are level.")


def student_steps(summary: RunSummary) -> int | None:
    """Steps of the student of the fewest; None without one."""
    return min((row.steps for row in summary.rows if row.distilled), default=None)


def pair_at(summary: RunSummary, split: str, steps: int) -> tuple[Row | None, Row | None]:
    """The student and the undistilled teacher of a split at a number of steps."""
    rows = [row for row in rows_of(summary, split) if row.steps == steps]
    student = next((row for row in rows if row.distilled), None)
    teacher = next((row for row in rows if not row.distilled), None)
    return student, teacher


def full_teacher(student: Row, rows: Sequence[Row]) -> Row | None:
    """The undistilled teacher of the most steps, if they are more than the student's."""
    teachers = [row for row in rows if not row.distilled and row.steps > student.steps]
    return max(teachers, key=lambda row: row.steps, default=None)


def compare(student: Row, teacher: Row) -> dict[str, float]:
    """Relative change (student - teacher) / teacher of each judged error that both have."""
    pairs = {key: (BY_KEY[key].of(student), BY_KEY[key].of(teacher)) for key in JUDGED}
    return {
        key: own / other - 1 for key, (own, other) in pairs.items() if own is not None and other
    }


def in_words(change: float) -> str:
    """A relative change of an error: level, or by how much better or worse."""
    if abs(change) < LEVEL:
        return "level"
    return f"{abs(change):.1%} {'better' if change < 0 else 'worse'}"


def listed(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _labels(keys: set[str]) -> str:
    return listed(BY_KEY[key].label for key in JUDGED if key in keys)


def _evidence(title: str, student: Row, teacher: Row, changes: dict[str, float]) -> str:
    parts = []
    for key, change in changes.items():
        column = BY_KEY[key]
        own, other = (column.show(column.of(row)) for row in (student, teacher))
        parts.append(f"{column.label} {own} against {other} ({in_words(change)})")
    return f"{title}, student against undistilled teacher: {'; '.join(parts)}."


def _against_full(title: str, student: Row, rows: Sequence[Row]) -> list[str]:
    """What the student loses against the teacher at all its steps, and what it saves."""
    full = full_teacher(student, rows)
    if full is None:
        return []
    parts = [
        f"{BY_KEY[key].label} {in_words(change)}" for key, change in compare(student, full).items()
    ]
    if student.fps and full.fps:
        parts.append(f"{plain(round(student.fps / full.fps, 1))} times the frames per second")
    if student.size_mb and full.size_mb:
        parts.append(f"{student.size_mb / full.size_mb:.0%} of the size")
    if not parts:
        return []
    at = pluralize(full.steps, "step")
    return [f"{title}, student against the teacher at {at}: {'; '.join(parts)}."]
