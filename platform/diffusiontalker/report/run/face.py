"""What the head of a run's report speaks: its geometry, three animations and the sound."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import soundfile

from diffusiontalker import arkit
from diffusiontalker.animation.heads import head_glb
from diffusiontalker.report.run.sample import Sample

COEFFICIENT_SCALE = 8192
"""Steps per unit of a 16-bit coefficient, whose range is then -4 to 4; our choice."""


def face_data(sample: Sample) -> dict[str, Any]:
    """What ``web/report.js`` reads.

    Keys: ``fps``, ``channels``, ``scale`` in steps per unit, ``head`` the GLB in base64, ``faces``
    name -> coefficients (T, 52) as base64 of little-endian 16-bit steps.

    Raises:
        UserError: the packages of the head are not installed.
    """
    return {
        "fps": arkit.FPS,
        "channels": list(arkit.CHANNELS),
        "scale": COEFFICIENT_SCALE,
        "head": base64.b64encode(head_glb()).decode(),
        "faces": {name: _packed(face) for name, face in sample.faces().items()},
    }


def wav_base64(audio: np.ndarray, sample_rate: int) -> str:
    """Audio (n,) float in [-1, 1] as base64 of a 16-bit WAV file; louder is clipped."""
    buffer = BytesIO()
    samples = np.nan_to_num(audio).astype(np.float32, copy=False)
    soundfile.write(buffer, samples, sample_rate, format="WAV", subtype="PCM_16")
    return base64.b64encode(buffer.getvalue()).decode()


def _packed(face: np.ndarray) -> str:
    steps = np.clip(np.round(np.nan_to_num(face) * COEFFICIENT_SCALE), -32768, 32767)
    return base64.b64encode(steps.astype("<i2").tobytes()).decode()
