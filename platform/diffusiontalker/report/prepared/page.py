"""The page of a prepared data set: is my data good? And the same in a few lines for the console."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from diffusiontalker import storage
from diffusiontalker.corpus.manifest import ShardInfo
from diffusiontalker.corpus.take_reports import KEPT, QUARANTINE, TakeReport
from diffusiontalker.report.html import fill
from diffusiontalker.report.metric_columns import DASH, duration, plain
from diffusiontalker.report.prepared import plots
from diffusiontalker.report.prepared.findings import (
    attention,
    count,
    headline,
    lag_in_words,
    lifeless,
    lost_links,
    share,
    short,
)
from diffusiontalker.report.prepared.statistics import (
    LAG_MILLISECONDS,
    Kind,
    Refusal,
    Survey,
    kinds,
    sums,
    survey,
)
from diffusiontalker.report.prepared.tables import emotion_table, speaker_rows, split_rows

PAGE_FILE = "prepare.html"
REFUSALS = 200
"""Rows of takes in quarantine, and likewise of skipped files, that the page shows at most."""
KINDS = 40
"""Kinds of reasons that it shows at most."""
ROWS = 500
"""Rows of any other table."""


@dataclass(frozen=True)
class Facts:
    """What was prepared, how, and where it lies."""

    source: str
    """``source.kind``."""
    root: str
    output: str
    fingerprint: str
    split_rule: str
    """In words."""
    clip_seconds: float
    started: float
    """Unix time in seconds, as is ``finished``."""
    finished: float
    version: str
    shards: Sequence[ShardInfo]
    """Those of the manifest; none if nothing was published."""

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def beside(self, name: str) -> str:
        """Where a file lies that stands beside the shards."""
        return f"{self.output.rstrip('/')}/{name}"


def write_prepared(
    path: str | Path,
    takes: Sequence[TakeReport],
    skipped: Sequence[tuple[str, str]],
    facts: Facts,
) -> None:
    """Write the page: verdict, hours, speakers, emotions, channels, lags, quarantine and takes.

    Args:
        path: where, ``PAGE_FILE`` beside the shards.
        takes: every take that was read, those in quarantine too.
        skipped: files that the source passed over, and why.
        facts: what was prepared, how, and where it lies.

    Raises:
        UserError: the folder is missing or not writable.
    """
    # A file name that is no UTF-8 holds lone surrogates, which no page can show.
    page = render(takes, skipped, facts).encode("utf-8", "replace")
    storage.write_bytes(storage.location(path), page)


def render(takes: Sequence[TakeReport], skipped: Sequence[tuple[str, str]], facts: Facts) -> str:
    """The page's HTML; the arguments are ``write_prepared``'s."""
    found = survey(takes, facts.shards, skipped)
    return fill(
        "prepared.html.j2",
        ["style.css", "prepared.css"],
        ["page.js"],
        plots.figures(found),
        {"plain": plain, "duration": duration, "short": short, "share": share, "count": count},
        plot_key=plots.KEY,
        named_bars=plots.NAMED_BARS,
        found=found,
        facts=facts,
        headline=headline(found),
        findings=attention(found),
        splits=split_rows(found),
        emotions=emotion_table(found),
        speakers=speaker_rows(found),
        lag_words="" if found.lags.median is None else lag_in_words(found.lags.median),
        lag_limit=LAG_MILLISECONDS,
        quarantine=shown(quarantined(found.quarantined)),
        skipped=shown(kinds(Refusal(name, (), reason) for name, reason in skipped)),
        skipped_count=len(passed_over(skipped)),
        made=made(found, facts),
        whole_list=facts.beside(QUARANTINE),
        rows=ROWS,
    )


def quarantined(takes: Iterable[TakeReport]) -> list[Kind]:
    """Takes in quarantine by kind of reason."""
    return kinds(Refusal(take.take, take.files, take.reason or "") for take in takes)


def passed_over(listed: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Files of which nothing is used."""
    return [(name, reason) for name, reason in listed if not reason.startswith(KEPT)]


