"""The plots of ``prepare.html`` as plotly figures, pure functions of the statistics."""

from collections.abc import Sequence

import plotly.graph_objects as go

from diffusiontalker.arkit import CHANNELS, FPS, LIP
from diffusiontalker.report.bars import axis_label, duration_bars, time_unit
from diffusiontalker.report.figures import COLOR, finished
from diffusiontalker.report.prepared.statistics import (
    LAG_MILLISECONDS,
    Channel,
    Lags,
    SetStatistics,
    seconds_by_name,
)
from diffusiontalker.report.wording import duration

NAMED_BARS = 30
"""Bar charts of more names than these go without them."""
FRAME = 1000 / FPS
"""Milliseconds per frame: the bin width of the histogram."""
KEY = (
    ("teacher", "none", "", "least to greatest"),
    ("ink", "none", "circle", "mean"),
    ("student", "none", "diamond", "dead or clipped"),
)
"""Legend of the channel ranges: colour, dashes of an SVG line, marker, meaning."""


def figures(stats: SetStatistics) -> dict[str, go.Figure]:
    """All plots of the page that have something to show, by the id of their place on it."""
    out = {}
    if stats.kept:
        out["splits"] = duration_bars([(name, t.seconds) for name, t in stats.splits.items()])
        out["emotions"] = duration_bars(seconds_by_name(stats.emotions, "unknown"))
        speakers = seconds_by_name(stats.speakers, "unknown")
        few = len(speakers) <= NAMED_BARS
        out["speakers"] = duration_bars(speakers) if few else ranked_bars(speakers)
    if stats.channels:
        limits = (min(0.0, *(c.low for c in stats.channels)),
                  max(1.0, *(c.high for c in stats.channels)))  # fmt: skip
        lip = {CHANNELS[i] for i in LIP}
        upper = [c for c in stats.channels if c.name not in lip]
        lower = [c for c in stats.channels if c.name in lip]
        out["upper"] = ranges(upper, limits, "Upper face and cheeks")
        out["lip"] = ranges(lower, limits, "Jaw, mouth and tongue")
    if stats.lags.measured:
        out["lag"] = lag_histogram(stats.lags)
    return out


def ranked_bars(items: Sequence[tuple[str, float]]) -> go.Figure:
    """(name, seconds) of very many names as vertical bars; the hover text has the name."""
    unit, unit_name = time_unit([seconds for _, seconds in items])
    figure = go.Figure(
        go.Bar(
            x=list(range(1, len(items) + 1)),
            y=[round(seconds / unit, 4) for _, seconds in items],
            customdata=[[axis_label(label), duration(seconds)] for label, seconds in items],
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
            marker={"color": COLOR["teacher"], "line": {"width": 0}},
        )
    )
    figure.update_layout(bargap=0.0 if len(items) > 150 else 0.15)
    figure.update_xaxes(title="rank, most speech first")
    figure.update_yaxes(title=unit_name, rangemode="tozero")
    return finished(figure, "")


def ranges(channels: Sequence[Channel], limits: tuple[float, float], title: str) -> go.Figure:
    """Minimum, mean and maximum of each channel; those that are dead or clipped are marked."""
    positions = list(range(len(channels)))
    figure = go.Figure()
    figure.add_bar(
        x=[c.high - c.low for c in channels],
        base=[c.low for c in channels],
        y=positions,
        orientation="h",
        width=0.45,
        marker={"color": COLOR["teacher"]},
        opacity=0.75,
        customdata=[
            [c.name, f"{c.low:.3f}", f"{c.mean:.3f}", f"{c.high:.3f}", f"{c.pinned:.1%}"]
            for c in channels
        ],
        hovertemplate="%{customdata[0]}<br>%{customdata[1]} to %{customdata[3]}, "
        "mean %{customdata[2]}<br>%{customdata[4]} of frames at 1<extra></extra>",
    )
    figure.add_scatter(
        x=[c.mean for c in channels],
        y=positions,
        mode="markers",
        marker={"color": COLOR["ink"], "size": 6},
        hoverinfo="skip",
    )
    states = [state(c) for c in channels]
    figure.add_scatter(
        x=[c.high for c, text in zip(channels, states, strict=True) if text],
        y=[position for position, text in enumerate(states) if text],
        text=[f" {text}" for text in states if text],
        mode="markers+text",
        textposition="middle right",
        textfont={"color": COLOR["student"], "size": 11},
        marker={"color": COLOR["student"], "size": 9, "symbol": "diamond"},
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure.update_yaxes(
        tickvals=positions,
        ticktext=[c.name for c in channels],
        range=[len(channels) - 0.5, -0.5],
        ticksuffix=" ",
        automargin=True,
        zeroline=False,
    )
    low, high = limits
    pad = (high - low) * 0.02
    # Room on the right for the text beside a mark.
    figure.update_xaxes(range=[low - pad, high + (high - low) * 0.2], nticks=7)
    return finished(figure, title, height=20 * len(channels) + 112)


def state(channel: Channel) -> str:
    """What is wrong with a channel; empty if nothing is."""
    if not channel.named:
        return "never named"
    if channel.dead:
        return "dead"
    return "clipped" if channel.clipped else ""


def lag_histogram(lags: Lags) -> go.Figure:
    """Histogram of the lags in bins of one frame, with the median and the limits of outliers."""
    counts: dict[int, int] = {}
    for _, lag in lags.measured:
        counts[round(lag / FRAME)] = counts.get(round(lag / FRAME), 0) + 1
    frames = sorted(counts)
    figure = go.Figure(
        go.Bar(
            x=[round(frame * FRAME, 1) for frame in frames],
            y=[counts[frame] for frame in frames],
            width=FRAME * 0.9,
            marker={"color": COLOR["teacher"]},
            customdata=frames,
            hovertemplate="%{x:.0f} ms (%{customdata} frames): %{y} takes<extra></extra>",
        )
    )
    median = lags.median or 0.0
    figure.add_vline(median, line={"color": COLOR["ink"], "width": 1.5})
    for edge in (median - LAG_MILLISECONDS, median + LAG_MILLISECONDS):
        figure.add_vline(edge, line={"color": COLOR["student"], "width": 1.5, "dash": "dash"})
    reach = max(2 * LAG_MILLISECONDS, *(lags.distance(lag) for _, lag in lags.measured)) + FRAME
    figure.update_xaxes(
        title="lag in ms (positive: mouth later)",
        range=[median - reach, median + reach],
        nticks=7,
        tickangle=0,
    )
    figure.update_yaxes(title="takes", rangemode="tozero", tickformat="~d")
    return finished(figure, "")
