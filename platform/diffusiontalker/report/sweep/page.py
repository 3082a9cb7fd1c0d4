"""The page of a sweep: which settings are better than the base's, by how much, how sure is it?"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusiontalker import storage
from diffusiontalker.report.html import fill
from diffusiontalker.report.metric_columns import DASH, duration, plain
from diffusiontalker.report.prepared.findings import count, share, short
from diffusiontalker.report.sweep import plots
from diffusiontalker.report.sweep.trials import (
    METRICS,
    STATES,
    Sweep,
    Trial,
    best_of,
    change,
    compared,
    confirmed_pairs,
    default_of,
    epochs,
    finite,
    idle_share,
    means,
    result,
    states,
    verdict,
)

ROWS = 500
"""Trials that the table shows at most."""
_STAGES = {
    "teacher": "a teacher",
    "round": "a student, in one round of distillation",
    "chain": "a teacher and the chain of students after it",
}
_SEARCHES = {"tpe": "TPE of Optuna", "random": "random"}
_PRUNINGS = {"asha": "ASHA", "median": "by the median", "none": "none"}
Triple = tuple[float | None, float | None, float | None]


def write_sweep(path: str | Path, sweep: Sweep, winning_yaml: str | None) -> None:
    """Write the page: verdict, parameters, importance, Pareto front, curves, trials, winner.

    Args:
        path: where, ``sweep.html``.
        sweep: plain values, of which any number may be None or NaN:

            - ``name``, ``base``: the configurations of the sweep and under it; ``stage``:
              ``teacher``, ``round`` or ``chain``; ``search``: ``tpe`` or ``random``; ``pruning``:
              ``asha``, ``median`` or ``none``; ``slots``: trials at once; ``wall_seconds``.
            - ``objectives``: one or two of ``METRICS``, of the validation split, to be low.
            - ``space``: parameter -> ``kind`` (``log_uniform``, ``uniform``, ``int`` with ``low``
              and ``high``, ``choice`` with ``choices``); ``default``: the base's own values.
            - ``trials``: ``id``, ``number`` (0 runs the default), ``state`` (a key of ``STATES``),
              ``params``, ``curve`` of points with ``epoch`` and metrics, the last of which is the
              result, ``seconds``, ``training_seconds`` and ``error``, a line or None.
            - ``importance``: objective -> parameter -> share; may be empty.
            - ``best``: id of the best finished trial or None; ``pareto``: ids on the front.
            - ``confirmed``: per further seed ``seed``, and metrics of ``default`` and ``best``.
            - ``finalists``: trials with further seeds, the best first: ``number``, ``seeds``, and
              the ``mean`` of the first objective over them.
        winning_yaml: the configuration of the best trial, to copy or save.

    Raises:
        UserError: the folder is missing or not writable.
    """
    # A name that is no UTF-8 holds lone surrogates, which no page can show.
    page = render(sweep, winning_yaml).encode("utf-8", "replace")
    storage.write_bytes(storage.location(path), page)


def render(sweep: Sweep, winning_yaml: str | None) -> str:
    """The page's HTML; the arguments are ``write_sweep``'s."""
    figures = plots.figures(sweep)
    two = len(sweep["objectives"]) > 1
    trials = trial_rows(sweep)
    return fill(
        "sweep.html.j2",
        ["style.css", "sweep.css"],
        ["page.js"],
        figures,
        {"plain": plain, "duration": duration, "short": short, "count": count},
        plots.COLORS,
        sweep=sweep,
        verdict=verdict(sweep),
        lead=lead(sweep),
        metrics=METRICS,
        pair=[METRICS[key] for key in compared(sweep)],
        two=two,
        rank_key=plots.RANK_KEY,
        front_key=plots.FRONT_KEY if two else plots.FRONT_KEY[:-1],
        curve_key=plots.CURVE_KEY,
        placed=list(figures),
        important=[name for name in figures if name.startswith("importance-")],
        axes=len(sweep["space"]) + len(sweep["objectives"]),
        space=space_rows(sweep),
        confirmed=confirmed_rows(sweep),
        trials=trials[:ROWS],
        trial_count=len(trials),
        failed=[trial for trial in sweep["trials"] if trial["error"]],
        facts=facts(sweep),
        yaml=winning_yaml,
        yaml_data=base64.b64encode((winning_yaml or "").encode("utf-8", "replace")).decode(),
    )


def lead(sweep: Sweep) -> str:
    """What was tried, with what end, in which time, how much of it for nothing."""
    trials, idle = sweep["trials"], idle_share(sweep)
    text = count(len(trials), "trial")
    text += f" ({states(trials)})" if trials else ""
    text += f" in {duration(finite(sweep['wall_seconds']))}, {sweep['slots']} at a time."
    return text if idle is None else f"{text} {share(idle, 1)} of that time was not training."


@dataclass(frozen=True)
class TrialRow:
    """A trial as the page lists it."""

    number: int
    role: str
    """``best``, ``default``, both or nothing."""
    state: str
    results: tuple[tuple[float | None, bool], ...]
    """Each of ``METRICS``, and whether no finished trial has a lower one."""
    params: tuple[tuple[str, float | None], ...]
    """As text, and as a number if it is one."""
    epochs: int
    seconds: float | None


def trial_rows(sweep: Sweep) -> list[TrialRow]:
    """All trials by number."""
    done = [trial for trial in sweep["trials"] if trial["state"] == "done"]
    lowest = {
        key: min((v for t in done if (v := result(t, key)) is not None), default=None)
        for key in METRICS
    }
    roles = (("best", best_of(sweep)), ("default", default_of(sweep)))

    def row(trial: Trial) -> TrialRow:
        values = {key: result(trial, key) for key in METRICS}
        of_done = trial["state"] == "done"
        return TrialRow(
            trial["number"],
            ", ".join(role for role, one in roles if one is trial),
            STATES[trial["state"]],
            tuple((v, of_done and v is not None and v == lowest[key]) for key, v in values.items()),
            tuple((plain(v), finite(v)) for v in map(trial["params"].get, sweep["space"])),
            epochs(trial),
            finite(trial["seconds"]),
        )

    return [row(trial) for trial in sorted(sweep["trials"], key=lambda trial: trial["number"])]


def space_rows(sweep: Sweep) -> list[tuple[str, str, str, str]]:
    """(parameter, what was searched, the base's value, the best trial's value)."""
    best = best_of(sweep)
    return [
        (
            name,
            searched(space),
            plain(sweep["default"].get(name)),
            plain(best["params"].get(name)) if best else DASH,
        )
        for name, space in sweep["space"].items()
    ]


def searched(space: Mapping[str, Any]) -> str:
    """``0.1 to 10, logarithmic``."""
    if space["kind"] == "choice":
        return " | ".join(plain(choice) for choice in space["choices"])
    ends = f"{plain(space['low'])} to {plain(space['high'])}"
    kinds = {"log_uniform": ", logarithmic", "int": ", whole numbers"}
    return ends + kinds.get(space["kind"], "")


def confirmed_rows(sweep: Sweep) -> list[tuple[str, list[Triple]]]:
    """Each seed with (default, best, relative change) per metric; the last row holds the means."""
    rows = []
    for one in sweep["confirmed"]:
        default, best = one["default"] or {}, one["best"] or {}
        pairs = [(finite(default.get(key)), finite(best.get(key))) for key in METRICS]
        rows.append((plain(one["seed"]), [(*pair, change(*pair)) for pair in pairs]))
    if len(rows) > 1:
        known = [confirmed_pairs(sweep, key) for key in METRICS]
        mean = [means(pairs) if pairs else (None, None) for pairs in known]
        rows.append(("mean", [(*pair, change(*pair)) for pair in mean]))
    return rows


def facts(sweep: Sweep) -> dict[str, str]:
    """How the sweep was made, for the foot of the page."""
    idle = idle_share(sweep)
    return {
        "Sweep": sweep["name"],
        "Base": sweep["base"],
        "Each trial trains": _STAGES[sweep["stage"]],
        "Objectives": ", ".join(METRICS[name] for name in sweep["objectives"]),
        "Search": _SEARCHES[sweep["search"]],
        "Pruning": _PRUNINGS[sweep["pruning"]],
        "Trials at a time": plain(sweep["slots"]),
        "Took": duration(finite(sweep["wall_seconds"])),
        "Not training": DASH if idle is None else share(idle, 1),
    }
