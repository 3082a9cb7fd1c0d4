"""Eyebrows for a rig that has none: strips of triangles that lie on its skin and move with it.

Brow channels move the skin alone, on which their movement is hardly visible. The shape of the brows
is our choice; for appearance only.
"""

from dataclasses import replace

import numpy as np

from diffusiontalker.animation import glb
from diffusiontalker.animation.rig import Rig

_HEIGHT, _HALF_WIDTH = 0.29, 0.36
"""Of a brow above the eyes' middles, and half its width, per distance between them."""
_COLOR = (0.10, 0.055, 0.035)
"""Linear RGB of hair, through which skin shows."""
_OPACITY = (0.15, 0.7, 0.8, 0.7, 0.15)
"""From the lower to the upper edge, which are soft."""
_COLUMNS = 28
_LIFT = 5e-4
"""Metres that a brow stands out from the skin, so that none of it sinks in."""


def with_brows(rig: Rig, eyes: np.ndarray) -> Rig:
    """The coloured rig with a brow above each eye; ``eyes`` (V,) bool are the vertices of both
    eyeballs. The vertices of the brows come last."""
    assert rig.colors is not None
    means, deltas, faces, colors = [rig.mean], [rig.deltas], [rig.faces], [rig.colors]
    balls = [rig.mean[eyes & (rig.mean[:, 0] * side > 0)] for side in (1, -1)]
    left, right = ((ball.min(0) + ball.max(0)) / 2 for ball in balls)
    apart, height = left[0] - right[0], (left[1] + right[1]) / 2
    normals = glb.vertex_normals(rig.mean, rig.faces, glb.positions(rig.mean))
    for side in (1, -1):
        triangles, weights = _on_skin(rig, _outline(apart, height, side))
        interpolated = [
            np.einsum("...pck,pc->...pk", values[..., triangles, :], weights)
            for values in (rig.mean + _LIFT * normals, rig.deltas, rig.colors)
        ]
        offset, strength = sum(map(len, means)), np.tile(_OPACITY, _COLUMNS)[:, None]
        means.append(interpolated[0])
        deltas.append(interpolated[1])
        colors.append(interpolated[2] + strength * (np.array(_COLOR) - interpolated[2]))
        faces.append(offset + _strip(side))
    return replace(
        rig,
        mean=np.concatenate(means).astype(np.float32),
        deltas=np.concatenate(deltas, axis=1).astype(np.float32),
        faces=np.concatenate(faces),
        colors=np.concatenate(colors).astype(np.float32),
    )


def _outline(apart: float, height: float, side: int) -> np.ndarray:
    """Points (columns * rows, 2) of a brow seen from the front, from the nose to the temple and in
    each column from below: an arch that thins out. ``height`` is that of the eyes."""
    half = _HALF_WIDTH * apart
    along = np.linspace(-1, 1, _COLUMNS)
    arch = height + _HEIGHT * apart + half * (0.10 - 0.24 * (along - 0.25) ** 2)
    round_end = np.sqrt(np.clip((along + 1) / 0.15, 0, 1))
    thickness = half * (0.16 - 0.13 * (along + 1) / 2) * round_end
    across = np.linspace(-1, 1, len(_OPACITY))
    y = arch[:, None] + thickness[:, None] * across
    x = np.broadcast_to((side * (apart / 2 + half * along))[:, None], y.shape)
    return np.stack([x, y], -1).reshape(-1, 2)


def _on_skin(rig: Rig, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangles of the skin (P, 3) at points (P, 2) seen from the front, of several the
    foremost, and the barycentric coordinates (P, 3) of the points in them."""
    corners = rig.mean[rig.faces].astype(np.float64)
    low, high = points.min(0), points.max(0)
    front = (corners.max(1)[:, :2] >= low).all(1) & (corners.min(1)[:, :2] <= high).all(1)
    front &= corners[:, :, 2].min(1) > 0
    triangles, (a, b, c) = rig.faces[front], np.moveaxis(corners[front], 1, 0)
    area = _cross(b - a, c - a)
    area = np.where(np.abs(area) > 1e-12, area, np.nan)  # of a triangle seen edge-on
    to_point = points[:, None] - a[:, :2]
    v = _cross(to_point, c - a) / area
    w = _cross(b - a, to_point) / area
    weights = np.stack([1 - v - w, v, w], -1)  # (points, triangles, corners)
    depth = np.einsum("ptc,tc->pt", weights, corners[front, :, 2])
    depth[~(weights > -1e-6).all(-1)] = -np.inf
    best = depth.argmax(1)
    return triangles[best], weights[np.arange(len(points)), best]


def _strip(side: int) -> np.ndarray:
    """Triangles of a grid of columns and rows, which face the front."""
    rows = len(_OPACITY)
    corner = (np.arange(_COLUMNS - 1)[:, None] * rows + np.arange(rows - 1)).ravel()
    here, up, next_, both = corner, corner + 1, corner + rows, corner + rows + 1
    faces = np.concatenate([np.stack([here, next_, both], 1), np.stack([here, both, up], 1)])
    return faces if side > 0 else faces[:, ::-1]


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cross product in the plane of the first two coordinates."""
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
