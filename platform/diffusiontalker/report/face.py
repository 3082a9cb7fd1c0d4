"""What the page's WebGL head needs, small enough to stand inside the page.

Deltas are sparse and 16-bit: of 52 x 4368 vertex displacements a ninth is not zero.
"""

import base64
import wave
from io import BytesIO
from typing import Any

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation.rig import Rig
from diffusiontalker.report.paint import MOVES, center, painted, weld
from diffusiontalker.report.run.sample import Sample

COEFFICIENT_SCALE = 8192
"""Steps per unit of a 16-bit coefficient, which so reaches from -4 to 4; our choice."""


def face_data(rig: Rig, sample: Sample) -> dict[str, Any]:
    """The rig and the sample's faces as numbers and base64 of little-endian arrays.

    Keys: ``positions`` f32 (V, 3) metres, ``triangles`` u32 (F, 3), ``colors`` u8 (V, 4) linear RGB
    and gloss, ``weld`` u32 (V,) the first vertex at the same place, ``starts`` (53,) where in the
    sparse arrays each channel begins, ``indices`` u32 (N,), ``deltas`` i16 (N, 3) in units of
    ``delta_scale`` metres, ``eyes`` a list of eyeballs, ``faces`` name -> i16 (T, 52).
    """
    moved = np.abs(rig.deltas).max(-1) > MOVES
    scale = float(np.abs(rig.deltas).max()) / 32767 or 1.0
    paint = painted(rig)
    return {
        "fps": arkit.FPS,
        "channels": list(arkit.CHANNELS),
        "frames": len(sample.truth),
        "coefficient_scale": COEFFICIENT_SCALE,
        "positions": _packed(paint.positions, "<f4"),
        "triangles": _packed(rig.faces, "<u4"),
        "colors": _packed(paint.colors * 255, "u1"),
        "weld": _packed(weld(rig), "<u4"),
        "starts": [0, *np.cumsum(moved.sum(1)).tolist()],
        "indices": _packed(np.nonzero(moved)[1], "<u4"),
        "deltas": _packed(rig.deltas[moved] / scale, "<i2"),
        "delta_scale": scale,
        "eyes": [
            {
                "vertices": _packed(eye, "<u4"),
                "center": center(rig.mean[eye]).tolist(),
                "side": "Left" if center(rig.mean[eye])[0] > 0 else "Right",
            }
            for eye in paint.eyes
        ],
        "faces": {
            name: _packed(np.clip(np.nan_to_num(face) * COEFFICIENT_SCALE, -32768, 32767), "<i2")
            for name, face in sample.faces().items()
        },
    }


def wav_base64(audio: np.ndarray, sample_rate: int) -> str:
    """Audio (n,) float in [-1, 1] as base64 of a 16-bit WAV file; louder is clipped."""
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        loud = np.clip(np.nan_to_num(audio) * 32767, -32767, 32767)
        file.writeframes(np.round(loud).astype("<i2").tobytes())
    return base64.b64encode(buffer.getvalue()).decode()


def _packed(values: np.ndarray, dtype: str) -> str:
    if np.dtype(dtype).kind in "iu":
        values = np.round(values)
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode()
