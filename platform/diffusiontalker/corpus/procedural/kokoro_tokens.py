"""From text to the tokens of Kokoro-82M: eSpeak's phonemes in the symbols it was trained on.

The symbols are those of misaki, Kokoro's own front end: a letter for each diphthong and affricate,
no length marks in American English. Each token keeps the phone it belongs to, so that token
durations become phone times.
"""

import re
from collections.abc import Container
from dataclasses import dataclass

from diffusiontalker.corpus.procedural import speech

# Applied in this order to one phoneme of eSpeak.
_COMMON = (
    ("tʃ", "ʧ"), ("dʒ", "ʤ"), ("eɪ", "A"), ("aɪ", "I"), ("aʊ", "W"), ("ɔɪ", "Y"), ("əl", "ᵊl"),
    ("n\u0329", "ᵊn"), ("l\u0329", "ᵊl"), ("m\u0329", "ᵊm"), ("\u0303", ""), ("ʲ", "j"),
    ("ɚ", "əɹ"), ("ɐ", "ə"), ("r", "ɹ"), ("x", "k"), ("ç", "k"), ("ɬ", "l"), ("ʔ", "t"),
)  # fmt: skip
_AMERICAN = (
    ("oʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪə", "iə"), ("ɾ", "T"), ("ː", ""),
)  # fmt: skip
_BRITISH = (("eə", "ɛː"), ("iə", "ɪə"), ("əʊ", "Q"), ("ɾ", "t"))
_LAST = (("e", "A"), ("o", "ɔ"))
_PUNCTUATION = re.compile(r"([.,;:!?—…]+)\s*")

PAD = ""
"""Token of silence before and after an utterance; its number is 0."""


@dataclass(frozen=True)
class Token:
    """A token and the phone that it is a part of."""

    symbol: str
    phone: int | None
    """Index of the phone; None for punctuation, spaces and padding."""


def phone_symbols(ipa: str, british: bool) -> str:
    """The symbols of Kokoro for one phoneme of eSpeak, with its stress mark."""
    for old, new in (*_COMMON, *(_BRITISH if british else _AMERICAN), *_LAST):
        ipa = ipa.replace(old, new)
    return ipa


def tokenize(text: str, accent: str, vocabulary: Container[str]) -> tuple[list[str], list[Token]]:
    """The phones (IPA) of ``text`` in eSpeak's ``accent``, and the tokens that speak them.

    Words are separated by a space; a punctuation mark follows its word. What the vocabulary lacks
    is left out.

    Raises:
        UserError: as ``speech.transcribe``.
    """
    british = "gb" in accent
    phones: list[str] = []
    tokens = [Token(PAD, None)]
    pieces = _PUNCTUATION.split(text.strip())
    for clause, mark in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        for word in speech.transcribe(clause, accent) if clause.strip() else []:
            if len(tokens) > 1:
                tokens.append(Token(" ", None))
            for ipa in word:
                known = [s for s in phone_symbols(ipa, british) if s in vocabulary]
                tokens += [Token(s, len(phones)) for s in known]
                phones += [ipa] if known else []
        tokens += [Token(s, None) for s in mark[:1] if phones and s in vocabulary]
    return phones, [*tokens, Token(PAD, None)]
