"""Whether ``jawOpen`` is the jaw: nothing in an array says in which order its columns are."""

from typing import NamedTuple

import numpy as np

from diffusiontalker.arkit import CHANNELS, INDEX, ORDERS
from diffusiontalker.corpus import clips

FOLLOWS = 0.5
"""Correlation with the loudness from which a channel follows it (our choice, as all limits
here)."""
CHANCE = 0.3
"""What a channel of a few seconds reaches by chance, at the best of all lags."""
CLEARLY = 0.25
"""By how much another channel must follow better."""
STILL = 0.02
"""A jaw that moves by less than this, from its 5th to its 95th percentile, hardly moves."""


class Doubt(NamedTuple):
    """What speaks against a take's columns being what they are called."""

    text: str
    order: str | None = None
    """The name in ``arkit.ORDERS`` of the one that they are in instead, as far as can be told."""


def doubt(samples: np.ndarray, coefficients: np.ndarray) -> Doubt | None:
    """Whether the jaw follows the sound, or what does in its place.

    Args:
        samples: (n,) at 16 kHz.
        coefficients: (frames, 52) at 30 fps.

    Returns:
        None: it does, or nothing can be told, as where no channel follows the sound.
    """
    loud, jaw = clips.loudness(samples, len(coefficients)), coefficients[:, INDEX["jawOpen"]]
    if loud is None:
        return None
    own, moved = _follows(loud, jaw), _spread(jaw)
    if own >= FOLLOWS and moved >= STILL:
        return None
    follows = np.array([_follows(loud, movement) for movement in coefficients.T])
    much = max(FOLLOWS, own + CLEARLY)
    for name, (order, *_) in ORDERS.items():
        place = order.index("jawOpen")
        if follows[place] >= much and _spread(coefficients[:, place]) >= STILL:
            return Doubt(
                f"jawOpen does not follow the sound ({own:.2f}), but the column that is jawOpen in "
                f"the order {name} does ({follows[place]:.2f})",
                name,
            )
    if follows.max() >= much and own < CHANCE:
        return Doubt(
            f"jawOpen does not follow the sound ({own:.2f}), but {CHANNELS[follows.argmax()]} does "
            f"({follows.max():.2f})"
        )
    if moved < STILL:
        return Doubt(f"jawOpen hardly moves (by {moved:.3f}) while there is sound")
    return None


def _spread(movement: np.ndarray) -> float:
    return float(np.ptp(np.percentile(movement, [5, 95])))


def _follows(loud: np.ndarray, movement: np.ndarray) -> float:
    """Correlation of loudness and a movement at the lag where it is greatest."""
    scores = clips.scored(loud, movement)
    return 0.0 if scores is None else float(scores.max())
