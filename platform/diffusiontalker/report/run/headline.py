"""The sentences at the top of the page: what was trained, on what, how fast and how good it is."""

from collections.abc import Sequence

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.evaluation import goals
from diffusiontalker.report.run.verdict import (
    LEVEL,
    compare,
    full_teacher,
    listed,
    pair_at,
    student_steps,
)
from diffusiontalker.report.splits import rows_of, splits_of
from diffusiontalker.report.wording import duration, plain, pluralize
from diffusiontalker.summary.run import Goal, RunSummary


def headline(summary: RunSummary) -> str:
    """One sentence for every reader: what was trained, in how long, and how many goals it met."""
    text = "A model that turns speech into a face"
    if summary.seconds:
        took = duration(sum(summary.seconds.values())).replace(" ", "\N{NO-BREAK SPACE}")
        text += f", trained in {took}"
    counts = goal_counts(summary.goals)
    return f"{text}: {counts}." if counts else f"{text}."


def goal_counts(of_run: Sequence[Goal]) -> str:
    """How many goals were met, and how many are open; empty where a run has none."""
    if not of_run:
        return ""
    states = [goals.state(goal) for goal in of_run]
    left = states.count("open")
    return f"{states.count('met')} of {len(states)} goals met" + (f", {left} open" if left else "")


def lead(summary: RunSummary) -> str:
    """What the student does, how fast, and the error of its lips against the teacher's."""
    steps = student_steps(summary)
    if steps is None:
        return ""
    text = (
        f"In {pluralize(steps, 'step')} it makes {len(CHANNELS)} coefficients of a face from speech"
    )
    if (artifact := summary.artifact) is not None:
        if (fps := artifact.fps) is not None:
            text += (
                f", {plain(fps)} frames a second on one CPU core ({plain(fps / FPS)} x real time)"
            )
        text += f", and takes {artifact.size_mb:.1f} MB"
    parts, most = [], 0
    for split in splits_of(summary):
        student, _ = pair_at(summary, split, steps)
        full = full_teacher(student, rows_of(summary, split)) if student else None
        if student and full and (change := compare(student, full).get("lbe")) is not None:
            most = full.steps
            parts.append(f"{_smaller(change)} with {goals.SPEAKERS.get(split, split)}")
    if parts:
        text += (
            f". Against its teacher in {pluralize(most, 'step')}, the distance of its lips from "
            f"the recording is {listed(parts)}"
        )
    return f"{text}."


def what_ran(summary: RunSummary) -> str:
    """One sentence: on what, and from how many steps to how few."""
    corpus = summary.corpus
    full = max((row.steps for row in summary.rows if not row.distilled), default=None)
    students = sorted({row.steps for row in summary.rows if row.distilled}, reverse=True)
    text = "A diffusion teacher"
    if full is not None:
        text += f" of {full} steps"
    minutes = corpus.minutes_by_split.get("train", corpus.minutes)
    text += (
        f" learnt to move a face from {duration(60 * minutes)} of speech by "
        f"{plain(corpus.speakers)} speakers"
    )
    if students:
        text += f", and was distilled into students of {listed(map(str, students))} steps"
    return f"{text}."


def _smaller(change: float) -> str:
    """A relative change of a distance."""
    if abs(change) < LEVEL:
        return "the same"
    return f"{abs(change):.0%} {'smaller' if change < 0 else 'greater'}"
