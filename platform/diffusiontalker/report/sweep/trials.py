"""What the trials of a sweep say: results, the best against the default, and time not training.

A sweep is a plain mapping as ``sweep_page.write_sweep`` takes it. All its objectives are errors of
the validation split in coefficients, so low is good.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from diffusiontalker.report.prepared.findings import count
from diffusiontalker.report.run.verdict import LEVEL, Outcome, Verdict, in_words

METRICS = {
    "lbe": "LBE",
    "energy_score": "energy score",
    "upper_energy": "upper-face energy score",
}
"""What a point of a curve tells, and how a sentence calls it."""
STATES = {"done": "finished", "pruned": "pruned", "failed": "failed", "running": "running"}
"""States of a trial in words, in the order in which they are told."""

Sweep = Mapping[str, Any]
Trial = Mapping[str, Any]


def finite(value: Any) -> float | None:
    """A number as it is; None where there is none, or only NaN or infinity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def result(trial: Trial | None, metric: str) -> float | None:
    """A metric at the last point of a trial's curve; None where it is not known."""
    points = trial["curve"] if trial else []
    return finite(points[-1].get(metric)) if points else None


def epochs(trial: Trial) -> int:
    """How many epochs a trial has trained."""
    return max((int(finite(point["epoch"]) or 0) for point in trial["curve"]), default=0)


def best_of(sweep: Sweep) -> Trial | None:
    """The best finished trial; None if there is none with a result in the first objective."""
    found = next((trial for trial in sweep["trials"] if trial["id"] == sweep["best"]), None)
    return None if result(found, sweep["objectives"][0]) is None else found


def default_of(sweep: Sweep) -> Trial | None:
    """The trial of the base configuration's own values, in whatever state it is."""
    return next((trial for trial in sweep["trials"] if trial["number"] == 0), None)


def compared(sweep: Sweep) -> tuple[str, str]:
    """The two metrics that trials are compared in: the objectives, or the only one and another."""
    first, *others = sweep["objectives"]
    return first, others[0] if others else "energy_score" if first == "lbe" else "lbe"


def idle_share(sweep: Sweep) -> float | None:
    """The share of the slots' time, 0 to 1, in which nothing was trained."""
    whole = (finite(sweep["wall_seconds"]) or 0.0) * (sweep["slots"] or 0)
    trained = sum(finite(trial["training_seconds"]) or 0.0 for trial in sweep["trials"])
    return max(1 - trained / whole, 0.0) if whole > 0 else None


def states(trials: Sequence[Trial]) -> str:
    """``24 finished, 4 pruned, 1 failed``."""
    counts = Counter(trial["state"] for trial in trials)
    return ", ".join(f"{counts[state]:,} {word}" for state, word in STATES.items() if counts[state])


def confirmed_pairs(sweep: Sweep, metric: str) -> list[tuple[float, float]]:
    """(default, best) of each further seed for which both have the metric."""
    pairs = (
        (finite((one["default"] or {}).get(metric)), finite((one["best"] or {}).get(metric)))
        for one in sweep["confirmed"]
    )
    return [(default, best) for default, best in pairs if default is not None and best is not None]


def change(before: float | None, after: float | None) -> float | None:
    """Relative change (after - before) / before; None where it is not known."""
    return after / before - 1 if before and after is not None else None


