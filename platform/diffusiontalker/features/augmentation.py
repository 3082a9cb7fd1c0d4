"""Random degradations of training clips: how a recording would have sounded through another room,
microphone or line.

A clip's degradation is drawn from its id and the seed, and background speech from its shard, so a
resumed stage, or another number of actors, makes the same. All ranges are our choice.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from diffusiontalker.audio import degradation
from diffusiontalker.config import DegradationSettings
from diffusiontalker.corpus.shards import Clip

OCTAVES = 125.0 * 2.0 ** np.arange(7)
"""Hz, 125 to 8000: where a microphone's gains are drawn."""


def degraded(clip: Clip, others: Sequence[Clip], settings: DegradationSettings) -> np.ndarray:
    """The audio (n,) of a clip, for a share of clips through 1 to ``settings.most`` kinds of
    degradation in a row, at the same level and without a delay.

    Args:
        clip: its id determines what is drawn.
        others: clips of the same shard, which speak in the background.
        settings: share, weights of the kinds, seed.
    """
    digest = hashlib.sha256(clip.id.encode()).digest()
    rng = np.random.default_rng([settings.seed, int.from_bytes(digest[:8])])
    weights = {name: weight for name, weight in settings.kinds if weight > 0}
    if not others:
        weights.pop("babble", None)
    if rng.random() >= settings.share or not weights:
        return clip.audio
    count = min(int(rng.integers(1, settings.most + 1)), len(weights))
    shares = np.array(list(weights.values())) / sum(weights.values())
    drawn = set(rng.choice(list(weights), size=count, replace=False, p=shares))
    audio = clip.audio
    for kind in weights:  # in the order from the speaker to the listener
        if kind in drawn:
            audio = _degrade(kind, audio, [other.audio for other in others], rng)
    return degradation.matched_level(audio, clip.audio)


def babble(
    count: int, others: Sequence[np.ndarray], voices: int, rng: np.random.Generator
) -> np.ndarray:
    """So many (or all) other clips at once, each repeated from a random sample on: (count,)."""
    chosen = rng.choice(len(others), size=min(voices, len(others)), replace=False)
    parts = []
    for index in chosen:
        start = int(rng.integers(len(others[index])))
        parts.append(np.resize(np.roll(others[index], -start), count))
    return np.stack(parts).sum(axis=0)


def _degrade(
    kind: str, audio: np.ndarray, others: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Audio (n,) through one kind, whose strength is drawn."""
    match kind:
        case "babble":
            voices = babble(len(audio), others, int(rng.integers(2, 7)), rng)
            return degradation.with_noise(audio, voices, rng.uniform(8, 25))
        case "room":
            response = degradation.room_response(rng.uniform(0.1, 0.8), rng.uniform(0, 12), rng)
            return degradation.convolved(audio, response)
        case "noise":
            noise = degradation.coloured_noise(len(audio), float(rng.integers(3)), rng)
            return degradation.with_noise(audio, noise, rng.uniform(8, 35))
        case "equaliser":
            tilt = rng.normal(0, 1.5) * np.arange(len(OCTAVES))
            return degradation.equalised(audio, OCTAVES, tilt + rng.normal(0, 3, len(OCTAVES)))
        case "clipping":
            return degradation.clipped(audio, rng.uniform(3, 15))
        case "low_pass":
            return degradation.low_pass(audio, rng.uniform(3400, 8000))
        case "telephone":
            return degradation.telephone(audio, "ulaw" if rng.random() < 0.5 else "alaw")
        case "opus":
            return degradation.opus(audio, rng.uniform(8, 32))
        case "mp3":
            return degradation.mp3(audio, float(rng.choice([16, 24, 32, 48])))
    raise ValueError(f"no such kind of degradation: {kind}")
