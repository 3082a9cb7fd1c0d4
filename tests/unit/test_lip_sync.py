"""The lag of lips behind their sound, and its drift within a take."""

import numpy as np
import pytest

from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus import clips, lip_sync


def speech(seconds: float, delay: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Syllables of noise at irregular times, and a jaw that opens ``delay`` later."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.uniform(0.15, 0.5, round(seconds * 3)))
    starts = starts[starts < seconds - 0.6]

    def bumps(times: np.ndarray) -> np.ndarray:
        return sum(np.exp(-(((times - s) / 0.06) ** 2)) for s in starts)

    sound = bumps(np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
    face = np.zeros((round(seconds * 30), len(CHANNELS)), np.float32)
    face[:, INDEX["jawOpen"]] = 0.5 * bumps(np.arange(len(face)) / 30 - delay)
    return (sound * rng.normal(size=len(sound))).astype(np.float32), face


@pytest.mark.parametrize("delay", [-0.3, -0.05, 0.0, 0.02, 0.1, 0.4])
def test_the_lag_of_a_mouth_behind_its_sound(delay: float) -> None:
    found = lip_sync.lip_audio_lag(*speech(12.0, delay))
    assert found is not None
    seconds, correlation = found
    assert seconds == pytest.approx(delay, abs=0.02)
    assert correlation > 0.6


def test_where_no_lag_can_be_told() -> None:
    sound, face = speech(12.0, 0.0)
    assert lip_sync.lip_audio_lag(np.zeros_like(sound), face) is None
    assert lip_sync.lip_audio_lag(sound, np.zeros_like(face)) is None
    assert lip_sync.lip_audio_lag(*speech(1.5, 0.0)) is None
    noise = np.random.default_rng(0).random(face.shape).astype(np.float32)
    assert lip_sync.lip_audio_lag(sound, noise) is None


def test_a_lag_that_grows_within_a_take() -> None:
    sound, face = speech(45.0, 0.0)
    assert lip_sync.lag_drift(sound, face) == pytest.approx(0.0, abs=0.01)
    slow = clips.resample(face, 30.0, np.arange(len(face)) / 30 * 1.002)  # 2 ms earlier a second
    assert lip_sync.lag_drift(sound, slow) == pytest.approx(-0.06, abs=0.01)
    assert lip_sync.lag_drift(sound[: 16_000 * 20], face[: 30 * 20]) is None
    assert lip_sync.lag_drift(np.zeros_like(sound), face) is None
