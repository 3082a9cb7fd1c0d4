"""The spectrum of a region's movement: too much at high frequencies is flicker, too little blur.

Without the lids: blinks are most of the upper face's power, and hide the flicker of brows. They
have metrics of their own. Our choice.
"""

import math
from collections.abc import Sequence

import numpy as np

from diffusiontalker.arkit import CHANNELS, FPS, INDEX
from diffusiontalker.objectives.metrics import Array, Region, select_channels

SEGMENT = 64
"""Frames of a segment, 2.1 s."""
FREQUENCIES = np.fft.rfftfreq(SEGMENT, 1 / FPS)[1:]
"""(32,) Hz, from 0.47 to 15."""
BANDS = slice(0, 1), slice(1, 3), slice(3, 7), slice(7, 15), slice(15, 32)
"""Octaves of ``FREQUENCIES``, which begin at 0.47, 0.94, 1.9, 3.8 and 7.5 Hz."""
_WITHOUT_LIDS = np.ones(len(CHANNELS))
_WITHOUT_LIDS[[INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = 0
FLOOR = 1e-9
"""Power in 1/Hz that less counts as, so that a face that never moves has a finite distance."""


def power_spectrum(faces: Sequence[Array], region: Region) -> Array | None:
    """Power spectral density of faces (T, 52) at ``FREQUENCIES``, summed over the channels of a
    region but the lids': (32,) in 1/Hz.

    Welch's method (1967): mean over segments of ``SEGMENT`` frames, of which each begins in the
    middle of the one before, without their mean, under a Hann window. None where no face is as long
    as a segment.
    """
    window = np.hanning(SEGMENT + 1)[:-1]
    total, count = np.zeros(len(FREQUENCIES)), 0
    for face in faces:
        values = select_channels(np.asarray(face, np.float64) * _WITHOUT_LIDS, region)
        for start in range(0, len(values) - SEGMENT + 1, SEGMENT // 2):
            segment = values[start : start + SEGMENT]
            waves = np.fft.rfft(window[:, None] * (segment - segment.mean(0)), axis=0)
            total += np.square(np.abs(waves[1:])).sum(1)
            count += 1
    if not count:
        return None
    density = 2 * total / (count * FPS * np.square(window).sum())
    density[-1] /= 2  # the Nyquist frequency has no negative twin
    return density


def spectrum_distance(p: Array | None, g: Array | None) -> float:
    """Mean over ``BANDS`` of |10 log10(predicted / true power)| in dB, of two ``power_spectrum``;
    NaN where one is None."""
    if p is None or g is None:
        return math.nan
    predicted, true = (np.array([max(x[band].mean(), FLOOR) for band in BANDS]) for x in (p, g))
    return float(np.abs(10 * np.log10(predicted / true)).mean())
