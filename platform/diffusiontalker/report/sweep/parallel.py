"""Parallel coordinates of the trials: a line for each through its parameters and results.

Drawn as scatter lines: plotly's own ``parcoords`` has no logarithmic axis, cannot emphasise single
lines, and needs WebGL shaders compiled by ``new Function``, which the page's policy forbids.
"""

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from diffusiontalker.report.figures import COLOR, finished
from diffusiontalker.report.sweep.axes import parameter_axis, result_axis
from diffusiontalker.report.sweep.traces import (
    CARD,
    QUINTILES,
    Points,
    add_best_and_default,
    add_points,
    equation,
    four_decimals,
    trial_label,
)
from diffusiontalker.report.sweep.trials import METRIC_LABELS
from diffusiontalker.report.wording import plain
from diffusiontalker.summary.sweep import SweepSummary, Trial


def parallel(sweep: SweepSummary, trials: Sequence[Trial]) -> go.Figure:
    """The trials in the colours of their rank in the first objective, the best on top."""
    parameters = {name: parameter_axis(sweep, name) for name in sweep.space}
    objectives = {name: result_axis(trials, name) for name in sweep.objectives}
    axes = [*parameters.values(), *objectives.values()]

    def lines(chosen: Iterable[Trial]) -> Points:
        points: Points = []
        for trial in chosen:
            values = [(axis, trial.params.get(name)) for name, axis in parameters.items()]
            texts = [equation(name, plain(trial.params.get(name))) for name in parameters]
            values += [(axis, trial.result(name)) for name, axis in objectives.items()]
            texts += [
                equation(METRIC_LABELS[name], four_decimals(trial.result(name)))
                for name in objectives
            ]
            label = trial_label(trial)
            for x, ((axis, value), text) in enumerate(zip(values, texts, strict=True)):
                points.append((x, axis.position(value), f"{label}<br>{text}"))
            points.append((None, None, ""))
        return points

    figure = go.Figure()
    first = sweep.objectives[0]
    ranked = sorted(trials, key=lambda trial: trial.loss(first))
    for number, (light, _) in reversed(list(enumerate(QUINTILES.values()))):
        quintile = [t for n, t in enumerate(ranked) if n * len(QUINTILES) // len(ranked) == number]
        add_points(figure, lines(quintile), {"color": light, "width": 1.4})
    add_best_and_default(
        figure, sweep, lambda t: lines([t] if t in trials else []), "lines+markers"
    )
    for x, axis in enumerate(axes):
        for position, text in axis.ticks:
            figure.add_annotation(
                x=x,
                y=position,
                text=text,
                showarrow=False,
                xanchor="left",
                xshift=7,
                font={"color": COLOR["muted"], "size": 10},
                bgcolor=CARD[0],
                borderpad=1,
            )
    figure = finished(figure, "", height=440)
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=[axis.title for axis in axes],
        tickfont={"color": COLOR["ink"]},
        range=[-0.3, len(axes) - 0.4],
        side="top",
        gridcolor=COLOR["muted"],
        showline=False,
        zeroline=False,
        tickangle=0,
        fixedrange=True,
    )
    figure.update_yaxes(visible=False, range=[-0.05, 1.05], fixedrange=True)
    return figure.update_layout(margin={"l": 10, "r": 10, "t": 70, "b": 14})
