"""The tables as Markdown, CSV, LaTeX and a page, all from one ``Comparison``."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from rich.box import MARKDOWN, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from diffusiontalker import storage
from diffusiontalker.comparison import page
from diffusiontalker.comparison.columns import caption, cells, headings
from diffusiontalker.summary.comparison import ComparedTable, Comparison

PAGE = "comparison.html"
NOTE = (
    "Mean ± standard deviation over seeds; in [brackets] the paper's own figure, from its data and "
    "hardware. Preset {preset}; seeds: {seeds}."
)
SIGNS = {
    "±": r"$\pm$", "–": "--", "⁻⁵": "$^{-5}$", "⁻⁷": "$^{-7}$", "²": "$^2$", "|": "$|$",
}  # fmt: skip
"""What LaTeX cannot print as it is, and how it is written there."""
BESIDE = ("mean", "spread", "published", "p")
"""Numbers of one figure in the CSV."""


def write(folder: Path, comparison: Comparison) -> None:
    """Write ``comparison.{json,md,csv,tex,html}``. Raises UserError."""
    comparison.write(folder)
    texts = {"md": markdown(comparison), "csv": as_csv(comparison), "tex": latex(comparison)}
    for suffix, text in texts.items():
        storage.write_bytes(folder / f"comparison.{suffix}", text.encode())
    page.write_page(folder / PAGE, comparison)


def console_tables(comparison: Comparison) -> list[Table]:
    """The tables for the console."""
    return [_table(one) for one in comparison.tables]


def markdown(comparison: Comparison) -> str:
    """Every table below a heading."""
    out = io.StringIO()
    console = Console(file=out, width=1000)
    print(f"# The tables of {comparison.paper}\n\n{_note(comparison)}\n", file=out)
    for one in comparison.tables:
        table = _table(one, escape=_in_cell)
        print(f"## {caption(one)}\n", file=out)
        table.title, table.box, table.expand = None, MARKDOWN, False
        console.print(table)
        print(file=out)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def as_csv(comparison: Comparison) -> str:
    """A line for each figure, with unrounded numbers."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "split", "model", "steps", "seeds", "clips", "metric", *BESIDE])
    for table in comparison.tables:
        for row in table.rows:
            clips = table.clips if row.clips is None else row.clips
            head = [table.key, table.split, row.name, row.steps, row.seeds, clips]
            for key, figure in row.figures.items():
                writer.writerow([*head, key, *(getattr(figure, name) for name in BESIDE)])
    return out.getvalue()


def latex(comparison: Comparison) -> str:
    """Every table as a ``table`` environment for booktabs."""
    import pandas  # takes half a second to import

    parts = [f"% {_note(comparison)}"]
    for one in comparison.tables:
        frame = pandas.DataFrame([cells(one, row) for row in one.rows], columns=headings(one))
        styler = frame.style.hide(axis="index").format(escape="latex")
        styler = styler.format_index(escape="latex", axis="columns")
        text = styler.to_latex(
            hrules=True, column_format="ll" + "r" * len(one.columns), caption="CAPTION",
            label=f"tab:{one.key}-{one.split.replace('_', '-')}", position="t",
        )  # fmt: skip
        parts.append(text.replace("CAPTION", _escaped(caption(one))))
    text = "\n".join(parts)
    for sign, command in SIGNS.items():
        text = text.replace(sign, command)
    return text


def _table(one: ComparedTable, escape: Callable[[str], str] = str) -> Table:
    table = Table(title=Text(caption(one)), title_justify="left", box=SIMPLE_HEAD)
    for place, text in enumerate(headings(one)):
        table.add_column(
            Text(escape(text)), justify="right" if place else "left", no_wrap=not place
        )
    for row in one.rows:
        table.add_row(*(Text(escape(text)) for text in cells(one, row)))
    return table


def _in_cell(text: str) -> str:
    """A text in a Markdown table, where a bar begins the next cell."""
    return text.replace("|", r"\|")


def _note(comparison: Comparison) -> str:
    return NOTE.format(preset=comparison.preset, seeds=comparison.seeds)


def _escaped(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace("<", "$<$")
