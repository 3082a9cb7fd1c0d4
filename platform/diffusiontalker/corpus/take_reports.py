"""Measurements of every take, stored in ``takes.json`` and shown in ``prepare.html``."""

from dataclasses import dataclass, field

QUARANTINE = "quarantine.csv"
"""The table of malformed takes and of skipped files, beside the shards."""

KEPT = "kept"
"""Prefix of remarks on takes and files that are used, in contrast to reasons for skipping one."""


@dataclass(frozen=True)
class TakeReport:
    """One take after it was read: measured, or put in quarantine."""

    take: str
    identity: str | None = None
    emotion: str | None = None
    files: tuple[str, ...] = ()
    reason: str | None = None
    """Why it is in quarantine; None: it is in the shards."""
    split: str | None = None
    """None where clips of the take lie in several."""
    seconds: float = 0.0
    """Kept in clips."""
    dropped_seconds: float = 0.0
    """Left out: remainders too short for a clip, parts that only audio or only coefficients cover,
    and parts without tracking."""
    filled: float = 0.0
    """Share of the frames in clips that are not tracked, but interpolated."""
    lost_seconds: float = 0.0
    """Left out because tracking was lost."""
    clips: int = 0
    fps: float = 0.0
    """As published."""
    rate: int = 0
    """Hz, as published."""
    minimum: tuple[float, ...] = ()
    """(52,) least coefficient of the take."""
    maximum: tuple[float, ...] = ()
    """(52,) greatest."""
    mean: tuple[float, ...] = ()
    """(52,)."""
    pinned: tuple[float, ...] = ()
    """(52,) share of the frames at 1 or above: clipping by the capture."""
    missing: tuple[str, ...] = field(default=())
    """Channels that the take does not name."""
    lag_seconds: float | None = None
    """Lag of the mouth behind the audio; negative where it leads. None: unknown, as in silence."""
    lag_correlation: float | None = None
    """Correlation of loudness and mouth opening at that lag."""
    drift_seconds: float | None = None
    """Lag at the end minus lag at the beginning; None: unknown."""
    doubt: str | None = None
    """Evidence that the order of its channels is not the assumed one."""
    peak: float = 0.0
    """Greatest absolute sample as published; 1 is full scale."""
    clipped: float = 0.0
    """Share of the samples at full scale."""
    silent: bool = False
    """Whether its audio is silent."""
    frozen: bool = False
    """Whether the face is static."""
    cancelled_db: float = 0.0
    """Loss of level by mixing the channels of the recording to mono."""
    notes: tuple[str, ...] = ()
    """Corrections made while reading, or what could not be used, a line each."""
