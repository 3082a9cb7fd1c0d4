"""How late a mouth moves: against a recorded face, and against the times of p, b, m. Our choice."""

import math
from collections.abc import Sequence

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.corpus import lip_sync
from diffusiontalker.corpus.phonemes import BILABIAL, PAUSE
from diffusiontalker.objectives.articulation import SEALED, Phones, aperture
from diffusiontalker.objectives.metrics import Array

SHORTEST = 2 * lip_sync.MAX_LAG + FPS
"""Frames of the shortest clip in which a lag is looked for: a second, and the lags at its ends."""
SEARCH = 0.1
"""Seconds before and after a phone in which its closure is looked for."""


def lip_lag(p: Sequence[Array], g: Sequence[Array]) -> float:
    """Lag of the predicted mouth behind the recorded one in ms; negative where it leads.

    The lag at which the apertures of predicted and recorded faces (T, 52) correlate best, both
    high-pass filtered at a second, between two frames by a parabola. The correlations of all pairs
    pool: they are averaged, weighted by frames. NaN where no pair is long enough and moves, or the
    best correlation is below ``lip_sync.MIN_CORRELATION``.
    """
    total, frames = np.zeros(2 * lip_sync.MAX_LAG + 1), 0
    for predicted, recorded in zip(p, g, strict=True):
        if len(recorded) < SHORTEST:
            continue
        reference = lip_sync.high_pass(aperture(recorded))
        scores = lip_sync.lag_correlations(reference, aperture(predicted))
        if scores is not None and scores.any():  # all are 0 where the recorded mouth is still
            total, frames = total + len(recorded) * scores, frames + len(recorded)
    if not frames or total.max() < frames * lip_sync.MIN_CORRELATION:
        return math.nan
    return 1000 * lip_sync.lag_of(total / frames)


def closure_lag(faces: Sequence[Array], phones: Sequence[Phones]) -> float:
    """Median of ``closure_lags`` in ms; NaN where there are none."""
    lags = closure_lags(faces, phones)
    return 1000 * float(np.median(lags)) if lags else math.nan


def closure_lags(faces: Sequence[Array], phones: Sequence[Phones]) -> list[float]:
    """From the middle of each p, b, m to that of the lips' closure, in seconds; negative where the
    lips lead.

    The closure is the run of frames around the least aperture within ``SEARCH`` of the phone in
    which the lips are sealed, or that frame alone where they are not. Left out are phones within
    ``SEARCH`` of a pause or of another p, b, m, where a mouth may be closed for longer, and mouths
    that do not move there.
    """
    out = []
    for face, spoken in zip(faces, phones, strict=True):
        gap = aperture(face)
        closed = [one for one in spoken if one[0] in {PAUSE, *BILABIAL}]
        for phone, start, end in closed:
            low, high = start - SEARCH, end + SEARCH
            near = [one for one in closed if one[1] < high + 1e-6 and one[2] > low - 1e-6]
            first, last = math.ceil(low * FPS - 1e-6), math.floor(high * FPS + 1e-6)
            if phone == PAUSE or len(near) > 1 or first < 0 or last >= len(gap):
                continue
            window = gap[first : last + 1]
            if np.ptp(window) >= SEALED:
                out.append((first + _closed_at(window)) / FPS - (start + end) / 2)
    return out


def _closed_at(gap: Array) -> float:
    """The middle of the run of sealed frames around the least of ``gap``, as an index."""
    least = int(gap.argmin())
    open_frames = np.flatnonzero(gap > max(SEALED, gap[least]))
    first = int(open_frames[open_frames < least].max(initial=-1)) + 1
    last = int(open_frames[open_frames > least].min(initial=len(gap))) - 1
    return (first + last) / 2
