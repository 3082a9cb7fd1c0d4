"""Speakers and emotions of the procedural corpus: how each sounds, and how each moves.

All numbers here are our choice. A speaker's face is drawn independently of the voice, as faces
are; an emotion shows in prosody, in voice quality and in the face, stronger or weaker together.
"""

from dataclasses import dataclass, field

import numpy as np

from diffusiontalker.arkit import INDEX
from diffusiontalker.corpus.procedural.speech import Prosody

# Voices that speak plainly; whispers, robots and croaks are left out.
VARIANTS = (
    "m1 f2 Andy f3 m3 belinda caleb Annie m7 steph max f4 norbert linda m5 Alicia rob f5 edward "
    "shelby Hugo anika michel f1 boris steph3 paul Andrea Marco aunty m2 Jacky travis Gene david "
    "zac m8 grandma victor Diogo benjamin ian Michael quincy john Reed m4 adam pablo Mike m6 "
    "robert ed Lee"
).split()
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
    """Its rate: near 6 Hz a trembling voice, near 30 Hz a creak."""
    drive: float = 0.0
    """How hard the voice is pressed: soft clipping, which adds harsh overtones."""
    articulation: float = 1.0
    """Factor on the range of motion of the mouth."""
    blink: float = 1.0
    """Factor on the rate of blinks."""
    pose: dict[str, float] = field(default_factory=dict)


def _both(**weights: float) -> dict[str, float]:
    """Expand names that lack a side into Left and Right."""
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
        pose=_both(mouthSmile=0.45, cheekSquint=0.42, eyeSquint=0.18, mouthDimple=0.12),
    ),
    "anger": Emotion(
        rate=1.12,
        pitch=-6,
        range=32,
        tilt=3.0,
        drive=3.0,
        articulation=1.25,
        blink=0.7,
        pose=_both(
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
        pose=_both(
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
        pose=_both(browInnerUp=0.5, browOuterUp=0.22, eyeWide=0.5, mouthStretch=0.22),
    ),
    "surprise": Emotion(
        rate=0.96,
        pitch=30,
        range=46,
        tilt=1.5,
        articulation=1.15,
        blink=0.6,
        pose=_both(browInnerUp=0.45, browOuterUp=0.65, eyeWide=0.42, jawOpen=0.08),
    ),
    "disgust": Emotion(
        rate=0.84,
        pitch=-16,
        range=14,
        tilt=-1.0,
        tremor=0.55,
        tremor_hz=28.0,
        articulation=0.95,
        pose=_both(
            noseSneer=0.6, browDown=0.28, eyeSquint=0.22, mouthUpperUp=0.2, cheekSquint=0.2,
            mouthFrown=0.1,
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Speaker:
    """One person: a voice and a way of moving. Everything but the name is drawn from a seed."""

    name: str
    voice: str
    pitch: float
    rate: float
    tract: float
    """Factor on formants and pitch, by resampling: vocal tract length."""
    gains: dict[str, float]
    """Factor on each of ``REGIONS``."""
    lag: float
    """Seconds by which the mouth trails the sound; negative leads."""
    asymmetry: float
    """Share by which the left side moves more than the right; negative is the other way."""
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
        """eSpeak's dials for this speaker in ``emotion`` at ``intensity`` 0-1."""
        return Prosody(
            rate=165.0 * self.rate * emotion.rate**intensity,
            volume=95.0,
            pitch=float(np.clip(50.0 + self.pitch + intensity * emotion.pitch, 3, 97)),
            range=float(np.clip(50.0 + intensity * emotion.range, 3, 99)),
        )


def speakers(count: int, seed: int) -> list[Speaker]:
    """``count`` distinct speakers; the first ones stay the same when ``count`` grows.

    Past the number of voice variants (54), variants come again with another accent and pitch.
    """
    out = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        voice = f"{ACCENTS[(i + i // len(VARIANTS)) % len(ACCENTS)]}+{VARIANTS[i % len(VARIANTS)]}"
        out.append(
            Speaker(
                name=f"s{i:03d}",
                voice=voice,
                pitch=float(rng.uniform(-14, 14)),
                rate=_around(rng, 0.08),
                tract=float(rng.uniform(0.9, 1.12)),
                gains={region: _around(rng, 0.18) for region in REGIONS},
                lag=float(rng.uniform(-0.02, 0.05)),
                asymmetry=float(rng.normal(0.0, 0.12)),
                rest={
                    "browInnerUp": float(rng.uniform(0, 0.14)),
                    "browDown": float(rng.uniform(0, 0.16)),
                    "mouthSmile": float(rng.uniform(0, 0.14)),
                    "eyeSquint": float(rng.uniform(0, 0.12)),
                    "mouthFrown": float(rng.uniform(0, 0.08)),
                },
                accent_gain=float(rng.uniform(0.2, 0.6)),
                expressiveness=_around(rng, 0.18),
                blinks=float(rng.uniform(10, 26)),
                gaze=_around(rng, 0.25),
            )
        )
    return out


def _around(rng: np.random.Generator, spread: float) -> float:
    """A factor whose logarithm is normal with standard deviation ``spread``."""
    return float(np.exp(rng.normal(0.0, spread)))
