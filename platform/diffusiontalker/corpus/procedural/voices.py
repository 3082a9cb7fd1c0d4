"""Speakers and emotions of the procedural corpus: parameters of voice and facial motion.

All numbers here are our choice. A speaker's facial parameters are drawn independently of the voice;
an emotion's intensity scales its effects on prosody, voice quality and face together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from diffusiontalker.arkit import INDEX
from diffusiontalker.corpus.procedural.speech import Prosody

# Voice variants of eSpeak with natural phonation: no whispers, robots or croaks.
VARIANTS = (
    "m1 f2 Andy f3 m3 belinda caleb Annie m7 steph max f4 norbert linda m5 Alicia rob f5 edward "
    "shelby Hugo anika michel f1 boris steph3 paul Andrea Marco aunty m2 Jacky travis Gene david "
    "zac m8 grandma victor Diogo benjamin ian Michael quincy john Reed m4 adam pablo Mike m6 "
    "robert ed Lee"
).split()
KOKORO = (
    "af_heart am_michael bf_emma bm_george af_bella am_fenrir ef_dora em_alex af_aoede am_adam "
    "bf_alice bm_fable af_alloy am_echo if_sara im_nicola af_jessica am_eric bf_lily bm_daniel "
    "af_kore am_liam hf_alpha hm_omega af_river am_onyx pf_dora pm_alex af_sarah am_santa hf_beta "
    "em_santa af_sky jm_kumo zf_xiaobei zm_yunjian jf_alpha pm_santa zf_xiaoni zm_yunxi "
    "jf_gongitsune zm_yunxia jf_nezumi zf_xiaoxiao zf_xiaoyi"
).split()
"""Voices of Kokoro for train, val and test_seen. The first letter is the language that the voice
was made for (a, b: American and British English), the second its sex. All speak English here. The
54th voice, af_nicole, whispers."""
KOKORO_UNSEEN = (
    "af_nova am_puck bf_isabella bm_lewis ff_siwis hm_psi jf_tebukuro zm_yunyang"
).split()
"""Voices of Kokoro that are never trained on, whatever the seed."""
ACCENTS = ("en-us", "en-gb-x-rp", "en-us", "en-gb-scotland", "en-us", "en-029", "en-gb-x-gbclan")

# Regions whose range of motion differs between people.
REGIONS: dict[str, tuple[str, ...]] = {
    "jaw": ("jawOpen",),
    "round": ("mouthFunnel", "mouthPucker"),
    "spread": (
        "mouthStretchLeft",
        "mouthStretchRight",
        "mouthSmileLeft",
        "mouthSmileRight",
        "mouthDimpleLeft",
        "mouthDimpleRight",
    ),
    "upper_lip": ("mouthUpperUpLeft", "mouthUpperUpRight", "mouthShrugUpper"),
    "lower_lip": ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthShrugLower"),
    "press": (
        "mouthPressLeft",
        "mouthPressRight",
        "mouthRollLower",
        "mouthRollUpper",
    ),
    "tongue": ("tongueOut",),
}


@dataclass(frozen=True)
class Emotion:
    """How an emotion at full intensity changes the voice and poses the face."""

    rate: float = 1.0
    """Factor on words a minute."""
    pitch: float = 0.0
    """Added to eSpeak's pitch dial."""
    range: float = 0.0
    """Added to eSpeak's pitch range dial."""
    tilt: float = 0.0
    """Spectral tilt in dB per octave above 500 Hz; negative is darker and breathier."""
    tremor: float = 0.0
    """Depth of a tremolo, 0-1."""
    tremor_hz: float = 6.0
    """Rate of the tremolo: near 6 Hz a trembling voice, near 30 Hz a creak."""
    drive: float = 0.0
    """Gain before soft clipping, which adds the overtones of a pressed voice."""
    articulation: float = 1.0
    """Factor on the range of motion of the mouth."""
    blink: float = 1.0
    """Factor on the rate of blinks."""
    pose: dict[str, float] = field(default_factory=dict)


def _both_sides(**weights: float) -> dict[str, float]:
    """Expand names without a side into Left and Right."""
    out = {}
    for name, weight in weights.items():
        for side in ("", "Left", "Right"):
            if name + side in INDEX:
                out[name + side] = weight
    return out


