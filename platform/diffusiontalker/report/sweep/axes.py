"""Axes of the plots of ``sweep.html``: positions of values, ranges and ticks."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusiontalker.config import Choice
from diffusiontalker.report.bars import axis_label
from diffusiontalker.report.sweep.trials import METRIC_LABELS, UNITS
from diffusiontalker.report.wording import plain
from diffusiontalker.summary.sweep import SweepSummary, Trial


@dataclass(frozen=True)
class Axis:
    """One of the parallel axes: ``position`` maps a value to 0 to 1; ticks are (position, text)."""

    title: str
    position: Callable[[Any], float | None]
    ticks: tuple[tuple[float, str], ...]


def limits(trials: Sequence[Trial], metric: str) -> tuple[float, float]:
    """The range of an axis of results: that of the finished trials, if there are four or more.

    Trials pruned early are so much worse that they would compress the differences between the
    finished ones.
    """
    known = results(trials, metric)
    done = results([trial for trial in trials if trial.state == "done"], metric)
    return (min(known), upper_limit(known, done if len(done) > 3 else known)) if known else (0, 1)


def results(trials: Iterable[Trial], metric: str) -> list[float]:
    """The results that are known."""
    return [value for trial in trials if (value := trial.result(metric)) is not None]


def upper_limit(values: Sequence[float], reference: Sequence[float]) -> float:
    """The upper end of an axis that a diverged trial does not stretch: the greatest value, but at
    most three times the range from the minimum to the upper quartile of ``reference``; our choice.
    """
    low, upper = np.quantile(reference, [0.0, 0.75]).tolist()
    return min(max(values), low + 3 * (upper - low)) if upper > low else max(values)


def parameter_axis(sweep: SweepSummary, name: str) -> Axis:
    """The axis of a parameter; its range includes the default, which may lie outside the space."""
    space, default = sweep.space[name], sweep.default.get(name)
    title = "<br>".join(axis_label(part, 16) for part in name.split("."))
    if isinstance(space, Choice):
        choices = list(space.choices)
        choices += [default] if default is not None and default not in choices else []
        step = 1 / max(len(choices) - 1, 1)
        return Axis(
            title,
            lambda value: choices.index(value) * step if value in choices else None,
            tuple((n * step, axis_label(plain(value), 14)) for n, value in enumerate(choices)),
        )
    tried = [default, *(trial.params.get(name) for trial in sweep.trials)]
    known = [space.low, space.high, *(v for v in map(number, tried) if v is not None)]
    if space.kind == "log_uniform":
        return number_axis(title, [value for value in known if value > 0], log=True)
    return number_axis(title, known, whole=space.kind == "int")


def result_axis(trials: Sequence[Trial], metric: str) -> Axis:
    """The axis of a metric; values beyond ``limits`` are drawn at its end."""
    title = METRIC_LABELS[metric].replace(" ", "<br>", 1) + f",<br>{UNITS[metric]}"
    return number_axis(title, limits(trials, metric), digits=4)


def number_axis(
    title: str, values: Sequence[float], log: bool = False, whole: bool = False, digits: int = 3
) -> Axis:
    """An axis from the least to the greatest value; values beyond are drawn at its ends.

    Args:
        title: of the axis.
        values: what it spans.
        log: logarithmic.
        whole: ticks at whole numbers.
        digits: of the ticks, significant ones.
    """
    low, high = min(values), max(values)
    scale = math.log10 if log else float
    start, span = scale(low), (scale(high) - scale(low)) or 1.0

    def position(value: Any) -> float | None:
        known = number(value)
        return None if known is None else (scale(min(max(known, low), high)) - start) / span

    if log:
        inner = [10.0**power for power in range(math.ceil(start), math.floor(scale(high)) + 1)]
    else:
        inner = np.linspace(low, high, 5).tolist()
    inner = [float(round(value)) for value in inner] if whole else inner
    # Ticks in between only where they do not touch those at the ends.
    inside = [value for value in dict.fromkeys(inner) if 0.08 < (position(value) or 0.0) < 0.92]
    inside = inside[:: math.ceil(len(inside) / 5) or 1]
    ticks = dict.fromkeys([low, *inside, high])
    return Axis(title, position, tuple((position(v) or 0.0, f"{v:.{digits}g}") for v in ticks))


def number(value: Any) -> float | None:
    """The value of a setting as a finite number; None if it is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None
