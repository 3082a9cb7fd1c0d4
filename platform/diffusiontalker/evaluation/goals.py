"""What a run is meant to reach, and whether it did; a goal that is missed is said to be missed."""

from collections.abc import Mapping
from typing import Any

from diffusiontalker.objectives.metrics import ENOUGH

Json = dict[str, Any]
SPEAKERS = {"test_seen": "known speakers", "test_unseen": "unknown speakers"}
GROWTH = 0.03
"""Largest share by which streaming may raise LBE."""


def check(summary: Json, student: str) -> list[Json]:
    """Goals of a run whose last student is ``student``, each as ``_goal`` has it.

    Judged on test_seen, or where a corpus has none, on test_unseen; emotions on both.
    """
    split = min(r["split"] for r in summary["rows"])
    rows = {(r["name"], r["steps"]): r for r in summary["rows"] if r["split"] == split}
    own = next(r for (name, _), r in rows.items() if name == student)
    teacher = max(
        (r for (name, _), r in rows.items() if name == "teacher"), key=lambda r: r["steps"]
    )
    undistilled = rows.get(("teacher", own["steps"]))
    floor = (summary["floor"].get(split) or {}).get("sampling")
    steps, clips = own["steps"], clips_of(summary, own)
    out = [
        at_most(f"lips: LBE of the {steps}-step student, at most the teacher's", own["lbe"],
                teacher["lbe"], clips),
        at_most("teacher: MBE, at most 1.25 x the sampling floor", teacher["mbe"],
                1.25 * floor["mbe"] if floor else None, clips),
        between(f"upper face: spread ratio of the {steps}-step student", own["spread_upper"],
                0.8, 1.2, clips),
        *_matching(summary, student, split),
        at_least("artifact: frames/s on one core", summary["artifact"]["fps"], 25_000),
        at_most("artifact: MB", summary["artifact"]["size_mb"], 3.4),
    ]  # fmt: skip
    streaming = summary["artifact"].get("streaming")
    if streaming is not None:
        streamed = streaming.get("clips")
        seconds = f"{streaming['seconds_per_clip']:.1f} s"
        out += [
            at_most("streaming, voice pinned: LBE above whole recordings'",
                    streaming["pinned_growth"], GROWTH, streamed, share=True),
            at_most("streaming, voice followed, after a second: LBE above whole recordings'",
                    streaming["settled_growth"], GROWTH,
                    streaming.get("settled_clips", streamed), share=True),
            at_most(f"streaming, voice followed, clips of {seconds}: LBE above whole recordings'",
                    streaming["growth"], GROWTH, streamed, share=True),
        ]  # fmt: skip
        if (long := streaming.get("joined")) is not None:
            out.append(
                at_most("streaming, voice followed, a speaker's clips joined to "
                        f"{long['seconds_per_clip']:.0f} s: LBE above whole recordings'",
                        long["growth"], GROWTH, clips, share=True)
            )  # fmt: skip
    if undistilled is not None:
        out.append(
            at_most(
                f"distillation: energy score, at most the undistilled teacher's in {steps} steps",
                own["energy_score"],
                undistilled["energy_score"],
                clips,
            )
        )
    return out


def _matching(summary: Json, student: str, judged: str) -> list[Json]:
    """Goals of the voices that are recognised: identities where they have a right answer, emotions
    of known speakers and of unknown ones, by their names."""
    own = {row["split"]: row for row in summary["rows"] if row["name"] == student}
    out = []
    for split, speakers in SPEAKERS.items():
        for kind, least in (("identity", 0.95), ("emotion", 0.8)):
            row = own.get(split)
            if row is None or (split != judged and row[f"{kind}_f1"] is None):
                continue
            clips = row.get(f"{kind}_clips", clips_of(summary, row))
            value = row[f"{kind}_f1"]
            out.append(at_least(f"{kind} F1, {speakers}", value, least, clips, share=True))
    return out


def clips_of(summary: Json, row: Json) -> int | None:
    """How many clips a row's figures are of; None where nobody noted it."""
    known = (summary.get("corpus") or {}).get("clips") or {}
    found: int | None = row.get("clips", known.get(row["split"]))
    return found


def at_most(
    name: str, value: float | None, limit: float | None, clips: int | None = None,
    share: bool = False,
) -> Json:  # fmt: skip
    """A goal that is met at or below ``limit``; ``clips`` and ``share`` as in ``_goal``."""
    known = value is not None and limit is not None
    return _goal(name, value, f"<= {_text(limit, share)}" if limit is not None else "unknown",
                 value <= limit if known else None, clips, share)  # type: ignore[operator]  # fmt: skip


def at_least(
    name: str, value: float | None, limit: float, clips: int | None = None, share: bool = False
) -> Json:
    """A goal that is met at or above ``limit``."""
    met = None if value is None else value >= limit
    return _goal(name, value, f">= {_text(limit, share)}", met, clips, share)


def between(
    name: str, value: float | None, low: float, high: float, clips: int | None = None
) -> Json:
    """A goal that is met within ``low`` and ``high``."""
    met = None if value is None else low <= value <= high
    return _goal(name, value, f"{low:g} to {high:g}", met, clips)


def state(goal: Mapping[str, Any]) -> str:
    """In a word: met, missed, or open."""
    met: bool | None = goal.get("met")
    return {True: "met", False: "missed", None: "open"}[met]


def reached(goal: Mapping[str, Any]) -> str:
    """The value as people read it: a share in per cent, a dash where there is none."""
    value = goal.get("value")
    return "–" if value is None else _text(value, bool(goal.get("share")))


def why_open(goal: Mapping[str, Any]) -> str:
    """Why a goal is neither met nor missed; empty if it is one of them."""
    if state(goal) != "open":
        return ""
    few = (clips := goal.get("clips")) is not None and clips < ENOUGH
    return f"fewer than {ENOUGH} clips" if few and goal.get("value") is not None else "not measured"


def line(goal: Mapping[str, Any]) -> str:
    """A goal in words: met, missed or open, its value, its target, and of how many clips."""
    word = {"met": "met   ", "missed": "MISSED", "open": "open  "}[state(goal)]
    notes = [f"target {goal['target']}"]
    if goal.get("clips") is not None:
        notes.append(f"n = {goal['clips']}")
    if why := why_open(goal):
        notes.append(why)
    return f"{word} {goal['name']}: {reached(goal)} ({', '.join(notes)})"


def _text(value: float, share: bool) -> str:
    if share:
        return f"{100 * value:.3g}%"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _goal(
    name: str, value: float | None, target: str, met: bool | None, clips: int | None,
    share: bool = False,
) -> Json:  # fmt: skip
    """A goal as ``summary.json`` has it.

    Args:
        name: what is to be reached.
        value: what was; None: not measured.
        target: in words.
        met: None, which is open: the value or what it is measured against is not known, or it is
            of fewer than ``ENOUGH`` clips.
        clips: how many it was measured on; None: it is not a figure of clips.
        share: whether the value is a share, to be read in per cent.
    """
    if clips is not None and clips < ENOUGH:
        met = None
    return {
        "name": name, "value": value, "target": target, "met": met, "clips": clips, "share": share
    }  # fmt: skip
