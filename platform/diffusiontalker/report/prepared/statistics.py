"""What the takes of a prepared set say together: sums, channel ranges, lags, kinds of reasons."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.corpus.manifest import SPLITS, ShardInfo
from diffusiontalker.corpus.take_reports import TakeReport

DEAD = 0.001
"""A channel that reaches over less than this in the whole set is dead; our choice."""
PINNED = 0.01
"""A channel with more than this share of its frames at 1 or above is clipped; our choice."""
LAG_MILLISECONDS = 100.0
"""A take whose lag lies farther from the median is an outlier; our choice: three frames."""

DRIFT_MILLISECONDS = 50.0
"""A take whose lag changes by more from beginning to end has a wrong rate; our choice."""
FILLED = 0.01
"""A take with more than this share of its frames filled in is worth a line; our choice: dropped
frames now and then are less."""

Takes = list[TakeReport]
Named = dict[str | None, Takes]
"""Takes under the name that they share; None: they name none."""


@dataclass(frozen=True)
class Channel:
    """One blendshape over the whole set."""

    name: str
    low: float
    mean: float
    high: float
    pinned: float
    """Share of the frames at 1 or above."""
    named: int
    """Takes that name the channel."""
    takes: int
    """Takes in all."""

    @property
    def dead(self) -> bool:
        """Whether it never moves although somebody recorded it."""
        return self.named > 0 and self.high - self.low < DEAD

    @property
    def clipped(self) -> bool:
        """Whether the capture cut it off at 1."""
        return self.pinned > PINNED


@dataclass(frozen=True)
class Lags:
    """How much later than the sound the mouth moves, in milliseconds."""

    known: tuple[tuple[TakeReport, float], ...]
    """Takes and their lags."""
    untold: int
    """Takes of which it could not be told."""
    median: float | None

    @property
    def outliers(self) -> list[tuple[TakeReport, float]]:
        """Takes too far from the median, the farthest first."""
        apart = self.by_distance
        return [(take, lag) for take, lag in apart if self.distance(lag) > LAG_MILLISECONDS]

    @property
    def by_distance(self) -> list[tuple[TakeReport, float]]:
        """All takes, the farthest from the median first."""
        return sorted(self.known, key=lambda pair: -self.distance(pair[1]))

    def distance(self, lag: float) -> float:
        """Milliseconds between a lag and the median."""
        return abs(lag - (self.median or 0.0))


@dataclass(frozen=True)
class SplitSum:
    """What the shards of a split hold."""

    clips: int
    seconds: float


@dataclass(frozen=True)
class Survey:
    """All takes of a set, sorted out."""

    kept: Takes
    quarantined: Takes
    speakers: Named
    """Of the kept takes; most speech first, as in ``emotions``."""
    emotions: Named
    splits: dict[str, SplitSum]
    """Every split that there should be, also those with nothing in them."""
    channels: list[Channel]
    """All 52; none if nothing was measured."""
    lags: Lags
    listed: tuple[tuple[str, str], ...] = ()
    """Files passed over or noted, and why."""

    @property
    def every(self) -> Takes:
        """All takes, those in quarantine too."""
        return [*self.kept, *self.quarantined]

    @property
    def clips(self) -> int:
        """Clips of all kept takes."""
        return sum(take.clips for take in self.kept)

    @property
    def seconds(self) -> float:
        """Seconds of speech in them."""
        return seconds_of(self.kept)

    @property
    def dropped(self) -> float:
        """Seconds of them that are in no clip."""
        return sum(take.dropped_seconds for take in self.kept)

    @property
    def lost(self) -> float:
        """Seconds of them that were left out because the face was lost."""
        return sum(take.lost_seconds for take in self.kept)

    @property
    def filled(self) -> float:
        """Seconds in clips that lack a face and are filled in."""
        return sum(take.filled * take.seconds for take in self.kept)

    @property
    def known_speakers(self) -> int:
        """Speakers with a name."""
        return len(self.speakers.keys() - {None})


def survey(
    takes: Sequence[TakeReport],
    shards: Sequence[ShardInfo],
    listed: Sequence[tuple[str, str]] = (),
) -> Survey:
    """Sort out the takes; the hours of the splits are those of the shards. ``listed`` are files
    passed over or noted, and why."""
    kept = [take for take in takes if take.reason is None]
    return Survey(
        kept,
        [take for take in takes if take.reason is not None],
        together(kept, lambda take: take.identity),
        together(kept, lambda take: take.emotion),
        split_sums(shards),
        channels(kept),
        lags(kept),
        tuple(listed),
    )


def seconds_of(takes: Iterable[TakeReport]) -> float:
    """Seconds in the clips of the takes."""
    return sum(take.seconds for take in takes)


def together(takes: Takes, key: Callable[[TakeReport], str | None]) -> Named:
    """Takes under their common name; the name with the most speech first."""
    found: Named = {}
    for take in takes:
        found.setdefault(key(take), []).append(take)
    return dict(sorted(found.items(), key=lambda item: -seconds_of(item[1])))


def sums(named: Named, unknown: str) -> list[tuple[str, float]]:
    """Names and their seconds, most first; what has no name is called ``unknown``."""
    return [(unknown if n is None else n, seconds_of(takes)) for n, takes in named.items()]


def split_sums(shards: Sequence[ShardInfo]) -> dict[str, SplitSum]:
    """Clips and seconds of each split."""
    names = dict.fromkeys([*SPLITS, *(shard.split for shard in shards)])
    of = {name: [shard for shard in shards if shard.split == name] for name in names}
    return {
        name: SplitSum(sum(s.clips for s in found), sum(s.frames for s in found) / FPS)
        for name, found in of.items()
    }


def channels(takes: Takes) -> list[Channel]:
    """The range of each channel over the takes that were measured; means weigh by length."""
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
    known = [(t, t.lag_seconds * 1000) for t in takes if t.lag_seconds is not None]
    median = float(np.median([lag for _, lag in known])) if known else None
    return Lags(tuple(known), len(takes) - len(known), median)


@dataclass(frozen=True)
class Refusal:
    """A take or a file that was not used, and why."""

    name: str
    files: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Kind:
    """Refusals for the same reason but for names and numbers."""

    title: str
    refusals: tuple[Refusal, ...]


def kinds(refusals: Iterable[Refusal]) -> list[Kind]:
    """Refusals by kind of reason, the most frequent first."""
    found: dict[tuple[str, ...], list[tuple[list[str], Refusal]]] = {}
    for refusal in refusals:
        core = _core(refusal)
        constant = tuple(_VARIABLE.split(core))
        found.setdefault(constant, []).append((_VARIABLE.findall(core), refusal))
    out = []
    for (first, *rest), members in found.items():
        # A number or a name that is the same in all of them stays in the title.
        columns = zip(*(words for words, _ in members), strict=True)
        agreed = (column[0] if len(set(column)) == 1 else "…" for column in columns)
        title = first + "".join(map("".join, zip(agreed, rest, strict=True)))
        out.append(Kind(title, tuple(refusal for _, refusal in members)))
    return sorted(out, key=lambda kind: -len(kind.refusals))


_VARIABLE = re.compile(r"""(?<!\w)(?:'[^']*'|"[^"]*"|[-+]?\d+(?:[.,]\d+)*(?!\w))""")
"""What differs between two cases of one fault: quoted names and numbers."""
_PLACE = re.compile(r"[/\\…]|\.\w{1,8}$")
"""The beginning of a reason that only says where: a path or a file name."""


def _core(refusal: Refusal) -> str:
    """The reason without the place that it begins with."""
    text = refusal.reason[:400]
    for name in sorted((refusal.name, *refusal.files), key=len, reverse=True):
        if name and name in text:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    head, colon, rest = text.partition(": ")
    while colon and _PLACE.search(head):
        text = rest
        head, colon, rest = text.partition(": ")
    return text.strip() or "no reason given"
