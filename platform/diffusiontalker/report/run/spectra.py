"""The plots of spectra: power of the recordings, the teacher and the student."""

from collections.abc import Mapping
from html import escape

import numpy as np
import plotly.graph_objects as go

from diffusiontalker.objectives.spectrum import FLOOR
from diffusiontalker.report.figures import COLOR, finished
from diffusiontalker.report.log_axis import log_axis
from diffusiontalker.report.splits import rows_of
from diffusiontalker.summary.run import RunSummary, Spectrum

REGIONS = {"upper": "Spectrum of the upper face", "lower": "Spectrum of the lower face"}
"""Fields of ``Spectrum``, and the titles of their plots."""
_STYLES = {"recordings": ("ink", "solid"), "teacher": ("teacher", "dot")}
"""Colour and dashes, by the first word of the name; others are the student's."""


def spectrum_plots(summary: RunSummary, split: str) -> list[tuple[str, go.Figure]]:
    """(id, figure) for each region of a split; none where no model's spectrum is known."""
    known = spectra(summary, split)
    if not any(known[name] for name in known if name != "recordings"):
        return []
    return [
        (f"spectrum-{region}-{split}", _figure(known, region, title))
        for region, title in REGIONS.items()
    ]


def spectra(summary: RunSummary, split: str) -> dict[str, Spectrum | None]:
    """Of the recordings, the teacher at its most steps, and the student of the fewest, by name."""
    floors = summary.floor.get(split)
    out = {"recordings": floors.spectrum if floors else None}
    rows = rows_of(summary, split)
    teachers = [row for row in rows if not row.distilled]
    students = [row for row in rows if row.distilled]
    for row in (*teachers[:1], *students[-1:]):
        out[f"{row.name}, {row.steps} steps" if row in teachers else row.name] = row.spectrum
    return out


def _figure(known: Mapping[str, Spectrum | None], region: str, title: str) -> go.Figure:
    figure = go.Figure()
    for name, one in known.items():
        color, dash = _STYLES.get(name.partition(",")[0], ("student", "solid"))
        if one is not None:
            power = np.maximum(getattr(one, region), FLOOR)
            figure.add_scatter(
                x=[round(hz, 3) for hz in one.hz],
                y=(10 * np.log10(power)).round(2).tolist(),
                name=escape(name),
                mode="lines",
                line={"color": COLOR[color], "dash": dash, "width": 2},
                hovertemplate="%{x:.1f} Hz: %{y:.1f} dB",
            )
    spans = [hz for trace in figure.data for hz in trace.x]
    figure.update_xaxes(**log_axis(spans), title="Hz")
    figure.update_yaxes(title="power density, dB re 1/Hz")
    legend = {"orientation": "v", "x": 0.02, "xanchor": "left", "y": 0.02, "yanchor": "bottom"}
    return finished(figure, title).update_layout(showlegend=True, legend=legend)
