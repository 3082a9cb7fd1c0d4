"""Phone times for speech of Kokoro-82M: token durations, refined by the audio.

The durations place every phone on a grid of 25 ms. With ``DELAY`` taken off, the median deviation
of a phone's start from a forced alignment by pocketsphinx is 10 ms after its own offset of 10 ms,
which exact times of eSpeak show as well. Two things need the audio. Silence at punctuation is
counted as part of the phone before it, and would keep that mouth shape on the face. And the lips
must meet in the right frame of 33 ms: p and b are placed where the energy above 1 kHz dips (the
grid is better for m, whose dip is shallow). ``_EARLY`` phones begin a little before the grid; all
others, θ, ð and h among them, stay on it. All constants are our choice, fitted to the 108
utterances of 54 voices that the deviations are measured on.
"""

from collections.abc import Sequence

import numpy as np

from diffusiontalker.corpus.phonemes import base_phoneme
from diffusiontalker.corpus.procedural.closures import (
    CLOSURE,
    HOP,
    OVERTONES,
    SHORTEST,
    levels,
    place_closure,
    without_gaps,
)
from diffusiontalker.corpus.procedural.kokoro_tokens import Token
from diffusiontalker.corpus.procedural.speech import Phone

FRAME = 0.025
"""Seconds of one unit of a token's duration."""
DELAY = 0.05
"""Seconds by which the durations place phones later than they sound."""
PAUSE = 0.06
"""Least length of a pause, in seconds."""
_LONG_SPACE = 0.1
"""A space between words that lasts at least as long may be a pause."""
_SILENCE_DB = -40.0
"""Silence: a level this far below loud speech (95th percentile)."""
_EARLY = ("m", "f", "v", "s", "z", "ʃ", "ʒ")
_LEAD = 0.015
"""Seconds by which these begin before their grid times, after another phone."""
_STOPS = ("p", "b", "t", "d", "k", "ɡ", "tʃ", "dʒ")


def phone_times(
    ipa: Sequence[str],
    tokens: Sequence[Token],
    durations: np.ndarray,
    samples: np.ndarray,
    rate: int,
) -> list[Phone]:
    """The phones of an utterance and its pauses, in order and without gaps.

    Args:
        ipa: phonemes of the utterance.
        tokens: what was spoken, each with its phone; padding first and last.
        durations: (tokens,) in units of ``FRAME``.
        samples: (n,) the speech.
        rate: of ``samples``, in Hz.
    """
    seconds = len(samples) / rate
    spans, gaps = _grid(len(ipa), tokens, durations, seconds)
    level = levels(samples, rate, 80.0)
    silent = level < np.percentile(level, 95) + _SILENCE_DB
    for i in gaps:
        _place_pause(i, ipa, spans, silent, seconds)
    high = levels(samples, rate, OVERTONES)
    for i, phone in enumerate(map(base_phoneme, ipa)):
        if phone in ("p", "b"):
            place_closure(i, spans, high)
        elif phone in _EARLY and i and spans[i - 1, 1] == spans[i, 0]:
            spans[i - 1, 1] = spans[i, 0] = spans[i, 0] - _LEAD
    return without_gaps(ipa, spans, seconds)


def _grid(
    count: int, tokens: Sequence[Token], durations: np.ndarray, seconds: float
) -> tuple[np.ndarray, list[int]]:
    """Grid times (phones, 2), where neighbours share the space between them; and the phones before
    which a pause may lie, ``count`` for the end."""
    edges = np.concatenate([[0.0], np.cumsum(durations)]) * FRAME - DELAY
    owners = [token.phone for token in tokens]
    firsts = [owners.index(phone) for phone in range(count)]
    lasts = [len(owners) - 1 - owners[::-1].index(phone) for phone in range(count)]
    spans = np.stack([edges[firsts], edges[np.add(lasts, 1)]], axis=1)
    gaps = [0]
    for i in range(1, count):
        between = tokens[lasts[i - 1] + 1 : firsts[i]]
        end, start = spans[i - 1, 1], spans[i, 0]
        if start - end >= _LONG_SPACE or any(token.symbol != " " for token in between):
            gaps.append(i)
        spans[i - 1, 1] = spans[i, 0] = (end + start) / 2
    spans[-1, 1] = seconds
    return np.clip(spans, 0.0, seconds), [*gaps, count]


def _place_pause(
    i: int, ipa: Sequence[str], spans: np.ndarray, silent: np.ndarray, seconds: float
) -> None:
    """Give the longest silence around the boundary before phone ``i`` to a pause."""
    low = spans[i - 1, 0] + SHORTEST if i else 0.0
    high = spans[i].mean() if i < len(ipa) else seconds
    first, last = int(np.ceil(low / HOP)), int(high / HOP)
    start, end = ((first + at) * HOP for at in _longest_run(silent[first : last + 1]))
    if i and base_phoneme(ipa[i - 1]) in _STOPS:
        start = max(start, min(spans[i - 1, 0] + CLOSURE, end))
    if i < len(ipa) and base_phoneme(ipa[i]) in _STOPS:
        end = max(start, end - CLOSURE)
    if end - start < PAUSE:
        return
    if i:
        spans[i - 1, 1] = start
    if i < len(ipa):
        spans[i, 0] = end


def _longest_run(marks: np.ndarray) -> tuple[int, int]:
    """Start and end of the longest run of True; (0, 0) where there is none."""
    steps = np.diff(np.concatenate([[0], marks.astype(int), [0]]))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    if not len(starts):
        return 0, 0
    best = int((ends - starts).argmax())
    return int(starts[best]), int(ends[best])
