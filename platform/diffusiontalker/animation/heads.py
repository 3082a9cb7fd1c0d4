"""The head that web pages display: the default rig as a static GLB with morph targets."""

import sys
from dataclasses import replace

import numpy as np

from diffusiontalker import arkit, storage
from diffusiontalker.animation import glb
from diffusiontalker.animation.rig import Rig, default_rig

_YAW, _PITCH = 0.5, 0.4
"""Eyeball rotation in radians at coefficient 1; our choice."""
_BELOW = -0.04
"""Metres: eyeballs lie above, teeth below; the rig's origin is between the eyes."""
_MOUTH_MARGIN = 0.012
"""Metres by which the mouth cavity extends beyond the teeth."""
_MOUTH_COLOR = (0.09, 0.016, 0.014)
"""Linear RGB inside the mouth: with skin colour there, lip shapes are hard to see."""


def head_glb() -> bytes:
    """The Face Cap head as a GLB: 52 morph targets, named in ``extras.targetNames``, all at rest.

    Unlike in the rig, ``eyeLook*`` turn the eyeballs and the mouth is dark inside (our choice; for
    appearance only).

    Raises:
        UserError: the packages of the default rig are not installed.
    """
    rig = default_rig()
    assert rig.colors is not None
    static = ~rig.deltas.any((0, 2))
    pieces = static & (rig.colors != rig.colors[~static][0]).any(1)  # coloured unlike skin
    above = rig.mean[:, 1] > _BELOW
    rig = replace(
        rig,
        deltas=rig.deltas + _eye_turns(rig.mean, pieces & above),
        colors=_dark_mouth(rig, rig.colors, pieces & ~above),
    )
    return glb.encode(np.zeros((1, len(arkit.CHANNELS))), arkit.FPS, rig)


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


def _dark_mouth(rig: Rig, colors: np.ndarray, teeth: np.ndarray) -> np.ndarray:
    """Colours (V, 3), dark where skin near the ``teeth`` (V,) bool faces inwards or lies behind."""
    low, high = rig.mean[teeth].min(0), rig.mean[teeth].max(0)
    beyond = np.maximum(low - rig.mean, rig.mean - high)  # (V, 3), above 0 outside the teeth's box
    near = (beyond < _MOUTH_MARGIN).all(1) & ~teeth
    place = glb.positions(rig.mean)
    inwards = glb.vertex_normals(rig.mean, rig.faces, place)[:, 2] < 0
    behind = (beyond[:, 0] < 0) & (rig.mean[:, 2] < high[2] - _MOUTH_MARGIN)
    inside = near & (inwards | behind)
    return np.where(inside[:, None], np.array(_MOUTH_COLOR, np.float32), colors)


if __name__ == "__main__":
    storage.write_bytes(storage.location(sys.argv[1]), head_glb())
