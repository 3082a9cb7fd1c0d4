"""Bar charts with a name at each bar, as plotly figures; every page has some."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from diffusiontalker.report.figures import COLOR, finished
from diffusiontalker.report.wording import duration, shorten


def duration_bars(items: Sequence[tuple[str, float]]) -> go.Figure:
    """(name, seconds) as horizontal bars in the given order, the first on top."""
    unit, unit_name = time_unit([seconds for _, seconds in items])
    return horizontal_bars(
        [name for name, _ in items],
        [round(seconds / unit, 4) for _, seconds in items],
        [duration(seconds) for _, seconds in items],
        unit_name,
    )


def horizontal_bars(
    names: Sequence[str], values: Sequence[float], texts: Sequence[str], axis: str, title: str = ""
) -> go.Figure:
    """A bar for each name with a text inside or beside it, the first on top."""
    positions = list(range(len(names)))
    figure = go.Figure(
        go.Bar(
            x=list(values),
            y=positions,
            text=list(texts),
            textposition="auto",
            orientation="h",
            marker={"color": COLOR["teacher"]},
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    # Numbered positions: on an axis of names, plotly would stack two bars of one name.
    figure.update_yaxes(
        tickvals=positions,
        ticktext=[axis_label(name) for name in names],
        range=[len(names) - 0.5, -0.5],
        ticksuffix=" ",
        automargin=True,
        showgrid=False,
        zeroline=False,
    )
    figure.update_xaxes(title=axis, rangemode="tozero", nticks=6)
    return finished(figure, title, height=27 * len(names) + (124 if title else 90))


def time_unit(seconds: Sequence[float]) -> tuple[float, str]:
    """Seconds in the unit that suits the longest duration, and the unit's name."""
    longest = max(seconds, default=0.0)
    if longest >= 3 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if longest >= 180 else (1.0, "seconds")


def axis_label(name: str, limit: int = 22) -> str:
    """A name from the data as an axis prints it: shortened, with markup escaped (plotly would
    interpret some)."""
    return escape(shorten(name, limit))
