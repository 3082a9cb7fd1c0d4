"""Findings about a prepared set: each problem in plain words, with its remedy."""

from diffusiontalker.report.prepared import label_findings, recording_findings, set_findings
from diffusiontalker.report.prepared.finding import Finding
from diffusiontalker.report.prepared.statistics import SetStatistics
from diffusiontalker.report.wording import duration, pluralize


def headline(stats: SetStatistics) -> str:
    """The size of the set: hours, clips, takes and speakers."""
    if not stats.kept:
        if not stats.quarantined:
            return "No takes were found."
        every = "the only take is" if len(stats.quarantined) == 1 else (
            f"all {len(stats.quarantined):,} takes are"
        )  # fmt: skip
        return f"Nothing could be prepared: {every} in quarantine."
    speakers = stats.known_speakers
    by = pluralize(speakers, "speaker") if speakers else "unknown speakers"
    return (
        f"{duration(stats.seconds)} of speech in {pluralize(stats.clips, 'clip')} "
        f"of {pluralize(len(stats.kept), 'take')} by {by}"
    )


def findings(stats: SetStatistics) -> list[Finding]:
    """All findings, those that prevent training first."""
    return [
        *(set_findings.empty_splits(stats.splits) if stats.kept else ()),
        *set_findings.quarantine(stats),
        *set_findings.broken_links(stats),
        *recording_findings.silent_or_frozen(stats),
        *set_findings.left_out(stats),
        *recording_findings.tracking_lost(stats),
        *recording_findings.doubtful_channels(stats),
        *recording_findings.lag(stats.lags),
        *recording_findings.drift(stats),
        *recording_findings.channels(stats.channels),
        *label_findings.unknown_labels(stats),
        *label_findings.ambiguous_labels(stats),
        *label_findings.short_speakers(stats),
        *recording_findings.clipped_audio(stats),
        *set_findings.repaired(stats),
    ]
