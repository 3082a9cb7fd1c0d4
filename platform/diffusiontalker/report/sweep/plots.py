"""The plots of ``sweep.html`` as plotly figures, pure functions of the summary.

Optuna draws the optimisation history, and computes the importance and the Pareto front. Its other
plots (5.0) show finished trials alone and neither the default nor names in hover texts, so those
are drawn here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import optuna
import plotly.graph_objects as go
from optuna.trial import TrialState, create_trial
from optuna.visualization import plot_optimization_history

from diffusiontalker.report.bars import horizontal_bars
from diffusiontalker.report.figures import COLOR, finished
from diffusiontalker.report.sweep.axes import limits, results, upper_limit
from diffusiontalker.report.sweep.parallel import parallel
from diffusiontalker.report.sweep.traces import (
    DEFAULT,
    Points,
    add_best_and_default,
    add_points,
    axis_title,
    four_decimals,
    heading,
    result_label,
    trial_label,
)
from diffusiontalker.report.sweep.trials import METRIC_LABELS, compared_metrics
from diffusiontalker.report.wording import plain
from diffusiontalker.summary.sweep import SweepSummary, Trial


def figures(sweep: SweepSummary) -> dict[str, go.Figure]:
    """All plots that have something to show, by the id of their place on the page."""
    out = {}
    if trials := with_results(sweep, sweep.objectives[:1]):
        out["parallel"] = parallel(sweep, trials)
    if trials := with_results(sweep, compared_metrics(sweep)):
        out["front"] = front(sweep, trials)
    for metric in sweep.objectives:
        if with_results(sweep, [metric]):
            out[f"history-{metric}"] = history(sweep, metric)
        if any(p.value(metric) is not None for t in sweep.trials for p in t.curve):
            out[f"curves-{metric}"] = curves(sweep, metric)
        if shares := sweep.importance.get(metric):
            out[f"importance-{metric}"] = importance(metric, shares)
    return out


def with_results(sweep: SweepSummary, metrics: Sequence[str]) -> list[Trial]:
    """The trials that have all these results."""
    return [t for t in sweep.trials if all(t.result(key) is not None for key in metrics)]


def importance(metric: str, shares: Mapping[str, float | None]) -> go.Figure:
    """The importance of each parameter for a metric, the greatest first."""
    items = sorted(((name, share or 0.0) for name, share in shares.items()), key=lambda i: -i[1])
    return horizontal_bars(
        [name for name, _ in items],
        [round(100 * share, 2) for _, share in items],
        [f"{share:.0%}" for _, share in items],
        "share of the importance, %",
        heading(metric),
    )


def history(sweep: SweepSummary, metric: str) -> go.Figure:
    """A metric of the trials by their number, the best value so far, and the default's."""
    shown = {trial.number: trial for trial in with_results(sweep, [metric])}
    low, high = limits(list(shown.values()), metric)
    values = {number: min(trial.loss(metric), high) for number, trial in shown.items()}
    study = optuna.create_study()
    for number in range(max(shown) + 1):
        done = number in shown and shown[number].state == "done"
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, value=values[number])
            if done
            else create_trial(state=TrialState.FAIL)
        )
    figure = plot_optimization_history(study, target_name=METRIC_LABELS[metric])
    if figure.data:  # none where no trial is finished
        finished_trials, best, _ = figure.data
        finished_trials.update(
            text=[result_label(shown[number], metric) for number in finished_trials.x],
            hovertemplate="%{text}<extra></extra>",
            marker={"color": COLOR["muted"], "size": 8},
        )
        best.update(line={"color": COLOR["teacher"], "width": 1.5, "shape": "hv"}, hoverinfo="skip")
    unfinished = [trial for trial in shown.values() if trial.state != "done"]
    points: Points = [
        (trial.number, values[trial.number], result_label(trial, metric)) for trial in unfinished
    ]
    marker = {"color": COLOR["muted"], "size": 8, "symbol": "circle-open"}
    add_points(figure, points, {}, "markers", marker, opacity=0.75)
    if 0 in values:
        figure.add_hline(values[0], line={"color": DEFAULT, "dash": "dash", "width": 1.5})
    pad = 0.05 * (high - low) or 0.05 * abs(high)
    figure.update_xaxes(title="trial", dtick=max(1, math.ceil(max(shown) / 10)))
    figure.update_yaxes(title=axis_title(metric), range=[low - pad, high + pad])
    return finished(figure, heading(metric), height=380)


