"""The linear blendshape rig: coefficients to vertices and back, and which vertices are lips, eyes,
forehead.

The papers measure LVE, EVE and FDD on vertices but predict coefficients; a rig converts between
them. ``Rig.load`` reads a user's rig from ``.npz``; ``default_rig`` needs no file.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np

from diffusiontalker import arkit, storage
from diffusiontalker.animation import files
from diffusiontalker.errors import UserError, needs_extra

_BROW_EYE = tuple(i for i in arkit.UPPER if arkit.CHANNELS[i].startswith(("brow", "eye")))
_LIP_SHAPES = tuple(i for i in arkit.LIP if arkit.CHANNELS[i].startswith("mouth"))
_TOLERANCE = 1e-6
_MAX_STEPS = 5000
"""Reached only where channels are nearly collinear; their sum has converged then all the same."""


@dataclass(frozen=True, eq=False)
class Rig:
    """``v = mean + sum_c w_c delta_c`` (method of the papers' vertex metrics).

    Attributes:
        mean: (V, 3) float32, the neutral face, metres.
        deltas: (52, V, 3) float32, displacement at coefficient 1, metres, in ``arkit.CHANNELS``.
        faces: (F, 3) int, triangles; (0, 3) when unknown, which only the GLB writer refuses.
        name: shown in reports.
        credit: attribution, shown beside the name.
        colors: (V, 3) float32 linear RGB in [0, 1], or None.
    """

    mean: np.ndarray
    deltas: np.ndarray
    faces: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    name: str = "rig"
    credit: str = ""
    colors: np.ndarray | None = None

    def vertices(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients (..., 52) to vertices (..., V, 3) float32 in metres."""
        weights = np.asarray(coefficients, np.float32)
        moved = weights @ self.deltas.reshape(len(arkit.CHANNELS), -1)
        return self.mean + moved.reshape(*weights.shape[:-1], *self.mean.shape)

    def coefficients(
        self, vertices: np.ndarray, neutral: np.ndarray | None = None
    ) -> tuple[np.ndarray, float]:
        """The coefficients in [0, 1] that bring the rig nearest to ``vertices``: least squares.

        Args:
            vertices: (T, V, 3), metres.
            neutral: (V, 3), the speaker's neutral face, from which displacements are measured;
                None: ``mean``.

        Returns:
            Coefficients (T, 52) float32, where a channel that moves no vertex stays 0, and the
            residual in metres per vertex, root mean square.

        Raises:
            UserError: the vertices are not as many as the rig's.
        """
        neutral = self.mean if neutral is None else neutral
        if not vertices.shape[1:] == neutral.shape == self.mean.shape:
            raise UserError(
                f"rig {self.name!r} has {len(self.mean)} vertices, the data "
                f"{' x '.join(map(str, vertices.shape))} and a neutral face of "
                f"{' x '.join(map(str, neutral.shape))}; give a rig of the same mesh"
            )
        deltas = self.deltas.reshape(len(arkit.CHANNELS), -1)
        moved = np.asarray(vertices - neutral, np.float32).reshape(-1, deltas.shape[1])
        exact = deltas.astype(np.float64)
        found = _box_least_squares(exact @ exact.T, moved @ deltas.T).astype(np.float32)
        residual = np.square(moved - found @ deltas, dtype=np.float64).sum()
        return found, float(np.sqrt(residual / max(moved.size // 3, 1)))

    @functools.cached_property
    def static_channels(self) -> tuple[str, ...]:
        """The channels that move no vertex."""
        return tuple(n for n, d in zip(arkit.CHANNELS, self.deltas, strict=True) if not d.any())

    @functools.cached_property
    def lip(self) -> np.ndarray:
        """(V,) bool, the lips, for LVE.

        Our choice, as the papers' masks are lists of FLAME vertices: the root-sum-square of a
        vertex's displacement over the ``mouth*`` channels is at least 0.6 of the rig's largest.
        jawOpen is left out of the score, or the chin would count as lips.
        """
        reach = self._reach(_LIP_SHAPES)
        return self._named("lip", (reach >= 0.6 * reach.max()) & (reach > self._reach(arkit.UPPER)))

    @functools.cached_property
    def upper(self) -> np.ndarray:
        """(V,) bool, the upper face, for FDD.

        Our choice: the upper channels reach at least a tenth of their largest reach there, and
        move the vertex more than the lip channels do. Never overlaps ``lip``.
        """
        return self._named("upper", self._moved_by(arkit.UPPER))

    @functools.cached_property
    def eyes_forehead(self) -> np.ndarray:
        """(V,) bool, eyes and forehead, for EVE: ``upper`` for the brow and eye channels alone."""
        return self._named("eyes_forehead", self._moved_by(_BROW_EYE) & self.upper)

    def _reach(self, channels: Sequence[int]) -> np.ndarray:
        """Root-sum-square displacement (V,) over channels, metres."""
        return np.sqrt(np.square(self.deltas[list(channels)]).sum((0, 2)))

    def _moved_by(self, channels: Sequence[int]) -> np.ndarray:
        reach = self._reach(channels)
        return (reach >= 0.1 * reach.max()) & (reach > self._reach(arkit.LIP))

    def _named(self, region: str, mask: np.ndarray) -> np.ndarray:
        if not mask.any():
            raise UserError(
                f"rig {self.name!r} has no {region} vertices: its deltas for that region are zero; "
                "check the channel names of the rig"
            )
        return mask

    def save(self, path: str | Path) -> None:
        """Write the rig as ``.npz``, as ``load`` reads it. Raises UserError if it cannot."""
        arrays: dict[str, np.ndarray] = {
            "mean": self.mean,
            "deltas": self.deltas,
            "names": np.array(arkit.CHANNELS),
            "faces": self.faces,
            "name": np.array(self.name),
            "credit": np.array(self.credit),
        }
        if self.colors is not None:
            arrays["colors"] = self.colors
        buffer = BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        storage.write_bytes(storage.location(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "Rig":
        """Read a rig from ``.npz``.

        Needs ``mean`` (V, 3) in metres, ``deltas`` (n, V, 3) and ``names`` (n,); ``faces``
        (F, 3), ``colors`` (V, 3), ``name`` and ``credit`` are optional. Channels match by name,
        ``_L`` and ``_R`` read as Left and Right; a channel that is absent moves no vertex.

        Raises:
            UserError: no such file, a missing or misshapen array, NaN, or an unknown channel.
        """
        path = storage.location(path)
        arrays = files.read_npz(path)
        if missing := [key for key in ("mean", "deltas", "names") if key not in arrays]:
            raise UserError(
                f"{path}: no array {', '.join(missing)}; a rig needs mean, deltas, names"
            )
        mean = files.numbers(arrays["mean"], f"{path}: mean")
        deltas = files.numbers(arrays["deltas"], f"{path}: deltas")
        if mean.ndim != 2 or mean.shape[1] != 3 or len(mean) == 0:
            raise UserError(f"{path}: mean is {mean.shape}, expected (V, 3)")
        if deltas.ndim != 3 or deltas.shape[1:] != mean.shape:
            raise UserError(
                f"{path}: deltas is {deltas.shape}, expected (channels, {len(mean)}, 3) to fit mean"
            )
        colors = arrays.get("colors")
        if colors is not None:
            colors = files.numbers(colors, f"{path}: colors")
            if colors.shape != mean.shape:
                raise UserError(f"{path}: colors is {colors.shape}, expected {mean.shape}")
        return cls(
            mean,
            _by_channel(deltas, [str(name) for name in arrays["names"].ravel()], str(path)),
            _triangles(arrays.get("faces"), len(mean), path),
            str(arrays.get("name", path.stem)),
            str(arrays.get("credit", "")),
            colors,
        )


@functools.cache
def default_rig() -> Rig:
    """The Face Cap head of the installed openfacefx package, decoded once per process.

    4368 vertices: 2694 of the head, the rest eyes and teeth, which no channel moves. Scaled to
    ``facecap.HEIGHT_M``. The asset has no tongue, so tongueOut does not move it.

    Raises:
        UserError: the extra ``glb`` is needed, or the installed openfacefx lacks the asset.
    """
    try:
        from diffusiontalker.animation import facecap
    except ImportError as error:
        raise needs_extra("the default rig", "glb") from error
    head = facecap.load()
    deltas = _by_channel(head.deltas, head.names, "facecap.glb")
    for array in (head.mean, deltas, head.faces, head.colors):
        array.flags.writeable = False  # the cache hands one object to every caller
    return Rig(head.mean, deltas, head.faces, "facecap", facecap.CREDIT, head.colors)


def _box_least_squares(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    """argmin over w in [0, 1] of ``w gram w / 2 - target w``, for every row of ``target`` (T, C).

    Accelerated projected gradient (Beck and Teboulle 2009) with adaptive restart of a row whose
    last step went uphill (O'Donoghue and Candes 2015), over all rows at once. Channels are scaled
    to unit length first, since some move the whole jaw and others an eyelid. Ends when no
    coefficient changes by more than ``_TOLERANCE``.
    """
    length = np.sqrt(np.diag(gram))
    moving = length > 0
    upper = length[moving]
    found = np.zeros(target.shape)
    if upper.size == 0 or len(target) == 0:
        return found
    scaled = gram[np.ix_(moving, moving)] / np.outer(upper, upper)
    lipschitz = np.linalg.eigvalsh(scaled)[-1]
    iteration = np.eye(len(upper)) - scaled / lipschitz
    constant = target[:, moving] / upper / lipschitz
    w = extrapolated = np.clip(constant, 0, upper)
    momentum = np.ones((len(target), 1))
    for count in range(_MAX_STEPS):
        new = np.clip(extrapolated @ iteration + constant, 0, upper)
        step = new - w
        momentum[np.einsum("tc,tc->t", extrapolated - new, step) > 0] = 1
        next_momentum = (1 + np.sqrt(1 + 4 * np.square(momentum))) / 2
        extrapolated = new + (momentum - 1) / next_momentum * step
        w, momentum = new, next_momentum
        if count % 10 == 9 and np.abs(step / upper).max() <= _TOLERANCE:
            break
    found[:, moving] = w / upper
    return found


def _by_channel(deltas: np.ndarray, names: Sequence[str], where: str) -> np.ndarray:
    """Deltas (n, V, 3) in the order of ``names`` to (52, V, 3) in ``arkit.CHANNELS``."""
    mapped = arkit.map_by_name(np.moveaxis(deltas, 0, -1), names, where)
    return np.ascontiguousarray(np.moveaxis(mapped, -1, 0))


def _triangles(faces: np.ndarray | None, count: int, path: Path) -> np.ndarray:
    if faces is None:
        return np.zeros((0, 3), np.int64)
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise UserError(f"{path}: faces is {faces.dtype} {faces.shape}, expected integers (F, 3)")
    if faces.size and (faces.min() < 0 or faces.max() >= count):
        raise UserError(f"{path}: faces name vertices outside 0..{count - 1}")
    return faces.astype(np.int64)
