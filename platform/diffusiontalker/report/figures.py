"""Colours and layout that the plots of all pages share."""

from html import escape
from typing import Any

import plotly.graph_objects as go

PALETTE: dict[str, tuple[str, str]] = {
    "ink": ("#1B2330", "#E9EDF5"),
    "muted": ("#5A6577", "#9AA7BC"),
    "grid": ("#DDE2EA", "#313B4B"),
    "teacher": ("#0072B2", "#56B4E9"),
    "student": ("#D55E00", "#F5A623"),
    "sampling": ("#008F68", "#2FC79A"),
    "regression": ("#B4588F", "#DC8FBE"),
}
"""Colours on light and on dark ground, after the palette of Okabe and Ito, which is safe for colour
blindness. Figures are made in the light ones; in dark mode the page's script replaces each. Line
styles and markers carry the same information."""
COLOR = {name: light for name, (light, _) in PALETTE.items()}


def finished(figure: go.Figure, title: str, height: int = 310) -> go.Figure:
    """The figure with the title, background, grid and legend that all plots share."""
    figure.update_layout(
        template="none",
        title={"text": escape(title), "x": 0, "xref": "paper", "font": {"size": 15}},
        height=height,
        margin={"l": 62, "r": 22, "t": 54 if title else 20, "b": 58},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": COLOR["ink"]},
        showlegend=False,  # a page has one key for all its plots
        legend={"orientation": "h", "font": {"size": 11}},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
    )
    axis: dict[str, Any] = {
        "title_standoff": 8,
        "gridcolor": COLOR["grid"],
        "linecolor": COLOR["grid"],
        "zerolinecolor": COLOR["grid"],
        "tickfont": {"color": COLOR["muted"]},
        "title_font": {"color": COLOR["muted"]},
    }
    # Where the tick labels are long, the title of an axis needs more than the margin.
    return figure.update_xaxes(**axis, showline=True).update_yaxes(**axis, automargin=True)
