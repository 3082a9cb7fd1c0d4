"""The tables of a run's page: metrics and costs by split, and what the corpus holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffusiontalker.report.metric_columns import (
    BY_KEY,
    COLUMNS,
    COSTS,
    MOVEMENT,
    PAPERS,
    SPEECH,
    Column,
)
from diffusiontalker.report.splits import FLOOR_TITLES, floors_of, rows_of, splits_of
from diffusiontalker.report.wording import flat, plain
from diffusiontalker.summary.run import Corpus, Errors, Row, RunSummary

_ELSEWHERE = (*COSTS, *SPEECH, *MOVEMENT, *PAPERS)
METRICS = tuple(column.key for column in COLUMNS if column.key not in _ELSEWHERE)
"""Columns of the tables of results: with the costs they would be wider than a screen."""


@dataclass(frozen=True)
class Cell:
    """One value of a table: as printed, as sorted, and whether it is the best of its column."""

    text: str
    value: float | None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """The results of one split."""

    title: str
    columns: tuple[Column, ...]
    floors: tuple[tuple[str, tuple[Cell, ...]], ...]
    """(title, cells) of those that are known."""
    rows: tuple[tuple[Row, tuple[Cell, ...]], ...]


def tables(summary: RunSummary) -> list[Table]:
    """Of every split, errors and scores, then the other groups of metrics where they are known."""
    parts = {"speech": SPEECH, "movement": MOVEMENT, "as in papers": PAPERS}
    found = []
    for split in splits_of(summary):
        found.append(table(summary, split))
        for title, keys in parts.items():
            part = table(summary, split, keys)
            if any(cell.value is not None for _, cells in part.rows for cell in cells):
                found.append(replace(part, title=f"{part.title}: {title}"))
    return found


def table(summary: RunSummary, split: str, keys: Sequence[str] = METRICS) -> Table:
    """Floors and models of a split; the best model of each column is marked, and every one that
    is printed alike."""
    rows, columns = rows_of(summary, split), tuple(BY_KEY[key] for key in keys)
    best = {column.key: column.best([column.of(row) for row in rows]) for column in columns}

    def cells(row: Errors, is_model: bool) -> tuple[Cell, ...]:
        pairs = [(column, column.of(row)) for column in columns]
        return tuple(
            Cell(text, value, is_model and value is not None and text == best[column.key])
            for column, value in pairs
            for text in [column.show(value)]
        )

    return Table(
        splits_of(summary)[split],
        columns,
        tuple(
            (FLOOR_TITLES[kind], cells(floor, False))
            for kind, floor in floors_of(summary, split).items()
            if any(column.of(floor) is not None for column in columns)
        ),
        tuple((row, cells(row, True)) for row in rows),
    )


def corpus_facts(corpus: Corpus) -> dict[str, str]:
    """What the corpus holds, without the columns of ``corpus_splits``."""
    rest = corpus.model_dump(exclude={"clips", "minutes_by_split"})
    return {name.replace("_", " "): text for name, text in flat(rest).items()}


def corpus_splits(corpus: Corpus) -> list[tuple[str, str, str]]:
    """(split, clips, minutes) of every split."""
    names = dict.fromkeys([*corpus.clips, *corpus.minutes_by_split])
    lengths = {name: f"{value:,.1f}" for name, value in corpus.minutes_by_split.items()}
    return [(name, plain(corpus.clips.get(name)), plain(lengths.get(name))) for name in names]
