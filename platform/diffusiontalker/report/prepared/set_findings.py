"""Findings about the set as a whole: splits, quarantine, links, what was left out or repaired."""

from collections.abc import Iterator, Mapping

from diffusiontalker.corpus.data_folder import LOST
from diffusiontalker.report.prepared.finding import Finding, is_are, reasons_in_a_line
from diffusiontalker.report.prepared.reasons import Remark
from diffusiontalker.report.prepared.statistics import SetStatistics, SplitTotals
from diffusiontalker.report.wording import duration, first_names, percent, pluralize

LEFT_OUT_SHARE = 0.1
"""Leaving out a greater share of the speech is a finding; our choice."""
_EMPTY_SPLIT = {
    "train": ("Without it nothing can be trained.", "Lower split.val, split.test and "
              "split.unseen_speakers, or give more takes."),
    "val": ("Without it training has no validation loss.", "Raise split.val, or give "
            "more takes."),
    "test_seen": ("Without it nothing is measured on new sentences of known speakers.",
                  "Raise split.test, or give more takes."),
    "test_unseen": ("Without it nothing is measured on speakers that the model was not trained on.",
                    "Raise split.unseen_speakers or name some there, if the set has enough "
                    "speakers."),
}  # fmt: skip
"""What each split is needed for, and how to get one."""


def empty_splits(splits: Mapping[str, SplitTotals]) -> Iterator[Finding]:
    """Splits without clips."""
    if not any(totals.clips for totals in splits.values()):
        yield Finding(
            "No shards were published: there is nothing to train on.",
            "The figures below are of the takes that could be read.",
            "See why the job stopped, most likely the quarantine, and prepare again.",
            "quarantine",
        )
        return
    for name, (why, remedy) in _EMPTY_SPLIT.items():
        if not splits[name].clips:
            yield Finding(f"The split {name} is empty.", why, remedy, "hours")


def quarantine(stats: SetStatistics) -> Iterator[Finding]:
    """Takes that could not be used."""
    bad, every = len(stats.quarantined), len(stats.all_takes)
    if bad:
        lost = {take.identity for take in stats.quarantined if take.identity is not None}
        lost -= stats.speakers.keys()
        rest = "The other takes could be used." if stats.kept else "Nothing is left to train on."
        yield Finding(
            f"{pluralize(bad, 'take')} of {every:,} ({percent(bad, every)}) "
            f"{is_are(stats.quarantined)} in quarantine.",
            f"No take is left of {first_names(sorted(lost))}." if lost else rest,
            "Read the reasons, mend the files or leave them out, and prepare again.",
            "quarantine",
        )


def broken_links(stats: SetStatistics) -> Iterator[Finding]:
    """Links to files that were never fetched: their takes appear in no list."""
    broken = [name for name, reason in stats.skipped if LOST in reason]
    if broken:
        yield Finding(
            f"{pluralize(len(broken), 'link')} {'leads' if len(broken) == 1 else 'lead'} to "
            f"nothing: {first_names(broken, 3)}.",
            "The takes that they belong to were not found.",
            "Fetch the files (git lfs pull, git annex get, dvc pull), and prepare again.",
            "skipped",
        )


def left_out(stats: SetStatistics) -> Iterator[Finding]:
    """Much speech of kept takes is in no clip."""
    whole = stats.seconds + stats.dropped_seconds
    if stats.dropped_seconds > LEFT_OUT_SHARE * whole:
        yield Finding(
            f"{duration(stats.dropped_seconds)} of the speech "
            f"({percent(stats.dropped_seconds, whole)}) was left out.",
            "Rests were too short for a clip, audio and coefficients do not cover the same time, "
            "or the face was lost.",
            "Sort the table of takes by what was left out; lower min_clip_seconds if it is rests.",
            "takes",
        )


def repaired(stats: SetStatistics) -> Iterator[Finding]:
    """Takes that were repaired in reading, or used in part."""
    notes = [Remark(take.take, take.files, note) for take in stats.kept for note in take.notes]
    if notes:
        takes = len({note.name for note in notes})
        yield Finding(
            f"{pluralize(takes, 'take')} had to be mended in reading, or could not be used whole.",
            reasons_in_a_line(notes),
            "Nothing has to be done if that is right; takes.json has the notes of every take.",
            "takes",
        )
