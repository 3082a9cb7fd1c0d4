"""The table of results that a run prints at its end."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from diffusiontalker.report.metric_columns import BY_KEY
from diffusiontalker.report.splits import rows_of, splits_of
from diffusiontalker.summary.run import RunSummary

_SHOWN = {
    "mbe": "MBE",
    "lbe": "LBE",
    "energy_score": "Energy\nscore",
    "spread_upper": "Spread,\nupper",
    "fps": "Frames/s",
}


def console_table(summary: RunSummary) -> Table:
    """Name, steps, distilled, split and five figures per row; the best of each split is bold."""
    table = Table(
        title="Results on held-out sentences",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("Model", "Steps", "Distilled", "Split"):
        table.add_column(heading, justify="right" if heading == "Steps" else "left")
    for heading in _SHOWN.values():
        table.add_column(heading, justify="right")
    for split in splits_of(summary):
        rows = rows_of(summary, split)
        best = {key: BY_KEY[key].best([BY_KEY[key].of(row) for row in rows]) for key in _SHOWN}
        for row in rows:
            # Text, not str: square brackets in a name are no markup.
            head = (row.name, str(row.steps), "yes" if row.distilled else "no")
            cells = []
            for key in _SHOWN:
                value = BY_KEY[key].of(row)
                text = BY_KEY[key].show(value)
                is_best = value is not None and text == best[key]
                cells.append(Text(text, style="bold" if is_best else ""))
            table.add_row(*map(Text, head), Text(split.removeprefix("test_")), *cells)
        table.add_section()
    return table
