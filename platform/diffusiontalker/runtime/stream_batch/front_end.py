"""The log-mel front end of many live streams: samples in, log-mel at the common level out.

Samples are buffered until windows of them are complete; those of all streams are then transformed
together. Their mel frames lie in ring buffers until the animations have passed them.
"""

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.front_end import FrontEnd
from diffusiontalker.audio.log_mel import BLOCK, complete, powers, standardise, start
from diffusiontalker.runtime.stream_batch.rows import double_rows
from diffusiontalker.runtime.stream_batch.running_level import RunningLevel
from diffusiontalker.runtime.stream_parameters import StreamParameters

RING = 32
"""Mel frames of a stream in its ring buffer."""
NEVER = np.iinfo(np.int64).max


class FrontEndBatch:
    """A row for each stream."""

    def __init__(self, look_ahead: int, front_end: FrontEnd, parameters: StreamParameters) -> None:
        """``look_ahead`` in mel frames, as ``Student.look_ahead``."""
        self._front_end, self._parameters = front_end, parameters
        self._first = look_ahead - front_end.stem + 1
        """First mel frame that frame 0 of the animation takes; may be before the stream."""
        self._audio: list[list[np.ndarray]] = [[]]
        self._levels = [self._new_level()]
        self._begin, self._end, self._mels, self._last = np.zeros((4, 1), np.int64)
        """First sample in the buffer and the one after the last, counted as in ``log_mel.start``;
        mel frames computed; mel frames in all, once the stream is closed."""
        self._speech = np.full(1, NEVER)
        """Frame of the animation that first sees speech."""
        self._ring = np.zeros((1, RING, front_end.bands), np.float32)

    def grow(self) -> None:
        """Double the number of rows."""
        rows = len(self._audio)
        self._audio += [[] for _ in range(rows)]
        self._levels += [self._new_level() for _ in range(rows)]
        self._begin, self._end = double_rows(self._begin), double_rows(self._end)
        self._mels, self._last = double_rows(self._mels), double_rows(self._last)
        self._speech, self._ring = double_rows(self._speech), double_rows(self._ring)

    def reset(self, row: int) -> None:
        """Begin a stream in this row."""
        self._audio[row], self._levels[row] = [], self._new_level()
        self._begin[row] = self._end[row] = self._mels[row] = 0
        self._last[row] = self._speech[row] = NEVER

    def append(self, row: int, samples: np.ndarray) -> None:
        """Buffer samples (n,) at 16 kHz."""
        if not len(samples):
            return
        if not self._audio[row]:  # padded with the edge value, as in ``log_mel.around``
            padding = np.full(self._front_end.window // 2, samples[0])
            samples = np.concatenate([padding, samples])
        self._audio[row].append(samples)
        self._end[row] += len(samples)

    def close(self, row: int) -> None:
        """End a stream: no more samples follow."""
        self._last[row] = self._front_end.mel_per_frame * self._frames_within(row)
        if self._audio[row]:
            self.append(row, np.full(self._front_end.window, self._audio[row][-1][-1]))

    def advance(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Compute mel frames, as many as samples and ring buffers allow.

        Args:
            rows: (B,) of streams.
            frames: (B,) of their animations so far.

        Returns:
            how many more frames of each can now be made (B,); 0: it waits for samples.
        """
        front_end = self._front_end
        made, last = self._mels[rows], self._last[rows]
        waiting = np.maximum(made - front_end.mel_per_frame * frames - self._first, 0)
        room = np.maximum(RING - waiting, 0)
        available = np.minimum(complete(self._end[rows], front_end), last)
        count = np.minimum(available - made, room)
        if len(busy := count.nonzero()[0]):
            self._transform(rows[busy], made[busy], count[busy])
            made = self._mels[rows] = made + count
        # Beyond the end of a stream all mel frames are zeros, and never lacking.
        covered = (made - self._first - front_end.overlap) // front_end.mel_per_frame
        covered = np.where(made < last, covered, NEVER)
        return np.maximum(np.minimum(covered, self._frames_within(rows)) - frames, 0)

    def log_mel(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Input of the next frame of streams with so many ``frames`` (B,): (B, 5, 80)."""
        mels = (self._front_end.mel_per_frame * frames)[:, None] + np.arange(self._front_end.stem)
        out = self._ring[rows[:, None], mels % RING]
        mels += self._first
        outside = (mels < 0) | (mels >= self._last[rows, None])
        if outside.any():
            out[outside] = 0
        return out

    def fade(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Factor in 0-1 of the coefficients of frames of these numbers (B,): 0 before there is
        speech, then rising to 1."""
        speech, duration = self._speech[rows], self._parameters.rise_frames
        rise = np.clip((frames - speech + 1) / duration, 0, 1).astype(np.float32)
        return np.where(speech == 0, np.float32(1), rise)

    def _new_level(self) -> RunningLevel:
        return RunningLevel(self._front_end, self._parameters)

    def _frames_within(self, rows: np.ndarray | int) -> np.ndarray:
        """Frames of the animation whose time lies within the samples so far."""
        samples = self._end[rows] - self._front_end.window // 2
        frames = -(-samples * FPS // SAMPLE_RATE)  # rounded up
        return np.minimum(frames, self._last[rows] // self._front_end.mel_per_frame)

    def _transform(self, rows: np.ndarray, made: np.ndarray, count: np.ndarray) -> None:
        """The next ``count`` (B,) mel frames of streams that have ``made`` (B,) so many."""
        front_end = self._front_end
        audio = [self._audio[row] for row in rows]
        lengths = np.array([sum(map(len, pieces)) for pieces in audio])
        samples = np.concatenate([piece for pieces in audio for piece in pieces])
        ends, totals = np.cumsum(lengths), np.cumsum(count)
        origins = ends - lengths - self._begin[rows]  # where sample 0 of each would lie
        mels = np.arange(totals[-1]) + np.repeat(made - totals + count, count)
        places = start(mels, front_end) + np.repeat(origins, count)
        shape = len(samples) - front_end.window + 1, front_end.window
        windows = np.ndarray(shape, np.float32, samples, strides=2 * samples.strides)
        blocks = [
            powers(windows[places[at : at + BLOCK]], front_end)
            for at in range(0, len(places), BLOCK)
        ]
        bands, mean_squares = (np.concatenate(part) for part in zip(*blocks, strict=True))
        gains = np.concatenate(
            [
                self._levels[row](mean_squares[end - own : end])
                for row, own, end in zip(rows, count, totals, strict=True)
            ]
        )
        for row in rows[self._speech[rows] == NEVER]:
            if (window := self._levels[row].speech_start) is not None:
                # The first frame whose look-ahead covers that window.
                frame = (window - self._first - front_end.stem) // front_end.mel_per_frame + 1
                self._speech[row] = max(frame, 0)
        slots = (mels - self._first) % RING
        self._ring[np.repeat(rows, count), slots] = standardise(bands, gains, front_end)
        self._begin[rows] = kept = start(made + count, front_end)
        for row, begin, end in zip(rows, origins + kept, ends, strict=True):
            # Copied, so that a stream that pauses does not keep the samples of all the others.
            self._audio[row] = [samples[begin:end].copy()]
