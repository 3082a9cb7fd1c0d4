"""Many live streams of one student on one core, advanced together.

A graph takes hardly longer for a few streams than for one, and numpy for a hundred rows than for
one. So a server collects the audio of some milliseconds of all its streams and pushes it together.
The state of a stream is a row in the arrays of all. The frames of a stream do not depend on the
streams that it is advanced with.
"""

import weakref
from collections.abc import Sequence

import numpy as np

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.log_mel import look_ahead_ms
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.blinks import LONG_AGO, close_lids, closed, draw, uniforms
from diffusiontalker.runtime.conditioning import Conditioning
from diffusiontalker.runtime.graphs import Graphs
from diffusiontalker.runtime.noise import BLOCK, Noise
from diffusiontalker.runtime.stream_batch.front_end import FrontEndBatch
from diffusiontalker.runtime.stream_batch.layer_history import LayerHistory
from diffusiontalker.runtime.stream_batch.rows import double_rows
from diffusiontalker.runtime.stream_batch.voice_tracking import VoiceTracking

NOISE_FRAMES = 2 * BLOCK
"""Frames whose noise is drawn at once."""


class StreamBatch:
    """The state of streams that may be advanced together; not for several threads at once."""

    def __init__(self, graphs: Graphs) -> None:
        """Raises UserError: the student takes whole recordings only."""
        config = graphs.config
        if config.look_ahead is None or config.stream is None:
            raise UserError(
                f"{graphs.folder}: this student takes whole recordings only; distil one with "
                "model.shared.look_ahead_ms"
            )
        self.look_ahead_ms = look_ahead_ms(config.look_ahead, config.front_end)
        """Milliseconds of audio at 16 kHz after its own time that a frame waits for."""
        self.front_end = FrontEndBatch(config.look_ahead, config.front_end, config.stream)
        self.voices = VoiceTracking(graphs, config.stream)
        self.frames = np.zeros(1, np.int64)
        """Frames of each animation so far."""
        self._graphs = graphs
        self._history = LayerHistory(graphs.history_sizes)
        self._modulations = self.voices.modulations(np.zeros(1, np.int64))
        self._generators = [self._generator(0)]
        self._noise = np.zeros((1, NOISE_FRAMES, len(CHANNELS)), np.float32)
        self._uniform = np.zeros((1, NOISE_FRAMES))
        self._since_blink = np.full(1, LONG_AGO)
        self._free = [0]

    def claim(self, owner: object, identity: Conditioning, emotion: Conditioning, seed: int) -> int:
        """A row for a new stream, until ``owner`` is garbage-collected. Raises UserError: bad
        values."""
        generator = self._generator(seed)
        if not self._free:
            self._grow()
        row = self._free[-1]
        self.voices.reset(row, identity, emotion)
        self.front_end.reset(row)
        self._history.reset(row)
        self._modulations[row] = self.voices.modulations(np.array([row]))[0]
        self.frames[row] = 0
        self._generators[row] = generator
        self._since_blink[row] = LONG_AGO
        weakref.finalize(owner, self._free.append, self._free.pop())
        return row

    def advance(self, rows: Sequence[int]) -> list[np.ndarray]:
        """The frames (T, 52) of each of these streams that its samples so far complete."""
        parts = [[np.zeros((0, len(CHANNELS)), np.float32)] for _ in rows]
        own = np.array(rows, np.int64)
        waiting = np.arange(len(rows))
        while len(waiting):
            ready = self.front_end.advance(own[waiting], self.frames[own[waiting]])
            waiting, ready = waiting[ready > 0], ready[ready > 0]
            for _ in range(min(ready, default=0)):
                for number, frame in zip(waiting, self._next_frame(own[waiting]), strict=True):
                    parts[number].append(frame[None])
        return [np.concatenate(some) for some in parts]

    def _next_frame(self, rows: np.ndarray) -> np.ndarray:
        """The next frame of each stream: (B, 52)."""
        frames = self.frames[rows]
        places = self._draw(rows, frames)
        coefficients, blink, voice, layers = self._graphs.frame(
            self.front_end.log_mel(rows, frames), self._noise[rows, places][:, None],
            self._modulations[rows], self._history.read(rows, frames),
        )  # fmt: skip
        lids, self._since_blink[rows] = closed(
            self._graphs.config.blinks, self._uniform[rows, places], blink, self._since_blink[rows]
        )
        coefficients = close_lids(coefficients, lids)
        self._history.write(rows, frames, layers)
        fade = self.front_end.fade(rows, frames)
        self.frames[rows] = frames = frames + 1
        self.voices.accumulate(rows, voice)
        changed = self.voices.update(rows, frames, fade > 0)
        if len(changed):
            self._modulations[changed] = self.voices.modulations(changed)
        return coefficients * fade[:, None]

    def _draw(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Where ``_noise`` and ``_uniform`` hold the numbers of the next frame of each stream."""
        places = frames % NOISE_FRAMES
        for row in rows[places == 0]:
            noise, uniform = self._generators[row]
            self._noise[row] = noise(NOISE_FRAMES)
            self._uniform[row] = draw(uniform, NOISE_FRAMES)
        return places

    def _generator(self, seed: int) -> tuple[Noise, np.random.Philox]:
        """The random numbers of a stream: noise, and uniform ones for blinks."""
        return Noise(seed, self._graphs.config.noise), uniforms(seed)

    def _grow(self) -> None:
        """Double the number of rows."""
        rows = len(self.frames)
        self._free += range(rows, 2 * rows)
        self.front_end.grow()
        self.voices.grow()
        self._history.grow()
        self.frames, self._noise = double_rows(self.frames), double_rows(self._noise)
        self._uniform = double_rows(self._uniform)
        self._since_blink = double_rows(self._since_blink)
        self._modulations = double_rows(self._modulations)
        self._generators += [self._generators[0]] * rows
