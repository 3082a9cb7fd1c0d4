"""The plots of ``sweep.html`` as plotly figures, pure functions of the sweep."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from diffusiontalker.report.figures import COLOR, PALETTE, finished
from diffusiontalker.report.metric_columns import plain
from diffusiontalker.report.prepared.findings import count, short
from diffusiontalker.report.prepared.plots import lying
from diffusiontalker.report.sweep.axes import ceiling, limits, parameter_axis, result_axis, results
from diffusiontalker.report.sweep.trials import (
    METRICS,
    STATES,
    Sweep,
    Trial,
    best_of,
    compared,
    default_of,
    epochs,
    finite,
    result,
)

FIFTHS = {
    "fifth-1": ("#0B4F8A", "#8FD3FF"),
    "fifth-2": ("#3A82BB", "#5FAEDF"),
    "fifth-3": ("#78ABD0", "#417FA9"),
    "fifth-4": ("#A9C5DA", "#365D7E"),
    "fifth-5": ("#CBD5DD", "#304559"),
}
"""Colours of the trials by rank, the best fifth first, on light and on dark ground."""
CARD = ("#FFFFFF", "#181F2A")
"""Ground of the plots, for the figures at an axis; as ``--card`` in style.css."""
COLORS = {**PALETTE, **FIFTHS, "card": CARD}
"""The page's palette."""
BEST, DEFAULT = COLOR["student"], COLOR["ink"]
RANK_KEY = (
    ("student", "none", "diamond", "best trial"),
    ("ink", "6 4", "square", "default"),
    *(
        (name, "none", "", f"{words} fifth")
        for name, words in zip(FIFTHS, ("best", "second", "middle", "fourth", "worst"), strict=True)
    ),
)
"""Key to the parallel coordinates, as ``plots.KEY``."""
_NO_LINE = "0 40"
FRONT_KEY = (
    ("student", _NO_LINE, "diamond", "best trial"),
    ("ink", _NO_LINE, "square", "default"),
    ("muted", _NO_LINE, "circle", "finished trials"),
    ("muted", _NO_LINE, "ring", "pruned, failed or running trials at their last epoch"),
    ("teacher", "none", "circle", "Pareto front"),
)
"""The last one only with two objectives."""
CURVE_KEY = (
    ("student", "none", "", "best trial"),
    ("ink", "6 4", "", "default"),
    ("muted", "none", "", "other trials"),
    ("muted", "2 4", "", "pruned trials"),
)
Points = list[tuple[float | None, float | None, str]]
"""Places and what they say when touched; a None parts two lines."""


def figures(sweep: Sweep) -> dict[str, go.Figure]:
    """All plots of the page that have something to show, by their place on it."""
    out = {}
    if trials := with_results(sweep, sweep["objectives"][:1]):
        out["parallel"] = parallel(sweep, trials)
    if trials := with_results(sweep, compared(sweep)):
        out["front"] = front(sweep, trials)
    for metric in sweep["objectives"]:
        if any(finite(p.get(metric)) is not None for t in sweep["trials"] for p in t["curve"]):
            out[f"curves-{metric}"] = curves(sweep, metric)
        if shares := sweep["importance"].get(metric):
            out[f"importance-{metric}"] = importance(metric, shares)
    return out


def with_results(sweep: Sweep, metrics: Sequence[str]) -> list[Trial]:
    """The trials that have all these results."""
    return [t for t in sweep["trials"] if all(result(t, key) is not None for key in metrics)]