EMOTIONS: dict[str, Emotion] = {
    "neutral": Emotion(),
    "happiness": Emotion(
        rate=1.1,
        pitch=14,
        range=26,
        tilt=1.5,
        articulation=1.1,
        pose=_both_sides(mouthSmile=0.45, cheekSquint=0.42, eyeSquint=0.18, mouthDimple=0.12),
    ),
    "anger": Emotion(
        rate=1.12,
        pitch=-6,
        range=32,
        tilt=3.0,
        drive=3.0,
        articulation=1.25,
        blink=0.7,
        pose=_both_sides(
            browDown=0.7, eyeSquint=0.32, noseSneer=0.3, mouthPress=0.12, mouthFrown=0.15,
            jawForward=0.12,
        ),
    ),
    "sadness": Emotion(
        rate=0.74,
        pitch=-10,
        range=-32,
        tilt=-5.0,
        articulation=0.75,
        blink=1.2,
        pose=_both_sides(
            browInnerUp=0.6, mouthFrown=0.4, eyeBlink=0.12, eyeLookDown=0.2, mouthShrugLower=0.15
        ),
    ),
    "fear": Emotion(
        rate=1.22,
        pitch=26,
        range=-14,
        tilt=-1.5,
        tremor=0.7,
        tremor_hz=8.0,
        blink=1.6,
        pose=_both_sides(browInnerUp=0.5, browOuterUp=0.22, eyeWide=0.5, mouthStretch=0.22),
    ),
    "surprise": Emotion(
        rate=0.96,
        pitch=30,
        range=46,
        tilt=1.5,
        articulation=1.15,
        blink=0.6,
        pose=_both_sides(browInnerUp=0.45, browOuterUp=0.65, eyeWide=0.42, jawOpen=0.08),
    ),
    "disgust": Emotion(
        rate=0.84,
        pitch=-16,
        range=14,
        tilt=-1.0,
        tremor=0.55,
        tremor_hz=28.0,
        articulation=0.95,
        pose=_both_sides(
            noseSneer=0.6, browDown=0.28, eyeSquint=0.22, mouthUpperUp=0.2, cheekSquint=0.2,
            mouthFrown=0.1,
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Speaker:
    """Parameters of one speaker's voice and facial motion, drawn from a seed."""

    name: str
    synthesizer: Literal["espeak", "kokoro"]
    voice: str
    pitch: float
    rate: float
    tract: float
    """Factor on formants and pitch, by resampling: vocal tract length."""
    gains: dict[str, float]
    """Factor on each of ``REGIONS``."""
    lag: float
    """Seconds by which the mouth lags behind the sound; negative: leads."""
    asymmetry: float
    """Share by which the left side moves more than the right; negative: less."""
    rest: dict[str, float]
    """Coefficients of the face at rest, by channel."""
    accent_gain: float
    """Height of a brow raise on a strong pitch accent."""
    expressiveness: float
    """Factor on emotion poses."""
    blinks: float
    """Blinks a minute."""
    gaze: float
    """Factor on the size of gaze shifts."""

    def prosody(self, emotion: Emotion, intensity: float) -> Prosody:
        """The synthesizer's dials for this speaker in ``emotion`` at ``intensity`` 0-1."""
        return Prosody(
            rate=165.0 * self.rate * emotion.rate**intensity,
            volume=95.0,
            pitch=float(np.clip(50.0 + self.pitch + intensity * emotion.pitch, 3, 97)),
            range=float(np.clip(50.0 + intensity * emotion.range, 3, 99)),
        )


def espeak_speakers(count: int, seed: int) -> list[Speaker]:
    """``count`` distinct speakers; the first ones stay the same when ``count`` grows.

    Beyond the number of voice variants (54), variants repeat with another accent and pitch.
    """
    out = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        voice = f"{ACCENTS[(i + i // len(VARIANTS)) % len(ACCENTS)]}+{VARIANTS[i % len(VARIANTS)]}"
        out.append(
            Speaker(
                name=f"s{i:03d}",
                synthesizer="espeak",
                voice=voice,
                pitch=float(rng.uniform(-14, 14)),
                rate=_lognormal(rng, 0.08),
                tract=float(rng.uniform(0.9, 1.12)),
                **_face(rng),
            )
        )
    return out


def kokoro_speakers(voices: Sequence[str], seed: int) -> list[Speaker]:
    """A speaker for each voice, with its own pitch and vocal tract: no two share a voice."""
    out = []
    for voice in voices:
        # The same face for a voice, whichever others speak.
        rng = np.random.default_rng([seed, 7, *voice.encode()])
        rate = _lognormal(rng, 0.08)
        out.append(
            Speaker(
                name=f"kokoro-{voice}",
                synthesizer="kokoro",
                voice=voice,
                pitch=0.0,
                rate=rate,
                tract=1.0,
                **_face(rng),
            )
        )
    return out


def _face(rng: np.random.Generator) -> dict[str, Any]:
    """The parameters of a speaker's facial motion."""
    return {
        "gains": {region: _lognormal(rng, 0.18) for region in REGIONS},
        "lag": float(rng.uniform(-0.02, 0.05)),
        "asymmetry": float(rng.normal(0.0, 0.12)),
        "rest": {
            "browInnerUp": float(rng.uniform(0, 0.14)),
            "browDown": float(rng.uniform(0, 0.16)),
            "mouthSmile": float(rng.uniform(0, 0.14)),
            "eyeSquint": float(rng.uniform(0, 0.12)),
            "mouthFrown": float(rng.uniform(0, 0.08)),
        },
        "accent_gain": float(rng.uniform(0.2, 0.6)),
        "expressiveness": _lognormal(rng, 0.18),
        "blinks": float(rng.uniform(10, 26)),
        "gaze": _lognormal(rng, 0.25),
    }


def _lognormal(rng: np.random.Generator, spread: float) -> float:
    """A log-normal factor: its logarithm has mean 0 and standard deviation ``spread``."""
    return float(np.exp(rng.normal(0.0, spread)))
