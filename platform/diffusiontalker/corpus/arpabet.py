"""ARPAbet, in which English dictionaries and aligners write phones, to IPA, as the shards do."""

IPA = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ",
    "D": "d", "DH": "ð", "EH": "ɛ", "ER": "ɝ", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h",
    "IH": "ɪ", "IY": "i", "JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ",
    "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ",
    "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
"""Without the digits of stress."""
SILENCES = ("", "sp", "sil", "<eps>")
"""Labels of pauses, in lower case."""


def to_ipa(label: str) -> str:
    """A phone in IPA without stress; ``""`` is a pause, and an unknown label is kept."""
    return "" if label.lower() in SILENCES else IPA.get(label.rstrip("012"), label)
