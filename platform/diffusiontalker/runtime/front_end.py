"""What many live streams hear: samples in, log-mel at the common level out.

The audio of each stream waits until windows of it are complete; those of all streams are then
transformed together. Their mel frames lie in a ring until the face has passed them.
"""

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.front_end import FrontEnd
from diffusiontalker.audio.log_mel import BLOCK, complete, powers, standardise, start
from diffusiontalker.runtime.batch_rows import doubled
from diffusiontalker.runtime.running_level import RunningLevel
from diffusiontalker.runtime.stream_parameters import StreamParameters

RING = 32
"""Mel frames of a stream that may wait for its face."""
NEVER = np.iinfo(np.int64).max


class Ears:
    """A row for each stream."""

    def __init__(self, look_ahead: int, front_end: FrontEnd, parameters: StreamParameters) -> None:
        """``look_ahead`` in mel frames, as ``Student.look_ahead``."""
        self._front_end, self._parameters = front_end, parameters
        self._first = look_ahead - front_end.stem + 1
        """Mel frame with which the first frame of the face begins, before or in the stream."""
        self._audio: list[list[np.ndarray]] = [[]]
        self._levels = [self._level()]
        self._begin, self._end, self._mels, self._last = np.zeros((4, 1), np.int64)
        """The first sample that is kept and the one after the last, counted as in
        ``log_mel.start``; mel frames made; and how many a closed stream has."""
        self._voice = np.full(1, NEVER)
        """Frame of the face with which the first voice is heard."""
        self._ring = np.zeros((1, RING, front_end.bands), np.float32)

    def _level(self) -> RunningLevel:
        return RunningLevel(self._front_end, self._parameters)

    def grow(self) -> None:
        """Twice as many rows."""
        rows = len(self._audio)
        self._audio += [[] for _ in range(rows)]
        self._levels += [self._level() for _ in range(rows)]
        self._begin, self._end = doubled(self._begin), doubled(self._end)
        self._mels, self._last = doubled(self._mels), doubled(self._last)
        self._voice, self._ring = doubled(self._voice), doubled(self._ring)

    def begin(self, row: int) -> None:
        """A stream begins."""
        self._audio[row], self._levels[row] = [], self._level()
        self._begin[row] = self._end[row] = self._mels[row] = 0
        self._last[row] = self._voice[row] = NEVER

    def take(self, row: int, samples: np.ndarray) -> None:
        """Keep samples (n,) at 16 kHz."""
        if not len(samples):
            return
        if not self._audio[row]:
            # Half a window stands before a recording, whose ends are held: as ``log_mel.around``.
            samples = np.concatenate([np.full(self._front_end.window // 2, samples[0]), samples])
        self._audio[row].append(samples)
        self._end[row] += len(samples)

    def close(self, row: int) -> None:
        """No more samples."""
        self._last[row] = self._front_end.mel_per_frame * self._within(row)
        if self._audio[row]:
            self.take(row, np.full(self._front_end.window, self._audio[row][-1][-1]))

    def hear(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Samples to mel frames, as many as there is room for.

        Args:
            rows: (B,) of streams.
            frames: (B,) of their faces that have been made.

        Returns:
            how many more of each can be made of what was heard (B,); 0: they wait for audio.
        """
        made, last = self._mels[rows], self._last[rows]
        room = RING - np.maximum(made - self._front_end.mel_per_frame * frames - self._first, 0)
        count = np.minimum(
            np.minimum(complete(self._end[rows], self._front_end), last) - made, room
        )
        if len(busy := count.nonzero()[0]):
            self._transform(rows[busy], made[busy], count[busy])
            made = self._mels[rows] = made + count
        # Behind the end is silence, of which there is enough.
        seen = np.where(
            made < last,
            (made - self._first - self._front_end.overlap) // self._front_end.mel_per_frame,
            NEVER,
        )
        return np.maximum(np.minimum(seen, self._within(rows)) - frames, 0)

    def log_mel(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """What the next frame of faces of which so many ``frames`` (B,) have been made sees:
        (B, 5, 80)."""
        mels = (self._front_end.mel_per_frame * frames)[:, None] + np.arange(self._front_end.stem)
        out = self._ring[rows[:, None], mels % RING]
        mels += self._first
        outside = (mels < 0) | (mels >= self._last[rows, None])
        if outside.any():
            out[outside] = 0
        return out

    def presence(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """How much of faces is to be seen in frames of these numbers (B,), in 0-1: nothing, as long
        as nobody has spoken."""
        begun = self._voice[rows]
        risen = np.clip((frames - begun + 1) / self._parameters.rise_frames, 0, 1).astype(
            np.float32
        )
        return np.where(begun == 0, np.float32(1), risen)

    def _within(self, rows: np.ndarray | int) -> np.ndarray:
        """Frames of the face whose time lies within what was heard."""
        heard = -(
            -(self._end[rows] - self._front_end.window // 2) * FPS // SAMPLE_RATE
        )  # rounded up
        return np.minimum(heard, self._last[rows] // self._front_end.mel_per_frame)

    def _transform(self, rows: np.ndarray, made: np.ndarray, count: np.ndarray) -> None:
        """The next ``count`` (B,) mel frames of streams that have ``made`` (B,) so many."""
        audio = [self._audio[row] for row in rows]
        lengths = np.array([sum(map(len, pieces)) for pieces in audio])
        samples = np.concatenate([piece for pieces in audio for piece in pieces])
        ends, totals = np.cumsum(lengths), np.cumsum(count)
        zeros = ends - lengths - self._begin[rows]  # where the first sample of each would lie
        mels = np.arange(totals[-1]) + np.repeat(made - totals + count, count)
        places = start(mels, self._front_end) + np.repeat(zeros, count)
        shape = len(samples) - self._front_end.window + 1, self._front_end.window
        windows = np.ndarray(shape, np.float32, samples, strides=2 * samples.strides)
        blocks = [
            powers(windows[places[at : at + BLOCK]], self._front_end)
            for at in range(0, len(places), BLOCK)
        ]
        bands, mean_squares = (np.concatenate(part) for part in zip(*blocks, strict=True))
        gains = np.concatenate(
            [
                self._levels[row](mean_squares[end - own : end])
                for row, own, end in zip(rows, count, totals, strict=True)
            ]
        )
        for row in rows[self._voice[rows] == NEVER]:
            if (found := self._levels[row].speech_start) is not None:
                # The first frame that sees that window.
                self._voice[row] = max(
                    (found - self._first - self._front_end.stem) // self._front_end.mel_per_frame
                    + 1,
                    0,
                )
        slots = (mels - self._first) % RING
        self._ring[np.repeat(rows, count), slots] = standardise(bands, gains, self._front_end)
        self._begin[rows] = kept = start(made + count, self._front_end)
        for row, begin, end in zip(rows, zeros + kept, ends, strict=True):
            # Copied: a stream that pauses must not keep the audio of all the others.
            self._audio[row] = [samples[begin:end].copy()]
