"""Mean and spread over seeds, and paired tests per clip: pure functions of measured rows."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import numpy as np
from scipy.stats import false_discovery_control, wilcoxon

from diffusiontalker.summary.comparison import ComparedRow, Estimate
from diffusiontalker.summary.run import ClipRow

LEAST = 6
"""Pairs below which no order of them would be significant at 5 %."""
ByClip = Mapping[str, float]
"""A metric of each clip, by its id."""


def estimate(values: Sequence[float | None], published: float | None = None) -> Estimate:
    """Of a metric's values for several seeds; unknown where one is unknown."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Estimate(published=published)
    return Estimate(
        mean=fmean(known), spread=stdev(known) if len(known) > 1 else None, published=published
    )


def by_clip(rows: Sequence[ClipRow], key: str) -> dict[str, float]:
    """A metric of each clip, averaged over the rows (seeds) that have it."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if (value := row.errors.get(key)) is not None:
            values.setdefault(row.clip, []).append(value)
    return {clip: fmean(own) for clip, own in values.items()}


def paired_p(one: ByClip, other: ByClip) -> float | None:
    """Wilcoxon's signed-rank test of the clips that both have; None where they are too few, or
    alike in all of them."""
    clips = sorted(one.keys() & other.keys())
    gaps = np.array([one[clip] - other[clip] for clip in clips])
    if len(gaps) < LEAST or not gaps.any():
        return None
    return float(wilcoxon(gaps).pvalue)


def corrected(rows: Sequence[ComparedRow]) -> list[ComparedRow]:
    """The rows with p values corrected for all tests among them (Benjamini and Hochberg 1995)."""
    places = [
        (number, key)
        for number, row in enumerate(rows)
        for key, own in row.figures.items()
        if own.p is not None
    ]
    if not places:
        return list(rows)
    values = false_discovery_control([rows[number].figures[key].p for number, key in places])
    found = dict(zip(places, values.tolist(), strict=True))
    return [
        row.model_copy(
            update={
                "figures": {
                    key: own.model_copy(update={"p": found.get((number, key))})
                    for key, own in row.figures.items()
                }
            }
        )
        for number, row in enumerate(rows)
    ]
