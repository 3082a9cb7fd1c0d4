"""The goals of a run, and whether it met, missed or left them open."""

from collections.abc import Sequence
from math import log

from diffusiontalker.arkit import FPS
from diffusiontalker.objectives.metrics import ENOUGH
from diffusiontalker.summary.run import TEACHER, Errors, Goal, RunSummary

SPEAKERS = {"test_seen": "known speakers", "test_unseen": "unknown speakers"}
GROWTH = 0.03
"""Largest share by which streaming may raise LBE."""
WHOSE = "teacher and last student, all speakers"
"""Whose movement and articulation are judged."""
MAX_LAG = 1000 / FPS
"""Milliseconds by which lips may lag or lead: a frame."""


def check(summary: RunSummary, student: str) -> tuple[Goal, ...]:
    """The goals of a run whose last student is ``student``; of one without students, the teacher.

    Judged on test_seen, or where a corpus has none, on test_unseen; emotions on both. Without an
    artifact there are no goals of one.
    """
    split = min(row.split for row in summary.rows)
    rows = {(row.name, row.steps): row for row in summary.rows if row.split == split}
    own = next(row for (name, _), row in rows.items() if name == student)
    teachers = (row for (name, _), row in rows.items() if name == TEACHER)
    teacher = max(teachers, key=lambda row: row.steps)
    floors = summary.floor.get(split)
    floor = floors.sampling.mbe if floors and floors.sampling else None
    steps, clips = own.steps, summary.clips_of(own)
    teacher_error = at_most(
        "teacher: MBE, at most 1.25 x the sampling floor", teacher.mbe,
        None if floor is None else 1.25 * floor, clips,
    )  # fmt: skip
    movement = _movement(summary, student)
    if student == TEACHER:
        return teacher_error, *movement
    out = [
        at_most(f"lips: LBE of the {steps}-step student, at most the teacher's", own.lbe,
                teacher.lbe, clips),
        teacher_error,
        between(f"upper face: spread ratio of the {steps}-step student", own.spread_upper,
                0.8, 1.2, clips),
        *_matching(summary, student, split),
    ]  # fmt: skip
    if summary.artifact is not None:
        out += [
            at_least("artifact: frames/s on one core", summary.artifact.fps, 25_000),
            at_most("artifact: MB", summary.artifact.size_mb, 3.4),
            *_streaming(summary, clips),
        ]
    out += movement
    if (undistilled := rows.get((TEACHER, steps))) is not None:
        out.append(
            at_most(
                f"distillation: energy score, at most the undistilled teacher's in {steps} steps",
                own.energy_score,
                undistilled.energy_score,
                clips,
            )
        )
    return tuple(out)


def _movement(summary: RunSummary, student: str) -> list[Goal]:
    """Goals of movement and articulation, for the teacher and the last student on all splits: each
    is judged by the worst of them. Older summaries have none."""
    rows = [row for row in summary.rows if row.name == student != TEACHER]
    splits = (row.split for row in summary.rows)
    for split in dict.fromkeys(splits):
        own = (row for row in summary.rows if row.name == TEACHER and row.split == split)
        rows.append(max(own, key=lambda row: row.steps))
    if not any(row.speed_upper is not None for row in rows):
        return []
    clips = [count for row in rows if (count := summary.clips_of(row)) is not None]
    fewest = min(clips, default=None)
    true = {split: f.recording for split, f in summary.floor.items() if f and f.recording}
    blinks, closure, elsewhere = [], [], []
    for row in rows:
        recorded = true.get(row.split, Errors())
        blinks.append(_ratio(row.blinks_per_minute, recorded.blinks_per_minute))
        closure.append(_ratio(row.closure, recorded.closure))
        elsewhere.append(_excess(row.closed_elsewhere, recorded.closed_elsewhere))
    whose = "teacher, all speakers" if student == TEACHER else WHOSE
    out = [
        between(f"upper face: speed, {whose}",
                _worst([row.speed_upper for row in rows]), 0.8, 1.25, fewest),
        between(f"lower face: speed, {whose}",
                _worst([row.speed_lower for row in rows]), 0.8, 1.25, fewest),
        at_most(f"upper face: acceleration, {whose}",
                _most([row.acceleration_upper for row in rows]), 1.5, fewest),
        between(f"blinks over the recordings' rate, {whose}", _worst(blinks), 0.6, 1.5, fewest),
        at_most(f"blinks of a single frame, {whose}",
                _most([row.blinks_single for row in rows]), 0.05, fewest, share=True),
    ]  # fmt: skip
    if any(ratio is not None for ratio in closure):
        # A mouth that never opens is closed in every p, b, m, but has an AUC of 0.5.
        aucs = [row.closure_auc for row in rows]
        out += [
            at_least(f"lips closed in p, b, m, as a share of the recordings', {whose}",
                     _least(closure), 0.9, fewest, share=True),
            at_most(f"lips closed in other phones, above the recordings', {whose}",
                    _most(elsewhere), 0.03, fewest, share=True),
            at_least(f"closure AUC, {whose}", _least(aucs), 0.95, fewest),
        ]  # fmt: skip
    if any(row.lip_lag_ms is not None for row in rows):
        lags = [None if row.lip_lag_ms is None else abs(row.lip_lag_ms) for row in rows]
        name = f"lips: ms behind the recordings' or ahead of them, {whose}"
        out.append(at_most(name, _most(lags), MAX_LAG, fewest))
    return out


