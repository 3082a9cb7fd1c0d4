"""The page of a prepared data set in a few lines of plain text, for the end of the job."""

from collections.abc import Sequence

from diffusiontalker.corpus.take_reports import QUARANTINE, TakeReport
from diffusiontalker.report.prepared import page
from diffusiontalker.report.prepared.findings import findings, headline
from diffusiontalker.report.prepared.page import Preparation
from diffusiontalker.report.prepared.reasons import ReasonGroup
from diffusiontalker.report.prepared.recording_findings import silent_or_frozen
from diffusiontalker.report.prepared.set_findings import broken_links
from diffusiontalker.report.prepared.statistics import seconds_by_name, set_statistics
from diffusiontalker.report.wording import duration, pluralize, shorten


def console_lines(
    takes: Sequence[TakeReport], skipped: Sequence[tuple[str, str]], preparation: Preparation
) -> list[str]:
    """Printable lines; the arguments are ``page.write_prepared``'s."""
    stats = set_statistics(takes, preparation.shards, skipped)
    lines = [headline(stats)]
    if stats.kept:
        splits = [(name, totals.seconds) for name, totals in stats.splits.items() if totals.clips]
        if splits:
            lines.append(f"  splits      {_durations(splits)}")
        lines.append(f"  emotions    {_durations(seconds_by_name(stats.emotions, 'unknown'))}")
    if stats.lags.median is not None:
        take, lag = stats.lags.by_distance[0]
        lines.append(
            f"  lip sync    median lag {stats.lags.median:+.0f} ms, farthest {lag:+.0f} ms "
            f"({shorten(take.take, 60)})"
        )
    if stats.lost_seconds or stats.filled_seconds:
        lines.append(
            f"  face lost   {duration(stats.lost_seconds)} left out, "
            f"{duration(stats.filled_seconds)} filled in"
        )
    if stats.quarantined:
        lines.append(f"  quarantine  {pluralize(len(stats.quarantined), 'take')}:")
        lines += [
            f"    {len(group.remarks):,} x {shorten(group.title, 100)}"
            for group in page.quarantine_reasons(stats)[:3]
        ]
    urgent = (*broken_links(stats), *silent_or_frozen(stats))
    lines += [f"  attention   {shorten(finding.title)}" for finding in urgent]
    for label, files in (
        ("skipped", page.passed_over(skipped)), ("noted", page.noted(skipped)),
    ):  # fmt: skip
        if files:
            lines.append(f"  {label:<11} {pluralize(len(files), 'file')}:")
            lines += [f"    {_reason(group)}" for group in page.skip_reasons(files)[:3]]
    if stats.quarantined or skipped:
        lines.append(f"  all of them {preparation.path_of(QUARANTINE)}")
    shards = f"{pluralize(len(preparation.shards), 'file')}, {page.size(preparation.bytes)}"
    lines.append(f"  shards      {preparation.output} ({shards})")
    number = len(findings(stats))
    needs = f"{pluralize(number, 'thing')} to look at" if number else "nothing needs attention"
    lines.append(f"  page        {preparation.path_of(page.PAGE_FILE)} ({needs})")
    return [_printable(line) for line in lines]


def _reason(group: ReasonGroup) -> str:
    """``12 x there is no such file``, or the one name and its reason."""
    if len(group.remarks) > 1:
        return f"{len(group.remarks):,} x {shorten(group.title, 100)}"
    return f"{shorten(group.remarks[0].name, 40)}: {shorten(group.remarks[0].reason, 100)}"


def _durations(seconds: Sequence[tuple[str, float]]) -> str:
    parts = [f"{shorten(name, 24)} {duration(value)}" for name, value in seconds]
    more = f" and {len(parts) - 6} more" if len(parts) > 6 else ""
    return ", ".join(parts[:6]) + more


def _printable(line: str) -> str:
    """Without control characters: a file name must not steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
