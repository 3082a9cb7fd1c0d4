"""A procedural face: articulation determined by the speech, and random motion around it.

The same speech can be drawn several times, which gives two floors for every metric: the error
between two draws (no generator can do better and be as lively) and the error of the expected face
(no model at all can do better). All constants are our choice.
"""

import numpy as np

from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.corpus.procedural import random_motion
from diffusiontalker.corpus.procedural.articulation import SpeechMotion
from diffusiontalker.corpus.procedural.voices import Speaker

_LEFT = np.array([name.endswith("Left") for name in CHANNELS])
_RIGHT = np.array([name.endswith("Right") for name in CHANNELS])
_PARTS_LIPS = [
    INDEX[part + side] for part in ("mouthUpperUp", "mouthLowerDown") for side in ("Left", "Right")
]


def draw(speech: SpeechMotion, rng: np.random.Generator) -> np.ndarray:
    """One face for the speech, its random motion drawn with ``rng``: (frames, 52) in 0-1."""
    frames = len(speech.mouth)
    face = speech.mouth + _rest(speech.speaker)
    # The emotion's pose varies with loudness and slow random drift.
    drift = random_motion.drift(frames, 1.2, rng)
    variation = (0.78 + 0.3 * speech.energy) * (1.0 + 0.16 * drift)
    scale = speech.intensity * speech.speaker.expressiveness
    for channel, weight in speech.emotion.pose.items():
        face[:, INDEX[channel]] += weight * scale * variation
    # mouthClose equal to jawOpen closes the lips at any opening of the jaw.
    face[:, INDEX["mouthClose"]] = face[:, INDEX["jawOpen"]] * speech.seal
    face[:, _PARTS_LIPS] *= 1.0 - speech.seal[:, None]  # in every emotion: disgust raises a lip
    random_motion.add_brow_accents(face, speech, rng)
    random_motion.add_slow_drift(face, rng)
    face *= 1.0 + speech.speaker.asymmetry * (_LEFT.astype(float) - _RIGHT)
    random_motion.add_gaze(face, speech, rng)
    random_motion.add_blinks(face, speech, rng)
    return np.clip(face, 0.0, 1.0).astype(np.float32)


def expected(speech: SpeechMotion, rng: np.random.Generator, draws: int = 24) -> np.ndarray:
    """The mean of ``draws`` faces (frames, 52): the prediction of an ideal regressor."""
    return np.stack([draw(speech, rng) for _ in range(draws)]).mean(axis=0)


def _rest(speaker: Speaker) -> np.ndarray:
    """The coefficients (52,) of the speaker's face at rest."""
    rest = np.zeros(len(CHANNELS))
    for name, value in speaker.rest.items():
        for side in ("", "Left", "Right"):
            if name + side in INDEX:
                rest[INDEX[name + side]] = value
    return rest
