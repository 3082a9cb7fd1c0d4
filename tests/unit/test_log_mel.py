"""The log-mel front end: its clock, its bands, its range."""

import numpy as np
import pytest

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.front_end import TRAINING
from diffusiontalker.audio.level import normalize
from diffusiontalker.audio.log_mel import (
    BANDS,
    PER_FRAME,
    frame_count,
    log_mel,
    mel_filters,
)

FFT, WINDOW, MEAN, SCALE = TRAINING.fft, TRAINING.window, TRAINING.mean, TRAINING.scale
SILENCE = (np.log(TRAINING.floor) - MEAN) / SCALE


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (
        0.1 * np.sin(2 * np.pi * hz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
    ).astype(np.float32)


def mel(hz: float) -> float:
    return 2595 * np.log10(1 + hz / 700)


@pytest.mark.parametrize(
    ("samples", "frames"),
    # Frame k is at k / 30 s: 533.33, 1066.67, 1600 samples.
    [(0, 1), (1, 1), (533, 1), (534, 2), (1066, 2), (1067, 3), (1600, 3), (1601, 4), (16_000, 30)],
)
def test_frames_are_those_whose_time_lies_within(samples: int, frames: int):
    assert frame_count(samples) == frames
    assert log_mel(np.zeros(samples, np.float32)).shape == (PER_FRAME * frames, BANDS)


def test_frames_and_samples_agree_for_every_length():
    for frames in range(1, 2000):
        assert frame_count(frames * SAMPLE_RATE // FPS) == frames


def test_silence_is_the_floor():
    assert np.allclose(log_mel(np.zeros(8000, np.float32)), SILENCE)


def test_a_click_stands_in_the_frames_around_it():
    samples = np.zeros(SAMPLE_RATE, np.float32)
    samples[8000] = 1.0  # at 0.5 s, the centre of frame 30
    loud = log_mel(samples).mean(axis=1)
    assert loud.argmax() == 30
    assert loud[29] == pytest.approx(loud[31], abs=1e-3)
    # The window is 40 ms: frames at 16.7 ms see it, those at 33 ms do not.
    assert np.flatnonzero(loud > SILENCE + 1e-3).tolist() == [29, 30, 31]


def test_moving_the_sound_by_frames_moves_the_spectrum_by_frames():
    noise = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    early, late = (np.zeros(SAMPLE_RATE, np.float32) for _ in range(2))
    early[4000:8000] = noise
    late[4000 + 1600 : 8000 + 1600] = noise  # 0.1 s: six mel frames
    assert np.allclose(log_mel(late)[6:], log_mel(early)[:-6], atol=1e-4)


@pytest.mark.parametrize("hz", [120.0, 440.0, 1000.0, 3000.0, 7000.0])
def test_a_tone_stands_in_its_band(hz: float):
    # Centres are equally spaced on the mel scale between 40 Hz and 8 kHz.
    step = (mel(8000) - mel(40)) / (BANDS + 1)
    band = log_mel(tone(hz))[20:40].mean(axis=0).argmax()
    assert abs(band - ((mel(hz) - mel(40)) / step - 1)) < 1.0


def test_the_level_of_a_tone_by_hand():
    # A sine of amplitude 0.1 in a Hann window: peak magnitude 0.1 / 2 * sum(window) = 16.
    peak = (0.1 / 2 * WINDOW / 2) ** 2
    spectrum = log_mel(tone(1000.0))[30]
    weights = mel_filters(FFT, BANDS)[round(1000 / (SAMPLE_RATE / FFT))]
    assert weights.sum() == pytest.approx(1.0, abs=0.02)  # triangles share every bin
    at_least = (np.log(peak * weights.max()) - MEAN) / SCALE
    # The window spreads the peak over a few bins.
    assert at_least <= spectrum.max() <= at_least + np.log(4) / SCALE


def test_filters_cover_the_spectrum():
    filters = mel_filters(FFT, BANDS)
    assert filters.shape == (FFT // 2 + 1, BANDS)
    assert (filters.max(axis=0) > 0.3).all()
    assert (filters >= 0).all()


def test_speech_at_our_level_is_near_standard(spoken: list):
    values = np.concatenate([log_mel(clip.audio) for _, clip in spoken[:10]])
    assert values.dtype == np.float32
    assert abs(values.mean()) < 1.0
    assert 0.5 < values.std() < 1.5


def test_nothing_is_added_up_across_time():
    noise = normalize(np.random.default_rng(1).normal(size=SAMPLE_RATE))
    whole, half = log_mel(noise), log_mel(noise[:8000])
    assert np.array_equal(whole[:28], half[:28])
