"""The tables of ``prepare.html``: splits, emotions and speakers."""

from collections import Counter
from dataclasses import dataclass
from statistics import median

from diffusiontalker.report.prepared.statistics import SetStatistics, group_takes, total_seconds
from diffusiontalker.report.wording import DASH, percent

EMOTIONS = 12
"""Columns of the table of emotions; rarer ones are in the bar chart alone."""
SEVERAL = "in several splits"


@dataclass(frozen=True)
class SplitRow:
    """A row of the table of splits."""

    name: str
    clips: int
    seconds: float
    share: str
    takes: int
    speakers: int


def split_rows(stats: SetStatistics) -> list[SplitRow]:
    """Each split with the totals of its shards, and the takes and speakers wholly in it."""
    takes = group_takes(stats.kept, lambda take: take.split)
    whole = sum(totals.seconds for totals in stats.splits.values())
    return [
        SplitRow(
            name,
            totals.clips,
            totals.seconds,
            percent(totals.seconds, whole),
            len(takes.get(name, [])),
            len({take.identity for take in takes.get(name, [])} - {None}),
        )
        for name, totals in stats.splits.items()
    ]


def emotion_table(stats: SetStatistics) -> tuple[list[str | None], list[tuple[str, list[float]]]]:
    """Emotions, and a row of their seconds for each split with takes."""
    names = list(stats.emotions)[:EMOTIONS]
    takes = group_takes(stats.kept, lambda take: take.split)
    rows = []
    for split in (*stats.splits, None):
        if split in takes:
            by_emotion = group_takes(takes[split], lambda take: take.emotion)
            rows.append((split or SEVERAL, [total_seconds(by_emotion.get(n, [])) for n in names]))
    return names, rows


@dataclass(frozen=True)
class SpeakerRow:
    """A row of the table of speakers; ``name`` None: takes without a label."""

    name: str | None
    seconds: float
    clips: int
    takes: int
    quarantined: int
    splits: str
    lag: float | None
    """Median in milliseconds."""


def speaker_rows(stats: SetStatistics) -> list[SpeakerRow]:
    """Every speaker, also those whose takes are all in quarantine; most speech first."""
    quarantined = Counter(take.identity for take in stats.quarantined)
    lags: dict[str | None, list[float]] = {}
    for take, lag in stats.lags.measured:
        lags.setdefault(take.identity, []).append(lag)
    rows = []
    for name in dict.fromkeys([*stats.speakers, *quarantined]):
        takes = stats.speakers.get(name, [])
        rows.append(
            SpeakerRow(
                name,
                total_seconds(takes),
                sum(take.clips for take in takes),
                len(takes),
                quarantined[name],
                ", ".join(sorted({take.split or SEVERAL for take in takes})) or DASH,
                median(lags[name]) if name in lags else None,
            )
        )
    return rows
