"""Praat TextGrids as forced aligners write them: times of words and phones."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from diffusiontalker.corpus.arpabet import SILENCES, to_ipa
from diffusiontalker.errors import UserError

_TOKEN = re.compile(
    r'"((?:[^"]|"")*)"'  # a string; quotes in it are doubled
    r"|(?<![\w\[.])([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w\]])"  # a number, but no [index]
)


class Span(NamedTuple):
    """A labelled interval, in seconds of the recording."""

    start: float
    end: float
    label: str


def tiers(content: bytes, where: str) -> dict[str, list[Span]]:
    """The intervals of every tier by its name in lower case; point tiers are left out.

    Reads both of Praat's text formats, which differ only between strings and numbers.

    Raises:
        UserError: not a TextGrid, or truncated.
    """
    tokens = _tokens(_decoded(content, where))
    try:
        if (next(tokens), next(tokens)) != ("ooTextFile", "TextGrid"):
            raise ValueError
        _, _, count = float(next(tokens)), float(next(tokens)), int(next(tokens))
        return dict(_tier(tokens) for _ in range(count))
    except (StopIteration, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: not a TextGrid as Praat writes text, or cut off") from error


def words(by_tier: dict[str, list[Span]]) -> tuple[Span, ...]:
    """The spoken words, without pauses."""
    return tuple(
        s for s in _tier_of(by_tier, "words") if s.label.lower() not in (*SILENCES, "<unk>")
    )


def phones(by_tier: dict[str, list[Span]]) -> tuple[Span, ...]:
    """The phones in IPA without stress; ``""`` is a pause, and unknown labels are kept."""
    return tuple(span._replace(label=to_ipa(span.label)) for span in _tier_of(by_tier, "phones"))


def _tier_of(by_tier: dict[str, list[Span]], kind: str) -> list[Span]:
    """The tier of a kind; aligners may prefix its name with a speaker's."""
    return next((spans for name, spans in by_tier.items() if name.endswith(kind)), [])


def _tier(tokens: Iterator[str]) -> tuple[str, list[Span]]:
    kind, name = next(tokens), next(tokens)
    _, _, count = float(next(tokens)), float(next(tokens)), int(next(tokens))
    if kind == "IntervalTier":
        # Item by item: a false count allocates nothing.
        spans = []
        for _ in range(count):
            start, end, label = float(next(tokens)), float(next(tokens)), next(tokens).strip()
            spans.append(Span(start, end, label))
        return name.strip().lower(), spans
    for _ in range(count):
        float(next(tokens)), next(tokens)
    return f"points {name}", []


def _tokens(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        label, number = match.groups()
        yield label.replace('""', '"') if number is None else number


def _decoded(content: bytes, where: str) -> str:
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: neither UTF-8 nor UTF-16 text") from error
