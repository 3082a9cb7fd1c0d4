"""The sound of an emotion beside its prosody: spectral tilt, pressed voice, tremolo."""

from dataclasses import replace

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus.procedural.voices import Emotion


def varied(emotion: Emotion, amount: float, rng: np.random.Generator) -> Emotion:
    """The emotion as one clip has it: people differ in pitch, pace, timbre and roughness whatever
    they feel, so that none of these alone gives an emotion away.

    Args:
        emotion: of the clip.
        amount: scales every deviation; at 1 they are about half as large as an emotion's own.
        rng: random numbers.
    """
    rate, pitch, span, tilt = rng.normal(size=4) * amount
    drive = max(rng.normal() * amount, 0.0)
    creak = rng.uniform(0.0, 0.4) * amount if rng.random() < 0.4 else 0.0
    creak_hz = rng.uniform(20.0, 35.0)
    keep = emotion.tremor >= creak
    return replace(
        emotion,
        rate=emotion.rate * float(np.exp(0.1 * rate)),
        pitch=emotion.pitch + 8.0 * pitch,
        range=emotion.range + 10.0 * span,
        tilt=emotion.tilt + 1.5 * tilt,
        drive=emotion.drive + drive,
        tremor=emotion.tremor if keep else creak,
        tremor_hz=emotion.tremor_hz if keep else creak_hz,
    )


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
