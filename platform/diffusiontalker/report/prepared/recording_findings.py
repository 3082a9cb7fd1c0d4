"""Findings about the recordings: silence, tracking, channels, lag and drift, clipping."""

from collections.abc import Iterator, Sequence

from diffusiontalker.animation.tracks import MAX_GAP
from diffusiontalker.corpus.take_quality import CANCELLED_DB, STILL
from diffusiontalker.report.prepared.finding import Finding, is_are, reasons_in_a_line
from diffusiontalker.report.prepared.reasons import Remark
from diffusiontalker.report.prepared.statistics import (
    CLIPPED_SHARE,
    DEAD_RANGE,
    LAG_MILLISECONDS,
    Channel,
    Lags,
    SetStatistics,
)
from diffusiontalker.report.wording import duration, first_names, pluralize, shorten

FILLED_SHARE = 0.01
"""Interpolating a greater share of a take's frames is a finding; our choice: single dropped frames
are less."""
DRIFT_MILLISECONDS = 50.0
"""If the lag of a take changes by more from beginning to end, its frame rate is wrong; our
choice."""
CLIPPED_AUDIO_SHARE = 0.001
"""Audio with a greater share of its samples at full scale is clipped; our choice."""


def silent_or_frozen(stats: SetStatistics) -> Iterator[Finding]:
    """Takes with silent audio, a still face or audio channels in opposite phase; kept or not."""
    cases = (
        (
            [t for t in stats.all_takes if t.silent],
            "is silent", "are silent",
            "Movement of the face without sound teaches nothing of speech.",
            "Listen to the files; export those again of which the sound is lost.",
        ),
        (
            [t for t in stats.all_takes if t.frozen],
            "has a face that does not move", "have faces that do not move",
            f"The range of every channel is below {STILL:g}: nothing was tracked.",
            "Export the coefficients again, or leave the takes out.",
        ),
        (
            [t for t in stats.all_takes if t.cancelled_db > CANCELLED_DB],
            "has channels that cancel each other", "have channels that cancel each other",
            f"Their mix to mono is weaker by more than {CANCELLED_DB:g} dB.",
            "Export one channel alone, or invert the polarity of one.",
        ),
    )  # fmt: skip
    for takes, singular, plural, text, remedy in cases:
        if takes:
            names = first_names((take.take for take in takes), 3)
            kept = sum(take.reason is None for take in takes)
            in_shards = (
                f" {kept:,} of them {'is' if kept == 1 else 'are'} in the shards." if kept else ""
            )
            yield Finding(
                f"{pluralize(len(takes), 'take')} {singular if len(takes) == 1 else plural}: "
                f"{names}.",
                text + in_shards,
                remedy,
                "takes" if kept else "quarantine",
            )


def tracking_lost(stats: SetStatistics) -> Iterator[Finding]:
    """Takes with frames without a face."""
    takes = [take for take in stats.kept if take.lost_seconds or take.filled > FILLED_SHARE]
    if takes:
        yield Finding(
            f"The face is lost for a while in {pluralize(len(takes), 'take')}: "
            f"{first_names((take.take for take in takes), 3)}.",
            f"Gaps of up to {MAX_GAP:g} s are interpolated linearly, "
            f"{duration(stats.filled_seconds)} in all; longer ones are in no clip, "
            f"{duration(stats.lost_seconds)} in all.",
            "Sort the table of takes by what was filled or lost; record again where it is much.",
            "takes",
        )


def doubtful_channels(stats: SetStatistics) -> Iterator[Finding]:
    """Takes whose channels may be in another order than that of their names."""
    doubts = [Remark(take.take, take.files, take.doubt) for take in stats.kept if take.doubt]
    if doubts:
        yield Finding(
            f"The channels of {pluralize(len(doubts), 'take')} may not be what they are called: "
            f"{first_names((doubt.name for doubt in doubts), 3)}.",
            reasons_in_a_line(doubts),
            "Compare their order with that of the capture; source.options.channels names it.",
            "takes",
        )


