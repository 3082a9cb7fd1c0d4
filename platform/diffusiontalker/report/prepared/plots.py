"""The plots of ``prepare.html`` as plotly figures, pure functions of the survey."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from diffusiontalker.arkit import CHANNELS, FPS, LIP
from diffusiontalker.report.figures import COLOR, finished
from diffusiontalker.report.metric_columns import duration
from diffusiontalker.report.prepared.findings import short
from diffusiontalker.report.prepared.statistics import LAG_MILLISECONDS, Channel, Lags, Survey, sums

NAMED_BARS = 30
"""Longer lists have no room for a name at each bar."""
FRAME = 1000 / FPS
"""Milliseconds of one frame: the width of a bar of the histogram."""
KEY = (
    ("teacher", "none", "", "least to greatest"),
    ("ink", "none", "circle", "mean"),
    ("student", "none", "diamond", "dead or clipped"),
)
"""Key to the ranges of the channels, as ``plots.KEY``."""


def figures(found: Survey) -> dict[str, go.Figure]:
    """All plots of the page that have something to show, by their place on it."""
    out = {}
    if found.kept:
        out["splits"] = bars([(name, held.seconds) for name, held in found.splits.items()])
        out["emotions"] = bars(sums(found.emotions, "unknown"))
        speakers = sums(found.speakers, "unknown")
        few = len(speakers) <= NAMED_BARS
        out["speakers"] = bars(speakers) if few else ranked(speakers)
    if found.channels:
        limits = (min(0.0, *(c.low for c in found.channels)),
                  max(1.0, *(c.high for c in found.channels)))  # fmt: skip
        lip = {CHANNELS[i] for i in LIP}
        upper = [c for c in found.channels if c.name not in lip]
        lower = [c for c in found.channels if c.name in lip]
        out["upper"] = ranges(upper, limits, "Upper face and cheeks")
        out["lip"] = ranges(lower, limits, "Jaw, mouth and tongue")
    if found.lags.known:
        out["lag"] = lag_histogram(found.lags)
    return out


def bars(items: Sequence[tuple[str, float]]) -> go.Figure:
    """Seconds of each name as lying bars in the given order, the first on top."""
    unit, name = time_unit([seconds for _, seconds in items])
    return lying(
        [label for label, _ in items],
        [round(seconds / unit, 4) for _, seconds in items],
        [duration(seconds) for _, seconds in items],
        name,
    )


def lying(
    names: Sequence[str], values: Sequence[float], texts: Sequence[str], axis: str, title: str = ""
) -> go.Figure:
    """A bar for each name with a text in it or behind it, the first on top."""
    places = list(range(len(names)))
    figure = go.Figure(
        go.Bar(
            x=list(values),
            y=places,
            text=list(texts),
            textposition="auto",
            orientation="h",
            marker={"color": COLOR["teacher"]},
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    # Numbered places: of names alone plotly would pile up two that look alike.
    figure.update_yaxes(
        tickvals=places,
        ticktext=[axis_name(name) for name in names],
        range=[len(names) - 0.5, -0.5],
        ticksuffix=" ",
        automargin=True,
        showgrid=False,
        zeroline=False,
    )
    figure.update_xaxes(title=axis, rangemode="tozero", nticks=6)
    return finished(figure, title, height=27 * len(names) + (124 if title else 90))


def ranked(items: Sequence[tuple[str, float]]) -> go.Figure:
    """Seconds of very many names as standing bars without names; touching one tells it."""
    unit, name = time_unit([seconds for _, seconds in items])
    figure = go.Figure(
        go.Bar(
            x=list(range(1, len(items) + 1)),
            y=[round(seconds / unit, 4) for _, seconds in items],
            customdata=[[axis_name(label), duration(seconds)] for label, seconds in items],
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
            marker={"color": COLOR["teacher"], "line": {"width": 0}},
        )
    )
    figure.update_layout(bargap=0.0 if len(items) > 150 else 0.15)
    figure.update_xaxes(title="rank, most speech first")
    figure.update_yaxes(title=name, rangemode="tozero")
    return finished(figure, "")


def ranges(channels: Sequence[Channel], limits: tuple[float, float], title: str) -> go.Figure:
    """Each channel from its least to its greatest value, the mean, and marks for trouble."""
    places = list(range(len(channels)))
    figure = go.Figure()
    figure.add_bar(
        x=[c.high - c.low for c in channels],
        base=[c.low for c in channels],
        y=places,
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
        y=places,
        mode="markers",
        marker={"color": COLOR["ink"], "size": 6},
        hoverinfo="skip",
    )
    states = [state(c) for c in channels]
    figure.add_scatter(
        x=[c.high for c, words in zip(channels, states, strict=True) if words],
        y=[place for place, words in enumerate(states) if words],
        text=[f" {words}" for words in states if words],
        mode="markers+text",
        textposition="middle right",
        textfont={"color": COLOR["student"], "size": 11},
        marker={"color": COLOR["student"], "size": 9, "symbol": "diamond"},
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure.update_yaxes(
        tickvals=places,
        ticktext=[c.name for c in channels],
        range=[len(channels) - 0.5, -0.5],
        ticksuffix=" ",
        automargin=True,
        zeroline=False,
    )
    low, high = limits
    pad = (high - low) * 0.02
    # Room on the right for the words behind a mark.
    figure.update_xaxes(range=[low - pad, high + (high - low) * 0.2], nticks=7)
    return finished(figure, title, height=20 * len(channels) + 112)


def state(channel: Channel) -> str:
    """What is wrong with a channel in a word or two; nothing if it is well."""
    if not channel.named:
        return "never named"
    if channel.dead:
        return "dead"
    return "clipped" if channel.clipped else ""


def lag_histogram(lags: Lags) -> go.Figure:
    """How many takes have which lag: bars one frame wide, the median, and where outliers begin."""
    counts: dict[int, int] = {}
    for _, lag in lags.known:
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
    reach = max(2 * LAG_MILLISECONDS, *(lags.distance(lag) for _, lag in lags.known)) + FRAME
    figure.update_xaxes(
        title="lag in ms (positive: mouth later)",
        range=[median - reach, median + reach],
        nticks=7,
        tickangle=0,
    )
    figure.update_yaxes(title="takes", rangemode="tozero", tickformat="~d")
    return finished(figure, "")


def time_unit(seconds: Sequence[float]) -> tuple[float, str]:
    """Seconds of the unit that suits the longest, and its name."""
    longest = max(seconds, default=0.0)
    if longest >= 3 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if longest >= 180 else (1.0, "seconds")


def axis_name(label: str, most: int = 22) -> str:
    """A name from the data as plotly prints it: cut, and no markup."""
    return escape(short(label, most))
