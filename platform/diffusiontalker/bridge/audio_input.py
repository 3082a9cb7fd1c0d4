"""Live audio: a recording at the rate of a microphone, or PCM from standard input."""

import io
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from diffusiontalker.audio.recording import read_recording
from diffusiontalker.containers.kinds import PcmGuard
from diffusiontalker.errors import UserError

CHUNK_MS = 20
"""Length of a chunk, by which its first sample is delayed."""
MIN_PAUSE = 0.25
"""Seconds by which a chunk must be behind its time to count as one after a pause."""


def recording(path: str | Path) -> tuple[Iterator[np.ndarray], int]:
    """Chunks (n,) of a recording, each when a microphone would have it; and their rate in Hz.

    Raises:
        UserError: as ``read_recording``, or it holds no samples.
    """
    sound = read_recording(path)
    for note in sound.notes:
        print(f"warning: {path}: {note}", file=sys.stderr)
    samples, rate = sound.samples, sound.rate
    if len(samples) == 0:
        raise UserError(f"{path}: holds no samples")
    size = chunk_size(rate)
    chunks = (samples[at : at + size] for at in range(0, len(samples), size))
    return in_real_time(chunks, rate), rate


def in_real_time(chunks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Each chunk not before the time of its last sample; time starts at the first call."""
    start, samples = time.monotonic(), 0
    for chunk in chunks:
        samples += len(chunk)
        early = start + samples / rate - time.monotonic()
        if early < -MIN_PAUSE:
            start -= early
        time.sleep(max(early, 0))
        yield chunk


def raw_pcm(stream: io.RawIOBase, rate: int) -> Iterator[np.ndarray]:
    """Chunks (n,) int16 of raw PCM: signed, 16 bits, little-endian, mono. The last may be short.

    An odd byte at the end is left out, and reported on standard error.

    Raises:
        UserError: it is an audio file, and not raw samples.
    """
    size, check_raw = 2 * chunk_size(rate), PcmGuard("standard input", rate)
    while content := _read_exactly(stream, size):
        check_raw(content)
        if len(content) > 1:
            yield np.frombuffer(content, "<i2", len(content) // 2)
        if len(content) % 2:
            print("the last byte is half a sample: left out; is it 16-bit PCM?", file=sys.stderr)


def chunk_size(rate: int) -> int:
    """Samples of a chunk."""
    return max(rate * CHUNK_MS // 1000, 1)


class TimedChunks:
    """Iterates over chunks, and estimates when the first sample was spoken.

    What a pipe has buffered arrives all at once, so the estimate is the earliest start that any
    chunk allows. After a pause of the speaker, or of the computer, it starts again.
    """

    def __init__(self, chunks: Iterable[np.ndarray], rate: int) -> None:
        self._chunks, self._rate = chunks, rate
        self.start_time = time.monotonic()
        """By the monotonic clock."""

    def __iter__(self) -> Iterator[np.ndarray]:
        samples = 0
        for chunk in self._chunks:
            first = samples == 0
            samples += len(chunk)
            latest = time.monotonic() - samples / self._rate
            # A sound card's clock may run slow, but by less than a thousandth.
            estimate = self.start_time + len(chunk) / self._rate / 1000
            restart = first or latest > estimate + MIN_PAUSE
            self.start_time = latest if restart else min(latest, estimate)
            yield chunk


def _read_exactly(stream: io.RawIOBase, size: int) -> bytes:
    """``size`` bytes, or what is left."""
    content = b""
    while len(content) < size and (part := stream.read(size - len(content))):
        content += part
    return content
