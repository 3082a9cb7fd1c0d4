"""Whether an alignment can be trusted. All limits are our choice."""

import itertools
import math

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus.alignment.base import Alignment
from diffusiontalker.corpus.textgrid import Span

MIN_RATE, MAX_RATE = 4.0, 25.0
"""Phones a second of speech; people speak 8 to 15."""
MAX_PHONE = 1.2
"""Seconds of the longest phone."""
SHORT, MAX_SHORT = 0.031, 0.4
"""Seconds of the shortest phones that an aligner can place, and the most that may be so short: text
that is not spoken is squeezed into them."""
LONG_PAUSE, PAUSE_EDGE, PAUSE_DB = 0.3, 0.05, -10.0
"""Seconds of a pause whose level is looked at, of which so many at either end are not, and its
highest level in dB relative to the phones: speech that is not in the text is aligned as a pause.
Measured on eleven recordings of people: -13 and below in pauses, -8 and above in left out words."""
ROUNDING = 1e-6
"""Seconds by which times may be out of order."""


def fault(alignment: Alignment, samples: np.ndarray, min_score: float | None) -> str | None:
    """Why an alignment of samples (n,) at 16 kHz is not trusted, in a few words; None: it is."""
    times = [time for phone in alignment.phones for time in phone[:2]]
    steps = (after - before for before, after in itertools.pairwise([0.0, *times]))
    ordered = all(step >= -ROUNDING for step in steps)  # false where a time is NaN
    if not ordered or max(times, default=0) > len(samples) / SAMPLE_RATE + ROUNDING:
        return "the aligner's phones are not in order of time within the recording"
    spoken = [phone.end - phone.start for phone in alignment.phones if phone.label]
    if not spoken:
        return "no speech was found in it"
    score = math.inf if alignment.score is None else alignment.score
    if min_score is not None and not score >= min_score:  # nor is NaN
        return (
            f"its text hardly fits its sound (score {score:.1f}, at least "
            f"{min_score:g} is needed: source.options.min_score)"
        )
    rate = len(spoken) / sum(spoken)
    if not MIN_RATE <= rate <= MAX_RATE:
        return f"{rate:.1f} phones a second: its text is not what is spoken"
    if max(spoken) > MAX_PHONE:
        return f"a phone of {max(spoken):.1f} s: its text is not what is spoken"
    short = sum(seconds < SHORT for seconds in spoken) / len(spoken)
    if short > MAX_SHORT:
        return f"{short:.0%} of its phones are as short as can be: its text is not what is spoken"
    loud = _loud_pauses(alignment.phones, samples)
    if loud:
        return (
            f"{loud:.1f} s of its pauses are as loud as its speech: words are not in its text, or "
            "the recording is noisy"
        )
    return None


def _loud_pauses(phones: tuple[Span, ...], samples: np.ndarray) -> float:
    """Seconds of the long pauses that are nearly as loud as the phones."""

    def power(spans: list[Span], edge: float = 0.0) -> float:
        cuts = [
            samples[round((s.start + edge) * SAMPLE_RATE) : round((s.end - edge) * SAMPLE_RATE)]
            for s in spans
        ]
        return float(np.square(np.concatenate(cuts), dtype=np.float64).mean())

    least = power([phone for phone in phones if phone.label]) * 10 ** (PAUSE_DB / 10)
    pauses = [s for s in phones if not s.label and s.end - s.start >= LONG_PAUSE]
    return sum(s.end - s.start for s in pauses if power([s], PAUSE_EDGE) > least)
