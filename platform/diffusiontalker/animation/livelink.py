"""Live Link Face CSV: one row per frame, for Unreal Engine, MetaHuman, Maya and Blender."""

import csv
import io
import re

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation import files, tables, timing, tracks
from diffusiontalker.animation.tables import TextTable
from diffusiontalker.animation.tracks import Track
from diffusiontalker.errors import UserError

CURVES = tuple(name[0].upper() + name[1:] for name in arkit.LIVE_LINK)
"""The 52 curves in the order of the app's own files."""
ROTATIONS = arkit.ROTATIONS
"""Head and eye angles, which are not predicted and written as zero."""
BASE = 60
"""Timecode base that we write, in frames per second: older Unreal importers assume sixtieths, newer
ones guess."""
BASES = (24, 25, 30, 48, 50, 60, 100, 120)
"""Timecode bases that are recognised when reading."""

_ORDER = [arkit.INDEX[name] for name in arkit.LIVE_LINK]
_TIMECODE = re.compile(r"(\d+)[:;](\d+)[:;](\d+)([:;])(\d+(?:[.,]\d+)?)")


def encode(coefficients: np.ndarray, fps: float) -> str:
    """CSV text of coefficients (T, 52), one row per frame, values not clipped.

    Timecodes are ``HH:MM:SS:FF.mmm`` as the app writes them. ``FF`` counts sixtieths of a second at
    every rate, with a fraction where needed: 30 fps are 0, 2, ..., 58. The format does not state
    the frame rate; importers that do not assume sixtieths guess it from the greatest ``FF``.
    """
    buffer = io.StringIO(newline="")
    out = csv.writer(buffer, lineterminator="\n")
    out.writerow(["Timecode", "BlendShapeCount", *CURVES, *ROTATIONS])
    count, zeros = len(CURVES) + len(ROTATIONS), ["0.000000"] * len(ROTATIONS)
    for frame, row in enumerate(coefficients[:, _ORDER]):
        out.writerow([_timecode(frame / fps), count, *(f"{v:.6f}" for v in row), *zeros])
    return buffer.getvalue()


def decode(text: str, where: str, fps: float | None = None) -> tuple[np.ndarray, float]:
    """``read`` as (coefficients (T, 52) float32, fps).

    Raises:
        UserError: as ``read``, or tracking is lost for longer than ``tracks.MAX_GAP``.
    """
    return tracks.continuous(read(text, where, fps), where)


def read(text: str, where: str, fps: float | None = None, ignore: tuple[str, ...] = ()) -> Track:
    """A Live Link Face CSV, parsed by ``tables.parse``; columns match by name.

    The timecode base, one of ``BASES``, is inferred where a second ends. A file without such a
    place is read in thirtieths if it counts by ones and never beyond 29, else in sixtieths, so that
    our own shorter clips are read as they were written, except one of 60 fps and half a second or
    less. A semicolon before the frames means drop-frame, at 30 / 1.001 or 60 / 1.001 fps, unless
    frame numbers occur that drop-frame skips. A file of one frame is read at 30 fps.

    Where the app lost the face it writes rows with a BlendShapeCount of 0 or without values: those
    are interpolated, and not ``tracked``.

    Args:
        text: of the file.
        where: prefix of error messages.
        fps: overrides the rate of the timecodes; None: as above.
        ignore: columns to leave out.

    Raises:
        UserError: no Timecode column, no row with a face, a row of another length, a value that is
            not a finite number, an unknown channel.
    """
    return from_table(tables.parse(text, where), where, fps, ignore)


