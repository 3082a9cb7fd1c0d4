"""Read one take: align and check it, cut it into clips, measure it."""

import contextlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffusiontalker import storage
from diffusiontalker.arkit import FPS
from diffusiontalker.audio.level import is_quiet
from diffusiontalker.config import DataSettings
from diffusiontalker.corpus import channel_order, clips, lip_sync, splits, take_quality
from diffusiontalker.corpus.channel_order import Doubt
from diffusiontalker.corpus.ingest.batches import PlannedTake
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.corpus.sources import Recording, Source, Take
from diffusiontalker.corpus.take_reports import TakeReport
from diffusiontalker.errors import UserError

UNCONFIRMED = (
    "its columns have no names and are assumed to be in the project's order, which so short or "
    "silent a recording cannot confirm; source.options.channels states the order"
)


@dataclass(frozen=True)
class _AlignedTake:
    """A take on the common clock, with the results of its checks."""

    published: Recording
    """As read from the source."""
    recording: Recording
    """With coefficients in 0 to 1 and the corrected rate."""
    samples: np.ndarray
    """(n,) float32 at 16 kHz."""
    coefficients: np.ndarray
    """(frames, 52) float32 at 30 fps."""
    cut_off: float
    """Seconds that only audio or only coefficients cover."""
    doubt: Doubt | None
    silent: bool
    static: bool
    cancelled_db: float

    @property
    def seconds(self) -> float:
        """Length of what audio and coefficients cover together."""
        return len(self.coefficients) / FPS

    @property
    def quality(self) -> dict[str, Any]:
        """The fields of ``TakeReport`` on which a take may be rejected."""
        return {
            "silent": self.silent, "frozen": self.static, "cancelled_db": self.cancelled_db
        }  # fmt: skip


def read_take(
    source: Source, planned: PlannedTake, settings: DataSettings
) -> tuple[list[Clip], TakeReport]:
    """The clips of a take and its measurements; a malformed take has a reason and no clips."""
    take = planned.take
    published: Recording | None = None
    try:
        published = source.read(take)
        aligned = _align(source, take, published, settings)
    except Exception as error:  # a failure of one take must not end the job
        if storage.is_remote(source.root) and storage.may_pass(error):
            raise  # the network's fault, not the take's
        notes = published.notes if published is not None else ()
        return [], _report(planned, reason=_failure(error, notes), notes=notes)
    recording = aligned.recording
    tracked = clips.tracked_frames(recording, len(aligned.coefficients))
    spans = clips.clip_spans(tracked, settings.clip_seconds, settings.min_clip_seconds)
    if (reason := _rejection(aligned, tracked, bool(spans), settings)) is not None:
        return [], _report(planned, reason=reason, notes=recording.notes, **aligned.quality)
    found = [
        _clip(planned, aligned, f"{take.id}-{number:03d}", span, settings)
        for number, span in enumerate(spans)
    ]
    return found, _report(planned, **_measured(aligned, tracked, spans), **aligned.quality)


def _align(
    source: Source, take: Take, published: Recording, settings: DataSettings
) -> _AlignedTake:
    """Bring a recording to the common clock and check it. Raises UserError."""
    in_range = clips.in_unit_range(published, settings.out_of_range)
    recording, (samples, coefficients, cut_off) = align_with_rate(in_range, settings)
    has_jaw = "jawOpen" not in recording.missing
    doubt = channel_order.find_doubt(samples, coefficients) if has_jaw else None
    _check_order(recording, doubt)
    if recording.by_position and lip_sync.loudness(samples, len(coefficients)) is None:
        recording = replace(recording, notes=(*recording.notes, UNCONFIRMED))
    sound = take_quality.audio_file(take.files)
    return _AlignedTake(
        published,
        recording,
        samples,
        coefficients,
        cut_off,
        doubt,
        silent=is_quiet(published.audio),
        static=take_quality.is_static(published.coefficients),
        cancelled_db=0.0 if sound is None else take_quality.cancelled_db(source.path(sound)),
    )


def align_with_rate(
    recording: Recording, settings: DataSettings
) -> tuple[Recording, tuple[np.ndarray, np.ndarray, float]]:
    """The recording at its true rate, and the result of ``clips.align`` for it.

    The nominal rate is kept if lips and sound drift less at it, even where the lengths fit the
    corrected one better. Raises UserError.
    """
    limits = settings.max_mismatch_seconds, settings.max_mismatch_share
    corrected = clips.with_true_rate(recording)
    aligned = clips.align(corrected, *limits)
    if corrected is recording or (drift := lip_sync.lag_drift(*aligned[:2])) is None:
        return corrected, aligned
    with contextlib.suppress(UserError):
        nominal = clips.align(recording, *limits)
        nominal_drift = lip_sync.lag_drift(*nominal[:2])
        if nominal_drift is not None and abs(nominal_drift) < abs(drift):
            return recording, nominal
    return corrected, aligned


