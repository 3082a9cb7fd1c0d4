"""Traces and colours that the plots of ``sweep.html`` share, with the legends of the page."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import plotly.graph_objects as go

from diffusiontalker.report.figures import COLOR, PALETTE
from diffusiontalker.report.sweep.trials import METRIC_LABELS, STATE_LABELS, UNITS
from diffusiontalker.report.wording import plain, pluralize, shorten
from diffusiontalker.summary.sweep import SweepSummary, Trial

QUINTILES = {
    "quintile-1": ("#0B4F8A", "#8FD3FF"),
    "quintile-2": ("#3A82BB", "#5FAEDF"),
    "quintile-3": ("#78ABD0", "#417FA9"),
    "quintile-4": ("#A9C5DA", "#365D7E"),
    "quintile-5": ("#CBD5DD", "#304559"),
}
"""Colours of the trials by rank, the best fifth first, on light and on dark background."""
CARD = ("#FFFFFF", "#181F2A")
"""Background of the plots, behind the ticks of an axis; as ``--card`` in style.css."""
COLORS = {**PALETTE, **QUINTILES, "card": CARD}
"""The page's palette."""
BEST, DEFAULT = COLOR["student"], COLOR["ink"]
RANK_KEY = (
    ("student", "none", "diamond", "best trial"),
    ("ink", "6 4", "square", "default"),
    *(
        (name, "none", "", f"{words} fifth")
        for name, words in zip(
            QUINTILES, ("best", "second", "middle", "fourth", "worst"), strict=True
        )
    ),
)
"""Legend of the parallel coordinates: colour, dashes of an SVG line, marker, meaning."""
_NO_LINE = "0 40"
FRONT_KEY = (
    ("student", _NO_LINE, "diamond", "best trial"),
    ("ink", _NO_LINE, "square", "default"),
    ("muted", _NO_LINE, "circle", "finished trials"),
    ("muted", _NO_LINE, "ring", "pruned, failed or running trials at their last epoch"),
    ("teacher", "none", "circle", "Pareto front"),
)
"""The last entry with two objectives alone."""
HISTORY_KEY = (
    ("teacher", "none", "", "best value so far"),
    ("ink", "6 4", "", "default"),
    ("muted", _NO_LINE, "circle", "finished trials"),
    ("muted", _NO_LINE, "ring", "pruned, failed or running trials at their last epoch"),
)
CURVE_KEY = (
    ("student", "none", "", "best trial"),
    ("ink", "6 4", "", "default"),
    ("muted", "none", "", "other trials"),
    ("muted", "2 4", "", "pruned trials"),
)
Points = list[tuple[float | None, float | None, str]]
"""(x, y, hover text); y None interrupts a line."""


def add_points(
    figure: go.Figure,
    points: Points,
    line: Mapping[str, Any],
    mode: str = "lines",
    marker: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """One trace of many points. Hover texts are data, not a template, which names could break."""
    if points:
        figure.add_scatter(
            x=[x for x, _, _ in points],
            y=[None if y is None else float(f"{y:.6g}") for _, y, _ in points],
            text=[text for *_, text in points],
            mode=mode,
            line=line,
            marker=marker,
            hovertemplate="%{text}<extra></extra>",
            **more,
        )


def add_best_and_default(
    figure: go.Figure,
    sweep: SweepSummary,
    points: Callable[[Trial], Points],
    mode: str,
    size: int = 7,
) -> None:
    """The best trial and, above it and thinner, the default: both show where they coincide."""
    for trial, name, color, dash, symbol, extra in (
        (sweep.best_trial, "best trial", BEST, "solid", "diamond", 4),
        (sweep.default_trial, "default", DEFAULT, "dash", "square", 0),
    ):
        if trial is not None:
            add_points(
                figure,
                points(trial),
                {"color": color, "width": 2 + extra / 4, "dash": dash},
                mode,
                {"color": color, "size": size + extra, "symbol": symbol},
                name=name,
                cliponaxis=mode != "markers",
            )


def trial_label(trial: Trial) -> str:
    """``trial 7, pruned after 2 epochs``."""
    if trial.state == "done":
        return f"trial {trial.number}"
    state = f"{STATE_LABELS[trial.state]} after {pluralize(trial.epochs, 'epoch')}"
    return f"trial {trial.number}, {state}"


def result_label(trial: Trial, *metrics: str) -> str:
    """The trial and its results, a line each."""
    parts = [f"{METRIC_LABELS[key]} {four_decimals(trial.result(key))}" for key in metrics]
    return "<br>".join([trial_label(trial), *parts])


def equation(name: str, value: str) -> str:
    """``name = value``, with markup escaped."""
    return escape(f"{shorten(name, 60)} = {shorten(value, 60)}")


def four_decimals(value: float | None) -> str:
    """A result as text."""
    return plain(None) if value is None else f"{value:.4f}"


def heading(metric: str) -> str:
    """The title of a plot."""
    label = METRIC_LABELS[metric]
    return f"{label[0].upper()}{label[1:]}"


def axis_title(metric: str) -> str:
    """The metric and its unit."""
    return f"{METRIC_LABELS[metric]}, {UNITS[metric]}"
