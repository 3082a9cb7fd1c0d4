"""Whether a mouth shows what is spoken: closure, opening and rounding, from phoneme times.

A squared error hardly depends on a closure of a single frame, which viewers notice. Our choice.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from diffusiontalker.arkit import FPS, INDEX
from diffusiontalker.corpus.phonemes import BILABIAL, OPEN, PAUSE, ROUNDED, SPREAD
from diffusiontalker.objectives.metrics import Array

APERTURE = "jawOpen", "mouthClose", "mouthLowerDownLeft", "mouthUpperUpLeft"
"""Channels of ``aperture``, in the order of its formula."""
SEALED = 0.05
"""Aperture below which lips count as closed."""
MIN_VOWEL, MIN_PAUSE = 0.05, 0.2
"""Seconds of the shortest open vowel and pause that count."""
Phones = Sequence[tuple[str, float, float]]
"""(base phoneme, start, end) in seconds."""


class Articulation(NamedTuple):
    """Of all phones of some clips; NaN where none of a kind is there."""

    closure: float
    """Share of p, b, m in which the lips are closed in a frame: the least aperture is below
    ``SEALED``."""
    closed_elsewhere: float
    """Share of the other phones in whose middle the lips are closed: the opposite fault. Beside a
    p, b, m or a pause, where lips close and open, only open vowels of ``MIN_VOWEL`` count."""
    closure_auc: float
    """Probability that the least aperture in p, b, m is below that in the middle of an open vowel
    (area under the ROC curve): 1 is best, 0.5 is chance."""
    rounding_auc: float
    """Probability that lips are rounder in w, u, o than in i, e, s."""
    jaw_in_pauses: float
    """Mean jawOpen in the middle of pauses; 0 at rest."""


def aperture(face: Array) -> Array:
    """How far the lips are apart in frames (T, 52): (T,).

    max(jawOpen - mouthClose, 0) + (mouthLowerDownLeft + mouthUpperUpLeft) / 2.
    """
    jaw, close, lower, upper = (face[:, INDEX[name]] for name in APERTURE)
    return np.maximum(jaw - close, 0) + (lower + upper) / 2


def rounding(face: Array) -> Array:
    """How round the lips are in frames (T, 52): mouthPucker + mouthFunnel, (T,)."""
    return face[:, INDEX["mouthPucker"]] + face[:, INDEX["mouthFunnel"]]


def articulation(faces: Sequence[Array], phones: Sequence[Phones]) -> Articulation:
    """Measure faces (T, 52) at 30 fps whose phones are known."""
    found = gestures(faces, phones)
    return Articulation(
        closure=mean([gap < SEALED for gap in found.closed]),
        closed_elsewhere=mean([gap < SEALED for gap in found.others]),
        closure_auc=_auc(low=found.closed, high=found.opened),
        rounding_auc=_auc(low=found.spread, high=found.rounded),
        jaw_in_pauses=mean(found.pauses),
    )


class Gestures(NamedTuple):
    """Lips and jaw in each phone that shows on them, of all faces."""

    closed: list[float]
    """The least aperture in p, b, m."""
    others: list[float]
    """The aperture in the middle of other phones, as ``Articulation.closed_elsewhere`` counts
    them."""
    opened: list[float]
    """The aperture in the middle of open vowels of at least ``MIN_VOWEL``."""
    rounded: list[float]
    """``rounding`` in the middle of w, u, o."""
    spread: list[float]
    """The same of i, e, s."""
    pauses: list[float]
    """jawOpen in the middle of pauses of at least ``MIN_PAUSE``."""


def gestures(faces: Sequence[Array], phones: Sequence[Phones]) -> Gestures:
    """As ``articulation``, before anything is averaged."""
    out = Gestures([], [], [], [], [], [])
    jaw = INDEX["jawOpen"]
    for face, spoken in zip(faces, phones, strict=True):
        gap, roundness = aperture(face), rounding(face)
        apart = _with_lips_apart(spoken)
        for phone, start, end, frames, middle in _frames(spoken, len(face)):
            if phone in BILABIAL:
                out.closed.append(float(gap[frames].min()))
            if (phone, start, end) in apart:
                out.others.append(float(gap[middle]))
            if phone in OPEN and end - start > MIN_VOWEL:
                out.opened.append(float(gap[middle]))
            if phone in ROUNDED:
                out.rounded.append(float(roundness[middle]))
            if phone in SPREAD:
                out.spread.append(float(roundness[middle]))
            if phone == PAUSE and end - start > MIN_PAUSE:
                out.pauses.append(float(face[middle, jaw]))
    return out


def bilabial_frames(phones: Phones, count: int) -> list[tuple[int, int]]:
    """The frames in which the lips may close for each p, b, m, of ``count``: (first, last + 1)."""
    return [
        (frames.start, min(frames.stop, count))
        for phone, _, _, frames, _ in _frames(phones, count)
        if phone in BILABIAL
    ]


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return float(np.mean(values)) if len(values) else math.nan


def _with_lips_apart(phones: Phones) -> set[tuple[str, float, float]]:
    """The phones in whose middle lips should not be closed."""
    closing = [phone in BILABIAL or phone == PAUSE for phone, _, _ in phones]
    return {
        (phone, start, end)
        for i, (phone, start, end) in enumerate(phones)
        if (0 < i < len(phones) - 1 and not any(closing[i - 1 : i + 2]))
        or (phone in OPEN and end - start > MIN_VOWEL)
    }


def _frames(phones: Phones, count: int) -> Iterator[tuple[str, float, float, slice, int]]:
    """Phones within ``count`` frames, with their frames and the middle one.

    The frames reach from the last one before the phone to the first one behind it: a short closure
    may lie between two frames, and its face a frame beside it.
    """
    for phone, start, end in phones:
        middle = round((start + end) / 2 * FPS)
        if middle >= count:
            continue
        frames = slice(math.floor(start * FPS + 1e-6), math.ceil(end * FPS - 1e-6) + 1)
        yield phone, start, end, frames, middle


def _auc(low: Sequence[float], high: Sequence[float]) -> float:
    """Probability that a value of ``high`` is above one of ``low``; ties count as one half."""
    if not low or not high:
        return math.nan
    from sklearn.metrics import roc_auc_score  # takes a second to import

    return float(roc_auc_score([0] * len(low) + [1] * len(high), [*low, *high]))
