"""Speech as it comes: a recording at the pace of a microphone, or PCM from standard input."""

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
"""Length of a chunk: its first sample waits so long for its last."""
PAUSE = 0.25
"""Seconds that speech is behind its time from which on it has paused, and goes on later."""


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
    return paced(chunks, rate), rate


def paced(chunks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Each chunk at the time of its last sample, and not before; the first call begins."""
    begun, samples = time.monotonic(), 0
    for chunk in chunks:
        samples += len(chunk)
        early = begun + samples / rate - time.monotonic()
        if early < -PAUSE:
            begun -= early
        time.sleep(max(early, 0))
        yield chunk


def raw(stream: io.RawIOBase, rate: int) -> Iterator[np.ndarray]:
    """Chunks (n,) int16 of raw PCM: signed, 16 bits, little-endian, mono. The last may be short.

    An odd byte at the end is no sample; a line on standard error names it.

    Raises:
        UserError: it is a file of sound, and no samples.
    """
    size, door = 2 * chunk_size(rate), PcmGuard("standard input", rate)
    while content := _exactly(stream, size):
        door(content)
        if len(content) > 1:
            yield np.frombuffer(content, "<i2", len(content) // 2)
        if len(content) % 2:
            print("the last byte is half a sample: left out; is it 16-bit PCM?", file=sys.stderr)


def chunk_size(rate: int) -> int:
    """Samples of a chunk."""
    return max(rate * CHUNK_MS // 1000, 1)


class Heard:
    """Chunks as they come, and when their first sample must have been spoken.

    What a pipe has kept back comes all at once: the chunk that is the furthest ahead tells best
    when the speech began. A speaker who pauses, or whose computer does, begins anew.
    """

    def __init__(self, chunks: Iterable[np.ndarray], rate: int) -> None:
        self._chunks, self._rate = chunks, rate
        self.begun = time.monotonic()
        """By the monotonic clock; before the first chunk, now."""

    def __iter__(self) -> Iterator[np.ndarray]:
        samples = 0
        for chunk in self._chunks:
            first = samples == 0
            samples += len(chunk)
            begun = time.monotonic() - samples / self._rate
            # A sound card's clock may run slow, but by less than a thousandth.
            known = self.begun + len(chunk) / self._rate / 1000
            anew = first or begun > known + PAUSE
            self.begun = begun if anew else min(begun, known)
            yield chunk


def _exactly(stream: io.RawIOBase, size: int) -> bytes:
    """``size`` bytes, or what is left."""
    content = b""
    while len(content) < size and (part := stream.read(size - len(content))):
        content += part
    return content
