"""The page of a prepared data set: verdict, statistics, findings and every take."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from diffusiontalker.corpus.manifest import ShardInfo
from diffusiontalker.corpus.take_reports import KEPT, QUARANTINE, TakeReport
from diffusiontalker.report import html
from diffusiontalker.report.prepared import plots
from diffusiontalker.report.prepared.findings import findings, headline
from diffusiontalker.report.prepared.reasons import ReasonGroup, Remark, group_by_reason
from diffusiontalker.report.prepared.recording_findings import median_lag
from diffusiontalker.report.prepared.statistics import (
    LAG_MILLISECONDS,
    SetStatistics,
    set_statistics,
)
from diffusiontalker.report.prepared.tables import emotion_table, speaker_rows, split_rows
from diffusiontalker.report.wording import DASH, duration, percent, plain, pluralize, shorten

PAGE_FILE = "prepare.html"
REMARKS = 200
"""Maximum of rows of takes in quarantine, and likewise of skipped files."""
REASONS = 40
"""Maximum of groups of reasons."""
ROWS = 500
"""Maximum of rows of any other table."""


@dataclass(frozen=True)
class Preparation:
    """What was prepared, with which settings, and where it is stored."""

    source: str
    """``source.kind``."""
    root: str
    output: str
    fingerprint: str
    split_rule: str
    """In words."""
    clip_seconds: float
    started: float
    """Unix time in seconds; ``finished`` likewise."""
    finished: float
    version: str
    shards: Sequence[ShardInfo]
    """Those of the manifest; none if nothing was published."""

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def path_of(self, name: str) -> str:
        """Path of a file in the folder of the shards."""
        return f"{self.output.rstrip('/')}/{name}"


def write_prepared(
    path: str | Path,
    takes: Sequence[TakeReport],
    skipped: Sequence[tuple[str, str]],
    preparation: Preparation,
) -> None:
    """Write the page: verdict, hours, speakers, emotions, channels, lags, quarantine and takes.

    Args:
        path: of ``PAGE_FILE``, in the folder of the shards.
        takes: every take that was read, those in quarantine too.
        skipped: (name, reason) of the files that the source passed over or noted.
        preparation: of the set.

    Raises:
        UserError: the folder is missing or not writable.
    """
    html.write(path, render(takes, skipped, preparation))


def render(
    takes: Sequence[TakeReport], skipped: Sequence[tuple[str, str]], preparation: Preparation
) -> str:
    """The page's HTML; the arguments are ``write_prepared``'s."""
    stats = set_statistics(takes, preparation.shards, skipped)
    return html.fill(
        "prepared/page.html.j2",
        plots.figures(stats),
        {"plain": plain, "duration": duration, "shorten": shorten, "pluralize": pluralize},
        styles=["prepared/page.css"],
        plot_key=plots.KEY,
        named_bars=plots.NAMED_BARS,
        stats=stats,
        preparation=preparation,
        headline=headline(stats),
        findings=findings(stats),
        splits=split_rows(stats),
        emotions=emotion_table(stats),
        speakers=speaker_rows(stats),
        median_lag="" if stats.lags.median is None else median_lag(stats.lags.median),
        lag_limit=LAG_MILLISECONDS,
        quarantine=limited(quarantine_reasons(stats)),
        skipped=limited(skip_reasons(skipped)),
        skipped_count=len(passed_over(skipped)),
        facts=facts(stats, preparation),
        full_list=preparation.path_of(QUARANTINE),
        rows=ROWS,
    )


def quarantine_reasons(stats: SetStatistics) -> list[ReasonGroup]:
    """Takes in quarantine by reason."""
    return group_by_reason(
        Remark(take.take, take.files, take.reason or "") for take in stats.quarantined
    )


def skip_reasons(skipped: Iterable[tuple[str, str]]) -> list[ReasonGroup]:
    """Skipped files by reason."""
    return group_by_reason(Remark(name, (), reason) for name, reason in skipped)


def passed_over(skipped: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Files that are not used."""
    return [(name, reason) for name, reason in skipped if not reason.startswith(KEPT)]


def noted(skipped: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Files that are used, with a remark."""
    return [(name, reason) for name, reason in skipped if reason.startswith(KEPT)]


def limited(groups: Sequence[ReasonGroup]) -> list[tuple[str, int, tuple[Remark, ...]]]:
    """Title, size and first remarks of each group, cut to ``REASONS`` and ``REMARKS`` in all."""
    each = max(REMARKS // max(min(len(groups), REASONS), 1), 1)
    rows = [(group.title, len(group.remarks), group.remarks[:each]) for group in groups[:REASONS]]
    rest = sum(len(group.remarks) for group in groups[REASONS:])
    if rest:
        rows.append((pluralize(len(groups) - REASONS, "other reason"), rest, ()))
    return rows


def facts(stats: SetStatistics, preparation: Preparation) -> dict[str, str]:
    """The table at the foot of the page."""
    left_out = percent(stats.dropped_seconds, stats.dropped_seconds + stats.seconds)
    files = pluralize(len(preparation.shards), "file")
    return {
        "Source": f"{preparation.source}, {preparation.root}",
        "Shards": f"{files}, {size(preparation.bytes)}, in {preparation.output}",
        "Fingerprint": preparation.fingerprint,
        "Split rule": preparation.split_rule,
        "Clips": f"at most {preparation.clip_seconds:g} s",
        "Left out of kept takes": f"{duration(stats.dropped_seconds)} ({left_out})",
        "Left out because the face was lost": duration(stats.lost_seconds),
        "Filled in between frames": f"{duration(stats.filled_seconds)} "
        f"({percent(stats.filled_seconds, stats.seconds)} of what is in clips)",
        "Frames per second, as published": _takes_by_value(f"{t.fps:g}" for t in stats.kept),
        "Sample rate in Hz, as published": _takes_by_value(f"{t.rate:,}" for t in stats.kept),
        "Started": f"{datetime.fromtimestamp(preparation.started, UTC):%Y-%m-%d %H:%M} UTC",
        "Took": duration(preparation.finished - preparation.started),
        "Version": preparation.version,
    }


def _takes_by_value(values: Iterable[str]) -> str:
    """``60 (2,000 takes), 30 (12 takes)``."""
    counts = Counter(values).most_common()
    parts = [f"{value} ({pluralize(n, 'take')})" for value, n in counts[:5]]
    return ", ".join(parts) + (f" and {len(counts) - 5} more" if len(counts) > 5 else "") or DASH


def size(bytes_: int) -> str:
    """``3.1 GB``."""
    value, unit = float(bytes_), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
