"""The head of the page and of reports: the default rig as a static GLB with morph targets."""

import sys
from dataclasses import replace

import numpy as np

from diffusiontalker import arkit, storage
from diffusiontalker.animation import glb
from diffusiontalker.animation.brows import with_brows
from diffusiontalker.animation.rig import Rig, default_rig

_YAW, _PITCH = 0.5, 0.4
"""Eyeball rotation in radians at coefficient 1; our choice."""
_BELOW = -0.04
"""Metres: eyeballs lie above, teeth below; the rig's origin is between the eyes."""
_MOUTH_MARGIN = 0.012
"""Metres by which the mouth cavity extends beyond the teeth."""
_MOUTH_COLOR = (0.09, 0.016, 0.014)
"""Linear RGB inside the mouth: with skin colour there, lip shapes are hard to see."""
_LIPS = (0.80, 0.50, 0.54)
"""Factors on the linear RGB of the skin, at the line where the lips meet."""
_LIP_HEIGHT = 0.011
"""Metres from that line to where a lip ends, in the middle of the mouth."""


def head_glb() -> bytes:
    """The Face Cap head as a GLB: 52 morph targets, named in ``extras.targetNames``, all at rest.

    Unlike in the rig, ``eyeLook*`` turn the eyeballs, there are brows, the mouth is dark inside and
    the lips are red (our choice; for appearance only).

    Raises:
        UserError: the packages of the default rig are not installed.
    """
    rig = default_rig()
    assert rig.colors is not None
    static = ~rig.deltas.any((0, 2))
    pieces = static & (rig.colors != rig.colors[~static][0]).any(1)  # coloured unlike skin
    above = rig.mean[:, 1] > _BELOW
    eyes, teeth = pieces & above, pieces & ~above
    inside = _inside_mouth(rig, teeth)
    red = np.where(teeth, 0, _lips(rig, inside))[:, None]
    colors = rig.colors * (1 - red * (1 - np.array(_LIPS)))
    colors[inside] = _MOUTH_COLOR
    rig = replace(
        rig,
        deltas=rig.deltas + _eye_turns(rig.mean, eyes),
        colors=colors.astype(np.float32),
    )
    return glb.encode(np.zeros((1, len(arkit.CHANNELS))), arkit.FPS, with_brows(rig, eyes))


def _eye_turns(points: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """Displacements (52, V, 3) of the vertices ``eyes`` (V,) bool at coefficient 1."""
    deltas = np.zeros((len(arkit.CHANNELS), *points.shape), np.float32)
    for side, outward in (("Left", 1), ("Right", -1)):
        eye = eyes & (points[:, 0] * outward > 0)
        x, y, z = (points[eye] - (points[eye].min(0) + points[eye].max(0)) / 2).T
        for name, sign in (("Out", outward), ("In", -outward)):
            sin, cos = np.sin(sign * _YAW), np.cos(_YAW)
            turned = np.stack([x * cos + z * sin, y, z * cos - x * sin], 1)
            deltas[arkit.INDEX[f"eyeLook{name}{side}"], eye] = turned - np.stack([x, y, z], 1)
        for name, sign in (("Down", 1), ("Up", -1)):
            sin, cos = np.sin(sign * _PITCH), np.cos(_PITCH)
            turned = np.stack([x, y * cos - z * sin, y * sin + z * cos], 1)
            deltas[arkit.INDEX[f"eyeLook{name}{side}"], eye] = turned - np.stack([x, y, z], 1)
    return deltas


def _inside_mouth(rig: Rig, teeth: np.ndarray) -> np.ndarray:
    """(V,) bool: skin near the ``teeth`` (V,) bool that faces inwards or lies behind them."""
    low, high = rig.mean[teeth].min(0), rig.mean[teeth].max(0)
    beyond = np.maximum(low - rig.mean, rig.mean - high)  # (V, 3), above 0 outside the teeth's box
    near = (beyond < _MOUTH_MARGIN).all(1) & ~teeth
    place = glb.positions(rig.mean)
    inwards = glb.vertex_normals(rig.mean, rig.faces, place)[:, 2] < 0
    behind = (beyond[:, 0] < 0) & (rig.mean[:, 2] < high[2] - _MOUTH_MARGIN)
    inside: np.ndarray = near & (inwards | behind)
    return inside


def _lips(rig: Rig, inside: np.ndarray) -> np.ndarray:
    """How red each vertex (V,) is, 0 to 1: a band about the line where the lips meet, which is made
    of the vertices beside those ``inside`` (V,) the mouth and thins out towards its corners."""
    mixed = rig.faces[inside[rig.faces].any(1) & ~inside[rig.faces].all(1)]
    rim = rig.mean[np.setdiff1d(mixed, np.flatnonzero(inside))]
    level = np.abs(rim[:, 1] - np.median(rim[:, 1])) < 0.004
    line = rim[level & (rim[:, 2] > rim[:, 2].max() - 0.008)]
    line = line[np.argsort(line[:, 0])]
    x, y, z = rig.mean.T
    along = np.clip((x - (line[0, 0] + line[-1, 0]) / 2) / (np.ptp(line[:, 0]) / 2), -1, 1)
    height = np.maximum(_LIP_HEIGHT * np.sqrt(1 - along**2), 1e-5)
    distance = np.abs(y - np.interp(x, line[:, 0], line[:, 1]))
    return np.where(z > line[:, 2].min() - 0.004, np.clip(2 * (1 - distance / height), 0, 1), 0)


if __name__ == "__main__":
    storage.write_bytes(storage.location(sys.argv[1]), head_glb())
