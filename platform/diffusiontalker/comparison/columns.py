"""How the columns of the papers' tables are shown: those of reports, and scores of recognition."""

from diffusiontalker.report.metric_columns import BY_KEY, Column
from diffusiontalker.report.wording import DASH
from diffusiontalker.summary.comparison import ComparedRow, ComparedTable, Estimate

SHOWN: dict[str, Column] = BY_KEY | {
    f"{label}_{score}": Column(
        f"{label}_{score}",
        f"{label.capitalize()} {score}",
        "high",
        f"Macro average over the labels of the {score} of the recognised {label}.",
        1,
        100,
        "%",
    )
    for label in ("identity", "emotion")
    for score in ("precision", "recall")
}
SIGNIFICANT = 0.05
MARK = "*"
"""Behind a figure that differs from the reference's with p below ``SIGNIFICANT``."""
HEAD = ("Model", "Seeds")


def heading(key: str) -> str:
    """A column's label and unit."""
    own = SHOWN[key]
    return f"{own.label}, {own.unit}" if own.unit else own.label


def cell(key: str, figure: Estimate) -> str:
    """Mean and spread, a mark of significance, and the published figure in brackets."""
    own = SHOWN[key]
    text = own.show(figure.mean)
    if figure.spread is not None:
        text += f" ± {own.show(figure.spread)}"
    if figure.p is not None and figure.p < SIGNIFICANT:
        text += f" {MARK}"
    return text if figure.published is None else f"{text} [{own.show(figure.published)}]"


def cells(table: ComparedTable, row: ComparedRow) -> list[str]:
    """A row's texts: name, seeds (or clips of a group), figures."""
    count = row.clips if row.clips is not None else row.seeds
    figures = [cell(key, row.figures.get(key, Estimate())) for key in table.columns]
    return [row.name, str(count) if count else DASH, *figures]


def headings(table: ComparedTable) -> list[str]:
    """Of ``cells``."""
    is_group = any(row.clips is not None for row in table.rows)
    first = ("Group", "Clips") if is_group else HEAD
    return [*first, *map(heading, table.columns)]


def caption(table: ComparedTable) -> str:
    """A table's title, split, and what it is tested against."""
    text = f"{table.title} ({table.split}, {table.clips} clips)"
    if table.reference is None:
        return text
    return f"{text}; {MARK}: differs from {table.reference} (paired per clip, p < {SIGNIFICANT})"
