"""Counts, percentages and names from the data, as the sentences of the pages print them."""

from collections.abc import Iterable, Mapping
from typing import Any

from diffusiontalker.summary.durations import clock

DASH = "–"
"""A value that is not known."""


def pluralize(number: int, noun: str) -> str:
    """``1 take``, ``2 takes``, ``12,000 takes``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(part: float, whole: float) -> str:
    """``6%``; never 0% or 100% unless it is exactly that."""
    value = 100 * part / whole if whole else 0.0
    if 0 < value < 1:
        return "under 1%"
    return "over 99%" if 99 < value < 100 else f"{value:.0f}%"


def shorten(text: str, limit: int = 160) -> str:
    """A text of at most ``limit`` characters, the last an ellipsis where it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def first_names(names: Iterable[str], limit: int = 6) -> str:
    """The first names, and how many more there are."""
    every = list(names)
    rest = f" and {len(every) - limit:,} more" if len(every) > limit else ""
    return ", ".join(shorten(name, 60) for name in every[:limit]) + rest


def plain(value: Any) -> str:
    """Any value of a summary as text: numbers with four digits, lists with commas."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or DASH
    return str(value)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested mapping as dotted names and ``plain`` values."""
    out: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = plain(value)
    return out


def duration(seconds: float | None) -> str:
    """Seconds as people read them: 4.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None:
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    return clock(seconds)
