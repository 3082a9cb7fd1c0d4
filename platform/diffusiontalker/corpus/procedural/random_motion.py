"""The random part of a procedural face: blinks, gaze, brow accents and slow drift.

All constants are our choice.
"""

import numpy as np

from diffusiontalker.arkit import FPS, INDEX
from diffusiontalker.corpus.procedural.articulation import SpeechMotion


def drift(frames: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A stationary first-order autoregressive process (frames,) of unit variance with the given
    correlation time."""
    keep = np.exp(-1.0 / (seconds * FPS))
    steps = rng.normal(size=frames) * np.sqrt(1 - keep**2)
    steps[0] = rng.normal()
    out = np.empty(frames)
    level = 0.0
    for i, step in enumerate(steps):
        level = keep * level + step
        out[i] = level
    # A short smoothing window removes frame-to-frame noise, as facial motion is smooth.
    return np.convolve(np.pad(out, 3, mode="edge"), np.hanning(9)[1:-1] / 4.0, mode="valid")


def _bump(frames: int, start: float, attack: float, hold: float, release: float) -> np.ndarray:
    """(frames,) raised-cosine rise, hold and fall, times in seconds."""
    t = np.arange(frames) / FPS - start
    x = np.interp(t, [0.0, attack, attack + hold, attack + hold + release], [0.0, 1.0, 1.0, 0.0])
    return 0.5 - 0.5 * np.cos(np.pi * x)


def add_brow_accents(face: np.ndarray, speech: SpeechMotion, rng: np.random.Generator) -> None:
    """Brow raises on most pitch accents, likelier and higher on strong ones."""
    for time, strength in speech.accents:
        if rng.random() > 0.35 + 0.6 * strength:
            continue
        height = speech.speaker.accent_gain * strength * np.exp(rng.normal(0.0, 0.25))
        flash = height * _bump(len(face), time - 0.13 + rng.normal(0, 0.02), 0.13, 0.07, 0.24)
        for channel, share in (
            ("browInnerUp", 1.0),
            ("browOuterUpLeft", 0.7),
            ("browOuterUpRight", 0.7),
            ("eyeWideLeft", 0.25),
            ("eyeWideRight", 0.25),
        ):
            face[:, INDEX[channel]] += share * flash


def add_slow_drift(face: np.ndarray, rng: np.random.Generator) -> None:
    """Slow motion independent of the audio: brows, cheeks, mouth corners, lateral jaw and mouth."""
    frames = len(face)
    for channels, size, seconds in (
        (("browInnerUp",), 0.05, 0.9),
        (("browDownLeft", "browDownRight"), 0.045, 0.9),
        (("browOuterUpLeft", "browOuterUpRight"), 0.035, 0.9),
        (("cheekSquintLeft", "cheekSquintRight", "eyeSquintLeft", "eyeSquintRight"), 0.035, 1.0),
        (("mouthSmileLeft", "mouthSmileRight"), 0.02, 1.2),
        (("noseSneerLeft", "noseSneerRight"), 0.025, 0.8),
    ):
        wave = size * drift(frames, seconds, rng)
        for channel in channels:
            face[:, INDEX[channel]] += wave
    for plus, minus, size in (("jawLeft", "jawRight", 0.02), ("mouthLeft", "mouthRight", 0.025)):
        wave = size * drift(frames, 1.0, rng)
        face[:, INDEX[plus]] += np.maximum(wave, 0)
        face[:, INDEX[minus]] += np.maximum(-wave, 0)


def add_gaze(face: np.ndarray, speech: SpeechMotion, rng: np.random.Generator) -> None:
    """Saccades between fixations: yaw and pitch in units of coefficients, on eight channels."""
    frames = len(face)
    size = np.array([0.13, 0.08]) * speech.speaker.gaze
    at = rng.normal(0, 0.5, 2) * size
    yaw, pitch = np.full(frames, at[0]), np.full(frames, at[1])
    time = rng.exponential(0.9)
    while time < frames / FPS:
        # 40 % of the saccades return to the listener.
        there = rng.normal(0, 1, 2) * size * (rng.random() < 0.6)
        step = 0.5 - 0.5 * np.cos(np.pi * np.clip((np.arange(frames) / FPS - time) / 0.06, 0, 1))
        yaw += step * (there[0] - at[0])
        pitch += step * (there[1] - at[1])
        at = there
        time += 0.35 + rng.exponential(0.9)
    for channel, value in (
        ("eyeLookOutLeft", yaw),
        ("eyeLookInRight", yaw),
        ("eyeLookInLeft", -yaw),
        ("eyeLookOutRight", -yaw),
        ("eyeLookUpLeft", pitch),
        ("eyeLookUpRight", pitch),
        ("eyeLookDownLeft", -pitch),
        ("eyeLookDownRight", -pitch),
    ):
        face[:, INDEX[channel]] += np.maximum(value, 0)


def add_blinks(face: np.ndarray, speech: SpeechMotion, rng: np.random.Generator) -> None:
    """Poisson blinks with a refractory second; most blinks near a pause are moved onto it."""
    frames = len(face)
    rate = speech.speaker.blinks * speech.emotion.blink**speech.intensity / 60.0
    time = rng.exponential(1.0 / rate)
    while time < frames / FPS:
        near = [pause for pause in speech.pauses if abs(pause - time) < 0.5]
        start = near[0] - 0.07 if near and rng.random() < 0.7 else time
        lid = 0.95 * _bump(frames, start, 0.08, 0.02, 0.17)
        for side in ("Left", "Right"):
            column = INDEX["eyeBlink" + side]
            face[:, column] = np.maximum(face[:, column], lid)
            for wide in ("eyeWide", "eyeSquint"):
                face[:, INDEX[wide + side]] *= 1.0 - 0.6 * lid
        time += 1.0 + rng.exponential(1.0 / rate)
