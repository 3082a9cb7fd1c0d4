"""What the trials of a sweep show: counts by state, the compared metrics, the best and the default.

All objectives are errors on the validation split, so low is good.
"""

from collections import Counter
from collections.abc import Sequence

from diffusiontalker.summary.sweep import MISSED_CLOSURES, SweepSummary, Trial

METRIC_LABELS = {
    "lbe": "LBE",
    "energy_score": "energy score",
    "upper_energy": "upper-face energy score",
    "missed_closures": "missed closures",
}
"""The metrics of ``CurvePoint`` as a sentence names them."""
UNITS = dict.fromkeys(METRIC_LABELS, "coefficients") | {MISSED_CLOSURES: "share of p, b, m"}
"""Their units."""
STATE_LABELS = {"done": "finished", "pruned": "pruned", "failed": "failed", "running": "running"}
"""The states of a trial in words, in the order in which they are counted."""


def compared_metrics(sweep: SweepSummary) -> tuple[str, str]:
    """The two metrics in which trials are plotted: the objectives, or the only one and another."""
    first, *others = sweep.objectives
    return first, others[0] if others else "energy_score" if first == "lbe" else "lbe"


def known_metrics(sweep: SweepSummary) -> dict[str, str]:
    """``METRIC_LABELS``, without missed closures where no trial has them: not every corpus has
    phoneme times."""
    points = (point for trial in sweep.trials for point in trial.curve)
    if MISSED_CLOSURES in sweep.objectives or any(p.missed_closures is not None for p in points):
        return METRIC_LABELS
    return {key: label for key, label in METRIC_LABELS.items() if key != MISSED_CLOSURES}


def state_counts(trials: Sequence[Trial]) -> str:
    """``24 finished, 4 pruned, 1 failed``."""
    counts: Counter[str] = Counter(trial.state for trial in trials)
    labels = STATE_LABELS.items()
    return ", ".join(f"{counts[state]:,} {label}" for state, label in labels if counts[state])


def confirmed_pairs(sweep: SweepSummary, metric: str) -> list[tuple[float, float]]:
    """(default, best) of each further seed for which both have the metric."""
    pairs = ((one.default.get(metric), one.best.get(metric)) for one in sweep.confirmed)
    return [(default, best) for default, best in pairs if default is not None and best is not None]


def relative_change(before: float | None, after: float | None) -> float | None:
    """(after - before) / before; None where it is not known."""
    return after / before - 1 if before and after is not None else None


def means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean (default, best) over one seed or more."""
    return sum(b for b, _ in pairs) / len(pairs), sum(a for _, a in pairs) / len(pairs)


def wins(pairs: Sequence[tuple[float, float]]) -> int:
    """Number of seeds with which the best is lower than the default."""
    return sum(after < before for before, after in pairs)
