"""The label index of a user's data set: a CSV of ``name,identity,emotion,group,split``."""

import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from diffusiontalker import storage
from diffusiontalker.animation import tables
from diffusiontalker.audio.recording import ALL_SUFFIXES
from diffusiontalker.corpus.manifest import SPLITS
from diffusiontalker.corpus.sources.folder_files import COEFFICIENTS
from diffusiontalker.corpus.sources.listing import Skipped, first_and_count
from diffusiontalker.errors import UserError

LABELS = ("identity", "emotion", "group", "split")
"""Columns beside ``name``."""

Labels = dict[str, str | None]
"""Labels of a take by column; None: unknown."""


def read_index(path: Path, name: str, stems: Collection[str]) -> tuple[dict[str, Labels], Skipped]:
    """The labels of takes by stem, and notes on rows, columns and takes without a counterpart.

    Args:
        path: of the table.
        name: of the table, in notes.
        stems: of all takes.

    Raises:
        UserError: not such a table, or a row that is ambiguous.
    """
    where = str(path)
    header, rows = _cells(storage.read_text(path), where)
    if "name" not in header:
        raise UserError(f"{where}: no column 'name', only {', '.join(header)}; split by commas")
    labels: dict[str, Labels] = {}
    notes = []
    for number, cells in enumerate(rows, start=1):
        row = dict(zip(header, cells, strict=True))
        stem = _stem_of(row["name"], stems)
        if problem := _problem(row, stem in labels):
            raise UserError(f"{where}: row {number}: {problem}")
        labels[stem] = {key: row[key] or None for key in LABELS if key in row}
        if stem not in stems:
            notes.append((row["name"], f"in row {number} of {name}, but there is no such take"))
    if ignored := [column for column in header if column not in ("", "name", *LABELS)]:
        notes.append((name, f"unknown columns: {', '.join(ignored)}"))
    if unlabelled := [stem for stem in stems if stem not in labels]:
        notes.append((first_and_count(unlabelled), f"kept, but without a row in {name}"))
    return labels, notes


def _problem(row: Mapping[str, str], is_duplicate: bool) -> str | None:
    """Why a row cannot be used; None: it can."""
    if not row["name"]:
        return "has labels but no name"
    if is_duplicate:
        return f"{row['name']!r} stands twice"
    if row.get("split", "") not in ("", *SPLITS):
        return (
            f"split {row['split']!r} is none of {', '.join(SPLITS)} (test_unseen: the speaker is "
            "in no other split)"
        )
    return None


def _stem_of(name: str, stems: Collection[str]) -> str:
    """The stem that a row's name denotes, with or without a suffix."""
    path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    if str(path) not in stems and path.suffix.lower() in (*ALL_SUFFIXES, *COEFFICIENTS):
        path = path.with_suffix("")
    return str(path)


def _cells(text: str, where: str) -> tuple[list[str], list[list[str]]]:
    """The header of a CSV in lower case, and its rows of as many cells. Raises UserError."""
    table = tables.parse(text, where)
    header = [cell.lower() for cell in table.header]
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise UserError(f"{where}: the column {twice[0]!r} stands twice")
    rows = [row for row in table.rows if any(row)]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise UserError(f"{where}: row {number} has {len(row)} cells, the header {len(header)}")
    return header, rows
