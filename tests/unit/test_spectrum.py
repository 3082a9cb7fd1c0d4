"""The spectrum of movement: a wave worked by hand, Welch's method as SciPy has it, and that both
flicker and blur have a distance."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import welch

from diffusiontalker.arkit import CHANNELS, FPS, INDEX, UPPER
from diffusiontalker.objectives.spectrum import (
    BANDS,
    FLOOR,
    FREQUENCIES,
    SEGMENT,
    power_spectrum,
    spectrum_distance,
)

BROW = INDEX["browInnerUp"]


def walk(frames: int, seed: int = 0) -> np.ndarray:
    """A face that drifts: much power at low frequencies, little at high ones."""
    steps = np.random.default_rng(seed).normal(0, 0.02, (frames, len(CHANNELS)))
    return steps.cumsum(0)


def test_the_power_of_a_wave_is_that_of_its_samples() -> None:
    wave = np.zeros((SEGMENT, len(CHANNELS)))
    wave[:, BROW] = 0.3 + 0.2 * np.sin(2 * np.pi * 8 * np.arange(SEGMENT) / SEGMENT)
    found = power_spectrum([wave], "upper")
    assert found is not None
    resolution = FPS / SEGMENT
    # A sine of amplitude a has power a^2 / 2; a Hann window spreads it over three frequencies,
    # 2/3 of it at the wave's own.
    assert found.sum() * resolution == pytest.approx(0.2**2 / 2)
    assert FREQUENCIES[found.argmax()] == pytest.approx(8 * resolution)
    assert found.max() * resolution == pytest.approx(2 / 3 * 0.2**2 / 2)
    silent = power_spectrum([wave], "lip")
    assert silent is not None
    assert silent.max() == 0


def test_it_is_welchs() -> None:
    face = walk(2 * SEGMENT)
    brows = [channel for channel in UPPER if "eyeBlink" not in CHANNELS[channel]]
    _, expected = welch(face[:, brows], FPS, "hann", SEGMENT, SEGMENT // 2, axis=0)
    found = power_spectrum([face], "upper")
    assert found is not None
    np.testing.assert_allclose(found, expected[1:].sum(1), rtol=1e-9)


def test_faces_pool_and_short_ones_are_left_out() -> None:
    one, two = walk(SEGMENT, 1), walk(SEGMENT, 2)
    both = power_spectrum([one, two, one[:-1]], "all")
    each = [power_spectrum([face], "all") for face in (one, two)]
    assert both is not None
    np.testing.assert_allclose(both, np.mean([x for x in each if x is not None], axis=0))
    assert power_spectrum([one[:-1]], "all") is None


def test_bands_are_octaves_that_cover_all() -> None:
    first = [float(FREQUENCIES[band][0]) for band in BANDS]
    assert [high / low for low, high in pairwise(first)] == [2] * 4
    covered = [n for band in BANDS for n in range(len(FREQUENCIES))[band]]
    assert covered == list(range(len(FREQUENCIES)))
    assert FREQUENCIES[-1] == FPS / 2


def test_a_distance_by_hand() -> None:
    true = np.full(len(FREQUENCIES), 1e-3)
    other = true.copy()
    other[BANDS[4]] *= 100  # + 20 dB
    other[BANDS[3]] /= 10  # - 10 dB
    assert spectrum_distance(other, true) == pytest.approx((20 + 10) / 5)
    assert spectrum_distance(true, other) == pytest.approx((20 + 10) / 5)
    assert spectrum_distance(true, true) == 0
    assert math.isnan(spectrum_distance(None, true))
    still = np.zeros_like(true)
    assert spectrum_distance(still, true) == pytest.approx(10 * math.log10(1e-3 / FLOOR))
    assert spectrum_distance(still, still) == 0


def test_flicker_of_brows_loses_beside_blinks() -> None:
    """With the lids, a flicker of 0.01 scored better than another draw of the same faces."""
    rng = np.random.default_rng(0)

    def blinking(seed: int, flicker: float) -> np.ndarray:
        face = 0.2 * walk(200, seed)
        for start in (20, 90, 150):
            lids = slice(start + rng.integers(10), None)
            face[lids, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]][:7] = 0.9
        face[:, BROW] += rng.normal(0, flicker, 200)
        return face

    true, again, flickering = (
        power_spectrum([blinking(4 * group + n, size) for n in range(4)], "upper")
        for group, size in ((0, 0.0), (1, 0.0), (2, 0.01))
    )
    assert spectrum_distance(flickering, true) > 2 * spectrum_distance(again, true)


def test_flicker_and_blur_both_lose() -> None:
    recordings = [walk(200, seed) for seed in range(4)]
    true = power_spectrum(recordings, "upper")
    noise = np.random.default_rng(9)
    kernel = np.ones(5) / 5
    flickering = [face + noise.normal(0, 0.03, face.shape) for face in recordings]
    blurred = [
        np.apply_along_axis(np.convolve, 0, face, kernel, mode="valid") for face in recordings
    ]
    for faces in (flickering, blurred):
        assert spectrum_distance(power_spectrum(faces, "upper"), true) > 2
    again = power_spectrum([walk(200, 10 + seed) for seed in range(4)], "upper")
    assert spectrum_distance(again, true) < 1