def noted(listed: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Files that are used, although there is something to be known of them."""
    return [(name, reason) for name, reason in listed if reason.startswith(KEPT)]


def shown(found: Sequence[Kind]) -> list[tuple[str, int, tuple[Refusal, ...]]]:
    """Title, number and first rows of each kind, fairly dealt so that no page grows endless."""
    each = max(REFUSALS // max(min(len(found), KINDS), 1), 1)
    rows = [(kind.title, len(kind.refusals), kind.refusals[:each]) for kind in found[:KINDS]]
    rest = sum(len(kind.refusals) for kind in found[KINDS:])
    return [*rows, (f"{count(len(found) - KINDS, 'other reason')}", rest, ())] if rest else rows


def made(found: Survey, facts: Facts) -> dict[str, str]:
    """How the set was made, for the foot of the page."""
    left_out = share(found.dropped, found.dropped + found.seconds)
    return {
        "Source": f"{facts.source}, {facts.root}",
        "Shards": f"{count(len(facts.shards), 'file')}, {_size(facts.bytes)}, in {facts.output}",
        "Fingerprint": facts.fingerprint,
        "Split rule": facts.split_rule,
        "Clips": f"at most {facts.clip_seconds:g} s",
        "Left out of kept takes": f"{duration(found.dropped)} ({left_out})",
        "Left out because the face was lost": duration(found.lost),
        "Filled in between frames": f"{duration(found.filled)} "
        f"({share(found.filled, found.seconds)} of what is in clips)",
        "Frames per second, as published": _counted(f"{t.fps:g}" for t in found.kept),
        "Sample rate in Hz, as published": _counted(f"{t.rate:,}" for t in found.kept),
        "Started": f"{datetime.fromtimestamp(facts.started, UTC):%Y-%m-%d %H:%M} UTC",
        "Took": duration(facts.finished - facts.started),
        "Version": facts.version,
    }


def console_lines(
    takes: Sequence[TakeReport], skipped: Sequence[tuple[str, str]], facts: Facts
) -> list[str]:
    """The page in a few lines of plain text, for the end of the job; print them as they are."""
    found = survey(takes, facts.shards, skipped)
    lines = [headline(found)]
    if found.kept:
        held = [(name, split.seconds) for name, split in found.splits.items() if split.clips]
        if held:
            lines.append(f"  splits      {_hours(held)}")
        lines.append(f"  emotions    {_hours(sums(found.emotions, 'unknown'))}")
    if found.lags.median is not None:
        take, lag = found.lags.by_distance[0]
        lines.append(
            f"  lip sync    median lag {found.lags.median:+.0f} ms, farthest {lag:+.0f} ms "
            f"({short(take.take, 60)})"
        )
    if found.lost or found.filled:
        lines.append(
            f"  face lost   {duration(found.lost)} left out, {duration(found.filled)} filled in"
        )
    if found.quarantined:
        lines.append(f"  quarantine  {count(len(found.quarantined), 'take')}:")
        lines += [
            f"    {len(kind.refusals):,} x {short(kind.title, 100)}"
            for kind in quarantined(found.quarantined)[:3]
        ]
    lines += [f"  attention   {short(f.title)}" for f in (*lost_links(found), *lifeless(found))]
    for label, listed in (("skipped", passed_over(skipped)), ("noted", noted(skipped))):
        if listed:
            lines.append(f"  {label:<11} {count(len(listed), 'file')}:")
            reasons = kinds(Refusal(name, (), reason) for name, reason in listed)
            lines += [f"    {_counted_reason(kind)}" for kind in reasons[:3]]
    if found.quarantined or skipped:
        lines.append(f"  all of them {facts.beside(QUARANTINE)}")
    findings = len(attention(found))
    lines.append(
        f"  shards      {facts.output} ({count(len(facts.shards), 'file')}, {_size(facts.bytes)})"
    )
    needs = f"{count(findings, 'thing')} to look at" if findings else "nothing needs attention"
    lines.append(f"  page        {facts.beside(PAGE_FILE)} ({needs})")
    return [_printable(line) for line in lines]


def _counted_reason(kind: Kind) -> str:
    """``12 x there is no such file``, or the one name and its reason."""
    if len(kind.refusals) > 1:
        return f"{len(kind.refusals):,} x {short(kind.title, 100)}"
    return f"{short(kind.refusals[0].name, 40)}: {short(kind.refusals[0].reason, 100)}"


def _hours(seconds: Sequence[tuple[str, float]]) -> str:
    parts = [f"{short(name, 24)} {duration(value)}" for name, value in seconds]
    more = f" and {len(parts) - 6} more" if len(parts) > 6 else ""
    return ", ".join(parts[:6]) + more


def _counted(values: Iterable[str]) -> str:
    """``60 (2,000 takes), 30 (12 takes)``."""
    counts = Counter(values).most_common()
    parts = [f"{value} ({count(n, 'take')})" for value, n in counts[:5]]
    return ", ".join(parts) + (f" and {len(counts) - 5} more" if len(counts) > 5 else "") or DASH


def _size(bytes_: int) -> str:
    """``3.1 GB``."""
    size, unit = float(bytes_), "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def _printable(line: str) -> str:
    """Without control characters, with which a file name could steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
