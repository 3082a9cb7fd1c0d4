"""The deterministic part of a procedural face: what phonemes, pitch and loudness determine.

JALI coarticulation and the ARKit retargeting of ``openfacefx``, shaped by the speaker. All
constants are our choice.
"""

from dataclasses import dataclass

import numpy as np
from openfacefx import (
    IPA_MAPPING,
    PRESETS,
    VISEMES,
    CoartParams,
    PhonemeSegment,
    build_viseme_curves,
    is_ipa_vowel,
)
from openfacefx.coart_jali import RULE_IDS
from openfacefx.prosody import ProsodyParams, pitch_track

from diffusiontalker.arkit import CHANNELS, FPS, INDEX
from diffusiontalker.corpus.procedural.speech import Phone
from diffusiontalker.corpus.procedural.voices import REGIONS, Emotion, Speaker

# Added to the retargeting of bilabials; mouthClose follows the jaw, see ``face.draw``.
_BILABIAL = {"PP": (("mouthShrugUpper", 0.12), ("cheekPuff", 0.06))}
# All rules of JALI except that short consonants do not affect the jaw: on visemes that adds the
# vowels' jaw to the consonant's, so that the jaw would open wider at k than at adjacent vowels.
_COARTICULATION = CoartParams(
    jali=True, jali_rules=frozenset(RULE_IDS) - {"short_no_jaw"}, smooth=0.015
)
_SEALED = 0.9
"""Weight of the bilabial viseme at which the lips are closed, as JALI's constraint enforces."""
_LEAD_IN = 3 / FPS
"""Seconds of rest before the speech: whole frames, so that the viseme curves are sampled at frame
times. Interpolating between samples would open closures that last one frame."""
# Symbols of eSpeak that the mapping lacks, or strips as diacritics.
_ALIASES = str.maketrans({"ᵻ": "ɪ", "ʲ": "j"})


def _viseme_matrix() -> np.ndarray:
    """(visemes, 52): the coefficients of each viseme at full weight."""
    matrix = np.zeros((len(VISEMES), len(CHANNELS)))
    for table in (PRESETS["arkit"], _BILABIAL):
        for viseme, targets in table.items():
            for channel, weight in targets:
                matrix[VISEMES.index(viseme), INDEX[channel]] += weight
    return matrix


_VISEME_MATRIX = _viseme_matrix()


@dataclass(frozen=True)
class SpeechMotion:
    """Facial motion and events determined by the speech, to which ``face.draw`` adds random
    motion."""

    speaker: Speaker
    emotion: Emotion
    intensity: float
    mouth: np.ndarray
    """(frames, 52) coefficients of articulation."""
    seal: np.ndarray
    """(frames,) lip closure for p, b and m, 0-1."""
    energy: np.ndarray
    """(frames,) loudness, 0-1, smooth."""
    accents: tuple[tuple[float, float], ...]
    """Pitch accents as (seconds, strength 0-1)."""
    pauses: tuple[float, ...]
    """Middles of pauses in seconds, near which blinks are likely."""


def speech_motion(
    samples: np.ndarray,
    sample_rate: int,
    phones: list[Phone],
    speaker: Speaker,
    emotion: Emotion,
    intensity: float,
) -> SpeechMotion:
    """The deterministic part of a clip's face; ``samples`` (n,), phoneme times in seconds."""
    frames = int(len(samples) / sample_rate * FPS)
    energy = loudness(samples, sample_rate, frames)
    f0 = _f0(samples, sample_rate, frames)
    mouth, seal = _articulate(phones, energy, speaker, emotion, intensity)
    return SpeechMotion(
        speaker=speaker,
        emotion=emotion,
        intensity=intensity,
        mouth=mouth,
        seal=seal,
        energy=energy,
        accents=_accents(phones, f0),
        pauses=tuple((p.start + p.end) / 2 for p in phones if not p.ipa and p.end - p.start > 0.06),
    )


