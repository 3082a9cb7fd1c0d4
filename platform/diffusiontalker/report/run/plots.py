"""The plots of a run's page as plotly figures: pure functions of summary, histories and sample."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from diffusiontalker.arkit import FPS, INDEX
from diffusiontalker.report.figures import COLOR, finished
from diffusiontalker.report.log_axis import log_axis
from diffusiontalker.report.metric_columns import BY_KEY
from diffusiontalker.report.run.sample import Sample
from diffusiontalker.report.run.spectra import spectrum_plots
from diffusiontalker.report.splits import FLOOR_TITLES, floors_of, rows_of, splits_of
from diffusiontalker.summary.run import Row, RunSummary

History = Sequence[Mapping[str, float | None]]
"""Losses of a stage (``history.json``): training points hold ``step``, ``loss`` and its parts,
validation points ``step`` and ``val_*``."""

COURSE = frozenset({"step", "seconds", "skipped", "gradient_norm", "learning_rate"})
"""What a point of a history holds beside losses."""

_FLOOR_DASH = {"recording": "solid", "sampling": "dash", "regression": "dot"}
KEY = (
    ("teacher", "none", "circle", "teacher, not distilled"),
    ("student", "none", "diamond", "students, distilled"),
    ("sampling", "8 5", "", "sampling floor, or a spread of 1.0"),
    ("regression", "2 4", "", "regression floor"),
)
"""Key to the plots of models: colour, dashes of an SVG line, marker, meaning."""
_FACES = {"truth": "ink", "teacher": "teacher", "student": "student"}
_DASHES = {"truth": "solid", "teacher": "dot", "student": "solid"}
_PARTS = ("solid", "dot", "dash", "dashdot")


def figures(
    summary: RunSummary, histories: Mapping[str, History]
) -> list[tuple[str, str, list[tuple[str, go.Figure]]]]:
    """The plots of metrics and losses in groups: (title, explanation, [(id, figure), ...])."""
    groups = []
    for split, title in splits_of(summary).items():
        plots = [
            (f"{key}-{split}", over_steps(summary, split, key))
            for key in ("lbe", "mbe", "energy_score")
        ]
        plots += [
            (f"spread-{split}", spread_over_steps(summary, split)),
            (f"speed-{split}", speed_against_error(summary, split)),
            *spectrum_plots(summary, split),
        ]
        text = (
            "Fewer steps are to the left. Floors are what a perfect model would score. "
            "For spread, the line at 1.0 is right; for speed, the lower right corner is best. For "
            "spectra, the recordings' line is right: above it is flicker, below it is blur."
        )
        groups.append((title, text, plots))
    losses = [(f"loss-{n}", loss_curves(*item)) for n, item in enumerate(histories.items())]
    if losses:
        text = (
            "Training and validation loss of each stage. The parts of the loss are in the legend: "
            "click one to show it."
        )
        groups.append(("Training", text, losses))
    return groups


def over_steps(summary: RunSummary, split: str, key: str) -> go.Figure:
    """An error against sampling steps, distilled and not, with both floors."""
    figure = go.Figure()
    _add_models(figure, rows_of(summary, split), key)
    _add_floors(figure, summary, split, key)
    return finished(_steps_axis(figure, summary, split), BY_KEY[key].label)


def spread_over_steps(summary: RunSummary, split: str) -> go.Figure:
    """Predicted over true spread against steps, upper face; 1.0 is right."""
    figure = go.Figure()
    _add_models(figure, rows_of(summary, split), "spread_upper")
    figure.add_hline(1.0, line={"color": COLOR["sampling"], "dash": "dash", "width": 1.5})
    figure = finished(_steps_axis(figure, summary, split), "Spread of the upper face")
    return figure.update_yaxes(rangemode="tozero")


def speed_against_error(summary: RunSummary, split: str) -> go.Figure:
    """LBE against frames per second; points are labelled with their steps."""
    figure = go.Figure()
    _add_models(figure, rows_of(summary, split), "lbe", "fps")
    _add_floors(figure, summary, split, "lbe")
    for trace in figure.data:
        if trace.mode == "lines+markers":
            # Alternately above and below: neighbours may be almost equally fast.
            positions = [
                "top center" if n % 2 == 0 else "bottom center" for n in range(len(trace.x))
            ]
            trace.update(mode="lines+markers+text", textposition=positions, cliponaxis=False)
    speeds = [value for trace in figure.data for value in trace.x]
    figure.update_xaxes(**log_axis(speeds), title="frames per second")
    return finished(figure, "Speed against LBE")


def loss_curves(stage: str, history: History) -> go.Figure:
    """Losses of one stage against optimiser steps; the parts of the loss are hidden at first."""
    figure = go.Figure()
    keys = {key for point in history for key in point} - COURSE
    parts = sorted(key for key in keys - {"loss", "val_loss"} if not key.startswith("val_"))
    styles: list[tuple[str, str, dict[str, Any], bool]] = [
        ("loss", "training", {"color": COLOR["teacher"], "width": 2}, True),
        ("val_loss", "validation", {"color": COLOR["student"], "width": 2, "dash": "dash"}, True),
    ]
    colors = [COLOR[name] for name in ("sampling", "regression", "muted")]
    for n, key in enumerate(parts):
        line = {"color": colors[n % 3], "width": 1.2, "dash": _PARTS[n // 3 % 4]}
        styles.append((key, key, line, False))
    for key, name, line, shown in styles:
        points = [(p["step"], p[key]) for p in history if p.get(key) is not None]
        if points:
            figure.add_scatter(
                x=[step for step, _ in points],
                y=[value for _, value in points],
                name=escape(name),
                mode="lines" if len(points) > 1 else "markers",
                line=line,
                visible=True if shown else "legendonly",
            )
    drawn = [value for trace in figure.data if trace.visible is True for value in trace.y]
    every = [value for trace in figure.data for value in trace.y]
    figure.update_yaxes(**log_axis(drawn or every, every))
    figure.update_xaxes(title="steps of the optimiser", nticks=5)
    below = 62 + 20 * math.ceil(len(figure.data) / 2)  # the legend, in two columns
    figure = finished(figure, stage, height=270 + below)
    legend = {"yref": "container", "y": 0.01, "yanchor": "bottom", "x": 0.02, "xref": "container"}
    return figure.update_layout(showlegend=True, legend=legend, margin={"b": below})


def coefficient_curves(sample: Sample) -> go.Figure:
    """The sample's coefficients over time: truth, teacher and student, a row per channel."""
    rows = len(sample.channels)
    figure = make_subplots(
        rows=rows, shared_xaxes=True, vertical_spacing=0.03, subplot_titles=sample.channels
    )
    seconds = np.arange(len(sample.truth)) / FPS
    for row, channel in enumerate(sample.channels, start=1):
        for name, color in _FACES.items():
            figure.add_scatter(
                x=seconds.round(3).tolist(),
                y=sample.faces()[name][:, INDEX[channel]].astype(float).round(4).tolist(),
                name=name,
                legendgroup=name,
                showlegend=row == 1,
                line={"color": COLOR[color], "dash": _DASHES[name], "width": 1.8},
                row=row,
                col=1,
            )
    figure.update_yaxes(nticks=4, rangemode="tozero")
    figure.update_xaxes(title="seconds", row=rows)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13, "color": COLOR["ink"]})
    figure = finished(figure, "", height=130 * rows + 110)
    legend = {"yref": "container", "y": 0.995, "yanchor": "top", "x": 1, "xanchor": "right"}
    return figure.update_layout(
        hovermode="x", showlegend=True, legend=legend, margin={"t": 64, "b": 60}
    )


