"""The sound of an emotion beside its prosody: spectral tilt, pressed voice, tremolo."""

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus.procedural.voices import Emotion


def apply(
    audio: np.ndarray, emotion: Emotion, intensity: float, rng: np.random.Generator
) -> np.ndarray:
    """Apply an emotion's spectral tilt, soft clipping and tremolo, and a little room noise."""
    spectrum = np.fft.rfft(audio)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE), 60.0) / 500.0)
    spectrum *= 10 ** (emotion.tilt * intensity * octaves / 20)
    audio = np.fft.irfft(spectrum, len(audio))
    seconds = np.arange(len(audio)) / SAMPLE_RATE
    if emotion.drive:
        gain = 1.0 + emotion.drive * intensity
        audio = np.tanh(gain * audio / np.abs(audio).max()) / gain
    tremolo = np.sin(2 * np.pi * (emotion.tremor_hz * seconds + rng.random()))
    audio = audio * (1.0 - 0.5 * emotion.tremor * intensity * (1.0 + tremolo))
    noise = 10 ** (-rng.uniform(35, 60) / 20) * np.std(audio)
    return (audio + noise * rng.normal(size=len(audio))).astype(np.float32)
