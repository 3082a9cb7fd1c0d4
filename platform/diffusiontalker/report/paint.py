"""Looks that a rig does not bring: which vertices are eyeballs, teeth, mouth and lips.

A rig has one colour per vertex at best. Without dark inside the mouth and red on the lips, speech
is hard to read off a face. Everything here is for looks alone, and our choice.
"""

from typing import NamedTuple

import numpy as np

from diffusiontalker.animation.rig import Rig

MOVES = 1e-5
"""Displacements below this many metres count as none."""
_AROUND = 0.012
"""The mouth reaches this many metres beyond the teeth, sideways, up and down."""
_BEHIND = 0.006
"""The inside of the mouth steps back by this many metres, or it cuts through the teeth."""
_INSIDE = (0.09, 0.016, 0.014)
_LIP_TINT = (0.80, 0.50, 0.54)
_LIP_HEIGHT = 0.011


class Paint(NamedTuple):
    """Neutral positions (V, 3) in metres, linear RGB with gloss (V, 4) in [0, 1], eyeballs."""

    positions: np.ndarray
    colors: np.ndarray
    eyes: list[np.ndarray]


def painted(rig: Rig) -> Paint:
    """Glossy eyes, dark inside the mouth, red lips; only where the rig has eyeballs or teeth."""
    positions = rig.mean.copy()
    colors = np.full(positions.shape, 0.5) if rig.colors is None else rig.colors.astype(float)
    pieces = rigid_pieces(rig)
    eyes = [piece for piece in pieces if _is_eyeball(rig.mean[piece])]
    teeth = [piece for piece in pieces if not _is_eyeball(rig.mean[piece])]
    if teeth:
        inside = inside_mouth(rig, np.concatenate(teeth))
        red = lip_red(rig, inside)
        red[np.concatenate(teeth)] = 0
        colors *= 1 - red[:, None] * (1 - np.array(_LIP_TINT))
        colors[inside] = _INSIDE
        positions[inside, 2] -= _BEHIND
    gloss = np.zeros((len(positions), 1))
    gloss[np.concatenate([np.zeros(0, int), *eyes])] = 1
    return Paint(positions, np.hstack([colors, gloss]), eyes)


def weld(rig: Rig) -> np.ndarray:
    """For each vertex (V,) the first that stands at the same place and moves alike.

    Vertices are doubled where a texture has its seam; normals must be shared across it.
    """
    key = np.concatenate([rig.mean[None], rig.deltas]).transpose(1, 0, 2).reshape(len(rig.mean), -1)
    rounded = np.round(key / MOVES).astype(np.int32)
    _, first, group = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    return first[group.ravel()]


def rigid_pieces(rig: Rig) -> list[np.ndarray]:
    """Vertex indices of each connected piece of the mesh that no channel moves: eyes, teeth."""
    label = weld(rig)
    while len(rig.faces):  # the least label of each triangle spreads until nothing changes
        least = label.copy()
        np.minimum.at(least, rig.faces.ravel(), np.repeat(label[rig.faces].min(1), 3))
        least = least[least]
        if np.array_equal(least, label):
            break
        label = least
    moving = np.unique(label[np.abs(rig.deltas).max((0, 2)) > MOVES])
    names = np.setdiff1d(label[np.unique(rig.faces)], moving)
    return [np.nonzero(label == name)[0] for name in names]


def inside_mouth(rig: Rig, teeth: np.ndarray) -> np.ndarray:
    """(V,) bool: vertices about the teeth that another triangle hides from the front."""
    low, high = rig.mean[teeth].min(0) - _AROUND, rig.mean[teeth].max(0) + _AROUND
    near = ((rig.mean > low) & (rig.mean < high))[:, :2].all(1)
    near &= rig.mean[:, 2] > low[2] - 2 * _AROUND
    near[teeth] = False
    triangles = rig.faces[near[rig.faces].all(1)]
    a, b, c = np.moveaxis(rig.mean[triangles], 1, 0)
    hidden = np.zeros(len(rig.mean), bool)
    area = _cross(b - a, c - a)
    turned = np.where(np.abs(area) > 1e-12, area, np.inf)
    for vertex in np.nonzero(near)[0]:
        p = rig.mean[vertex]
        u, v = _cross(p - a, c - a) / turned, _cross(b - a, p - a) / turned
        depth = a[:, 2] + u * (b - a)[:, 2] + v * (c - a)[:, 2]
        covers = (u >= 0) & (v >= 0) & (u + v <= 1) & np.isfinite(turned)
        hidden[vertex] = (covers & (depth > p[2] + 0.001)).any()
    return hidden


def lip_red(rig: Rig, inside: np.ndarray) -> np.ndarray:
    """How red each vertex (V,) is, 0 to 1: a band about the line where the lips meet.

    The line is made of the visible vertices that have a hidden neighbour; the band thins out
    towards the corners of the mouth.
    """
    mixed = rig.faces[inside[rig.faces].any(1) & ~inside[rig.faces].all(1)]
    rim = rig.mean[np.setdiff1d(mixed, np.nonzero(inside)[0])]
    if len(rim) == 0:
        return np.zeros(len(rig.mean))
    level = np.abs(rim[:, 1] - np.median(rim[:, 1])) < 0.004
    line = rim[level & (rim[:, 2] > rim[:, 2].max() - 0.008)]
    line = line[np.argsort(line[:, 0])]
    x, y, z = rig.mean.T
    along = np.clip((x - (line[0, 0] + line[-1, 0]) / 2) / (np.ptp(line[:, 0]) / 2 + MOVES), -1, 1)
    height = _LIP_HEIGHT * np.sqrt(1 - along**2) + MOVES
    distance = np.abs(y - np.interp(x, line[:, 0], line[:, 1]))
    return np.where(z > line[:, 2].min() - 0.004, np.clip(2 * (1 - distance / height), 0, 1), 0)


def center(points: np.ndarray) -> np.ndarray:
    """Middle of the bounding box of points (n, 3)."""
    return (points.min(0) + points.max(0)) / 2


def _is_eyeball(points: np.ndarray) -> bool:
    """As wide as high as deep, within a quarter, larger than a tooth, and off the middle."""
    extent = np.ptp(points, axis=0)
    round_enough = extent.max() < 1.25 * extent.min() and extent.min() > 0.015
    return bool(round_enough and abs(center(points)[0]) > extent[0] / 2)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cross product in the plane of the first two coordinates."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
