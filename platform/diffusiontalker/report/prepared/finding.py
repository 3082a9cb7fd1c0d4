"""A finding about a prepared set, and the phrases that findings share."""

from collections.abc import Sequence
from dataclasses import dataclass

from diffusiontalker.report.prepared.reasons import Remark, group_by_reason
from diffusiontalker.report.wording import shorten


@dataclass(frozen=True)
class Finding:
    """One problem of a prepared set."""

    title: str
    text: str
    """What it means."""
    remedy: str
    section: str
    """Anchor of the details on the page."""


def is_are(items: Sequence[object]) -> str:
    """The verb for so many."""
    return "is" if len(items) == 1 else "are"


def reasons_in_a_line(remarks: Sequence[Remark]) -> str:
    """The reasons with their number of takes, the most frequent first."""
    lines = [
        f"{len(group.remarks):,} x {shorten(group.title)}" for group in group_by_reason(remarks)
    ]
    return "; ".join(lines[:6]) + (f"; and {len(lines) - 6} more" if len(lines) > 6 else "") + "."
