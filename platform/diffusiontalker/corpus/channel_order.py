"""Detection of a wrong channel order: an array does not state the order of its columns, but the jaw
follows the sound."""

from typing import NamedTuple

import numpy as np

from diffusiontalker.arkit import CHANNELS, INDEX, ORDERS
from diffusiontalker.corpus import lip_sync

FOLLOWS = 0.5
"""Correlation with the loudness from which a channel follows it (our choice, as all limits
here)."""
CHANCE = 0.3
"""Correlation that a channel of a few seconds reaches by chance, at the best of all lags."""
CLEARLY = 0.25
"""By how much the correlation of another channel must be greater."""
STILL = 0.02
"""A jaw of a smaller range, from its 5th to its 95th percentile, hardly moves."""


class Doubt(NamedTuple):
    """Evidence that a take's columns are in another order than assumed."""

    text: str
    order: str | None = None
    """The likely order, by its name in ``arkit.ORDERS``; None: unknown."""


def find_doubt(samples: np.ndarray, coefficients: np.ndarray) -> Doubt | None:
    """Check that the jaw follows the sound, and if not, which channel does.

    Args:
        samples: (n,) at 16 kHz.
        coefficients: (frames, 52) at 30 fps.

    Returns:
        None: it does, or there is no evidence, as where no channel follows the sound.
    """
    loud, jaw = lip_sync.loudness(samples, len(coefficients)), coefficients[:, INDEX["jawOpen"]]
    if loud is None:
        return None
    jaw_correlation, jaw_range = _peak_correlation(loud, jaw), _range(jaw)
    if jaw_correlation >= FOLLOWS and jaw_range >= STILL:
        return None
    correlations = np.array([_peak_correlation(loud, movement) for movement in coefficients.T])
    required = max(FOLLOWS, jaw_correlation + CLEARLY)
    for name, (order, *_) in ORDERS.items():
        column = order.index("jawOpen")
        if correlations[column] >= required and _range(coefficients[:, column]) >= STILL:
            return Doubt(
                f"jawOpen does not follow the sound ({jaw_correlation:.2f}), but the column that "
                f"is jawOpen in the order {name} does ({correlations[column]:.2f})",
                name,
            )
    if correlations.max() >= required and jaw_correlation < CHANCE:
        return Doubt(
            f"jawOpen does not follow the sound ({jaw_correlation:.2f}), but "
            f"{CHANNELS[correlations.argmax()]} does ({correlations.max():.2f})"
        )
    if jaw_range < STILL:
        return Doubt(f"jawOpen hardly moves (by {jaw_range:.3f}) while there is sound")
    return None


def _range(movement: np.ndarray) -> float:
    return float(np.ptp(np.percentile(movement, [5, 95])))


def _peak_correlation(loud: np.ndarray, movement: np.ndarray) -> float:
    """Correlation of loudness and a movement at the lag where it is greatest."""
    correlations = lip_sync.lag_correlations(loud, movement)
    return 0.0 if correlations is None else float(correlations.max())
