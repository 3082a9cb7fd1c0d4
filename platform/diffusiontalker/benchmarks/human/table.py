"""The figures of recordings of people as a table: for the console and the page."""

from os.path import commonpath, dirname

from rich.box import SIMPLE_HEAD
from rich.table import Table

from diffusiontalker.benchmarks.human.figures import Report
from diffusiontalker.evaluation import goals
from diffusiontalker.report.wording import DASH

COLUMNS = (
    ("p b\nm", "bilabials", "{}"),
    ("lips\nclosed", "closure", "{:.0%}"),
    ("else-\nwhere", "closed_elsewhere", "{:.0%}"),
    ("gap\nthere", "aperture_closed", "{:.2f}"),
    ("in\nvowel", "aperture_open", "{:.2f}"),
    ("AUC", "closure_auc", "{:.2f}"),
    ("lag\nms", "closure_lag_ms", "{:.0f}"),
    ("round\nAUC", "rounding_auc", "{:.2f}"),
    ("pause\njaw", "jaw_in_pauses", "{:.2f}"),
    ("mouth", "mouth_in_pauses", "{:.2f}"),
    ("blink\n/min", "blinks_per_minute", "{:.0f}"),
    ("of 1\nframe", "blinks_single", "{:.0%}"),
)
"""Heading, name in ``Figures``, format."""
ALL = "together"
WIDTH = 9
"""Characters of a name on the console."""


def rows(report: Report) -> list[list[str]]:
    """The cells: all recordings together, then each; its name without what all have in common."""
    folder = commonpath([dirname(name) for name in report.recordings])
    named = {name.removeprefix(f"{folder}/"): one for name, one in report.recordings.items()}
    return [
        [name, *(_cell(getattr(found, key), form) for _, key, form in COLUMNS)]
        for name, found in {ALL: report.pooled, **named}.items()
    ]


def table(report: Report) -> Table:
    """``rows`` for the console."""
    out = Table(title="Recordings of people", title_justify="left", box=SIMPLE_HEAD,
                padding=0, pad_edge=False)  # fmt: skip
    out.add_column("Recording", no_wrap=True)
    for heading, *_ in COLUMNS:
        out.add_column(heading, justify="right", no_wrap=True)
    for name, *cells in rows(report):
        short = name if len(name) <= WIDTH else f"…{name[1 - WIDTH :]}"
        out.add_row(short, *cells, end_section=name == ALL)
    return out


def lines(report: Report) -> list[str]:
    """Each aim in a line."""
    return [goals.line(aim) for aim in report.aims]


def _cell(value: float | None, form: str) -> str:
    return DASH if value is None else form.format(value)
