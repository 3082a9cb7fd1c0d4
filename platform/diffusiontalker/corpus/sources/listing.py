"""What sources that list files by name have in common: limits, duplicates, skipped files."""

import re
from collections.abc import Collection, Sequence

from diffusiontalker.corpus.sources.base import Take, TakeListing

MAX_BYTES = 64 << 20
"""Of a file of coefficients or labels: a quarter of an hour of JSON at 60 fps (our choice)."""
TOO_LARGE = f"larger than {MAX_BYTES >> 20} MiB"
LABEL_GROUPS = ("identity", "emotion", "group")
"""Named groups of regular expressions that read labels from names."""

Skipped = list[tuple[str, str]]
"""Names of files, and why each was skipped."""


def without_duplicates(takes: Sequence[Take]) -> TakeListing:
    """A listing in which every id is unique; of takes with the same id the first is kept."""
    kept: dict[str, Take] = {}
    skipped = []
    for take in takes:
        if take.id in kept:
            name = take.files[0] if take.files else take.id
            skipped.append((name, f"the take {take.id!r} was found already"))
        else:
            kept[take.id] = take
    return TakeListing(list(kept.values()), skipped)


def first_and_count(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def examples(skipped: Sequence[tuple[str, str]]) -> str:
    """Skipped files with their reasons, in one line."""
    return "; ".join(f"{name}: {reason}" for name, reason in skipped)


def label_groups(pattern: str) -> Collection[str]:
    """The named groups of a regular expression. Raises ValueError if it is not one, or another
    group than ``LABEL_GROUPS`` is in it."""
    try:
        groups = re.compile(pattern).groupindex.keys()
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if unknown := groups - {*LABEL_GROUPS}:
        raise ValueError(f"the groups are {', '.join(LABEL_GROUPS)}, not {', '.join(unknown)}")
    return groups
