"""Ticks of a logarithmic axis with full labels.

Plotly's own labels between the powers of ten are digits alone ("5", "10k", "2"), and a short axis
has one tick or none.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

MIN_TICKS = 3
"""With fewer no value can be read off an axis."""
MARKS: tuple[tuple[float, ...], ...] = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))
"""Multiples of each power of ten, the coarsest choice first."""


def log_axis(shown: Iterable[float], hidden: Iterable[float] = ()) -> dict[str, Any]:
    """The arguments of a logarithmic plotly axis, with ticks for the values above 0.

    Args:
        shown: values that the axis spans.
        hidden: values of hidden traces, which it may span later; there ticks at 1, 2 and 5 do.
    """
    values = [value for value in shown if value > 0] or [1.0]
    low, high = min(values), max(values)
    if high < 1.02 * low:
        low, high = low / 2, high * 2
    ticks = _within(low, high)
    rest = [value for value in hidden if value > 0]
    if rest:
        coarse = _marks(min(low, *rest), max(high, *rest), MARKS[1])
        ticks += [value for value in coarse if not low <= value <= high]
    ticks.sort()
    return {"type": "log", "tickvals": ticks, "ticktext": [text(value) for value in ticks]}


def text(value: float) -> str:
    """A tick label: 0.05, 2, 250, 20k, 1.5M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def _within(low: float, high: float) -> list[float]:
    for marks in MARKS:
        if len(found := _marks(low, high, marks)) >= MIN_TICKS:
            return found
    # Less than about an octave: equal steps of 1, 2 or 5, the widest with enough ticks.
    power = 10.0 ** math.ceil(math.log10(high - low))
    for step in (power / parts for parts in (1, 2, 5, 10, 20, 50)):
        multiples = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(multiples) >= MIN_TICKS:
            break
    return [number * step for number in multiples]


def _marks(low: float, high: float, marks: Sequence[float]) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [mark * 10.0**power for power in powers for mark in marks]
    return [value for value in every if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
