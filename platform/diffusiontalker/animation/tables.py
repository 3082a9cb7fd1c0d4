"""Delimited text tables of numbers, with any usual delimiter and decimal mark."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffusiontalker.errors import UserError

_NO_NAME = re.compile(r"(unnamed: 0)?", re.IGNORECASE)
_SEPARATOR_LINE = re.compile(r"""\s*"?sep=([,;\t|])"?[^\S\r\n]*[\r\n]+""", re.IGNORECASE)
"""Excel's optional first line, which states the delimiter."""


@dataclass(frozen=True)
class TextTable:
    """Cells without surrounding space; rows may be shorter than the header."""

    header: list[str]
    rows: list[list[str]]
    decimal: str
    """Decimal mark."""
    notes: tuple[str, ...] = ()
    """What was left out."""


def parse(text: str, where: str) -> TextTable:
    """Parse a CSV.

    The delimiter is that of a first line such as ``sep=;``, else the most frequent of comma,
    semicolon, tab and bar in the header. Decimal commas are read wherever the delimiter is not a
    comma. Left out are row numbers in an unnamed first column, as pandas writes them, and empty
    cells behind the last name.

    Raises:
        UserError: not CSV, empty, or an unnamed first column that does not hold row numbers.
    """
    if (stated := _SEPARATOR_LINE.match(text)) is not None:
        text = text[stated.end() :]
    first = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    delimiter = stated[1] if stated else max(",;\t|", key=first.count)
    try:
        lines = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)
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
    decimal = "." if delimiter == "," else ","
    if len(header) == 1 or not _NO_NAME.fullmatch(header[0]) or not rows:
        return TextTable(header, rows, decimal)
    numbers = [row[0] for row in rows]
    begin = int(numbers[0]) if numbers[0].isdecimal() and len(numbers[0]) < 16 else 0
    if numbers != [str(begin + k) for k in range(len(numbers))]:
        raise UserError(f"{where}: the first column has no name; is it time?")
    notes = ("a first column of row numbers was left out",)
    return TextTable(header[1:], [row[1:] for row in rows], decimal, notes)


def without_empty_end(table: TextTable) -> TextTable:
    """The table without empty rows at its end, as spreadsheets add them. For tables with times,
    where a row without a time is not a frame."""
    count = len(table.rows)
    while count and not any(table.rows[count - 1]):
        count -= 1
    return replace(table, rows=table.rows[:count])


def numbers(
    table: TextTable, columns: Sequence[int], where: str, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cells of some columns as (values (T, n) float64, tracked (T,) bool).

    A row is not tracked if these cells are empty or absent, or column ``count`` holds 0; its values
    are then 0.

    Raises:
        UserError: another row that is shorter or longer than the header, or a cell is no number.
    """
    values = np.zeros((len(table.rows), len(columns)))
    tracked = np.ones(len(values), bool)
    for number, row in enumerate(table.rows):
        none = count is not None and count < len(row) and row[count] == "0"
        if none or not any(row[i] for i in columns if i < len(row)):
            tracked[number] = False
            continue
        if len(row) != len(table.header):
            raise UserError(
                f"{where}: row {number + 1} has {len(row)} cells, the header {len(table.header)}"
            )
        try:
            values[number] = [float(row[i].replace(table.decimal, ".")) for i in columns]
        except ValueError as error:
            raise UserError(f"{where}: row {number + 1}: {str(error)[:100]}") from error
    return values, tracked


def timestamps(table: TextTable, column: int, where: str) -> np.ndarray:
    """Times (T,) in a column, of untracked rows too. Raises UserError."""
    cells = [row[column] if column < len(row) else "" for row in table.rows]
    try:
        return np.array([float(cell.replace(table.decimal, ".")) for cell in cells])
    except ValueError as error:
        raise UserError(f"{where}: a time is no number ({error})") from error
