"""Live Link Face CSV: one row per frame, for Unreal Engine, MetaHuman, Maya and Blender."""

import csv
import io
import re

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation import files, tables, timing, tracks
from diffusiontalker.animation.tables import Table
from diffusiontalker.animation.tracks import Track
from diffusiontalker.errors import UserError

CURVES = tuple(name[0].upper() + name[1:] for name in arkit.LIVE_LINK)
"""The 52 curves in the order of the app's own files."""
ROTATIONS = arkit.ROTATIONS
"""Head and eye angles; speech alone says nothing of them, so they are written as zero."""
BASE = 60
"""Frames of a second in the timecodes that we write: older Unreal importers take them for sixtieths
whatever they are, newer ones guess."""
BASES = (24, 25, 30, 48, 50, 60, 100, 120)
"""Frames of a second that a timecode may count."""

_ORDER = [arkit.INDEX[name] for name in arkit.LIVE_LINK]
_TIMECODE = re.compile(r"(\d+)[:;](\d+)[:;](\d+)([:;])(\d+(?:[.,]\d+)?)")


def encode(coefficients: np.ndarray, fps: float) -> str:
    """CSV text of coefficients (T, 52), one row per frame, values as they are.

    Timecodes are ``HH:MM:SS:FF.mmm`` as the app writes them, and ``FF`` counts sixtieths of a
    second whatever the rate, with a fraction where that is needed: 30 fps are 0, 2, ..., 58. A file
    says nothing of its frame rate, and importers that do not take the count for sixtieths guess it
    from the greatest one.
    """
    buffer = io.StringIO(newline="")
    out = csv.writer(buffer, lineterminator="\n")
    out.writerow(["Timecode", "BlendShapeCount", *CURVES, *ROTATIONS])
    count, zeros = len(CURVES) + len(ROTATIONS), ["0.000000"] * len(ROTATIONS)
    for frame, row in enumerate(coefficients[:, _ORDER]):
        out.writerow([_timecode(frame / fps), count, *(f"{v:.6f}" for v in row), *zeros])
    return buffer.getvalue()


def decode(text: str, where: str, fps: float | None = None) -> tuple[np.ndarray, float]:
    """(coefficients (T, 52) float32, fps) of ``read``, where the face is never lost for long.

    Raises:
        UserError: as ``read``, or the face is lost for longer than ``tracks.MAX_GAP``.
    """
    return tracks.whole(read(text, where, fps), where)


def read(text: str, where: str, fps: float | None = None, ignore: tuple[str, ...] = ()) -> Track:
    """A Live Link Face CSV, split as ``tables.parse`` says; columns match by name.

    How many frames a second of its timecodes has is seen where a second ends: one of ``BASES``. A
    file without such a place is taken to count thirtieths if it counts by ones and never beyond
    29, else sixtieths, so that our own shorter clips are read as they were written, but for one of
    60 fps and half a second or less. A semicolon before the frames is drop-frame, at 30 / 1.001 or
    60 / 1.001 fps, unless numbers are there that this leaves out. A file of one frame is taken to
    run at 30 fps.

    Where the app lost the face it writes rows with a BlendShapeCount of 0 or without values: those
    are filled in between their neighbours, and are not ``seen``.

    Args:
        text: of the file.
        where: what messages begin with.
        fps: the rate of the frames, whatever their timecodes look like; None: as above.
        ignore: columns to leave out.

    Raises:
        UserError: no Timecode column, no row with a face, a row of another length, a value that is
            not a finite number, an unknown channel.
    """
    return of_table(tables.parse(text, where), where, fps, ignore)


