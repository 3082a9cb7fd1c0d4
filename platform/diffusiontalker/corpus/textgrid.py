"""Praat's TextGrids, as forced aligners write them: when which word and which phone was spoken."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from diffusiontalker.errors import UserError

SILENCES = ("", "sp", "sil", "<eps>")
"""What aligners write where nothing is spoken."""
_ARPABET = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ",
    "D": "d", "DH": "ð", "EH": "ɛ", "ER": "ɝ", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h",
    "IH": "ɪ", "IY": "i", "JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ",
    "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ",
    "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
"""The aligner's alphabet for English in IPA, as the shards have it."""
_TOKEN = re.compile(
    r'"((?:[^"]|"")*)"'  # a text, in which a quote stands twice
    r"|(?<![\w\[.])([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?![\w\]])"  # a number, but no [index]
)


class Span(NamedTuple):
    """A label and when it holds, in seconds of the recording."""

    start: float
    end: float
    label: str


def tiers(content: bytes, where: str) -> dict[str, list[Span]]:
    """The intervals of every tier by its name in lower case; points are left out.

    Reads both of Praat's text formats, which differ in what stands between texts and numbers.

    Raises:
        UserError: no such file, or one cut off.
    """
    tokens = _tokens(_decoded(content, where))
    try:
        if (next(tokens), next(tokens)) != ("ooTextFile", "TextGrid"):
            raise ValueError
        _, _, count = float(next(tokens)), float(next(tokens)), int(next(tokens))
        return dict(_tier(tokens) for _ in range(count))
    except (StopIteration, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: not a TextGrid as Praat writes text, or cut off") from error


def words(of: dict[str, list[Span]]) -> tuple[Span, ...]:
    """The words that are spoken."""
    return tuple(s for s in _named(of, "words") if s.label not in (*SILENCES, "<unk>"))


def phones(of: dict[str, list[Span]]) -> tuple[Span, ...]:
    """The phones in IPA without stress; ``""`` is a pause, and what is no phone stays as it is."""
    return tuple(span._replace(label=_ipa(span.label)) for span in _named(of, "phones"))


def _named(of: dict[str, list[Span]], kind: str) -> list[Span]:
    """The tier of a kind, which aligners may put a speaker's name before."""
    return next((spans for name, spans in of.items() if name.endswith(kind)), [])


def _ipa(label: str) -> str:
    if label in SILENCES:
        return ""
    return _ARPABET.get(label.rstrip("012"), label)


def _tier(tokens: Iterator[str]) -> tuple[str, list[Span]]:
    kind, name = next(tokens), next(tokens)
    _, _, count = float(next(tokens)), float(next(tokens)), int(next(tokens))
    if kind == "IntervalTier":
        # Item by item: a count that lies makes no list.
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