def from_table(
    table: TextTable, where: str, fps: float | None = None, ignore: tuple[str, ...] = ()
) -> Track:
    """``read`` for a table that is parsed already. Raises UserError."""
    table = tables.without_empty_end(table)
    header = [name.lower() for name in table.header]
    if "timecode" not in header:
        raise UserError(f"{where}: no column Timecode, as a Live Link Face CSV has it")
    if not table.rows:
        raise UserError(f"{where}: no frames after the header")
    clock = header.index("timecode")
    count = header.index("blendshapecount") if "blendshapecount" in header else None
    ignored = [arkit.is_left_out(name, ignore) for name in header]
    kept = [i for i in range(len(header)) if i not in (clock, count) and not ignored[i]]
    names = [table.header[i] for i in kept]
    cells, tracked = tables.numbers(table, kept, where, count)
    values = files.numbers(cells, f"{where}: values")
    values = arkit.map_by_name(values, names, where)
    times, nominal, notes = _times(
        [row[clock] if clock < len(row) else "" for row in table.rows], fps, where
    )
    if len(values) == 1 and tracked.all():
        rate = fps or float(arkit.FPS)
        return Track(values, rate, rate, missing=arkit.missing(names), notes=table.notes)
    even = timing.on_even_grid(times, values, where, tracked)
    return Track(
        even.values,
        even.fps,
        even.measured_fps,
        missing=arkit.missing(names),
        tracked=even.tracked,
        notes=(*table.notes, *notes, *even.notes),
        nominal_rate=nominal,
    )


def _times(
    timecodes: list[str], fps: float | None, where: str
) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """Times (T,) in seconds, whether their rate is merely nominal, and notes."""
    parts, semicolons = np.zeros((len(timecodes), 4)), False
    for number, timecode in enumerate(timecodes):
        match = _TIMECODE.fullmatch(timecode)
        if match is None:
            raise UserError(
                f"{where}: row {number + 1}: {timecode!r} is no HH:MM:SS:FF.mmm timecode"
            )
        hour, minute, second, mark, frame = match.groups()
        parts[number] = float(hour), float(minute), float(second), float(frame.replace(",", "."))
        semicolons = semicolons or mark == ";"
    seconds, frames = parts[:, :3] @ [3600, 60, 1], parts[:, 3]
    midnights = timing.midnights_passed(seconds)
    notes = (timing.MIDNIGHT,) if midnights.any() else ()
    seconds = seconds + timing.DAY * midnights
    base = _base(seconds, frames, fps)
    total, minutes = seconds * base + frames, seconds // 60
    # Drop-frame skips the first two of thirty numbers, in every minute but each tenth.
    skipped = (minutes % 10 != 0) & (seconds % 60 == 0) & (frames < base // 15)
    drop = semicolons and not skipped.any()
    if drop:
        total -= (minutes - minutes // 10) * (base // 15)
    if fps is not None and (steps := _positive(np.diff(total))).size:
        return total / (fps * _median(steps)), False, notes
    return total / (base / 1.001 if drop else base), not drop and fps is None, notes


def _base(seconds: np.ndarray, frames: np.ndarray, fps: float | None) -> int:
    """The timecode base in frames per second, from whole seconds (T,) and frames (T,)."""
    steps = _positive(np.diff(frames)[np.diff(seconds) == 0])
    step = _median(steps) if steps.size else 1.0
    ends = np.flatnonzero(np.diff(seconds) == 1)
    # A single end may have dropped frames: it counts only if no frames are dropped elsewhere.
    if len(ends) > 1 or (len(ends) == 1 and steps.size and np.ptp(steps) <= 0.2 * step):
        measured = float(np.median(frames[ends] + step - frames[ends + 1]))
        base = min(BASES, key=lambda base: abs(base - measured))
        if abs(base - measured) <= 0.3 and frames.max() < base:
            return base
    if fps is not None and frames.max() < (base := round(fps * step)):
        return base
    return 30 if frames.max() < 30 and abs(step - 1) <= 0.1 else 60


def _positive(steps: np.ndarray) -> np.ndarray:
    return steps[steps > 0]


def _median(steps: np.ndarray) -> float:
    """The lower median, which is one of the steps."""
    return float(np.sort(steps)[(len(steps) - 1) // 2])


def _timecode(seconds: float) -> str:
    ticks = round(seconds * (BASE * 1000))
    whole, frame = divmod(ticks, BASE * 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}:{frame // 1000:02d}.{frame % 1000:03d}"
