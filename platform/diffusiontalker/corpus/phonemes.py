"""Phonemes in IPA, and the classes of them that a mouth shows."""

import unicodedata
from collections.abc import Iterator, Sequence

BILABIAL = ("p", "b", "m")
"""The lips meet."""
OPEN = ("a", "ɑ", "ɒ", "æ", "ɐ", "ʌ", "ɛ", "ɔ", "aɪ", "aʊ")
"""Vowels with an open mouth (ARPABET AA AE AO AW AY AH EH)."""
ROUNDED = ("w", "u", "o", "oʊ", "əʊ")
"""The lips are rounded (ARPABET W UW OW)."""
SPREAD = ("i", "ɪ", "e", "eɪ", "ɛ", "æ", "s", "z")
"""They are not (ARPABET IY IH EY EH AE S Z)."""
PAUSE = ""


def base_phoneme(ipa: str) -> str:
    """An IPA symbol without stress, length or other marks."""
    return "".join(c for c in ipa if c not in "ˈˌːˑ" and not unicodedata.combining(c))


def intervals(
    phones: Sequence[str], starts: Sequence[float], end: float
) -> Iterator[tuple[str, float, float]]:
    """(base phoneme, start, end) in seconds of the phones of a clip that ends at ``end``."""
    ends = [*starts[1:], end]
    for phone, first, last in zip(phones, starts, ends, strict=True):
        yield base_phoneme(phone), float(first), float(last)
