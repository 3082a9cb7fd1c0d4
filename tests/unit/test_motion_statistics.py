"""What is taken from the training data before anything is trained."""

import numpy as np
import pytest

from diffusiontalker.arkit import CHANNELS, GAZE
from diffusiontalker.training.motion_statistics import MAX_SACCADES, saccade_rate


def gazing(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """A face (T, 52) that looks there with both eyes, as directions."""
    face = np.zeros((len(yaw), len(CHANNELS)), np.float32)
    face[:, GAZE.start], face[:, GAZE.start + 2] = yaw, pitch
    return face


def fixations(rng: np.random.Generator, every: int, count: int) -> np.ndarray:
    """A new direction every so many frames, reached in two."""
    held = np.repeat(rng.normal(0, 0.2, count), every)
    return np.convolve(np.pad(held, 1, mode="edge"), [0.5, 0.5], mode="valid")[: len(held)]


@pytest.mark.parametrize("every", [10, 40])
def test_every_saccade_is_counted_once(every: int) -> None:
    rng = np.random.default_rng(0)
    faces = [gazing(fixations(rng, every, 50), fixations(rng, every, 50)) for _ in range(4)]
    assert saccade_rate(faces) == pytest.approx(1 / every, rel=0.15)


def test_a_gaze_that_rests_or_drifts_makes_no_saccades() -> None:
    still, drift = np.zeros(600), 0.2 * np.sin(np.arange(600) / 60)
    assert saccade_rate([gazing(still, still)]) == 0
    assert saccade_rate([gazing(drift, still)]) == 0


def test_a_trembling_gaze_makes_no_more_than_eyes_can() -> None:
    rng = np.random.default_rng(0)
    assert saccade_rate([gazing(*rng.normal(0, 0.2, (2, 600)))]) <= MAX_SACCADES


@pytest.mark.parametrize("jitter", [0.005, 0.01])
def test_the_noise_of_a_tracker_is_no_saccade(jitter: float) -> None:
    """It was taken for six a second."""
    rng = np.random.default_rng(1)
    gaze = [
        gazing(*(fixations(rng, 30, 40) + rng.normal(0, jitter, 1200) for _ in range(2)))
        for _ in range(4)
    ]
    assert saccade_rate(gaze) == pytest.approx(1 / 30, rel=0.3)