def _add_models(
    figure: go.Figure, rows: Sequence[Row], key: str, against: str | None = None
) -> None:
    """One line for the undistilled teacher and one for the students: column ``key`` against column
    ``against``, or against steps."""
    styles = (
        (False, "teacher, not distilled", "teacher", "circle"),
        (True, "students, distilled", "student", "diamond"),
    )
    for distilled, name, color, symbol in styles:
        points = sorted(
            (row.steps, x, y)
            for row in rows
            for x in [row.steps if against is None else BY_KEY[against].of(row)]
            for y in [BY_KEY[key].of(row)]
            if row.distilled is distilled and x is not None and y is not None
        )
        if points:
            figure.add_scatter(
                x=[x for _, x, _ in points],
                y=[y for *_, y in points],
                text=[str(steps) for steps, *_ in points],
                name=name,
                mode="lines+markers",
                line={"color": COLOR[color], "width": 2.2},
                marker={"symbol": symbol, "size": 9},
                hovertemplate="%{text} steps: %{y:.4g}<extra></extra>",
            )


def _add_floors(figure: go.Figure, summary: RunSummary, split: str, key: str) -> None:
    """Dashed lines across the plot."""
    spans = [value for trace in figure.data for value in trace.x]
    for kind, floor in floors_of(summary, split).items():
        level, title = BY_KEY[key].of(floor), FLOOR_TITLES[kind].lower()
        if level is not None and spans:
            figure.add_scatter(
                x=[min(spans), max(spans)],
                y=[level, level],
                name=title,
                mode="lines",
                line={"color": COLOR[kind], "dash": _FLOOR_DASH[kind], "width": 1.8},
                hovertemplate=f"{title}: %{{y:.4g}}<extra></extra>",
            )


def _steps_axis(figure: go.Figure, summary: RunSummary, split: str) -> go.Figure:
    """A logarithmic axis with a tick at each number of steps."""
    steps = sorted({row.steps for row in rows_of(summary, split)})
    return figure.update_xaxes(
        type="log", tickvals=steps, ticktext=[str(n) for n in steps], title="sampling steps"
    )
