"""Closures of stops in the audio: where the energy above 1 kHz dips.

The lips must meet in the right frame of 33 ms, which the times of a synthesizer miss: Kokoro's lie
on a grid of 25 ms, and eSpeak's p, t and k begin at the release, some 40 ms after the closure. All
constants are our choice.
"""

from collections.abc import Sequence

import numpy as np

from diffusiontalker.corpus.phonemes import PAUSE, base_phoneme
from diffusiontalker.corpus.procedural.speech import Phone

HOP = 0.005
"""Seconds between two levels."""
OVERTONES = 1000.0
"""Hz above which a closed mouth lets little through."""
SHORTEST = 0.01
"""Seconds that every phone keeps."""
CLOSURE = 0.06
"""Seconds of a pause that belong to a stop beside it."""
_WINDOW = 0.015
_LONGEST = 0.12
"""Seconds of a closure, at most."""
_REACH = 0.04
"""Seconds by which a closure may begin before a phone's times, or end after them."""
_LEAST_DIP_DB = 4.0
_STOPS = ("p", "b", "t", "k")
"""Stops that eSpeak places late; its d and g are right."""


def on_dips(phones: Sequence[Phone], samples: np.ndarray, rate: int) -> list[Phone]:
    """eSpeak's phones, in order and without gaps, with stops where the audio has their closure.

    Args:
        phones: of the utterance, pauses among them.
        samples: (n,) the speech.
        rate: of ``samples``, in Hz.
    """
    spans = np.array([[phone.start, phone.end] for phone in phones])
    level = levels(samples, rate, OVERTONES)
    ipa = [phone.ipa for phone in phones]
    for i, phone in enumerate(map(base_phoneme, ipa)):
        if phone not in _STOPS:
            continue
        if i and ipa[i - 1] == PAUSE:
            spans[i - 1, 1] = spans[i, 0] = max(spans[i - 1, 0], spans[i, 0] - CLOSURE)
        else:
            place_closure(i, spans, level)
    return without_gaps(ipa, spans, len(samples) / rate)


def levels(samples: np.ndarray, rate: int, above: float) -> np.ndarray:
    """Energy above a frequency in Hz, in dB, every ``HOP`` seconds: (frames,)."""
    window, hop = int(_WINDOW * rate), int(HOP * rate)
    frames = len(samples) // hop + 1
    padded = np.pad(samples, (window // 2, window))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:frames]
    power = np.abs(np.fft.rfft(pieces * np.hanning(window), 512)) ** 2
    band = power[:, np.fft.rfftfreq(512, 1 / rate) >= above].sum(axis=1)
    return np.asarray(10 * np.log10(band + 1e-7))


def place_closure(i: int, spans: np.ndarray, level: np.ndarray) -> None:
    """Move phone ``i`` onto the dip of ``level`` near its own times, and its neighbours with it.

    An edge of the dip is where the level is halfway, in dB, between its bottom and the louder side.
    """
    start, end = (float(time) for time in spans[i])
    low, high = max(int((start - _REACH) / HOP), 0), int((end + _REACH) / HOP)
    search = max(int((start - _REACH / 2) / HOP), 0)
    inside = level[search : int(end / HOP) + 1]
    if not len(inside):
        return
    bottom = search + int(inside.argmin())
    before = level[low : bottom + 1][::-1] - level[bottom]
    after = level[bottom : high + 1] - level[bottom]
    if max(before.max(), after.max()) < _LEAST_DIP_DB:
        return
    new_start, new_end = start, end
    if before.max() >= _LEAST_DIP_DB:
        new_start = (bottom - int((before >= before.max() / 2).argmax())) * HOP
    if after.max() >= _LEAST_DIP_DB:
        new_end = (bottom + int((after >= after.max() / 2).argmax())) * HOP
    new_start = max(new_start, new_end - _LONGEST)
    if new_end - new_start < 2 * SHORTEST:
        return
    spans[i] = new_start, new_end
    if i and (spans[i - 1, 1] >= start or spans[i - 1, 1] > new_start):
        spans[i - 1, 1] = new_start
    if i + 1 < len(spans) and (spans[i + 1, 0] <= end or spans[i + 1, 0] < new_end):
        spans[i + 1, 0] = new_end


def without_gaps(ipa: Sequence[str], spans: np.ndarray, seconds: float) -> list[Phone]:
    """Phones with pauses in the gaps, each of ``SHORTEST`` at least."""
    out: list[Phone] = []
    time = 0.0
    for phone, (start, end) in zip(ipa, spans.tolist(), strict=True):
        if start - time >= SHORTEST:
            out.append(Phone(PAUSE, time, start))
            time = start
        end = max(end, time + SHORTEST)
        out.append(Phone(phone, time, end))
        time = end
    if seconds - time >= SHORTEST:
        out.append(Phone(PAUSE, time, seconds))
    return out
