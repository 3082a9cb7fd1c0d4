"""A procedural face for recorded speech: its speaker and its stressed vowels."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import normalize
from diffusiontalker.corpus.procedural import articulation, face
from diffusiontalker.corpus.procedural.speech import Phone
from diffusiontalker.corpus.procedural.voices import EMOTIONS, Speaker, espeak_speakers
from diffusiontalker.corpus.textgrid import Span

VOWELS = frozenset("aæɐɑɒʌəɚɛɜɝeiɪoɔuʊ")
"""First symbols of vowels."""
LONG_WORD = 3
"""Phones of the shortest word that has a stress."""


def speaker_of(name: str, seed: int) -> Speaker:
    """The speaker of that name, whose facial parameters are drawn from it; of the voice's, which
    the recording has, none is used."""
    return replace(espeak_speakers(1, _seed(f"{seed} {name}"))[0], name=name)


def face_of(
    samples: np.ndarray, phones: Sequence[Phone], speaker: Speaker, emotion: str, intensity: float,
    seed: str,
) -> np.ndarray:  # fmt: skip
    """Draw a face that speaks a recording: (frames, 52) at 30 fps.

    Args:
        samples: (n,) at 16 kHz.
        phones: of the whole recording.
        speaker: whose face it is.
        emotion: a key of ``EMOTIONS``.
        intensity: of the emotion, 0 to 1.
        seed: of the random motion, any text.
    """
    motion = articulation.speech_motion(
        normalize(samples), SAMPLE_RATE, list(phones), speaker, EMOTIONS[emotion], intensity
    )
    return face.draw(motion, np.random.default_rng(_seed(seed)))


def with_stress(phones: Sequence[Span], words: Sequence[Span]) -> list[Phone]:
    """The phones with a mark of stress on the longest vowel of each word of some length, since
    aligners rarely tell: of these, brows accent those whose pitch stands out."""
    stressed = set()
    for word in words:
        inside = [p for p in phones if p.start >= word.start - 1e-6 and p.end <= word.end + 1e-6]
        vowels = [phone for phone in inside if phone.label and phone.label[0] in VOWELS]
        if vowels and len(inside) >= LONG_WORD:
            stressed.add(max(vowels, key=lambda phone: phone.end - phone.start))
    return [
        Phone("ˈ" * (phone in stressed) + phone.label, phone.start, phone.end) for phone in phones
    ]


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
