"""What a run is meant to reach, and whether it did; a goal that is missed is said to be missed."""

from typing import Any

Json = dict[str, Any]


def check(summary: Json, student: str) -> list[Json]:
    """Goals of a run whose last student is ``student``: name, value, target, met or None.

    None is neither: the value, or what it is measured against, is not known. Judged on test_seen,
    or where a corpus has none, on test_unseen.
    """
    split = min(r["split"] for r in summary["rows"])
    rows = {(r["name"], r["steps"]): r for r in summary["rows"] if r["split"] == split}
    own = next(r for (name, _), r in rows.items() if name == student)
    teacher = max(
        (r for (name, _), r in rows.items() if name == "teacher"), key=lambda r: r["steps"]
    )
    undistilled = rows.get(("teacher", own["steps"]))
    floor = (summary["floor"].get(split) or {}).get("sampling")
    steps = own["steps"]
    out = [
        at_most(f"lips: LBE of the {steps}-step student, at most the teacher's", own["lbe"],
                teacher["lbe"]),
        at_most("teacher: MBE, at most 1.25 x the sampling floor", teacher["mbe"],
                1.25 * floor["mbe"] if floor else None),
        between(f"upper face: spread ratio of the {steps}-step student", own["spread_upper"],
                0.8, 1.2),
        at_least("identity F1, seen speakers", own["identity_f1"], 0.95),
        at_least("emotion F1, seen speakers", own["emotion_f1"], 0.8),
        at_least("artifact: frames/s on one core", summary["artifact"]["fps"], 25_000),
        at_most("artifact: MB", summary["artifact"]["size_mb"], 3.4),
    ]  # fmt: skip
    streaming = summary["artifact"].get("streaming")
    if streaming is not None:
        seconds = f"{streaming['seconds_per_clip']:.1f} s"
        out += [
            at_most("streaming, voice pinned: LBE above whole recordings'",
                    streaming["pinned_growth"], 0.03),
            at_most("streaming, voice followed, after a second: LBE above whole recordings'",
                    streaming["settled_growth"], 0.03),
            at_most(f"streaming, voice followed, clips of {seconds}: LBE above whole recordings'",
                    streaming["growth"], 0.03),
        ]  # fmt: skip
        if (long := streaming.get("joined")) is not None:
            out.append(
                at_most("streaming, voice followed, a speaker's clips joined to "
                        f"{long['seconds_per_clip']:.0f} s: LBE above whole recordings'",
                        long["growth"], 0.03)
            )  # fmt: skip
    if undistilled is not None:
        out.append(
            at_most(
                f"distillation: energy score, at most the undistilled teacher's in {steps} steps",
                own["energy_score"],
                undistilled["energy_score"],
            )
        )
    return out


def at_most(name: str, value: float | None, limit: float | None) -> Json:
    """A goal that is met at or below ``limit``."""
    known = value is not None and limit is not None
    return _goal(name, value, f"<= {limit:.4g}" if limit is not None else "unknown",
                 value <= limit if known else None)  # type: ignore[operator]  # fmt: skip


def at_least(name: str, value: float | None, limit: float) -> Json:
    """A goal that is met at or above ``limit``."""
    return _goal(name, value, f">= {limit:g}", None if value is None else value >= limit)


def between(name: str, value: float | None, low: float, high: float) -> Json:
    """A goal that is met within ``low`` and ``high``."""
    return _goal(
        name, value, f"{low:g} to {high:g}", None if value is None else low <= value <= high
    )


def line(goal: Json) -> str:
    """A goal in words: met, missed or open, its value and its target."""
    word = {True: "met   ", False: "MISSED", None: "open  "}[goal["met"]]
    value = "–" if goal["value"] is None else f"{goal['value']:.4g}"
    return f"{word} {goal['name']}: {value} (target {goal['target']})"


def _goal(name: str, value: float | None, target: str, met: bool | None) -> Json:
    return {"name": name, "value": value, "target": target, "met": met}
