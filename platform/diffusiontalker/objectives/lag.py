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
    which the lips are sealed, or that frame alone where they are not. Phones beside a pause or
    another p, b, m are left out: there a mouth may be closed for longer.
    """
    out = []
    for face, spoken in zip(faces, phones, strict=True):
        gap = aperture(face)
        triples = zip(spoken, spoken[1:], spoken[2:], strict=False)
        for (before, *_), (phone, start, end), (after, *_) in triples:
            if phone not in BILABIAL or {before, after} & {PAUSE, *BILABIAL}:
                continue
            first = max(math.ceil((start - SEARCH) * FPS - 1e-6), 0)
            last = math.floor((end + SEARCH) * FPS + 1e-6)
            if last < len(gap):
                middle = first + _closed_at(gap[first : last + 1])
                out.append(middle / FPS - (start + end) / 2)
    return out


def _closed_at(gap: Array) -> float:
    """The middle of the run of sealed frames around the least of ``gap``, as an index."""
    least = int(gap.argmin())
    open_frames = np.flatnonzero(gap > max(SEALED, gap[least]))
    first = int(open_frames[open_frames < least].max(initial=-1)) + 1
    last = int(open_frames[open_frames > least].min(initial=len(gap))) - 1
    return (first + last) / 2
