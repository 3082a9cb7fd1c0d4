"""Tables of numbers as people have them: commas, semicolons or tabs, and decimal commas."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffusiontalker.errors import UserError

_NO_NAME = re.compile(r"(unnamed: 0)?", re.IGNORECASE)
_SPLIT = re.compile(r"""\s*"?sep=([,;\t|])"?[^\S\r\n]*[\r\n]+""", re.IGNORECASE)
"""A first line by which Excel is told what splits cells."""


@dataclass(frozen=True)
class Table:
    """Cells without the space around them; rows may be shorter than the header."""

    header: list[str]
    rows: list[list[str]]
    decimal: str
    """What stands between a number and its fraction."""
    notes: tuple[str, ...] = ()
    """What was left out."""


def parse(text: str, where: str) -> Table:
    """A CSV. What splits its cells is told by a first line such as ``sep=;``, or by the header: the
    most frequent of comma, semicolon, tab and bar. Decimal commas are understood wherever cells are
    not split by commas. Row numbers in a first column without a name, as pandas writes them, are
    left out, and so are empty cells behind the last name.

    Raises:
        UserError: not CSV, nothing in it, or a first column without a name that is none of these.
    """
    if (told := _SPLIT.match(text)) is not None:
        text = text[told.end() :]
    first = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    split = told[1] if told else max(",;\t|", key=first.count)
    try:
        lines = csv.reader(io.StringIO(text, newline=None), delimiter=split)
        rows = [[cell.strip() for cell in row] for row in lines if row]
    except csv.Error as error:
        raise UserError(f"{where}: not CSV ({error})") from error
    if not rows or not any(rows[0]):
        raise UserError(f"{where}: the table is empty")
    header, *rows = rows
    while not header[-1]:
        header.pop()
    for row in rows:
        while len(row) > len(header) and not row[-1]:
            row.pop()
    decimal = "." if split == "," else ","
    if len(header) == 1 or not _NO_NAME.fullmatch(header[0]) or not rows:
        return Table(header, rows, decimal)
    numbers = [row[0] for row in rows]
    begin = int(numbers[0]) if numbers[0].isdecimal() and len(numbers[0]) < 16 else 0
    if numbers != [str(begin + k) for k in range(len(numbers))]:
        raise UserError(f"{where}: the first column has no name; is it time?")
    notes = ("a first column of row numbers was left out",)
    return Table(header[1:], [row[1:] for row in rows], decimal, notes)


def ended(table: Table) -> Table:
    """The table without the rows at its end in which no cell holds anything, as spreadsheets add
    them: of a table with times, where a row without one is none."""
    count = len(table.rows)
    while count and not any(table.rows[count - 1]):
        count -= 1
    return replace(table, rows=table.rows[:count])


def numbers(
    table: Table, columns: Sequence[int], where: str, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cells of some columns as (values (T, n) float64, seen (T,) bool).

    A row holds no face if these cells are empty, or not there, or column ``count`` says 0; its
    values are 0 then.

    Raises:
        UserError: another row that is shorter or longer than the header, or a cell is no number.
    """
    values = np.zeros((len(table.rows), len(columns)))
    seen = np.ones(len(values), bool)
    for number, row in enumerate(table.rows):
        none = count is not None and count < len(row) and row[count] == "0"
        if none or not any(row[i] for i in columns if i < len(row)):
            seen[number] = False
            continue
        if len(row) != len(table.header):
            raise UserError(
                f"{where}: row {number + 1} has {len(row)} cells, the header {len(table.header)}"
            )
        try:
            values[number] = [float(row[i].replace(table.decimal, ".")) for i in columns]
        except ValueError as error:
            raise UserError(f"{where}: row {number + 1}: {str(error)[:100]}") from error
    return values, seen


def stamps(table: Table, column: int, where: str) -> np.ndarray:
    """Times (T,) in a column, which rows without a face have too. Raises UserError."""
    cells = [row[column] if column < len(row) else "" for row in table.rows]
    try:
        return np.array([float(cell.replace(table.decimal, ".")) for cell in cells])
    except ValueError as error:
        raise UserError(f"{where}: a time is no number ({error})") from error
