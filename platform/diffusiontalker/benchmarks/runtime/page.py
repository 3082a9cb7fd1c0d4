"""HTML report of the runtime's benchmark: plots of speed and latency, and every aim."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from diffusiontalker.arkit import FPS
from diffusiontalker.benchmarks.runtime.table import HEADINGS, facts, growth, rows, title
from diffusiontalker.report import html
from diffusiontalker.report.figures import COLOR, finished
from diffusiontalker.report.wording import plain

Json = dict[str, Any]
SYMBOLS = ("circle", "diamond", "square", "cross")
"""By length of the recording."""
COLORS = ("teacher", "student", "sampling", "regression")
"""By number of threads."""
TICKS = [digit * 10**power for power in range(-3, 4) for digit in (1, 2, 5)]


def write_page(path: Path, report: Json) -> None:
    """Write the page of ``report``, the content of ``runtime.json``. Raises UserError."""
    html.write(path, render(report))


def render(report: Json) -> str:
    """The page's HTML."""
    figures = {"speeds": speeds(report)}
    if report["streaming"]:
        figures["latency"] = latency(report["streaming"])
    headings, cells = rows(report)
    return html.fill(
        "page.html.j2",
        figures=figures,
        filters={"plain": plain},
        package=__package__,
        report=report,
        met=sum(aim.met is True for aim in report["aims"]),
        headings=headings,
        words=len(HEADINGS),
        cells=cells,
        costs={name: growth(one) for name, one in report["exports"].items() if one.growth},
        facts=[line.split(maxsplit=1) for line in facts(report)],
    )


def speeds(report: Json) -> go.Figure:
    """Frames per second of every subject: colour by threads, marker by length."""
    names = list(report["sizes_mb"])
    figure = go.Figure()
    lengths, threads = report["settings"]["lengths"], report["settings"]["threads"]
    for number, count in enumerate(threads):
        for place, seconds in enumerate(lengths):
            found = [
                one
                for one in report["speeds"]
                if (one["threads"], one["seconds"]) == (count, seconds)
            ]
            figure.add_scatter(
                x=[round(one["frames_per_second"], 2) for one in found],
                y=[names.index(one["subject"]) for one in found],
                name=title(seconds, count),
                mode="markers",
                marker={
                    "color": COLOR[COLORS[number % len(COLORS)]],
                    "symbol": SYMBOLS[place % len(SYMBOLS)],
                    "size": 9,
                },
                hovertemplate="%{x:,.4~g} frames/s<extra>%{fullData.name}</extra>",
            )
    figure.add_vline(FPS, line={"color": COLOR["muted"], "dash": "dash", "width": 1.5})
    figure.add_annotation(
        x=math.log10(FPS),  # plotly takes the logarithm for annotations, unlike for lines
        y=1,
        yref="paper",
        yanchor="bottom",
        text="real time",
        showarrow=False,
        font={"color": COLOR["muted"], "size": 11},
    )
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[len(names) - 0.5, -0.5],
        ticksuffix=" ",
        automargin=True,
        zeroline=False,
    )
    figure.update_xaxes(type="log", title="frames per second", dtick=1, tickformat="~s")
    figure = finished(figure, "", height=34 * len(names) + 190)
    legend = {"yref": "container", "y": 0.01, "yanchor": "bottom", "x": 0.02, "xref": "container"}
    return figure.update_layout(showlegend=True, legend=legend, margin={"b": 120, "t": 40})


def latency(streaming: Json) -> go.Figure:
    """Share of pushes that take longer than x milliseconds."""
    slowest = np.sort(streaming["pushes_ms"])[::-1]
    figure = go.Figure()
    figure.add_scatter(
        x=slowest.tolist(),
        y=(np.arange(1, len(slowest) + 1) / len(slowest)).round(6).tolist(),
        mode="lines",
        line={"color": COLOR["student"], "width": 2, "shape": "hv"},
        hovertemplate="%{y:.2%} take %{x:.2f} ms or longer<extra></extra>",
    )
    marks = {"p50": 0.5, "p95": 0.05, "p99": 0.01}
    figure.add_scatter(
        x=[round(streaming[f"{name}_ms"], 3) for name in marks],
        y=list(marks.values()),
        text=[f" {name} {streaming[f'{name}_ms']:.2f} ms" for name in marks],
        mode="markers+text",
        textposition="middle right",
        marker={"color": COLOR["student"], "size": 8, "symbol": "diamond"},
        cliponaxis=False,
        hoverinfo="skip",
    )
    # Room on the right for the labels.
    edges = [math.log10(slowest[-1] / 1.1), math.log10(slowest[0] * 1.6)]
    figure.update_xaxes(
        type="log", title="milliseconds that a push of 40 ms takes", tickvals=TICKS, range=edges
    )
    figure.update_yaxes(
        type="log", title="share that takes as long or longer", dtick=1, tickformat="~%"
    )
    return finished(figure, "", height=340)
