"""The tables beside the shards: ``takes.json`` with all measurements, and ``quarantine.csv``."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from diffusiontalker import storage
from diffusiontalker.corpus.provenance import Provenance
from diffusiontalker.corpus.take_reports import KEPT, QUARANTINE, TakeReport
from diffusiontalker.errors import UserError

TAKES = "takes.json"


@dataclass(frozen=True)
class TakesSummary:
    """The content of ``takes.json``."""

    takes: list[TakeReport]
    skipped: list[tuple[str, str]]
    """Files that were not used or need a remark, and why."""
    provenance: Annotated[Provenance | None, Field(alias="made")] = None
    """None: written by a release that did not record it."""


def write_tables(folder: Path, summary: TakesSummary) -> None:
    """Write both tables. Raises UserError."""
    content = TypeAdapter(TakesSummary).dump_json(summary, by_alias=True)
    storage.write_bytes(folder / TAKES, content)
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["what", "name", "files", "reason"])
    for report in summary.takes:
        if report.reason is not None:
            table.writerow(["malformed take", report.take, " ".join(report.files), report.reason])
    for name, reason in summary.skipped:
        what = "note" if reason.startswith(KEPT) else "skipped file"
        table.writerow([what, name, name, reason])
    storage.write_bytes(folder / QUARANTINE, text.getvalue().encode())


def read_takes(folder: Path) -> TakesSummary:
    """``takes.json`` of a published set. Raises UserError if it is damaged."""
    path = folder / TAKES
    try:
        return TypeAdapter(TakesSummary).validate_json(storage.read_bytes(path))
    except ValidationError as error:
        raise UserError(f"{path}: damaged, or of another release; choose another output") from error
