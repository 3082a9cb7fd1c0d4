"""What preparing found out about each take: kept beside the shards, drawn in ``prepare.html``."""

from dataclasses import dataclass, field

QUARANTINE = "quarantine.csv"
"""The table of malformed takes and of files passed over, beside the shards."""

KEPT = "kept"
"""A reason that begins so is no reason to pass a file over, but something to be known of it."""


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
    """Left out: a rest too short for a clip, what audio and coefficients do not share, or what
    lacks a face."""
    filled: float = 0.0
    """Share of the frames in clips that lack a face and are filled in between their neighbours."""
    lost_seconds: float = 0.0
    """Left out because the face was lost."""
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
    """(52,) share of the frames at 1 or above: a channel that the capture has clipped."""
    missing: tuple[str, ...] = field(default=())
    """Channels that the take does not name."""
    lag_seconds: float | None = None
    """How much later the mouth opens than the audio is loud; negative: earlier. None: no telling,
    as in silence."""
    lag_correlation: float | None = None
    """Correlation of loudness and mouth opening at that lag."""
    drift_seconds: float | None = None
    """By how much the lag is greater at the end than at the beginning; None: no telling."""
    doubt: str | None = None
    """Why its channels may not be what they are called."""
    peak: float = 0.0
    """Greatest absolute sample as published; 1 is full scale."""
    clipped: float = 0.0
    """Share of the samples at full scale."""
    silent: bool = False
    """Whether nothing is heard in it."""
    frozen: bool = False
    """Whether the face does not move."""
    cancelled_db: float = 0.0
    """By how much mixing the channels of the recording to one has weakened it."""
    notes: tuple[str, ...] = ()
    """What was mended in reading it, or could not be used of it, a line each."""