def _excess(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value - reference


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None


def _worst(ratios: Sequence[float | None]) -> float | None:
    """The ratio that is furthest from 1."""
    return max(_all_known(ratios), key=lambda ratio: abs(log(max(ratio, 1e-9))), default=None)


def _most(values: Sequence[float | None]) -> float | None:
    return max(_all_known(values), default=None)


def _least(values: Sequence[float | None]) -> float | None:
    return min(_all_known(values), default=None)


def _all_known(values: Sequence[float | None]) -> list[float]:
    """The values; none if one is unknown, so that a split that was not measured leaves a goal
    open."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _matching(summary: RunSummary, student: str, judged: str) -> list[Goal]:
    """Goals of recognition: identities where there is a right answer, emotions of known speakers
    and of unknown ones; ``judged`` is the split of the other goals."""
    own = {row.split: row for row in summary.rows if row.name == student}
    out = []
    for split, speakers in SPEAKERS.items():
        if (row := own.get(split)) is None:
            continue
        for kind, value, least, counted in (
            ("identity", row.identity_f1, 0.95, row.identity_clips),
            ("emotion", row.emotion_f1, 0.8, row.emotion_clips),
        ):
            if split != judged and value is None:
                continue
            clips = summary.clips_of(row) if counted is None else counted
            out.append(at_least(f"{kind} F1, {speakers}", value, least, clips, share=True))
    return out


def _streaming(summary: RunSummary, clips: int | None) -> list[Goal]:
    """Goals of streams; ``clips`` is the number of those that were joined."""
    streaming = summary.artifact.streaming if summary.artifact else None
    if streaming is None:
        return []
    settled = streaming.settled_clips
    out = [
        at_most("streaming, voice pinned: LBE above whole recordings'",
                streaming.pinned_growth, GROWTH, streaming.clips, share=True),
        at_most("streaming, voice followed, after a second: LBE above whole recordings'",
                streaming.settled_growth, GROWTH,
                streaming.clips if settled is None else settled, share=True),
        at_most(f"streaming, voice followed, clips of {streaming.seconds_per_clip:.1f} s: LBE "
                "above whole recordings'",
                streaming.growth, GROWTH, streaming.clips, share=True),
    ]  # fmt: skip
    if (joined := streaming.joined) is not None:
        out.append(
            at_most("streaming, voice followed, a speaker's clips joined to "
                    f"{joined.seconds_per_clip:.0f} s: LBE above whole recordings'",
                    joined.growth, GROWTH, clips, share=True)
        )  # fmt: skip
    return out


def at_most(
    name: str, value: float | None, limit: float | None, clips: int | None = None,
    share: bool = False,
) -> Goal:  # fmt: skip
    """A goal that is met at or below ``limit``; None: what it is compared with is not known."""
    if limit is None:
        return _goal(name, value, "unknown", None, clips, share)
    met = None if value is None else value <= limit
    return _goal(name, value, f"<= {_text(limit, share)}", met, clips, share)


def at_least(
    name: str, value: float | None, limit: float, clips: int | None = None, share: bool = False
) -> Goal:
    """A goal that is met at or above ``limit``."""
    met = None if value is None else value >= limit
    return _goal(name, value, f">= {_text(limit, share)}", met, clips, share)


def between(
    name: str, value: float | None, low: float, high: float, clips: int | None = None
) -> Goal:
    """A goal that is met within ``low`` and ``high``."""
    met = None if value is None else low <= value <= high
    return _goal(name, value, f"{low:g} to {high:g}", met, clips)


def state(goal: Goal) -> str:
    """``met``, ``missed`` or ``open``."""
    return {True: "met", False: "missed", None: "open"}[goal.met]


def reached(goal: Goal) -> str:
    """The value as people read it: a share in per cent, a dash where there is none."""
    return "–" if goal.value is None else _text(goal.value, goal.share)


def why_open(goal: Goal) -> str:
    """Why a goal is neither met nor missed; empty if it is one of them."""
    if goal.met is not None:
        return ""
    few = goal.clips is not None and goal.clips < ENOUGH
    return f"fewer than {ENOUGH} clips" if few and goal.value is not None else "not measured"


def line(goal: Goal) -> str:
    """A goal in words: met, missed or open, its value, its target, and of how many clips."""
    word = {"met": "met   ", "missed": "MISSED", "open": "open  "}[state(goal)]
    notes = [f"target {goal.target}"]
    if goal.clips is not None:
        notes.append(f"n = {goal.clips}")
    if why := why_open(goal):
        notes.append(why)
    return f"{word} {goal.name}: {reached(goal)} ({', '.join(notes)})"


def _text(value: float, share: bool) -> str:
    if share:
        return f"{100 * value:.3g}%"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _goal(
    name: str, value: float | None, target: str, met: bool | None, clips: int | None,
    share: bool = False,
) -> Goal:  # fmt: skip
    """A goal, which is open where it was measured on fewer than ``ENOUGH`` clips."""
    if clips is not None and clips < ENOUGH:
        met = None
    return Goal(name=name, value=value, target=target, met=met, clips=clips, share=share)
