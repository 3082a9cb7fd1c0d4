"""The tables of ``prepare.html``: splits, emotions and speakers."""

from collections import Counter
from dataclasses import dataclass
from statistics import median

from diffusiontalker.report.metric_columns import DASH
from diffusiontalker.report.prepared.findings import share
from diffusiontalker.report.prepared.statistics import Survey, seconds_of, together

EMOTIONS = 12
"""Columns of the table of emotions; rarer ones have a bar in the plot alone."""
SEVERAL = "in several splits"


@dataclass(frozen=True)
class SplitRow:
    """A split as the page lists it."""

    name: str
    clips: int
    seconds: float
    share: str
    takes: int
    speakers: int


def split_rows(found: Survey) -> list[SplitRow]:
    """Each split with what the shards hold of it, and the takes and speakers wholly in it."""
    of = together(found.kept, lambda take: take.split)
    every = sum(held.seconds for held in found.splits.values())
    return [
        SplitRow(
            name,
            held.clips,
            held.seconds,
            share(held.seconds, every),
            len(of.get(name, [])),
            len({take.identity for take in of.get(name, [])} - {None}),
        )
        for name, held in found.splits.items()
    ]


def emotion_table(found: Survey) -> tuple[list[str | None], list[tuple[str, list[float]]]]:
    """Emotions, and for each split that takes lie in their seconds."""
    names = list(found.emotions)[:EMOTIONS]
    of = together(found.kept, lambda take: take.split)
    rows = []
    for split in (*found.splits, None):
        if split in of:
            by_emotion = together(of[split], lambda take: take.emotion)
            rows.append((split or SEVERAL, [seconds_of(by_emotion.get(n, [])) for n in names]))
    return names, rows


@dataclass(frozen=True)
class SpeakerRow:
    """A speaker as the page lists one; ``name`` None: the takes name nobody."""

    name: str | None
    seconds: float
    clips: int
    takes: int
    quarantined: int
    splits: str
    lag: float | None
    """Median in milliseconds."""


def speaker_rows(found: Survey) -> list[SpeakerRow]:
    """Every speaker, also those of whom nothing is left; most speech first."""
    lost = Counter(take.identity for take in found.quarantined)
    lags: dict[str | None, list[float]] = {}
    for take, lag in found.lags.known:
        lags.setdefault(take.identity, []).append(lag)
    rows = []
    for name in dict.fromkeys([*found.speakers, *lost]):
        takes = found.speakers.get(name, [])
        rows.append(
            SpeakerRow(
                name,
                seconds_of(takes),
                sum(take.clips for take in takes),
                len(takes),
                lost[name],
                ", ".join(sorted({take.split or SEVERAL for take in takes})) or DASH,
                median(lags[name]) if name in lags else None,
            )
        )
    return rows
