"""What in a prepared set needs attention, said in plain words, each with what to do about it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from diffusiontalker.animation.tracks import MAX_GAP
from diffusiontalker.corpus.data_folder import LOST
from diffusiontalker.corpus.take_quality import CANCELLED_DB, STILL
from diffusiontalker.report.metric_columns import duration
from diffusiontalker.report.prepared.statistics import (
    DEAD,
    DRIFT_MILLISECONDS,
    FILLED,
    LAG_MILLISECONDS,
    PINNED,
    Channel,
    Lags,
    Refusal,
    SplitSum,
    Survey,
    kinds,
    seconds_of,
)

SHORT_SECONDS = 60.0
"""A speaker with less speech has too little to learn a style from; our choice."""
LOUD = 0.001
"""Audio with more than this share of its samples at full scale is clipped; our choice."""
LEFT_OUT = 0.1
"""More than this share of the speech left out is worth a look; our choice."""
_WITHOUT = {
    "train": ("Without it nothing can be trained.", "Lower split.val, split.test and "
              "split.unseen_speakers, or give more takes."),
    "val": ("Without it nothing says when training has done enough.", "Raise split.val, or give "
            "more takes."),
    "test_seen": ("Without it nothing is measured on new sentences of known speakers.",
                  "Raise split.test, or give more takes."),
    "test_unseen": ("Without it nothing is measured on speakers that the model has never seen.",
                    "Raise split.unseen_speakers or name some there, if the set has speakers to "
                    "spare."),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that needs attention."""

    title: str
    text: str
    mend: str
    section: str
    """Where on the page the details stand."""


def headline(found: Survey) -> str:
    """How much there is: so many hours in so many clips of so many takes by so many speakers."""
    if not found.kept:
        if not found.quarantined:
            return "No takes were found."
        every = "the only take is" if len(found.quarantined) == 1 else (
            f"all {len(found.quarantined):,} takes are"
        )  # fmt: skip
        return f"Nothing could be prepared: {every} in quarantine."
    speakers = found.known_speakers
    by = count(speakers, "speaker") if speakers else "unknown speakers"
    return (
        f"{duration(found.seconds)} of speech in {count(found.clips, 'clip')} "
        f"of {count(len(found.kept), 'take')} by {by}"
    )


def attention(found: Survey) -> list[Finding]:
    """All that needs attention, what stops a training first."""
    return [
        *(_splits(found.splits) if found.kept else ()),
        *_quarantine(found),
        *lost_links(found),
        *lifeless(found),
        *_left_out(found),
        *_lost(found),
        *_doubts(found),
        *_lags(found.lags),
        *_drifts(found),
        *_channels(found.channels),
        *_labels(found),
        *_sound(found),
        *_mended(found),
    ]


def lost_links(found: Survey) -> Iterator[Finding]:
    """Links to files that were never fetched: what they belong to is in no list of takes."""
    lost = [name for name, reason in found.listed if LOST in reason]
    if lost:
        yield Finding(
            f"{count(len(lost), 'link')} {'leads' if len(lost) == 1 else 'lead'} to nothing: "
            f"{some(lost, 3)}.",
            "The takes that they belong to were not found.",
            "Fetch the files (git lfs pull, git annex get, dvc pull), and prepare again.",
            "skipped",
        )


def lifeless(found: Survey) -> Iterator[Finding]:
    """Takes in which nothing is heard, no face moves, or channels cancel; kept or not."""
    cases = (
        (
            [t for t in found.every if t.silent],
            "is silent", "are silent",
            "A face that moves without a sound teaches nothing of speech.",
            "Listen to the files; export those again of which the sound is lost.",
        ),
        (
            [t for t in found.every if t.frozen],
            "has a face that does not move", "have faces that do not move",
            f"No channel reaches over more than {STILL:g}: nothing was tracked.",
            "Export the coefficients again, or leave the takes out.",
        ),
        (
            [t for t in found.every if t.cancelled_db > CANCELLED_DB],
            "has channels that cancel each other", "have channels that cancel each other",
            f"Mixed to mono they are weaker by more than {CANCELLED_DB:g} dB.",
            "Export one channel alone, or swap the poles of one.",
        ),
    )  # fmt: skip
    for takes, one, several, text, mend in cases:
        if takes:
            names = some((take.take for take in takes), 3)
            kept = sum(take.reason is None for take in takes)
            held = (
                f" {kept:,} of them {'is' if kept == 1 else 'are'} in the shards." if kept else ""
            )
            yield Finding(
                f"{count(len(takes), 'take')} {one if len(takes) == 1 else several}: {names}.",
                text + held,
                mend,
                "takes" if kept else "quarantine",
            )


