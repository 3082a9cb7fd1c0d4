"""The short table that a job prints at its end."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from diffusiontalker.report.metric_columns import BY_KEY, rows_of, splits_of

_SHOWN = {
    "mbe": "MBE",
    "lbe": "LBE",
    "energy_score": "Energy\nscore",
    "spread_upper": "Spread,\nupper",
    "fps": "Frames/s",
}


def console_table(summary: Mapping[str, Any]) -> Table:
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
        best = {key: BY_KEY[key].best([row.get(key) for row in rows]) for key in _SHOWN}
        for row in rows:
            # Text, not str: square brackets in a name are no markup.
            head = (row["name"], str(row["steps"]), "yes" if row["distilled"] else "no")
            figures = []
            for key in _SHOWN:
                text = BY_KEY[key].show(row.get(key))
                known = row.get(key) is not None
                figures.append(Text(text, style="bold" if known and text == best[key] else ""))
            table.add_row(*map(Text, head), Text(split.removeprefix("test_")), *figures)
        table.add_section()
    return table
