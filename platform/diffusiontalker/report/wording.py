"""Counts, percentages and names from the data, as the sentences of the pages print them."""

from collections.abc import Iterable


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