def parallel(sweep: Sweep, trials: Sequence[Trial]) -> go.Figure:
    """A line for each trial through its parameters and results; colours tell the rank.

    Drawn of plain lines: plotly's own trace knows no logarithmic axis, cannot make one line stand
    out, and needs a code generator that the page's policy forbids.
    """
    axes = {name: parameter_axis(sweep, name) for name in sweep["space"]}
    ends = {name: result_axis(trials, name) for name in sweep["objectives"]}

    def lines(chosen: Iterable[Trial]) -> Points:
        points: Points = []
        for trial in chosen:
            who = f"{_who(trial)}<br>"
            for at, (name, axis) in enumerate(axes.items()):
                value = trial["params"].get(name)
                points.append((at, axis.place(value), f"{who}{_equals(name, plain(value))}"))
            for at, (name, axis) in enumerate(ends.items(), start=len(axes)):
                value = result(trial, name)
                points.append((at, axis.place(value), f"{who}{_equals(METRICS[name], _4(value))}"))
            points.append((None, None, ""))
        return points

    figure = go.Figure()
    first = sweep["objectives"][0]
    ranked = sorted(trials, key=lambda trial: result(trial, first) or 0.0)
    for number, (light, _) in reversed(list(enumerate(FIFTHS.values()))):
        fifth = [t for n, t in enumerate(ranked) if n * len(FIFTHS) // len(ranked) == number]
        _add(figure, lines(fifth), {"color": light, "width": 1.4})
    _add_pair(figure, sweep, lambda t: lines([t] if t in trials else []), "lines+markers")
    every = [*axes.values(), *ends.values()]
    for at, axis in enumerate(every):
        for place, text in axis.ticks:
            figure.add_annotation(
                x=at,
                y=place,
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
        tickvals=list(range(len(every))),
        ticktext=[axis.title for axis in every],
        tickfont={"color": COLOR["ink"]},
        range=[-0.3, len(every) - 0.4],
        side="top",
        gridcolor=COLOR["muted"],
        showline=False,
        zeroline=False,
        tickangle=0,
        fixedrange=True,
    )
    figure.update_yaxes(visible=False, range=[-0.05, 1.05], fixedrange=True)
    return figure.update_layout(margin={"l": 10, "r": 10, "t": 70, "b": 14})


def importance(metric: str, shares: Mapping[str, float]) -> go.Figure:
    """How much of the differences in a metric each parameter accounts for, most first."""
    known = {name: finite(share) or 0.0 for name, share in shares.items()}
    items = sorted(known.items(), key=lambda item: -item[1])
    return lying(
        [name for name, _ in items],
        [round(100 * share, 2) for _, share in items],
        [f"{share:.0%}" for _, share in items],
        "share of the importance, %",
        _heading(metric),
    )


def front(sweep: Sweep, shown: Sequence[Trial]) -> go.Figure:
    """Trials in two metrics; with two objectives, the Pareto front among them."""
    x, y = compared(sweep)
    ends = {key: limits(shown, key)[1] for key in (x, y)}

    def points(chosen: Sequence[Trial]) -> Points:
        at = {key: [min(value, ends[key]) for value in results(chosen, key)] for key in (x, y)}
        return list(zip(at[x], at[y], (_both(trial, x, y) for trial in chosen), strict=True))

    pair = [trial for trial in (best_of(sweep), default_of(sweep)) if trial in shown]
    on_front = [t for t in shown if len(sweep["objectives"]) > 1 and t["id"] in sweep["pareto"]]
    others = [trial for trial in shown if trial not in pair and trial not in on_front]
    figure = go.Figure()
    for done, symbol in ((False, "circle-open"), (True, "circle")):
        chosen = [trial for trial in others if (trial["state"] == "done") is done]
        marker = {"color": COLOR["muted"], "size": 8, "symbol": symbol}
        _add(figure, points(chosen), {}, "markers", marker, opacity=0.75)
    line = {"color": COLOR["teacher"], "width": 1.5, "shape": "hv"}
    marker = {"color": COLOR["teacher"], "size": 9}
    steps = sorted(points(on_front), key=lambda point: (point[0] or 0.0, -(point[1] or 0.0)))
    _add(figure, steps, line, "lines+markers", marker)
    _add_pair(figure, sweep, lambda t: points([t] if t in shown else []), "markers")
    figure.update_xaxes(title=_with_unit(x), nticks=8)
    figure.update_yaxes(title=_with_unit(y))
    return finished(figure, "", height=380)


def curves(sweep: Sweep, metric: str) -> go.Figure:
    """A metric of the validation split by epoch, a line for each trial."""
    trials = sweep["trials"]

    def lines(chosen: Iterable[Trial]) -> Points:
        points: Points = []
        for trial in chosen:
            for point in trial["curve"]:
                value = finite(point.get(metric))
                text = f"{_who(trial)}<br>epoch {plain(point['epoch'])}: {_4(value)}"
                points.append((finite(point["epoch"]), value, text))
            points.append((None, None, ""))
        return points

    pair = (best_of(sweep), default_of(sweep))
    others = [trial for trial in trials if trial not in pair]
    figure = go.Figure()
    for pruned, dash in ((False, "solid"), (True, "dot")):
        chosen = [trial for trial in others if (trial["state"] == "pruned") is pruned]
        line = {"color": COLOR["muted"], "width": 1.2, "dash": dash}
        # A mark, lest a curve of one point be invisible.
        marker = {"color": COLOR["muted"], "size": 3}
        _add(figure, lines(chosen), line, "lines+markers", marker, opacity=0.5)
    _add_pair(figure, sweep, lambda trial: lines([trial]), "lines+markers", size=5)
    found = (finite(point.get(metric)) for trial in trials for point in trial["curve"])
    values = [value for value in found if value is not None]
    low, high = min(values), ceiling(values, values)
    pad = 0.05 * (high - low) or 0.05 * abs(high)
    most = max(epochs(trial) for trial in trials)
    figure.update_xaxes(title="epoch", dtick=max(1, math.ceil(most / 10)))
    figure.update_yaxes(title=_with_unit(metric), range=[low - pad, high + pad])
    return finished(figure, _heading(metric), height=380)


def _add(
    figure: go.Figure,
    points: Points,
    line: Mapping[str, Any],
    mode: str = "lines",
    marker: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """One trace of many points; their texts are no part of a template, which data could break."""
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


def _add_pair(
    figure: go.Figure, sweep: Sweep, points: Callable[[Trial], Points], mode: str, size: int = 7
) -> None:
    """The best trial and over it, thinner, the default: both are seen where they are one."""
    for trial, name, color, dash, symbol, extra in (
        (best_of(sweep), "best trial", BEST, "solid", "diamond", 4),
        (default_of(sweep), "default", DEFAULT, "dash", "square", 0),
    ):
        if trial is not None:
            _add(
                figure,
                points(trial),
                {"color": color, "width": 2 + extra / 4, "dash": dash},
                mode,
                {"color": color, "size": size + extra, "symbol": symbol},
                name=name,
                cliponaxis=mode != "markers",
            )


def _who(trial: Trial) -> str:
    state = trial["state"]
    after = "" if state == "done" else f", {STATES[state]} after {count(epochs(trial), 'epoch')}"
    return f"trial {trial['number']}{after}"


def _both(trial: Trial, x: str, y: str) -> str:
    parts = [f"{METRICS[key]} {_4(result(trial, key))}" for key in (x, y)]
    return "<br>".join([_who(trial), *parts])


def _equals(name: str, value: str) -> str:
    return escape(f"{short(name, 60)} = {short(value, 60)}")


def _4(value: float | None) -> str:
    return plain(None) if value is None else f"{value:.4f}"


def _heading(metric: str) -> str:
    name = METRICS[metric]
    return f"{name[0].upper()}{name[1:]}"


def _with_unit(metric: str) -> str:
    return f"{METRICS[metric]}, coefficients"