def count(number: int, noun: str) -> str:
    """``1 take``, ``2 takes``, ``12,000 takes``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def share(part: float, whole: float) -> str:
    """``6%``; never 0% or 100% unless it is."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 1:
        return "under 1%"
    return "over 99%" if 99 < percent < 100 else f"{percent:.0f}%"


def some(names: Iterable[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    every = list(names)
    rest = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(short(name, 60) for name in every[:most]) + rest


def short(text: str, most: int = 160) -> str:
    """A text from the data, cut where it grows absurdly long."""
    return text if len(text) <= most else text[: most - 1] + "…"


def lag_in_words(median: float) -> str:
    """What the median take does, for people who do not want to think about signs."""
    amount = abs(round(median))
    if amount < 5:
        return "In the median take the mouth moves together with the sound."
    side = "later" if median > 0 else "earlier"
    return f"In the median take the mouth moves {amount} ms {side} than the sound."


def _splits(splits: Mapping[str, SplitSum]) -> Iterator[Finding]:
    if not any(held.clips for held in splits.values()):
        yield Finding(
            "No shards were published: there is nothing to train on.",
            "The figures below are of the takes that could be read.",
            "See why the job stopped, most likely the quarantine, and prepare again.",
            "quarantine",
        )
        return
    for name, (why, mend) in _WITHOUT.items():
        if not splits[name].clips:
            yield Finding(f"The split {name} is empty.", why, mend, "hours")


def _quarantine(found: Survey) -> Iterator[Finding]:
    bad, every = len(found.quarantined), len(found.quarantined) + len(found.kept)
    if bad:
        lost = {take.identity for take in found.quarantined if take.identity is not None}
        lost -= found.speakers.keys()
        rest = "The other takes could be used." if found.kept else "Nothing is left to train on."
        yield Finding(
            f"{count(bad, 'take')} of {every:,} ({share(bad, every)}) "
            f"{_are(found.quarantined)} in quarantine.",
            f"No take is left of {some(sorted(lost))}." if lost else rest,
            "Read the reasons, mend the files or leave them out, and prepare again.",
            "quarantine",
        )


def _left_out(found: Survey) -> Iterator[Finding]:
    every_second = found.seconds + found.dropped
    if found.dropped > LEFT_OUT * every_second:
        yield Finding(
            f"{duration(found.dropped)} of the speech ({share(found.dropped, every_second)}) "
            "was left out.",
            "Rests were too short for a clip, audio and coefficients do not cover the same time, "
            "or the face was lost.",
            "Sort the table of takes by what was left out; lower min_clip_seconds if it is rests.",
            "takes",
        )


def _lags(lags: Lags) -> Iterator[Finding]:
    if lags.median is not None and abs(lags.median) > LAG_MILLISECONDS:
        yield Finding(
            "Mouth and sound are out of step in the whole set.",
            lag_in_words(lags.median),
            "Look for an offset that all takes share, such as a start time that was not read.",
            "lag",
        )
    if lags.outliers:
        yield Finding(
            f"{count(len(lags.outliers), 'take')} {_are(lags.outliers)} out of step with the rest.",
            f"Mouth and sound lie more than {LAG_MILLISECONDS:.0f} ms from the median lag.",
            "Watch some. Where the correlation is low the lag may be wrong; else shift the "
            "recording or leave the take out.",
            "lag",
        )


def _lost(found: Survey) -> Iterator[Finding]:
    takes = [take for take in found.kept if take.lost_seconds or take.filled > FILLED]
    if takes:
        yield Finding(
            f"The face is lost for a while in {count(len(takes), 'take')}: "
            f"{some((take.take for take in takes), 3)}.",
            f"Gaps of up to {MAX_GAP:g} s are filled with straight lines, {duration(found.filled)} "
            f"in all; longer ones are in no clip, {duration(found.lost)} in all.",
            "Sort the table of takes by what was filled or lost; record again where it is much.",
            "takes",
        )


def _doubts(found: Survey) -> Iterator[Finding]:
    doubted = [Refusal(take.take, take.files, take.doubt) for take in found.kept if take.doubt]
    if doubted:
        yield Finding(
            f"The channels of {count(len(doubted), 'take')} may not be what they are called: "
            f"{some((one.name for one in doubted), 3)}.",
            _listed(doubted),
            "Compare their order with that of the capture; source.options.channels names it.",
            "takes",
        )


def _drifts(found: Survey) -> Iterator[Finding]:
    drifts = {
        take.take: take.drift_seconds * 1000
        for take in found.kept
        if take.drift_seconds is not None and abs(take.drift_seconds) * 1000 > DRIFT_MILLISECONDS
    }
    if drifts:
        worst = max(drifts, key=lambda name: abs(drifts[name]))
        yield Finding(
            f"{count(len(drifts), 'take')} {'drifts' if len(drifts) == 1 else 'drift'} between "
            f"beginning and end: {some(drifts, 3)}.",
            f"The lag changes by more than {DRIFT_MILLISECONDS:.0f} ms within a take; most in "
            f"{short(worst, 60)}: {drifts[worst]:+.0f} ms.",
            "The frame rate is not quite what the files say, such as 29.97 for 30; "
            "source.options.fps sets it where the source has that.",
            "lag",
        )


def _mended(found: Survey) -> Iterator[Finding]:
    notes = [Refusal(take.take, take.files, note) for take in found.kept for note in take.notes]
    if notes:
        yield Finding(
            f"{count(len({note.name for note in notes}), 'take')} had to be mended in reading, or "
            "could not be used whole.",
            _listed(notes),
            "Nothing has to be done if that is right; takes.json has the notes of every take.",
            "takes",
        )


def _listed(found: Sequence[Refusal]) -> str:
    """Kinds of remarks and how many takes have each, the most frequent first."""
    lines = [f"{len(kind.refusals):,} x {short(kind.title, 160)}" for kind in kinds(found)]
    return "; ".join(lines[:6]) + (f"; and {len(lines) - 6} more" if len(lines) > 6 else "") + "."


def _channels(channels: Sequence[Channel]) -> Iterator[Finding]:
    cases = (
        (
            [c for c in channels if not c.named],
            "never named",
            "Such a channel is 0 in the shards, and the model learns to keep it there.",
            "Fine if the capture does not record it; else check the names in the files.",
        ),
        (
            [c for c in channels if 0 < c.named < c.takes],
            "not named by every take",
            "Where it is not recorded such a channel is 0, which looks like a face at rest.",
            "Export it for all takes, or leave out the takes without it.",
        ),
        (
            [c for c in channels if c.dead],
            "dead",
            f"Over the whole set such a channel moves by less than {DEAD:g}.",
            "Check the capture's settings: what never moves cannot be learnt.",
        ),
        (
            [c for c in channels if c.clipped],
            "clipped",
            f"Such a channel is at 1 or above in more than {PINNED:.0%} of the frames, so strong "
            "movement looks cut off.",
            "Record with less gain or a calibrated face; scaling does not bring back what was cut.",
        ),
    )
    for found, state, text, mend in cases:
        if found:
            title = f"{count(len(found), 'channel')} {_are(found)} {state}"
            yield Finding(f"{title}: {some(c.name for c in found)}.", text, mend, "channels")


def _labels(found: Survey) -> Iterator[Finding]:
    labels = (
        (found.speakers, "speaker", "Such takes teach no personal style.", "speakers"),
        (found.emotions, "emotion", "Unknown is not neutral: such takes teach no emotion.",
         "emotions"),
    )  # fmt: skip
    for named, noun, text, section in labels:
        unknown = len(named.get(None, []))
        if unknown:
            yield Finding(
                f"The {noun} of {count(unknown, 'take')} ({share(unknown, len(found.kept))}) is "
                "unknown.",
                text,
                "Label them in the data set's index or through source.options, if you can.",
                section,
            )
    for named, noun, _, section in labels:
        alike: dict[str, list[str]] = {}
        for name in sorted(name for name in named if name is not None):
            alike.setdefault(" ".join(name.casefold().split()), []).append(name)
        if twice := [" and ".join(names) for names in alike.values() if len(names) > 1]:
            yield Finding(
                f"{count(len(twice), noun)} may count several times: {some(twice, 3)}.",
                "Their names differ in case or spaces alone, and what differs is another name.",
                "Write them alike if they are one.",
                section,
            )
    brief = [
        name
        for name, takes in found.speakers.items()
        if name is not None and seconds_of(takes) < SHORT_SECONDS
    ]
    if brief:
        yield Finding(
            f"{count(len(brief), 'speaker')} {'has' if len(brief) == 1 else 'have'} less than a "
            f"minute of speech: {some(brief)}.",
            "Too little to learn a style from.",
            "Record more of them, or leave them out.",
            "speakers",
        )


def _sound(found: Survey) -> Iterator[Finding]:
    loud = [take.take for take in found.kept if take.clipped > LOUD]
    if loud:
        yield Finding(
            f"The audio of {count(len(loud), 'take')} is clipped: {some(loud, 3)}.",
            f"More than {LOUD:.1%} of its samples are at full scale.",
            "Export it again at a lower level; if it was recorded so, it stays distorted.",
            "takes",
        )


def _are(found: Sequence[object]) -> str:
    return "is" if len(found) == 1 else "are"