def median_lag(median: float) -> str:
    """The median lag in milliseconds as a sentence."""
    amount = abs(round(median))
    if amount < 5:
        return "In the median take the mouth moves together with the sound."
    side = "later" if median > 0 else "earlier"
    return f"In the median take the mouth moves {amount} ms {side} than the sound."


def lag(lags: Lags) -> Iterator[Finding]:
    """An offset between mouth and audio in the whole set, and takes that differ from it."""
    if lags.median is not None and abs(lags.median) > LAG_MILLISECONDS:
        yield Finding(
            "Mouth and sound are out of step in the whole set.",
            median_lag(lags.median),
            "Look for an offset that all takes share, such as a start time that was not read.",
            "lag",
        )
    if lags.outliers:
        yield Finding(
            f"{pluralize(len(lags.outliers), 'take')} {is_are(lags.outliers)} out of step with the "
            "rest.",
            f"Their lag differs by more than {LAG_MILLISECONDS:.0f} ms from the median.",
            "Watch some. Where the correlation is low the lag may be wrong; else shift the "
            "recording or leave the take out.",
            "lag",
        )


def drift(stats: SetStatistics) -> Iterator[Finding]:
    """Takes whose lag changes over their length."""
    drifts = {
        take.take: take.drift_seconds * 1000
        for take in stats.kept
        if take.drift_seconds is not None and abs(take.drift_seconds) * 1000 > DRIFT_MILLISECONDS
    }
    if drifts:
        worst = max(drifts, key=lambda name: abs(drifts[name]))
        yield Finding(
            f"{pluralize(len(drifts), 'take')} {'drifts' if len(drifts) == 1 else 'drift'} between "
            f"beginning and end: {first_names(drifts, 3)}.",
            f"The lag changes by more than {DRIFT_MILLISECONDS:.0f} ms within a take; most in "
            f"{shorten(worst, 60)}: {drifts[worst]:+.0f} ms.",
            "The frame rate is not quite what the files say, such as 29.97 for 30; "
            "source.options.fps sets it where the source has that.",
            "lag",
        )


def channels(values: Sequence[Channel]) -> Iterator[Finding]:
    """Channels that are missing, dead or clipped."""
    cases = (
        (
            [c for c in values if not c.named],
            "never named",
            "Such a channel is 0 in the shards, and the model learns to keep it there.",
            "Fine if the capture does not record it; else check the names in the files.",
        ),
        (
            [c for c in values if 0 < c.named < c.takes],
            "not named by every take",
            "Where it is not recorded such a channel is 0, which looks like a face at rest.",
            "Export it for all takes, or leave out the takes without it.",
        ),
        (
            [c for c in values if c.dead],
            "dead",
            f"The range of such a channel over the whole set is below {DEAD_RANGE:g}.",
            "Check the capture's settings: what never moves cannot be learnt.",
        ),
        (
            [c for c in values if c.clipped],
            "clipped",
            f"Such a channel is at 1 or above in more than {CLIPPED_SHARE:.0%} of the frames, so "
            "strong movement looks cut off.",
            "Record with less gain or a calibrated face; scaling does not bring back what was cut.",
        ),
    )
    for bad, state, text, remedy in cases:
        if bad:
            title = f"{pluralize(len(bad), 'channel')} {is_are(bad)} {state}"
            yield Finding(f"{title}: {first_names(c.name for c in bad)}.", text, remedy, "channels")


def clipped_audio(stats: SetStatistics) -> Iterator[Finding]:
    """Takes with samples at full scale."""
    loud = [take.take for take in stats.kept if take.clipped > CLIPPED_AUDIO_SHARE]
    if loud:
        yield Finding(
            f"The audio of {pluralize(len(loud), 'take')} is clipped: {first_names(loud, 3)}.",
            f"More than {CLIPPED_AUDIO_SHARE:.1%} of its samples are at full scale.",
            "Export it again at a lower level; if it was recorded so, it stays distorted.",
            "takes",
        )