def _check_order(recording: Recording, doubt: Doubt | None) -> None:
    """Refuse unnamed columns if the evidence is for another known order."""
    if recording.by_position and doubt is not None and doubt.order is not None:
        raise UserError(
            f"{doubt.text}: its columns are probably in another order than the project's; set "
            f"source.options.channels={doubt.order}, or a list of names for any other order, or "
            "source.options.channels=arkit if the project's order is right"
        )


def _rejection(
    aligned: _AlignedTake, tracked: np.ndarray, has_clips: bool, settings: DataSettings
) -> str | None:
    """Why a well-formed take has no clips; None: it has."""
    notes = aligned.recording.notes
    if not settings.keep_lifeless:
        why = take_quality.rejection(aligned.silent, aligned.static)
        if why is not None:
            return "; ".join([f"{why}; keep_lifeless=true keeps such takes", *notes])
    share = float(tracked.mean())
    if share < clips.MIN_TRACKED or (not has_clips and not tracked.all()):
        return f"the face is lost in {1 - share:.0%} of {aligned.seconds:.1f} s: too little is left"
    if not has_clips:
        short = f"{aligned.seconds:.2f} s: shorter than a clip may be (min_clip_seconds)"
        return "; ".join([short, *notes])
    return None


def _clip(
    planned: PlannedTake, aligned: _AlignedTake, name: str, span: tuple[int, int],
    settings: DataSettings,
) -> Clip:  # fmt: skip
    """The clip of the frames ``span`` = [start, stop)."""
    start, stop = span
    take, begin = planned.take, max(aligned.recording.start, 0.0)
    text, phones, phone_starts = _transcript(
        aligned.recording, begin + start / FPS, begin + stop / FPS
    )
    return Clip(
        id=name,
        source=settings.source.kind,
        take=take.id,
        identity=take.identity,
        emotion=take.emotion,
        split=planned.split or splits.by_clip(name, settings.split),
        text=take.text if text is None else text,
        phones=phones,
        phone_starts=phone_starts,
        audio=aligned.samples[clips.frame_to_sample(start) : clips.frame_to_sample(stop)],
        coefficients=aligned.coefficients[start:stop],
    )


def _transcript(
    recording: Recording, start: float, end: float
) -> tuple[str | None, list[str] | None, np.ndarray | None]:
    """Text, phones and phone times of the part [start, end) of a recording; None: unknown."""
    text = phones = starts = None
    if recording.words:
        middles = [(word, (word.start + word.end) / 2) for word in recording.words]
        text = " ".join(word.label for word, middle in middles if start <= middle < end)
    if recording.phones:
        within = [span for span in recording.phones if span.start < end and span.end > start]
        phones = [span.label for span in within]
        starts = np.array([max(span.start - start, 0.0) for span in within], np.float32)
    return text, phones, starts


def _measured(
    aligned: _AlignedTake, tracked: np.ndarray, spans: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """The measurements of a take that has clips, as fields of ``TakeReport``."""
    recording = aligned.recording
    in_clips = np.zeros(len(tracked), bool)
    for start, stop in spans:
        in_clips[start:stop] = True
    kept = float(in_clips.sum()) / FPS
    lag = lip_sync.lip_audio_lag(aligned.samples, aligned.coefficients)
    raw = aligned.published.coefficients
    raw = raw if aligned.published.tracked is None else raw[aligned.published.tracked]
    amplitude = np.abs(recording.audio)
    return {
        "seconds": kept,
        "dropped_seconds": aligned.cut_off + aligned.seconds - kept,
        "filled": float((in_clips & ~tracked).sum() / in_clips.sum()),
        "lost_seconds": float((~in_clips & ~tracked).sum()) / FPS,
        "clips": len(spans),
        "fps": recording.fps,
        "rate": recording.rate,
        "minimum": _rounded(raw.min(0)),
        "maximum": _rounded(raw.max(0)),
        "mean": _rounded(raw.mean(0)),
        "pinned": _rounded((raw >= 1.0).mean(0)),
        "missing": recording.missing,
        "lag_seconds": lag[0] if lag else None,
        "lag_correlation": lag[1] if lag else None,
        "drift_seconds": lip_sync.lag_drift(aligned.samples, aligned.coefficients),
        "doubt": aligned.doubt.text if aligned.doubt else None,
        "notes": recording.notes,
        "peak": float(amplitude.max()),
        "clipped": float((amplitude >= 0.999).mean()),
    }


def _report(planned: PlannedTake, **fields: Any) -> TakeReport:
    take = planned.take
    return TakeReport(
        take=take.id, identity=take.identity, emotion=take.emotion, files=take.files,
        split=planned.split, **fields,
    )  # fmt: skip


def _failure(error: Exception, notes: Sequence[str]) -> str:
    """Why a take is malformed, with the notes of reading it, which may hold the cause: a truncated
    recording, for one, is shorter than its coefficients."""
    text = str(error)
    if not isinstance(error, UserError):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        line = " ".join(text.split())[:200]
        where = f"{Path(frame.filename).name}, line {frame.lineno}"
        text = f"{type(error).__name__}: {line} ({where})"
    return "; ".join([text, *notes])


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(np.round(values.astype(np.float64), 4).tolist())
