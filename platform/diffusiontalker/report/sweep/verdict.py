"""The verdict at the top of ``sweep.html``: does the best trial beat the base's own settings?"""

from diffusiontalker.report.run.verdict import LEVEL, Outcome, Verdict, in_words
from diffusiontalker.report.sweep.trials import (
    METRIC_LABELS,
    confirmed_pairs,
    means,
    relative_change,
    wins,
)
from diffusiontalker.report.wording import pluralize
from diffusiontalker.summary.sweep import SweepSummary, Trial


def verdict(sweep: SweepSummary) -> Verdict:
    """The best trial against the default in the first objective, computed from the numbers.

    With other seeds it holds if the best is lower with most of them, and lower in the mean by at
    least ``LEVEL``; our choice.
    """
    outcome, text = _headline(sweep)
    if any(trial.state == "running" for trial in sweep.trials):
        text = f"so far, {text}"
    return Verdict(outcome, f"{text[0].upper()}{text[1:]}.", tuple(_evidence(sweep)))


def _headline(sweep: SweepSummary) -> tuple[Outcome, str]:
    best, default, metric = sweep.best_trial, sweep.default_trial, sweep.objectives[0]
    label, trials = METRIC_LABELS[metric], sweep.trials
    if best is None:
        if trials and all(trial.state == "failed" for trial in trials):
            return "loses", "the only trial failed" if len(trials) == 1 else "all trials failed"
        return "unknown", "no trial has finished with a result"
    if best is default:
        if sum(trial.result(metric) is not None for trial in trials) == 1:
            return "unknown", "only the default has a result: there is nothing to compare it with"
        only = f" in the {label}" if len(sweep.objectives) == 1 else ""
        return "loses", f"nothing beat the default{only}"
    after = best.result(metric)
    before = None if default is None else default.result(metric)
    if default is None or default.state != "done" or before is None or after is None:
        problem = _problem(default)
        return "unknown", f"trial {best.number} is the best, but the default {problem}"
    change = relative_change(before, after)
    if change is None or change >= 0:
        return "loses", f"trial {best.number}, the best, does not beat the default in the {label}"
    if change > -LEVEL:
        who = f"trial {best.number}, the best"
        return "level", f"nothing beat the default: {who}, is level in the {label}"
    text = f"trial {best.number} beats the default by {-change:.1%} in the {label}"
    pairs = confirmed_pairs(sweep, metric)
    if not pairs:
        return "wins", text
    seeds = "another seed" if len(pairs) == 1 else "other seeds"
    confirmed = relative_change(*means(pairs))
    if confirmed is None or confirmed > -LEVEL or wins(pairs) <= len(pairs) / 2:
        return "mixed", f"{text}, but not when both are trained with {seeds}"
    return "wins", f"{text}, and by {-confirmed:.1%} when both are trained with {seeds}"


def _evidence(sweep: SweepSummary) -> list[str]:
    best, default = sweep.best_trial, sweep.default_trial
    lines = []
    if best is not None and default is not None and best is not default:
        known = [(key, default.result(key), best.result(key)) for key in METRIC_LABELS]
        parts = [
            f"{METRIC_LABELS[key]} {_against(before, after)}"
            for key, before, after in known
            if before is not None and after is not None
        ]
        if parts:
            who = f"trial {best.number} against the default"
            lines.append(f"Validation split, {who}: {'; '.join(parts)}.")
        lines += _seeds(sweep)
    if len(sweep.objectives) > 1 and sweep.pareto:
        first, second = (METRIC_LABELS[name] for name in sweep.objectives)
        number = pluralize(len(sweep.pareto), "trial")
        lines.append(f"On the Pareto front of {first} and {second}: {number}.")
    return lines


def _seeds(sweep: SweepSummary) -> list[str]:
    """How the default and the best compare with other seeds."""
    metric = sweep.objectives[0]
    label, pairs = METRIC_LABELS[metric], confirmed_pairs(sweep, metric)
    if not pairs:
        return ["Not trained again with other seeds: some of the difference may be luck."]
    several = f" in the mean, lower with {wins(pairs)} of {len(pairs)}" * (len(pairs) > 1)
    lines = [
        f"Both trained again with {pluralize(len(pairs), 'other seed')}: {label} "
        f"{_against(*means(pairs))}{several}."
    ]
    if len(sweep.finalists) > 1:
        known = [(one.number, one.mean) for one in sweep.finalists if one.mean is not None]
        listed = ", ".join(f"trial {number} {mean:.4f}" for number, mean in known)
        seeds = pluralize(sweep.finalists[0].seeds, "seed")
        lines.append(f"Finalists, {label} over {seeds}: {listed}.")
    return lines


def _against(before: float, after: float) -> str:
    change = relative_change(before, after)
    text = f"{after:.4f} against {before:.4f}"
    return text if change is None else f"{text} ({in_words(change)})"


def _problem(default: Trial | None) -> str:
    """Why the default cannot be compared with."""
    if default is None:
        return "was not tried"
    if default.state == "pruned":
        return f"was pruned after {pluralize(default.epochs, 'epoch')}"
    return {"failed": "failed", "running": "is still running"}.get(default.state, "has no result")
