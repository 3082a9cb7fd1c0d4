"""From phonemes, pitch and loudness to 52 coefficients: the known process behind the corpus.

The mouth is deterministic given the speech: JALI coarticulation and the ARKit retargeting of
``openfacefx``, shaped by the speaker. Brows, eyes and slow drift are random around what the
speech asks for, so the same speech can be drawn again. That gives two floors for every metric:
the error between two draws (no generator can do better and be as lively) and the error of the
expected face (no model at all can do better). All constants are our choice.
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

# What the retargeting leaves out of a bilabial; mouthClose follows the jaw, see ``draw``.
_BILABIAL = {"PP": (("mouthShrugUpper", 0.12), ("cheekPuff", 0.06))}
# All of JALI but its rule that short consonants leave the jaw alone: on visemes it adds the
# vowels' jaw to the consonant's own, so that the jaw opens wider at k than at the vowels around.
_COARTICULATION = CoartParams(
    jali=True, jali_rules=frozenset(RULE_IDS) - {"short_no_jaw"}, smooth=0.015
)
_SEALED = 0.9
"""Weight of the bilabial viseme at which lips have met: what JALI's constraint enforces."""
_LEAD_IN = 3 / FPS
"""Seconds of rest before the speech: whole frames, so that the viseme curves are sampled at the
times of frames. Interpolating between samples would open closures that last one frame."""
# Symbols of eSpeak's that the mapping lacks, or strips as mere marks.
_ALIASES = str.maketrans({"ᵻ": "ɪ", "ʲ": "j"})
_LEFT = np.array([name.endswith("Left") for name in CHANNELS])
_RIGHT = np.array([name.endswith("Right") for name in CHANNELS])


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
class Performance:
    """What the speech determines of a face; ``draw`` adds what it does not."""

    speaker: Speaker
    emotion: Emotion
    intensity: float
    mouth: np.ndarray
    """(frames, 52) coefficients of articulation."""
    seal: np.ndarray
    """(frames,) how far the lips have closed for p, b and m, 0-1."""
    energy: np.ndarray
    """(frames,) loudness, 0-1, smooth."""
    accents: tuple[tuple[float, float], ...]
    """Pitch accents as (seconds, strength 0-1)."""
    pauses: tuple[float, ...]
    """Middles of pauses in seconds: where blinks like to fall."""


def perform(
    samples: np.ndarray,
    sample_rate: int,
    phones: list[Phone],
    speaker: Speaker,
    emotion: Emotion,
    intensity: float,
) -> Performance:
    """The deterministic part of a clip's face; ``samples`` (n,), phoneme times in seconds."""
    frames = int(len(samples) / sample_rate * FPS)
    energy = _energy(samples, sample_rate, frames)
    f0 = _f0(samples, sample_rate, frames)
    mouth, seal = _articulate(phones, energy, speaker, emotion, intensity)
    return Performance(
        speaker=speaker,
        emotion=emotion,
        intensity=intensity,
        mouth=mouth,
        seal=seal,
        energy=energy,
        accents=_accents(phones, f0),
        pauses=tuple((p.start + p.end) / 2 for p in phones if not p.ipa and p.end - p.start > 0.06),
    )


def draw(performance: Performance, rng: np.random.Generator) -> np.ndarray:
    """One face for the performance, its random parts drawn with ``rng``: (frames, 52) in 0-1."""
    p, frames = performance, len(performance.mouth)
    face = p.mouth + _rest(p.speaker)
    # Emotion breathes with loudness and a slow random swing.
    swing = (0.78 + 0.3 * p.energy) * (1.0 + 0.16 * _drift(frames, 1.2, rng))
    scale = p.intensity * p.speaker.expressiveness
    for channel, weight in p.emotion.pose.items():
        face[:, INDEX[channel]] += weight * scale * swing
    # Lips meet when mouthClose undoes jawOpen, however far the jaw is open.
    face[:, INDEX["mouthClose"]] = face[:, INDEX["jawOpen"]] * p.seal
    _add_brow_accents(face, p, rng)
    _add_slow_drift(face, rng)
    face *= 1.0 + p.speaker.asymmetry * (_LEFT.astype(float) - _RIGHT)
    _add_gaze(face, p, rng)
    _add_blinks(face, p, rng)
    return np.clip(face, 0.0, 1.0).astype(np.float32)


def expected(performance: Performance, rng: np.random.Generator, draws: int = 24) -> np.ndarray:
    """The mean of ``draws`` faces (frames, 52): what the best regressor would predict."""
    return np.stack([draw(performance, rng) for _ in range(draws)]).mean(axis=0)


def _energy(samples: np.ndarray, sample_rate: int, frames: int) -> np.ndarray:
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
    """A phone as (symbol, start, end) of sounds that the viseme mapping knows.

    Diphthongs and eSpeak's compounds (aʊ, ɔːɹ, əl, aɪɚ) fall into their sounds, each of which has
    a mouth shape of its own; unsplit, those that the mapping lacks would shut the mouth. The
    first of two sounds takes 55 % of the time, of three 39 %. A pause is ``sil``.
    """
    base = IPA_MAPPING.normalize(phone.ipa.translate(_ALIASES))
    whole = base in IPA_MAPPING.rows and not is_ipa_vowel(base[0])  # affricates: tʃ, dʒ
    symbols = [base or "sil"] if whole or not base else list(base)
    times = phone.start + (phone.end - phone.start) * np.linspace(0, 1, len(symbols) + 1) ** 0.86
    return list(zip(symbols, times[:-1].tolist(), times[1:].tolist(), strict=True))


