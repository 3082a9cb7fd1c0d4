"""Closures of stops in the audio: where the energy above 1 kHz dips.

The lips must meet in the right frame of 33 ms, which the times of a synthesizer miss: Kokoro's lie
on a grid of 25 ms, and eSpeak's p, t and k begin at the release, some 45 ms after the closure. All
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
"""Seconds by which a closure may begin before a phone's times, or end after them: of Kokoro."""
_ESPEAK_REACH = 0.06
_LEAST_DIP_DB = 4.0
_STOPS = ("p", "b", "t", "k")
"""Stops that are moved: eSpeak's p, t and k are late, and its b contains more than the closure."""


def on_dips(phones: Sequence[Phone], samples: np.ndarray, rate: int) -> list[Phone]:
    """eSpeak's phones, in order and without gaps, with stops where the audio has their closure.

    Args:
        phones: of the utterance, pauses among them.
        samples: (n,) the speech.
        rate: of ``samples``, in Hz.
    """
    seconds = len(samples) / rate
    given = np.array([[phone.start, phone.end] for phone in phones])
    spans = given.copy()
    level = levels(samples, rate, OVERTONES)
    ipa = [phone.ipa for phone in phones]
    placed = 0.0  # the end of the last stop: in a cluster each has a closure of its own
    for i, phone in enumerate(map(base_phoneme, ipa)):
        if phone not in _STOPS:
            continue
        if i == 0 or ipa[i - 1] == PAUSE:
            spans[i, 0] = max(spans[i - 1, 0] if i else 0.0, given[i, 0] - CLOSURE)
        else:
            start, end = given[i].tolist()
            spans[i] = _dip(start, end, level, _ESPEAK_REACH, placed) or given[i]
        if i + 1 < len(spans):
            spans[i + 1, 0] = spans[i, 1]
        placed = spans[i, 1]
    spans[:, 0] = np.maximum.accumulate(spans[:, 0])
    spans[:, 1] = [*spans[1:, 0], seconds]
    return without_gaps(ipa, spans, seconds)


def levels(samples: np.ndarray, rate: int, above: float) -> np.ndarray:
    """Energy above a frequency in Hz, in dB, every ``HOP`` seconds: (frames,)."""
    window = int(_WINDOW * rate)
    frames = int(len(samples) / rate / HOP) + 1
    padded = np.pad(samples, (window // 2, window))
    # Rounded one by one: at 22,050 Hz a hop of whole samples would drift by 2 ms a second.
    starts = np.round(np.arange(frames) * HOP * rate).astype(int)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[starts]
    power = np.abs(np.fft.rfft(pieces * np.hanning(window), 512)) ** 2
    band = power[:, np.fft.rfftfreq(512, 1 / rate) >= above].sum(axis=1)
    return np.asarray(10 * np.log10(band + 1e-7))


def place_closure(i: int, spans: np.ndarray, level: np.ndarray) -> None:
    """Move phone ``i`` onto the dip of ``level`` near its own times, and its neighbours with it."""
    start, end = (float(time) for time in spans[i])
    if (dip := _dip(start, end, level, _REACH)) is None:
        return
    spans[i] = new_start, new_end = dip
    if i and (spans[i - 1, 1] >= start or spans[i - 1, 1] > new_start):
        spans[i - 1, 1] = new_start
    if i + 1 < len(spans) and (spans[i + 1, 0] <= end or spans[i + 1, 0] < new_end):
        spans[i + 1, 0] = new_end


def _dip(
    start: float, end: float, level: np.ndarray, reach: float, after: float = 0.0
) -> tuple[float, float] | None:
    """Start and end of the dip of ``level`` within ``reach`` of a phone's times, and not before
    ``after``; None: there is none.

    An edge of the dip is where the level is halfway, in dB, between its bottom and the louder side.
    """
    low, high = int(max(start - reach, after) / HOP), int((end + reach) / HOP)
    search = int(max(start - reach / 2, after) / HOP)
    inside = level[search : int(end / HOP) + 1]
    if not len(inside):
        return None
    bottom = search + int(inside.argmin())
    before = level[low : bottom + 1][::-1] - level[bottom]
    after_it = level[bottom : high + 1] - level[bottom]
    if max(before.max(), after_it.max()) < _LEAST_DIP_DB:
        return None
    new_start, new_end = start, end
    if before.max() >= _LEAST_DIP_DB:
        new_start = (bottom - int((before >= before.max() / 2).argmax())) * HOP
    if after_it.max() >= _LEAST_DIP_DB:
        new_end = (bottom + int((after_it >= after_it.max() / 2).argmax())) * HOP
    new_start = max(new_start, new_end - _LONGEST, after)
    return (new_start, new_end) if new_end - new_start >= 2 * SHORTEST else None


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
    # Short phones at the end were moved behind the audio by those before them.
    for i in reversed(range(len(out))):
        end = min(out[i].end, seconds)
        start = min(out[i].start, end - SHORTEST) if end < out[i].end else out[i].start
        out[i], seconds = Phone(out[i].ipa, max(start, 0.0), max(end, 0.0)), start
    return out
