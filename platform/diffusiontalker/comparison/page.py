"""HTML page of the papers' tables, with a plot of errors and their spread."""

from pathlib import Path

import plotly.graph_objects as go

from diffusiontalker.comparison.columns import SHOWN, caption, cells, headings
from diffusiontalker.report import html
from diffusiontalker.report.figures import COLOR, finished
from diffusiontalker.report.wording import flat, plain
from diffusiontalker.summary.comparison import ComparedTable, Comparison

PLOTTED = "energy_score"


def write_page(path: Path, comparison: Comparison) -> None:
    """Write the page. Raises UserError."""
    html.write(path, render(comparison))


def render(comparison: Comparison) -> str:
    """The page's HTML."""
    shown = [
        {
            "name": f"{table.key}-{table.split}",
            "caption": caption(table),
            "headings": headings(table),
            "cells": [cells(table, row) for row in table.rows],
            "plotted": has_plot(table),
        }
        for table in comparison.tables
    ]
    figures = {f"{t.key}-{t.split}": plot(t) for t in comparison.tables if has_plot(t)}
    facts = {**comparison.environment, **{f"corpus {k}": v for k, v in comparison.corpus.items()}}
    return html.fill(
        "page.html.j2",
        figures=figures,
        filters={"plain": plain},
        package=__package__,
        comparison=comparison,
        tables=shown,
        plotted=SHOWN[PLOTTED].label,
        facts=flat(facts),
    )


def has_plot(table: ComparedTable) -> bool:
    """Whether a table's models are drawn: where the plotted metric is known."""
    return PLOTTED in table.columns and any(
        row.figures[PLOTTED].mean is not None for row in table.rows
    )


def plot(table: ComparedTable) -> go.Figure:
    """The plotted metric of every row, with the spread over seeds."""
    rows = [row for row in table.rows if row.figures[PLOTTED].mean is not None]
    own = [row.figures[PLOTTED] for row in rows]
    figure = go.Figure()
    figure.add_scatter(
        x=[one.mean for one in own],
        y=list(range(len(rows))),
        error_x={"type": "data", "array": [one.spread or 0 for one in own]},
        mode="markers",
        marker={"color": COLOR["student"], "size": 9},
        hovertemplate="%{x:.3f}<extra></extra>",
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[row.name for row in rows],
        range=[len(rows) - 0.5, -0.5],
        automargin=True,
        zeroline=False,
    )
    figure.update_xaxes(title=SHOWN[PLOTTED].label, rangemode="tozero")
    return finished(figure, "", height=28 * len(rows) + 110)
