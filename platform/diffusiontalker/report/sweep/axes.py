"""Axes of the plots of ``sweep.html``: where a value lies, and what stands beside it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusiontalker.report.metric_columns import plain
from diffusiontalker.report.prepared.plots import axis_name
from diffusiontalker.report.sweep.trials import METRICS, Sweep, Trial, finite, result


@dataclass(frozen=True)
class Axis:
    """One of the parallel axes: where a value lies, 0 to 1, and ticks as (place, text)."""

    title: str
    place: Callable[[Any], float | None]
    ticks: tuple[tuple[float, str], ...]


def limits(trials: Sequence[Trial], metric: str) -> tuple[float, float]:
    """The ends of an axis of results, of which four finished trials or more are the measure.

    Those pruned early are so much worse that beside them all finished ones would look alike.
    """
    known = results(trials, metric)
    done = results([trial for trial in trials if trial["state"] == "done"], metric)
    return (min(known), ceiling(known, done if len(done) > 3 else known)) if known else (0.0, 1.0)


def results(trials: Iterable[Trial], metric: str) -> list[float]:
    """The results that are known."""
    return [value for trial in trials if (value := result(trial, metric)) is not None]


def ceiling(values: Sequence[float], measure: Sequence[float]) -> float:
    """Where an axis ends, lest a diverged trial squeeze all others: at the greatest value, or at
    three times what three quarters of the measure span; our choice.
    """
    low, upper = np.quantile(measure, [0.0, 0.75]).tolist()
    return min(max(values), low + 3 * (upper - low)) if upper > low else max(values)


def parameter_axis(sweep: Sweep, name: str) -> Axis:
    """The axis of a parameter; it holds the default too, which may lie outside the space."""
    space = sweep["space"][name]
    tried = [sweep["default"].get(name), *(trial["params"].get(name) for trial in sweep["trials"])]
    title = "<br>".join(axis_name(part, 16) for part in name.split("."))
    if space["kind"] == "choice":
        choices = list(space["choices"])
        choices += [value for value in tried[:1] if value is not None and value not in choices]
        step = 1 / max(len(choices) - 1, 1)
        return Axis(
            title,
            lambda value: choices.index(value) * step if value in choices else None,
            tuple((n * step, axis_name(plain(value), 14)) for n, value in enumerate(choices)),
        )
    known = [space["low"], space["high"], *(v for v in map(finite, tried) if v is not None)]
    if space["kind"] == "log_uniform":
        return number_axis(title, [value for value in known if value > 0], log=True)
    return number_axis(title, known, whole=space["kind"] == "int")


def result_axis(trials: Sequence[Trial], metric: str) -> Axis:
    """The axis of a metric; what lies beyond ``limits`` lies at its end."""
    title = METRICS[metric].replace(" ", "<br>", 1) + ",<br>coefficients"
    return number_axis(title, limits(trials, metric), digits=4)


def number_axis(
    title: str, values: Sequence[float], log: bool = False, whole: bool = False, digits: int = 3
) -> Axis:
    """An axis from the least to the greatest value; what lies beyond lies at its ends."""
    low, high = min(values), max(values)
    scale = math.log10 if log else float
    start, span = scale(low), (scale(high) - scale(low)) or 1.0

    def place(value: Any) -> float | None:
        number = finite(value)
        return None if number is None else (scale(min(max(number, low), high)) - start) / span

    if log:
        inner = [10.0**power for power in range(math.ceil(start), math.floor(scale(high)) + 1)]
    else:
        inner = np.linspace(low, high, 5).tolist()
    inner = [float(round(value)) for value in inner] if whole else inner
    # Those in between only where the ends leave them room.
    inside = [value for value in dict.fromkeys(inner) if 0.08 < (place(value) or 0.0) < 0.92]
    inside = inside[:: math.ceil(len(inside) / 5) or 1]
    ticks = dict.fromkeys([low, *inside, high])
    return Axis(title, place, tuple((place(v) or 0.0, f"{v:.{digits}g}") for v in ticks))