def front(sweep: SweepSummary, shown: Sequence[Trial]) -> go.Figure:
    """Trials in two metrics; with two objectives, the Pareto front among them."""
    x, y = compared_metrics(sweep)
    ends = {key: limits(shown, key)[1] for key in (x, y)}

    def points(chosen: Sequence[Trial]) -> Points:
        at = {key: [min(value, ends[key]) for value in results(chosen, key)] for key in (x, y)}
        texts = (result_label(trial, x, y) for trial in chosen)
        return list(zip(at[x], at[y], texts, strict=True))

    pair = [trial for trial in (sweep.best_trial, sweep.default_trial) if trial in shown]
    on_front = [t for t in shown if len(sweep.objectives) > 1 and t.id in sweep.pareto]
    others = [trial for trial in shown if trial not in pair and trial not in on_front]
    figure = go.Figure()
    for done, symbol in ((False, "circle-open"), (True, "circle")):
        chosen = [trial for trial in others if (trial.state == "done") is done]
        marker = {"color": COLOR["muted"], "size": 8, "symbol": symbol}
        add_points(figure, points(chosen), {}, "markers", marker, opacity=0.75)
    line = {"color": COLOR["teacher"], "width": 1.5, "shape": "hv"}
    marker = {"color": COLOR["teacher"], "size": 9}
    steps = sorted(points(on_front), key=lambda point: (point[0] or 0.0, -(point[1] or 0.0)))
    add_points(figure, steps, line, "lines+markers", marker)
    add_best_and_default(figure, sweep, lambda t: points([t] if t in shown else []), "markers")
    figure.update_xaxes(title=axis_title(x), nticks=8)
    figure.update_yaxes(title=axis_title(y))
    return finished(figure, "", height=380)


def curves(sweep: SweepSummary, metric: str) -> go.Figure:
    """A metric of the validation split by epoch, a line for each trial."""
    trials = sweep.trials

    def lines(chosen: Iterable[Trial]) -> Points:
        points: Points = []
        for trial in chosen:
            label = trial_label(trial)
            for point in trial.curve:
                value = point.value(metric)
                text = f"{label}<br>epoch {plain(point.epochs)}: {four_decimals(value)}"
                points.append((point.epochs, value, text))
            points.append((None, None, ""))
        return points

    pair = (sweep.best_trial, sweep.default_trial)
    others = [trial for trial in trials if trial not in pair]
    figure = go.Figure()
    for pruned, dash in ((False, "solid"), (True, "dot")):
        chosen = [trial for trial in others if (trial.state == "pruned") is pruned]
        line = {"color": COLOR["muted"], "width": 1.2, "dash": dash}
        # With markers, since a curve of one point has no line.
        marker = {"color": COLOR["muted"], "size": 3}
        add_points(figure, lines(chosen), line, "lines+markers", marker, opacity=0.5)
    add_best_and_default(figure, sweep, lambda trial: lines([trial]), "lines+markers", size=5)
    found = (point.value(metric) for trial in trials for point in trial.curve)
    values = [value for value in found if value is not None]
    low, high = min(values), upper_limit(values, values)
    pad = 0.05 * (high - low) or 0.05 * abs(high)
    longest = max(trial.epochs for trial in trials)
    figure.update_xaxes(title="epoch", dtick=max(1, math.ceil(longest / 10)))
    figure.update_yaxes(title=axis_title(metric), range=[low - pad, high + pad])
    return finished(figure, heading(metric), height=380)