def loudness(samples: np.ndarray, sample_rate: int, frames: int) -> np.ndarray:
    """Loudness (frames,) in 0-1: RMS in 50 ms around each frame, in dB over a 35 dB range."""
    half = int(0.025 * sample_rate)
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    centres = (np.arange(frames) / FPS * sample_rate).astype(int)
    low = np.clip(centres - half, 0, len(samples))
    high = np.clip(centres + half, 1, len(samples))
    decibels = 10 * np.log10((power[high] - power[low]) / np.maximum(high - low, 1) + 1e-9)
    loud = np.clip((decibels - decibels.max() + 35) / 35, 0, 1)
    return np.convolve(np.pad(loud, 3, mode="edge"), np.hanning(9)[1:-1] / 4.0, mode="valid")


def _f0(samples: np.ndarray, sample_rate: int, frames: int) -> np.ndarray:
    """Pitch in semitones around the clip's median (frames,); 0 where unvoiced."""
    times, f0, voiced = pitch_track(
        samples, rate=sample_rate, fps=float(FPS), params=ProsodyParams(fmin=60.0, fmax=500.0)
    )[:3]
    ok = voiced & np.isfinite(f0)
    if ok.sum() < 2:
        return np.zeros(frames)
    semitones = np.where(ok, 12 * np.log2(np.maximum(f0, 1.0) / np.median(f0[ok])), 0.0)
    return np.interp(np.arange(frames) / FPS, times, semitones)


def visible_parts(phone: Phone) -> list[tuple[str, float, float]]:
    """A phone as (symbol, start, end) of sounds in the viseme mapping.

    Diphthongs and eSpeak's compounds (aʊ, ɔːɹ, əl, aɪɚ) are split into sounds, each with a viseme
    of its own; unsplit, those that the mapping lacks would close the mouth. The first of two sounds
    takes 55 % of the time, of three 39 %. A pause is ``sil``.
    """
    base = IPA_MAPPING.normalize(phone.ipa.translate(_ALIASES))
    whole = base in IPA_MAPPING.rows and not is_ipa_vowel(base[0])  # affricates: tʃ, dʒ
    symbols = [base or "sil"] if whole or not base else list(base)
    times = phone.start + (phone.end - phone.start) * np.linspace(0, 1, len(symbols) + 1) ** 0.86
    return list(zip(symbols, times[:-1].tolist(), times[1:].tolist(), strict=True))


def _articulate(
    phones: list[Phone], energy: np.ndarray, speaker: Speaker, emotion: Emotion, intensity: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mouth (frames, 52) and the lip closure (frames,)."""
    spoken = [
        (symbol, start + speaker.lag, end + speaker.lag)
        for phone in phones
        for symbol, start, end in visible_parts(phone)
    ]
    first = spoken[0][1] if spoken else 0.0
    segments = [PhonemeSegment(*part) for part in [("sil", -_LEAD_IN, first), *spoken]]
    times, visemes = build_viseme_curves(
        segments, fps=float(FPS), mapping=IPA_MAPPING, params=_COARTICULATION
    )
    grid = np.arange(len(energy)) / FPS
    visemes = np.stack([np.interp(grid, times, curve) for curve in visemes.T], axis=1)
    mouth = visemes @ _VISEME_MATRIX
    effort = emotion.articulation**intensity
    for region, channels in REGIONS.items():
        columns = [INDEX[channel] for channel in channels]
        closes = region == "press"  # lip closure is independent of articulatory effort
        mouth[:, columns] *= speaker.gains[region] * (1.0 if closes else effort)
    mouth[:, INDEX["jawOpen"]] *= 0.6 + 0.5 * energy  # louder is wider
    return mouth, np.minimum(visemes[:, VISEMES.index("PP")] / _SEALED, 1.0)


def _accents(phones: list[Phone], f0: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Stressed vowels whose pitch stands out: (seconds, strength)."""
    out = []
    for phone in phones:
        if "ˈ" not in phone.ipa:
            continue
        first, last = int(phone.start * FPS), max(int(phone.end * FPS), int(phone.start * FPS) + 1)
        height = float(f0[first:last].max(initial=0.0))
        if height > 0.8:
            out.append(((phone.start + phone.end) / 2, min(height / 4.0, 1.0)))
    return tuple(out)
