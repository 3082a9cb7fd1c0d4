"""The page of a sweep: which settings are better than the base's, by how much, how certainly?"""

import base64
from dataclasses import dataclass
from pathlib import Path

from diffusiontalker.config import Choice, Spread
from diffusiontalker.report import html
from diffusiontalker.report.sweep import plots, traces
from diffusiontalker.report.sweep.axes import number, results
from diffusiontalker.report.sweep.trials import (
    METRIC_LABELS,
    STATE_LABELS,
    compared_metrics,
    confirmed_pairs,
    known_metrics,
    means,
    relative_change,
    state_counts,
)
from diffusiontalker.report.sweep.verdict import verdict
from diffusiontalker.report.wording import DASH, duration, percent, plain, pluralize, shorten
from diffusiontalker.summary.sweep import SweepSummary, Trial

ROWS = 500
"""Maximum of rows of the table of trials."""
_STAGES = {
    "teacher": "a teacher",
    "round": "a student, in one round of distillation",
    "chain": "a teacher and the chain of students after it",
}
_SEARCHES = {"tpe": "TPE of Optuna", "random": "random"}
_PRUNINGS = {"asha": "ASHA", "median": "by the median", "none": "none"}
Comparison = tuple[float | None, float | None, float | None]
"""Default, best, relative change."""


def write_sweep(path: str | Path, sweep: SweepSummary, winning_yaml: str | None) -> None:
    """Write the page: verdict, parameters, importance, Pareto front, curves, trials, winner.

    Args:
        path: of ``sweep.html``.
        sweep: the summary.
        winning_yaml: the configuration of the best trial, to copy or save; None before the end.

    Raises:
        UserError: the folder is missing or not writable.
    """
    html.write(path, render(sweep, winning_yaml))


def render(sweep: SweepSummary, winning_yaml: str | None) -> str:
    """The page's HTML; the arguments are ``write_sweep``'s."""
    figures = plots.figures(sweep)
    two = len(sweep.objectives) > 1
    rows = trial_rows(sweep)
    return html.fill(
        "sweep/page.html.j2",
        figures,
        {"plain": plain, "duration": duration, "shorten": shorten, "pluralize": pluralize},
        traces.COLORS,
        styles=["sweep/page.css"],
        sweep=sweep,
        verdict=verdict(sweep),
        lead=lead(sweep),
        metrics=known_metrics(sweep),
        pair=[METRIC_LABELS[key] for key in compared_metrics(sweep)],
        two=two,
        rank_key=traces.RANK_KEY,
        front_key=traces.FRONT_KEY if two else traces.FRONT_KEY[:-1],
        history_key=traces.HISTORY_KEY,
        curve_key=traces.CURVE_KEY,
        placed=list(figures),
        lowest=lowest(sweep),
        important=[name for name in figures if name.startswith("importance-")],
        axes=len(sweep.space) + len(sweep.objectives),
        space=space_rows(sweep),
        confirmed=confirmed_rows(sweep),
        trials=rows[:ROWS],
        trial_count=len(rows),
        failed=[trial for trial in sweep.trials if trial.error],
        facts=facts(sweep),
        yaml=winning_yaml,
        yaml_data=base64.b64encode((winning_yaml or "").encode("utf-8", "replace")).decode(),
    )


def lead(sweep: SweepSummary) -> str:
    """One line: trials by state, the time that they took, and the share of it without training."""
    text = pluralize(len(sweep.trials), "trial")
    text += f" ({state_counts(sweep.trials)})" if sweep.trials else ""
    text += f" in {duration(sweep.wall_seconds)}, {sweep.slots} at a time."
    idle = sweep.idle_share
    return text if idle is None else f"{text} {percent(idle, 1)} of that time was not training."


def lowest(sweep: SweepSummary) -> list[tuple[str, int]]:
    """(objective, number of the finished trial with its lowest value), where there is one."""
    out = []
    for metric in sweep.objectives:
        done = [t for t in sweep.trials if t.state == "done" and t.result(metric) is not None]
        if done:
            best = min(done, key=lambda trial: trial.loss(metric))
            out.append((METRIC_LABELS[metric], best.number))
    return out


@dataclass(frozen=True)
class TrialRow:
    """A row of the table of trials."""

    number: int
    role: str
    """``best``, ``default``, both or nothing."""
    state: str
    results: tuple[tuple[float | None, bool], ...]
    """Each metric, and whether it is the lowest of the finished trials."""
    params: tuple[tuple[str, float | None], ...]
    """As text, and as a number if it is one."""
    epochs: int
    seconds: float


def trial_rows(sweep: SweepSummary) -> list[TrialRow]:
    """All trials by number."""
    done = [trial for trial in sweep.trials if trial.state == "done"]
    lowest = {key: min(results(done, key), default=None) for key in known_metrics(sweep)}
    roles = (("best", sweep.best_trial), ("default", sweep.default_trial))

    def row(trial: Trial) -> TrialRow:
        values = {key: trial.result(key) for key in known_metrics(sweep)}
        of_done = trial.state == "done"
        return TrialRow(
            trial.number,
            ", ".join(role for role, one in roles if one is trial),
            STATE_LABELS[trial.state],
            tuple((v, of_done and v is not None and v == lowest[key]) for key, v in values.items()),
            tuple((plain(v), number(v)) for v in map(trial.params.get, sweep.space)),
            trial.epochs,
            trial.seconds,
        )

    return [row(trial) for trial in sorted(sweep.trials, key=lambda trial: trial.number)]


def space_rows(sweep: SweepSummary) -> list[tuple[str, str, str, str]]:
    """(parameter, what was searched, the base's value, the best trial's value)."""
    best = sweep.best_trial
    return [
        (
            name,
            searched(space),
            plain(sweep.default.get(name)),
            plain(best.params.get(name)) if best else DASH,
        )
        for name, space in sweep.space.items()
    ]


def searched(space: Spread | Choice) -> str:
    """``0.1 to 10, logarithmic``."""
    if isinstance(space, Choice):
        return " | ".join(plain(choice) for choice in space.choices)
    scales = {"log_uniform": ", logarithmic", "int": ", whole numbers", "uniform": ""}
    return f"{plain(space.low)} to {plain(space.high)}{scales[space.kind]}"


def confirmed_rows(sweep: SweepSummary) -> list[tuple[str, list[Comparison]]]:
    """Each seed with a comparison per metric; the last row holds the means over the seeds."""
    rows = []
    for one in sweep.confirmed:
        pairs = [(one.default.get(key), one.best.get(key)) for key in known_metrics(sweep)]
        rows.append((plain(one.seed), [(*pair, relative_change(*pair)) for pair in pairs]))
    if len(rows) > 1:
        known = [confirmed_pairs(sweep, key) for key in known_metrics(sweep)]
        mean = [means(pairs) if pairs else (None, None) for pairs in known]
        rows.append(("mean", [(*pair, relative_change(*pair)) for pair in mean]))
    return rows


def facts(sweep: SweepSummary) -> dict[str, str]:
    """The table of provenance at the foot of the page."""
    idle = sweep.idle_share
    return {
        "Sweep": sweep.name,
        "Base": sweep.base,
        "Each trial trains": _STAGES[sweep.stage],
        "Objectives": ", ".join(METRIC_LABELS[name] for name in sweep.objectives),
        "Search": _SEARCHES[sweep.search],
        "Pruning": _PRUNINGS[sweep.pruning],
        "Trials at a time": plain(sweep.slots),
        "Took": duration(sweep.wall_seconds),
        "Not training": DASH if idle is None else percent(idle, 1),
    }
