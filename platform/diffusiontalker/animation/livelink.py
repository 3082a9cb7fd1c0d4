"""Live Link Face CSV: one row per frame, for Unreal Engine, MetaHuman, Maya and Blender."""

import csv
import io
import re

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation import files, timing
from diffusiontalker.errors import UserError

_SIDE = ("EyeBlink", "EyeLookDown", "EyeLookIn", "EyeLookOut", "EyeLookUp", "EyeSquint", "EyeWide")
_MIDDLE = """
JawForward JawRight JawLeft JawOpen MouthClose MouthFunnel MouthPucker MouthRight MouthLeft
MouthSmileLeft MouthSmileRight MouthFrownLeft MouthFrownRight MouthDimpleLeft MouthDimpleRight
MouthStretchLeft MouthStretchRight MouthRollLower MouthRollUpper MouthShrugLower MouthShrugUpper
MouthPressLeft MouthPressRight MouthLowerDownLeft MouthLowerDownRight MouthUpperUpLeft
MouthUpperUpRight BrowDownLeft BrowDownRight BrowInnerUp BrowOuterUpLeft BrowOuterUpRight CheekPuff
CheekSquintLeft CheekSquintRight NoseSneerLeft NoseSneerRight TongueOut
""".split()
CURVES = (*(f"{s}Left" for s in _SIDE), *(f"{s}Right" for s in _SIDE), *_MIDDLE)
"""The 52 curves in the order of the app's own files, which puts JawRight and MouthRight before
their left twins (``openfacefx.LIVELINK_COLUMNS`` does not)."""
ROTATIONS = tuple(
    f"{part}{axis}" for part in ("Head", "LeftEye", "RightEye") for axis in ("Yaw", "Pitch", "Roll")
)
"""Head and eye angles; speech alone says nothing of them, so they are written as zero."""

_ORDER = [arkit.INDEX[name[0].lower() + name[1:]] for name in CURVES]
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+):(\d+(?:\.\d+)?)")


def encode(coefficients: np.ndarray, fps: float) -> str:
    """CSV text of coefficients (T, 52), one row per frame, values as they are.

    Timecodes are ``HH:MM:SS:FF.mmm`` as the app writes them. A file says nothing of its frame rate,
    so Unreal's importer counts ``FF`` in sixtieths of a second if any exceeds 30, else thirtieths.
    Any other rate is written in that count with its fraction, so that frames land on their times.
    """
    base = _base(fps)
    buffer = io.StringIO(newline="")
    out = csv.writer(buffer, lineterminator="\n")
    out.writerow(["Timecode", "BlendShapeCount", *CURVES, *ROTATIONS])
    count, zeros = len(CURVES) + len(ROTATIONS), ["0.000000"] * len(ROTATIONS)
    for frame, row in enumerate(coefficients[:, _ORDER]):
        out.writerow([_timecode(frame / fps, base), count, *(f"{v:.6f}" for v in row), *zeros])
    return buffer.getvalue()


def decode(text: str, where: str) -> tuple[np.ndarray, float]:
    """(coefficients (T, 52) float32, fps) of a Live Link Face CSV; columns match by name.

    A file of one frame is taken to run at 30 fps. A 60 fps file of half a second or less cannot be
    told from a 30 fps one, here as in Unreal. Where the app lost the face it writes rows with a
    BlendShapeCount of 0 and no values: those are filled in between their neighbours.

    Raises:
        UserError: no Timecode column, no row with a face, a row of another length, a value that is
            not a finite number, an unknown channel.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error as error:
        raise UserError(f"{where}: not CSV ({error})") from error
    header = [cell.strip() for cell in rows[0]] if rows else []
    if not header or header[0].lower() != "timecode":
        raise UserError(f"{where}: the first column must be Timecode, as in a Live Link Face CSV")
    if len(rows) < 2:
        raise UserError(f"{where}: no frames after the header")
    skip = {"timecode", "blendshapecount", *(name.lower() for name in ROTATIONS)}
    kept = [i for i, name in enumerate(header) if name.lower() not in skip]
    clock, values = [], np.zeros((len(rows) - 1, len(kept)), np.float32)
    seen = np.ones(len(values), bool)
    for number, row in enumerate(rows[1:], start=1):
        seen[number - 1] = not (len(row) > 1 and row[1].strip() == "0" and not any(row[2:]))
        if seen[number - 1] and len(row) != len(header):
            raise UserError(
                f"{where}: row {number} has {len(row)} fields, the header {len(header)}"
            )
        match = _TIMECODE.fullmatch(row[0].strip())
        if match is None:
            raise UserError(f"{where}: row {number}: {row[0]!r} is no HH:MM:SS:FF.mmm timecode")
        clock.append([float(part) for part in match.groups()])
        if not seen[number - 1]:
            continue
        try:
            values[number - 1] = [float(row[i]) for i in kept]
        except ValueError as error:
            raise UserError(f"{where}: row {number}: {error}") from error
    values = arkit.map_by_name(
        files.numbers(values, f"{where}: values"), [header[i] for i in kept], where
    )
    if len(values) == 1:
        return values, float(arkit.FPS)
    parts = np.array(clock)
    base = 60 if parts[:, 3].max() > 30 else 30
    times = parts @ [3600, 60, 1, 1 / base]
    if not seen.any():
        raise UserError(f"{where}: no row holds a face: tracking was lost all along")
    for channel in values.T:
        channel[~seen] = np.interp(times[~seen], times[seen], channel[seen])
    return timing.evenly(times, values, where)


def _base(fps: float) -> int:
    return 30 if fps <= 30 else 60


def _timecode(seconds: float, base: int) -> str:
    ticks = round(seconds * base * 1000)
    whole, frame = divmod(ticks, base * 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}:{frame // 1000:02d}.{frame % 1000:03d}"