def _articulate(
    phones: list[Phone], energy: np.ndarray, speaker: Speaker, emotion: Emotion, intensity: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mouth (frames, 52) and how far the lips are sealed (frames,)."""
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
        seal = region == "press"  # lips close as far whatever the effort
        mouth[:, columns] *= speaker.gains[region] * (1.0 if seal else effort)
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


def _rest(speaker: Speaker) -> np.ndarray:
    rest = np.zeros(len(CHANNELS))
    for name, value in speaker.rest.items():
        for side in ("", "Left", "Right"):
            if name + side in INDEX:
                rest[INDEX[name + side]] = value
    return rest


def _drift(frames: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A stationary first-order random walk of unit variance with the given correlation time."""
    keep = np.exp(-1.0 / (seconds * FPS))
    steps = rng.normal(size=frames) * np.sqrt(1 - keep**2)
    steps[0] = rng.normal()
    out = np.empty(frames)
    level = 0.0
    for i, step in enumerate(steps):
        level = keep * level + step
        out[i] = level
    # Muscles have no corners: a short window takes out frame-to-frame noise.
    return np.convolve(np.pad(out, 3, mode="edge"), np.hanning(9)[1:-1] / 4.0, mode="valid")


def _bump(frames: int, start: float, attack: float, hold: float, release: float) -> np.ndarray:
    """(frames,) raised-cosine rise, hold and fall, times in seconds."""
    t = np.arange(frames) / FPS - start
    x = np.interp(t, [0.0, attack, attack + hold, attack + hold + release], [0.0, 1.0, 1.0, 0.0])
    return 0.5 - 0.5 * np.cos(np.pi * x)


def _add_brow_accents(face: np.ndarray, p: Performance, rng: np.random.Generator) -> None:
    for time, strength in p.accents:
        if rng.random() > 0.35 + 0.6 * strength:
            continue
        height = p.speaker.accent_gain * strength * np.exp(rng.normal(0.0, 0.25))
        flash = height * _bump(len(face), time - 0.13 + rng.normal(0, 0.02), 0.13, 0.07, 0.24)
        for channel, share in (
            ("browInnerUp", 1.0),
            ("browOuterUpLeft", 0.7),
            ("browOuterUpRight", 0.7),
            ("eyeWideLeft", 0.25),
            ("eyeWideRight", 0.25),
        ):
            face[:, INDEX[channel]] += share * flash


def _add_slow_drift(face: np.ndarray, rng: np.random.Generator) -> None:
    """Idle life that no sound explains: brows, cheeks, mouth corners, a jaw a little off centre."""
    frames = len(face)
    for channels, size, seconds in (
        (("browInnerUp",), 0.05, 0.9),
        (("browDownLeft", "browDownRight"), 0.045, 0.9),
        (("browOuterUpLeft", "browOuterUpRight"), 0.035, 0.9),
        (("cheekSquintLeft", "cheekSquintRight", "eyeSquintLeft", "eyeSquintRight"), 0.035, 1.0),
        (("mouthSmileLeft", "mouthSmileRight"), 0.02, 1.2),
        (("noseSneerLeft", "noseSneerRight"), 0.025, 0.8),
    ):
        wave = size * _drift(frames, seconds, rng)
        for channel in channels:
            face[:, INDEX[channel]] += wave
    for plus, minus, size in (("jawLeft", "jawRight", 0.02), ("mouthLeft", "mouthRight", 0.025)):
        wave = size * _drift(frames, 1.0, rng)
        face[:, INDEX[plus]] += np.maximum(wave, 0)
        face[:, INDEX[minus]] += np.maximum(-wave, 0)


def _add_gaze(face: np.ndarray, p: Performance, rng: np.random.Generator) -> None:
    """Saccades between fixations: yaw and pitch in units of coefficients, on eight channels."""
    frames = len(face)
    size = np.array([0.13, 0.08]) * p.speaker.gaze
    at = rng.normal(0, 0.5, 2) * size
    yaw, pitch = np.full(frames, at[0]), np.full(frames, at[1])
    time = rng.exponential(0.9)
    while time < frames / FPS:
        # Every other fixation or so comes back to the listener.
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


def _add_blinks(face: np.ndarray, p: Performance, rng: np.random.Generator) -> None:
    """Poisson blinks with a refractory second; a blink near a pause moves onto it."""
    frames = len(face)
    rate = p.speaker.blinks * p.emotion.blink**p.intensity / 60.0
    time = rng.exponential(1.0 / rate)
    while time < frames / FPS:
        near = [pause for pause in p.pauses if abs(pause - time) < 0.5]
        start = near[0] - 0.07 if near and rng.random() < 0.7 else time
        lid = 0.95 * _bump(frames, start, 0.08, 0.02, 0.17)
        for side in ("Left", "Right"):
            column = INDEX["eyeBlink" + side]
            face[:, column] = np.maximum(face[:, column], lid)
            for wide in ("eyeWide", "eyeSquint"):
                face[:, INDEX[wide + side]] *= 1.0 - 0.6 * lid
        time += 1.0 + rng.exponential(1.0 / rate)
