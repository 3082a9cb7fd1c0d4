"""``human.html``: every figure, and curves of the mouth under the phones of some recordings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from diffusiontalker.arkit import FPS, INDEX
from diffusiontalker.benchmarks.human.figures import Report
from diffusiontalker.benchmarks.human.recordings import Recording
from diffusiontalker.benchmarks.human.table import COLUMNS, rows
from diffusiontalker.corpus.phonemes import BILABIAL, OPEN, PAUSE, ROUNDED
from diffusiontalker.evaluation.goals import reached
from diffusiontalker.objectives.articulation import SEALED, aperture, rounding
from diffusiontalker.report import html
from diffusiontalker.report.figures import COLOR, finished

SHADES = (
    (BILABIAL, "student", "p, b, m: the lips should meet"),
    (ROUNDED, "teacher", "w, u, o: they should be round"),
    (OPEN, "sampling", "open vowels"),
    ((PAUSE,), "muted", "pauses: at rest"),
)
"""Phones, the colour of their ground, and its meaning; the first that applies counts."""


def write_page(path: Path, report: Report, plotted: Sequence[tuple[Recording, np.ndarray]]) -> None:
    """Write the page; ``plotted``: recordings with their faces (T, 52). Raises UserError."""
    plots = {f"curves-{n}": curves(*pair) for n, pair in enumerate(plotted)}
    page = html.fill(
        "page.html.j2",
        figures=plots,
        filters={"reached": reached},
        package=__package__,
        model=report.settings.model,
        aims=report.aims,
        met=sum(aim.met is True for aim in report.aims),
        headings=[heading for heading, *_ in COLUMNS],
        rows=rows(report),
        texts=dict(zip(plots, (one.text or one.name for one, _ in plotted), strict=True)),
        shades=[(color, text) for _, color, text in SHADES],
        sealed=SEALED,
    )
    html.write(path, page)


def curves(recording: Recording, face: np.ndarray) -> go.Figure:
    """Jaw and lips of a face (T, 52) over time, on grounds that show the phones."""
    figure = make_subplots(
        rows=3, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.4, 0.35, 0.25],
        subplot_titles=("jaw", "aperture of the lips", "rounding"),
    )  # fmt: skip
    seconds = (np.arange(len(face)) / FPS).round(3).tolist()
    for row, name, values, color in _lines(face):
        figure.add_scatter(
            x=seconds, y=values.astype(float).round(4).tolist(), name=name, row=row, col=1,
            line={"color": COLOR[color], "width": 1.8},
        )  # fmt: skip
    figure.add_hline(SEALED, line={"color": COLOR["muted"], "dash": "dash", "width": 1}, row=2)
    for phone, start, end in recording.phones:
        if (ground := _ground(phone)) is not None:
            figure.add_vrect(start, end, fillcolor=COLOR[ground], opacity=0.18, line_width=0,
                             layer="below")  # fmt: skip
    spoken = [phone for phone in recording.phones if phone[0] != PAUSE]
    figure.add_scatter(
        x=[(start + end) / 2 for _, start, end in spoken],
        y=[1.0] * len(spoken),
        text=[phone for phone, *_ in spoken],
        mode="text", textfont={"size": 10, "color": COLOR["ink"]}, hoverinfo="skip",
        showlegend=False, row=1, col=1,
    )  # fmt: skip
    figure.update_yaxes(rangemode="tozero", nticks=4)
    figure.update_yaxes(range=[0, 1.08], row=1)
    figure.update_xaxes(title="seconds", row=3)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13, "color": COLOR["ink"]})
    figure = finished(figure, "", height=520)
    legend = {"yref": "container", "y": 0.995, "yanchor": "top", "x": 1, "xanchor": "right"}
    return figure.update_layout(
        hovermode="x", showlegend=True, legend=legend, margin={"t": 56, "b": 56}
    )


def _ground(phone: str) -> str | None:
    return next((color for phones, color, _ in SHADES if phone in phones), None)


def _lines(face: np.ndarray) -> list[tuple[int, str, np.ndarray, str]]:
    """The curves of a face: row, name, values (T,) and colour."""
    return [
        (1, "jawOpen", face[:, INDEX["jawOpen"]], "teacher"),
        (1, "mouthClose", face[:, INDEX["mouthClose"]], "student"),
        (2, "aperture", aperture(face), "ink"),
        (3, "mouthPucker + mouthFunnel", rounding(face), "regression"),
    ]
