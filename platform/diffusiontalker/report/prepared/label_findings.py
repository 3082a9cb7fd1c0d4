"""Findings about the labels of speakers and emotions: unknown, ambiguous, too little speech."""

from collections.abc import Iterator

from diffusiontalker.report.prepared.finding import Finding
from diffusiontalker.report.prepared.statistics import SetStatistics, total_seconds
from diffusiontalker.report.wording import first_names, percent, pluralize

MIN_SPEAKER_SECONDS = 60.0
"""A speaker with less speech has too little to learn a style from; our choice."""


def unknown_labels(stats: SetStatistics) -> Iterator[Finding]:
    """Takes without a speaker or an emotion."""
    cases = (
        (stats.speakers, "speaker", "Such takes teach no personal style.", "speakers"),
        (stats.emotions, "emotion", "Unknown is not neutral: such takes teach no emotion.",
         "emotions"),
    )  # fmt: skip
    for groups, noun, text, section in cases:
        unknown = len(groups.get(None, []))
        if unknown:
            yield Finding(
                f"The {noun} of {pluralize(unknown, 'take')} "
                f"({percent(unknown, len(stats.kept))}) is unknown.",
                text,
                "Label them in the data set's index or through source.options, if you can.",
                section,
            )


def ambiguous_labels(stats: SetStatistics) -> Iterator[Finding]:
    """Labels that differ in case or spaces alone."""
    cases = ((stats.speakers, "speaker", "speakers"), (stats.emotions, "emotion", "emotions"))
    for groups, noun, section in cases:
        spellings: dict[str, list[str]] = {}
        for name in sorted(name for name in groups if name is not None):
            spellings.setdefault(" ".join(name.casefold().split()), []).append(name)
        if several := [" and ".join(names) for names in spellings.values() if len(names) > 1]:
            yield Finding(
                f"{pluralize(len(several), noun)} may count several times: "
                f"{first_names(several, 3)}.",
                "Their names differ in case or spaces alone, and a different spelling is a "
                "different label.",
                "Write them alike if they are one.",
                section,
            )


def short_speakers(stats: SetStatistics) -> Iterator[Finding]:
    """Speakers with little speech."""
    short = [
        name
        for name, takes in stats.speakers.items()
        if name is not None and total_seconds(takes) < MIN_SPEAKER_SECONDS
    ]
    if short:
        yield Finding(
            f"{pluralize(len(short), 'speaker')} {'has' if len(short) == 1 else 'have'} less than "
            f"a minute of speech: {first_names(short)}.",
            "Too little to learn a style from.",
            "Record more of them, or leave them out.",
            "speakers",
        )
