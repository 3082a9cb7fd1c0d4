"""Write and read animation files of every format; ``write`` and ``read_coefficients`` dispatch by
suffix. All but ``.glb``, which needs the extra ``glb``, need numpy alone.
"""

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile

from diffusiontalker import arkit, storage
from diffusiontalker.animation import beat, files, livelink
from diffusiontalker.animation.rig import Rig, default_rig
from diffusiontalker.errors import UserError, needs_extra

SUFFIXES = (".csv", ".json", ".glb", ".npz", ".npy")
"""What ``write`` takes; all but ``.glb`` can be read back."""


def write(
    path: str | Path,
    coefficients: np.ndarray,
    fps: float,
    audio: tuple[np.ndarray, int] | None = None,
    rig: Rig | None = None,
) -> list[Path]:
    """Write coefficients (T, 52) to ``path`` in the format of its suffix.

    Values are not clipped. With ``audio`` = (samples (N,) or (N, channels) in [-1, 1], sample rate
    in Hz), a 16-bit ``.wav`` of the same stem is written beside it, as none of the formats holds
    sound; an existing ``.wav`` is kept: it may be the recording itself. ``rig`` is for ``.glb``
    alone and defaults to ``default_rig()``. Files are written atomically.

    Returns:
        The files written.

    Raises:
        UserError: as ``check_suffix``, wrong shape, NaN, a rate not above 0, or a file that cannot
            be written.
    """
    path = storage.location(path)
    values = files.coefficients(coefficients, f"coefficients for {path}")
    fps = files.rate(fps, f"coefficients for {path}")
    storage.write_bytes(path, encode(check_suffix(path), values, fps, rig))
    if audio is None or (sound := path.with_suffix(".wav")).exists():
        return [path]
    storage.write_bytes(sound, _wav(*audio))
    return [path, sound]


def read_coefficients(path: str | Path, fps: float | None = None) -> tuple[np.ndarray, float]:
    """(coefficients (T, 52) float32 in ``arkit.CHANNELS``, fps) of a .csv, .json, .npz or .npy.

    Channels match by name and missing ones are 0. An ``.npy`` holds neither names nor rate: it is
    read as (T, 52) in alphabetical order, as 3D-ETF stores it, at ``fps`` or else 30. ``fps`` also
    overrides the rate of a Live Link CSV's timecodes, and gives that of JSON without times.

    Raises:
        UserError: unknown suffix, no such file, NaN, a wrong count, an unknown name, or no face for
            longer than ``tracks.MAX_GAP``.
    """
    if fps is not None:
        fps = files.rate(fps, str(path))
    path = storage.location(path)
    match _suffix(path):
        case ".csv":
            return livelink.decode(storage.read_text(path), str(path), fps)
        case ".json":
            return beat.decode(storage.read_text(path), str(path), fps)
        case ".npz":
            return _from_npz(path)
        case ".npy":
            values = files.coefficients(files.read_npy(path), str(path))
            return values, fps or float(arkit.FPS)
    raise UserError(f"{path}: a .glb cannot be read back; keep the .npz, .json or .csv")


def check_suffix(path: str | Path) -> str:
    """The lower-case suffix of ``path``, so that a job can refuse it before the work is done.

    Raises:
        UserError: it is none of ``SUFFIXES``, or ``.glb`` without the extra ``glb``.
    """
    suffix = _suffix(path)
    if suffix == ".glb" and find_spec("pygltflib") is None:
        raise needs_extra(f"{path}: GLB", "glb")
    return suffix


def _suffix(path: str | Path) -> str:
    suffix = Path(str(path)).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: unknown format {suffix!r}; choose one of {', '.join(SUFFIXES)}")
    return suffix


def encode(suffix: str, values: np.ndarray, fps: float, rig: Rig | None = None) -> bytes:
    """The content of a file of one of ``SUFFIXES``: coefficients (T, 52), not clipped."""
    buffer = BytesIO()
    match suffix:
        case ".csv":
            return livelink.encode(values, fps).encode()
        case ".json":
            return beat.encode(values, fps).encode()
        case ".glb":
            from diffusiontalker.animation import glb

            return glb.encode(values, fps, rig or default_rig())
        case ".npz":
            names = np.array(arkit.CHANNELS)
            np.savez_compressed(buffer, coefficients=values, names=names, fps=np.float64(fps))
        case ".npy":
            np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _from_npz(path: Path) -> tuple[np.ndarray, float]:
    arrays = files.read_npz(path)
    if missing := [key for key in ("coefficients", "names", "fps") if key not in arrays]:
        raise UserError(f"{path}: no array {', '.join(missing)}; needs coefficients, names and fps")
    values = files.numbers(arrays["coefficients"], f"{path}: coefficients")
    if values.ndim != 2 or len(values) == 0:
        raise UserError(f"{path}: coefficients is {values.shape}, expected (frames, channels)")
    names = [str(name) for name in arrays["names"].ravel()]
    return arkit.map_by_name(values, names, str(path)), files.rate(arrays["fps"], str(path))


def _wav(samples: np.ndarray, sample_rate: int) -> bytes:
    buffer = BytesIO()
    soundfile.write(buffer, samples, sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