def means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean (default, best) over one seed or more."""
    return sum(b for b, _ in pairs) / len(pairs), sum(a for _, a in pairs) / len(pairs)


def wins(pairs: Sequence[tuple[float, float]]) -> int:
    """Seeds with which the best is lower than the default."""
    return sum(after < before for before, after in pairs)


def verdict(sweep: Sweep) -> Verdict:
    """The best trial against the default in the first objective, said from the numbers.

    With other seeds it holds if the best is lower with most of them, and lower in the mean by at
    least ``LEVEL``; our choice.
    """
    outcome, text = _headline(sweep)
    if any(trial["state"] == "running" for trial in sweep["trials"]):
        text = f"so far, {text}"
    return Verdict(outcome, f"{text[0].upper()}{text[1:]}.", tuple(_evidence(sweep)))


def _headline(sweep: Sweep) -> tuple[Outcome, str]:
    best, default, metric = best_of(sweep), default_of(sweep), sweep["objectives"][0]
    name, trials = METRICS[metric], sweep["trials"]
    if best is None:
        if trials and all(trial["state"] == "failed" for trial in trials):
            return "loses", "the only trial failed" if len(trials) == 1 else "all trials failed"
        return "unknown", "no trial has finished with a result"
    if best is default:
        if sum(result(trial, metric) is not None for trial in trials) == 1:
            return "unknown", "only the default has a result: there is nothing to compare it with"
        only = f" in the {name}" if len(sweep["objectives"]) == 1 else ""
        return "loses", f"nothing beat the default{only}"
    who = f"trial {best['number']}"
    before, after = result(default, metric), result(best, metric)
    if default is None or default["state"] != "done" or before is None or after is None:
        return "unknown", f"{who} is the best, but the default {_missing(default)}"
    moved = change(before, after)
    if moved is None or moved >= 0:
        return "loses", f"{who}, the best, does not beat the default in the {name}"
    if moved > -LEVEL:
        return "level", f"nothing beat the default: {who}, the best, is level in the {name}"
    text = f"{who} beats the default by {-moved:.1%} in the {name}"
    pairs = confirmed_pairs(sweep, metric)
    if not pairs:
        return "wins", text
    again, seeds = change(*means(pairs)), "another seed" if len(pairs) == 1 else "other seeds"
    if again is None or again > -LEVEL or wins(pairs) <= len(pairs) / 2:
        return "mixed", f"{text}, but not when both are trained with {seeds}"
    return "wins", f"{text}, and by {-again:.1%} when both are trained with {seeds}"


def _evidence(sweep: Sweep) -> list[str]:
    best, default, metric = best_of(sweep), default_of(sweep), sweep["objectives"][0]
    lines = []
    if best is not None and default is not None and best is not default:
        known = [(key, result(default, key), result(best, key)) for key in METRICS]
        parts = [
            f"{METRICS[key]} {_against(before, after)}"
            for key, before, after in known
            if before is not None and after is not None
        ]
        if parts:
            who = f"trial {best['number']} against the default"
            lines.append(f"Validation split, {who}: {'; '.join(parts)}.")
        pairs = confirmed_pairs(sweep, metric)
        if pairs:
            many = f" in the mean, lower with {wins(pairs)} of {len(pairs)}" * (len(pairs) > 1)
            lines.append(
                f"Both trained again with {count(len(pairs), 'other seed')}: {METRICS[metric]} "
                f"{_against(*means(pairs))}{many}."
            )
            if len(sweep["finalists"]) > 1:
                told = (f"trial {one['number']} {one['mean']:.4f}" for one in sweep["finalists"])
                seeds = count(sweep["finalists"][0]["seeds"], "seed")
                lines.append(f"Finalists, {METRICS[metric]} over {seeds}: {', '.join(told)}.")
        else:
            lines.append(
                "Not trained again with other seeds: some of the difference may be the luck of one."
            )
    if len(sweep["objectives"]) > 1 and sweep["pareto"]:
        first, second = (METRICS[name] for name in sweep["objectives"])
        lines.append(
            f"On the Pareto front of {first} and {second}: {count(len(sweep['pareto']), 'trial')}."
        )
    return lines


def _against(before: float, after: float) -> str:
    moved = change(before, after)
    text = f"{after:.4f} against {before:.4f}"
    return text if moved is None else f"{text} ({in_words(moved)})"


def _missing(default: Trial | None) -> str:
    """Why there is nothing to compare with."""
    if default is None:
        return "was not tried"
    if default["state"] == "pruned":
        return f"was pruned after {count(epochs(default), 'epoch')}"
    return {"failed": "failed", "running": "is still running"}.get(
        default["state"], "has no result"
    )