def of_table(
    table: Table, where: str, fps: float | None = None, ignore: tuple[str, ...] = ()
) -> Track:
    """``read``, of a table that is parsed already. Raises UserError."""
    table = tables.ended(table)
    header = [name.lower() for name in table.header]
    if "timecode" not in header:
        raise UserError(f"{where}: no column Timecode, as a Live Link Face CSV has it")
    if not table.rows:
        raise UserError(f"{where}: no frames after the header")
    clock = header.index("timecode")
    count = header.index("blendshapecount") if "blendshapecount" in header else None
    other = [arkit.is_left_out(name, ignore) for name in header]
    kept = [i for i in range(len(header)) if i not in (clock, count) and not other[i]]
    names = [table.header[i] for i in kept]
    cells, seen = tables.numbers(table, kept, where, count)
    values = files.numbers(cells, f"{where}: values")
    values = arkit.map_by_name(values, names, where)
    times, counted, notes = _times(
        [row[clock] if clock < len(row) else "" for row in table.rows], fps, where
    )
    if len(values) == 1 and seen.all():
        rate = fps or float(arkit.FPS)
        return Track(values, rate, rate, missing=arkit.missing(names), notes=table.notes)
    even = timing.evenly(times, values, where, seen)
    return Track(
        even.values,
        even.fps,
        even.exact,
        missing=arkit.missing(names),
        seen=even.seen,
        notes=(*table.notes, *notes, *even.notes),
        counted=counted,
    )


def _times(
    stamps: list[str], fps: float | None, where: str
) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Times (T,) of timecodes in seconds, whether they may be a thousandth longer, and notes."""
    parts, semicolons = np.zeros((len(stamps), 4)), False
    for number, stamp in enumerate(stamps):
        match = _TIMECODE.fullmatch(stamp)
        if match is None:
            raise UserError(f"{where}: row {number + 1}: {stamp!r} is no HH:MM:SS:FF.mmm timecode")
        hour, minute, second, mark, frame = match.groups()
        parts[number] = float(hour), float(minute), float(second), float(frame.replace(",", "."))
        semicolons = semicolons or mark == ";"
    seconds, frames = parts[:, :3] @ [3600, 60, 1], parts[:, 3]
    days = timing.days(seconds)
    notes = (timing.MIDNIGHT,) if days.any() else ()
    seconds = seconds + timing.DAY * days
    base = _base(seconds, frames, fps)
    total, minutes = seconds * base + frames, seconds // 60
    # Drop-frame leaves out the first two of thirty numbers, every minute but each tenth.
    skipped = (minutes % 10 != 0) & (seconds % 60 == 0) & (frames < base // 15)
    drop = semicolons and not skipped.any()
    if drop:
        total -= (minutes - minutes // 10) * (base // 15)
    if fps is not None and (steps := _positive(np.diff(total))).size:
        return total / (fps * _median(steps)), False, notes
    return total / (base / 1.001 if drop else base), not drop and fps is None, notes


def _base(seconds: np.ndarray, frames: np.ndarray, fps: float | None) -> int:
    """How many frames a second of timecodes has, from their whole seconds (T,) and frames (T,)."""
    steps = _positive(np.diff(frames)[np.diff(seconds) == 0])
    step = _median(steps) if steps.size else 1.0
    ends = np.flatnonzero(np.diff(seconds) == 1)
    # One end may just lack frames: it counts only if no other place does.
    if len(ends) > 1 or (len(ends) == 1 and steps.size and np.ptp(steps) <= 0.2 * step):
        told = float(np.median(frames[ends] + step - frames[ends + 1]))
        base = min(BASES, key=lambda base: abs(base - told))
        if abs(base - told) <= 0.3 and frames.max() < base:
            return base
    if fps is not None and frames.max() < (base := round(fps * step)):
        return base
    return 30 if frames.max() < 30 and abs(step - 1) <= 0.1 else 60


def _positive(steps: np.ndarray) -> np.ndarray:
    return steps[steps > 0]


def _median(steps: np.ndarray) -> float:
    """The lower one: a step that is there."""
    return float(np.sort(steps)[(len(steps) - 1) // 2])


def _timecode(seconds: float) -> str:
    ticks = round(seconds * (BASE * 1000))
    whole, frame = divmod(ticks, BASE * 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}:{frame // 1000:02d}.{frame % 1000:03d}"
