"""Statistics of a prepared set over its takes: durations, channel ranges, audio-visual lags."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.corpus.manifest import SPLITS, ShardInfo
from diffusiontalker.corpus.take_reports import TakeReport

DEAD_RANGE = 0.001
"""A channel whose range over the whole set is smaller is dead; our choice."""
CLIPPED_SHARE = 0.01
"""A channel with a greater share of its frames at 1 or above is clipped; our choice."""
LAG_MILLISECONDS = 100.0
"""A take whose lag differs by more from the median is an outlier; our choice: three frames."""

Takes = list[TakeReport]
TakesByName = dict[str | None, Takes]
"""Takes by the label that they share; None: they have none."""


@dataclass(frozen=True)
class Channel:
    """The values of one blendshape over the whole set."""

    name: str
    low: float
    mean: float
    """Weighted by the length of the takes."""
    high: float
    pinned: float
    """Share of the frames at 1 or above."""
    named: int
    """Takes whose recording has the channel."""
    takes: int
    """Takes in all."""

    @property
    def dead(self) -> bool:
        """Whether it never moves although it was recorded."""
        return self.named > 0 and self.high - self.low < DEAD_RANGE

    @property
    def clipped(self) -> bool:
        """Whether the capture saturated at 1."""
        return self.pinned > CLIPPED_SHARE


@dataclass(frozen=True)
class Lags:
    """Lag of the mouth behind the audio by take, in milliseconds."""

    measured: tuple[tuple[TakeReport, float], ...]
    """Takes and their lags."""
    unmeasured: int
    """Number of takes whose lag could not be measured, as in silence."""
    median: float | None

    @property
    def outliers(self) -> list[tuple[TakeReport, float]]:
        """Takes too far from the median, the farthest first."""
        pairs = self.by_distance
        return [(take, lag) for take, lag in pairs if self.distance(lag) > LAG_MILLISECONDS]

    @property
    def by_distance(self) -> list[tuple[TakeReport, float]]:
        """All measured takes, the farthest from the median first."""
        return sorted(self.measured, key=lambda pair: -self.distance(pair[1]))

    def distance(self, lag: float) -> float:
        """Milliseconds between a lag and the median."""
        return abs(lag - (self.median or 0.0))


@dataclass(frozen=True)
class SplitTotals:
    """What the shards of a split hold."""

    clips: int
    seconds: float


@dataclass(frozen=True)
class SetStatistics:
    """Everything that the page and the console report of a prepared set; durations in seconds."""

    kept: Takes
    quarantined: Takes
    speakers: TakesByName
    """The kept takes by speaker, most speech first; ``emotions`` likewise."""
    emotions: TakesByName
    splits: dict[str, SplitTotals]
    """Every split that there should be, empty ones too."""
    channels: list[Channel]
    """All 52; empty if no take was measured."""
    lags: Lags
    skipped: tuple[tuple[str, str], ...] = ()
    """(name, reason) of the files that the source passed over or noted."""

    @property
    def all_takes(self) -> Takes:
        """The kept takes and those in quarantine."""
        return [*self.kept, *self.quarantined]

    @property
    def clips(self) -> int:
        """Clips of all kept takes."""
        return sum(take.clips for take in self.kept)

    @property
    def seconds(self) -> float:
        """Speech in those clips."""
        return total_seconds(self.kept)

    @property
    def dropped_seconds(self) -> float:
        """Parts of kept takes that are in no clip."""
        return sum(take.dropped_seconds for take in self.kept)

    @property
    def lost_seconds(self) -> float:
        """Parts of kept takes that were left out because face tracking was lost."""
        return sum(take.lost_seconds for take in self.kept)

    @property
    def filled_seconds(self) -> float:
        """Frames in clips that lack a face and are interpolated."""
        return sum(take.filled * take.seconds for take in self.kept)

    @property
    def known_speakers(self) -> int:
        """Speakers with a label."""
        return len(self.speakers.keys() - {None})


def set_statistics(
    takes: Sequence[TakeReport],
    shards: Sequence[ShardInfo],
    skipped: Sequence[tuple[str, str]] = (),
) -> SetStatistics:
    """Statistics of all takes; the totals of the splits are those of the shards.

    Args:
        takes: every take that was read, those in quarantine too.
        shards: those of the manifest.
        skipped: (name, reason) of the files that the source passed over or noted.
    """
    kept = [take for take in takes if take.reason is None]
    return SetStatistics(
        kept,
        [take for take in takes if take.reason is not None],
        group_takes(kept, lambda take: take.identity),
        group_takes(kept, lambda take: take.emotion),
        split_totals(shards),
        channel_statistics(kept),
        lags(kept),
        tuple(skipped),
    )


def total_seconds(takes: Iterable[TakeReport]) -> float:
    """Seconds in the clips of the takes."""
    return sum(take.seconds for take in takes)


def group_takes(takes: Takes, key: Callable[[TakeReport], str | None]) -> TakesByName:
    """Takes by ``key``, the one with the most speech first."""
    groups: TakesByName = {}
    for take in takes:
        groups.setdefault(key(take), []).append(take)
    return dict(sorted(groups.items(), key=lambda item: -total_seconds(item[1])))


def seconds_by_name(groups: TakesByName, unknown: str) -> list[tuple[str, float]]:
    """(name, seconds) of each group, most first; the group without a label is ``unknown``."""
    return [(unknown if n is None else n, total_seconds(takes)) for n, takes in groups.items()]


def split_totals(shards: Sequence[ShardInfo]) -> dict[str, SplitTotals]:
    """Clips and seconds of each split."""
    names = dict.fromkeys([*SPLITS, *(shard.split for shard in shards)])
    by_split = {name: [shard for shard in shards if shard.split == name] for name in names}
    return {
        name: SplitTotals(sum(s.clips for s in own), sum(s.frames for s in own) / FPS)
        for name, own in by_split.items()
    }


def channel_statistics(takes: Takes) -> list[Channel]:
    """Each channel over the takes that were measured; means weigh by length."""
    measured = [take for take in takes if len(take.mean) == len(CHANNELS)]
    if not measured:
        return []
    weights = np.array([max(take.seconds, 1e-6) for take in measured])
    low = np.min([take.minimum for take in measured], axis=0)
    high = np.max([take.maximum for take in measured], axis=0)
    mean = np.average([take.mean for take in measured], axis=0, weights=weights)
    pinned = np.average([take.pinned for take in measured], axis=0, weights=weights)
    unnamed = Counter(name for take in measured for name in take.missing)
    return [
        Channel(
            name,
            float(low[i]),
            float(mean[i]),
            float(high[i]),
            float(pinned[i]),
            len(measured) - unnamed[name],
            len(measured),
        )
        for i, name in enumerate(CHANNELS)
    ]


def lags(takes: Takes) -> Lags:
    """The lags in milliseconds, and their median."""
    measured = [(t, t.lag_seconds * 1000) for t in takes if t.lag_seconds is not None]
    median = float(np.median([lag for _, lag in measured])) if measured else None
    return Lags(tuple(measured), len(takes) - len(measured), median)
