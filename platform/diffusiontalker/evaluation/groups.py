"""Errors by emotion and by speaker: pure functions of the errors of clips."""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from diffusiontalker.summary.run import ClipRow

Label = Literal["identity", "emotion"]
UNLABELLED = "unknown"
"""The group of clips without that label."""


def by_label(rows: Sequence[ClipRow], label: Label) -> dict[str, list[ClipRow]]:
    """The rows of each speaker or emotion, in the order of their names."""
    groups: dict[str, list[ClipRow]] = {}
    for row in rows:
        groups.setdefault(getattr(row, label) or UNLABELLED, []).append(row)
    return dict(sorted(groups.items()))


def mean_error(rows: Sequence[ClipRow], key: str) -> float | None:
    """A metric's mean over clips; None where it is not known of one of them."""
    known = [value for row in rows if (value := row.errors.get(key)) is not None]
    return fmean(known) if known and len(known) == len(rows) else None
