"""English by PocketSphinx, with the model and the dictionary that its package brings.

Viterbi alignment of the words, then of the states of their phones, on frames of 10 ms.
"""

import math
import os
from typing import Any

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import normalize
from diffusiontalker.corpus.alignment.base import Aligner, Alignment, import_package, without_gaps
from diffusiontalker.corpus.alignment.english import pronunciation, words
from diffusiontalker.corpus.arpabet import IPA
from diffusiontalker.corpus.textgrid import Span
from diffusiontalker.errors import UserError

FRAME = 0.01
"""Seconds."""
SEARCH = {"lm": None, "bestpath": False, "beam": 1e-80, "pbeam": 1e-80, "wbeam": 1e-60}
"""Beams are wider than by default, by which unusual voices find no path; the search for a best path
through the lattice of words would now and then leave a phone no time."""
NOISE = 2e-3
"""Standard deviation of noise that is added to a recording of usual level: the model, which real
rooms trained, finds no path through digital silence and synthetic voices."""


class PocketSphinx(Aligner):
    """Words that its dictionary lacks are pronounced as eSpeak does."""

    min_score = -35.0
    """Mean log likelihood of a frame, in the decoder's unit. Measured on recordings of people: -7
    to -15 with their own text; with another either no path, or below -40 but for three words;
    synthetic voices of American English reach -20."""

    def __init__(self) -> None:
        self._package: Any = import_package("pocketsphinx")
        self._decoder: Any = None

    def align(self, samples: np.ndarray, text: str | None) -> Alignment:
        """Raises UserError."""
        spoken = words(text or "")
        if not spoken:
            raise UserError("its text has no words")
        decoder = self._with_words(spoken)
        noise = np.random.default_rng(0).normal(0, NOISE, len(samples))
        noisy = np.clip(normalize(samples) + noise, -1, 1)
        pcm = (noisy * (2**15 - 1)).astype("<i2").tobytes()
        decoder.reinit_feat()  # its noise removal would go on from the recording before
        try:
            decoder.set_align_text(" ".join(spoken))
            _decode(decoder, pcm)
            decoder.set_alignment()
            _decode(decoder, pcm)
            return _alignment(decoder, len(samples) / SAMPLE_RATE)
        except RuntimeError as error:  # no path through the words
            raise UserError("its words cannot be aligned with its sound") from error

    def _with_words(self, spoken: list[str]) -> Any:
        """The decoder, with all the words in its dictionary."""
        if self._decoder is None:
            self._decoder = self._package.Decoder(
                samprate=SAMPLE_RATE, loglevel="FATAL", logfn=os.devnull, **SEARCH
            )
        for word in dict.fromkeys(spoken):
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, pronunciation(word), True)
        return self._decoder


def _decode(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    try:
        decoder.process_raw(pcm, full_utt=True)
    finally:
        decoder.end_utt()


def _alignment(decoder: Any, seconds: float) -> Alignment:
    """The words and phones of a decoded alignment; fillers (SIL, +NSN+) are pauses."""
    spans, spoken, scores, frames = [], [], 0.0, 0
    for word in decoder.get_alignment():  # its entries are valid during this iteration alone
        whole = Span(*_times(word, seconds), word.name.partition("(")[0])
        for phone in word:
            label = IPA.get(phone.name, "")
            spans.append(Span(*_times(phone, seconds), label))
            if label:
                scores += phone.score
                frames += phone.duration
        if spans[-1].label:
            spoken.append(whole)
    score = scores / frames if frames else -math.inf
    return Alignment(without_gaps(spans, seconds), tuple(spoken), score)


def _times(entry: Any, seconds: float) -> tuple[float, float]:
    """Start and end of a word or a phone in seconds."""
    return entry.start * FRAME, min((entry.start + entry.duration) * FRAME, seconds)
