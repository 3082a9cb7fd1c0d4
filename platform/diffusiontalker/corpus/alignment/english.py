"""English words as aligners take them: spelling, and pronunciations in ARPAbet."""

import re
import unicodedata
from functools import cache

from diffusiontalker.corpus.phonemes import base_phoneme
from diffusiontalker.corpus.procedural.speech import Prosody, speak
from diffusiontalker.errors import UserError

VOICE = "en-us"
"""eSpeak's voice, of which the symbols below are."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*'?")
_SOUNDS = {
    "aɪɚ": "AY ER", "aɪə": "AY AH", "ɔːɹ": "AO R", "ɑːɹ": "AA R",
    "tʃ": "CH", "dʒ": "JH", "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "ɔɪ": "OY",
    "əl": "AH L",
    "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "ɡ": "G", "f": "F", "v": "V", "θ": "TH",
    "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "h": "HH", "x": "K", "m": "M", "n": "N",
    "ŋ": "NG", "l": "L", "ɫ": "L", "ɹ": "R", "r": "R", "w": "W", "j": "Y", "ɾ": "T", "ʔ": "T",
    "i": "IY", "ɪ": "IH", "ᵻ": "IH", "e": "EH", "ɛ": "EH", "æ": "AE", "a": "AE", "ɐ": "AH",
    "ə": "AH", "ʌ": "AH", "ɑ": "AA", "ɒ": "AA", "ɔ": "AO", "o": "OW", "ʊ": "UH", "u": "UW",
    "ɚ": "ER", "ɜ": "ER", "ɝ": "ER",
}  # fmt: skip
"""eSpeak's sounds in ARPAbet; the longest that fits is taken."""
_LONGEST_FIRST = re.compile("|".join(sorted(map(base_phoneme, _SOUNDS), key=len, reverse=True)))
_BY_BASE = {base_phoneme(ipa): phones for ipa, phones in _SOUNDS.items()}


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; numbers are kept as digits."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    return [word.strip("'") for word in _WORD.findall(plain)]


@cache
def pronunciation(word: str) -> str:
    """A word in ARPAbet without stress, such as ``T AO K ER``, by eSpeak.

    Raises:
        UserError: eSpeak has none, or one with a sound that English lacks.
    """
    _, _, phones = speak(word, VOICE, Prosody())
    ipa = "".join(base_phoneme(phone.ipa) for phone in phones)
    rest = _LONGEST_FIRST.sub("", ipa)
    if rest or not ipa:
        raise UserError(f"the word {word!r} has no pronunciation in English (eSpeak: {ipa!r})")
    return " ".join(_BY_BASE[sound] for sound in _LONGEST_FIRST.findall(ipa))
