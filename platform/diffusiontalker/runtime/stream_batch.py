"""Many live streams of one student on one core: what each has heard moves its face at once.

A graph takes one stream almost as long as a few, and numpy a row almost as long as a hundred. So a
server waits for the audio of a tick, some milliseconds, of all its streams and pushes it together.
What a stream remembers is a row in the arrays of all: a batch takes its rows out, and puts them
back. The frames of a stream are the same whatever its company.
"""

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.batch_rows import doubled
from diffusiontalker.runtime.front_end import Ears
from diffusiontalker.runtime.noise import Noise
from diffusiontalker.runtime.student import Student
from diffusiontalker.runtime.voice import Choice
from diffusiontalker.runtime.voice_tracking import Speakers

if TYPE_CHECKING:
    from diffusiontalker.runtime.stream import Stream

DRAWN = 30
"""Frames whose noise is drawn at once."""


class Streams:
    """The streams of a student that may be pushed together; not for several threads at once."""

    def __init__(self, student: Student) -> None:
        """Raises UserError: the student hears whole recordings alone."""
        if student.look_ahead is None:
            raise UserError(
                f"{student.folder}: this student takes whole recordings only; distil one with "
                "model.shared.look_ahead_ms"
            )
        self.student = student
        self.ears, self.speakers = Ears(student.look_ahead), Speakers(student)
        self.frames = np.zeros(1, np.int64)
        """Frames of each face that have been made."""
        self._history = student.history()
        self._modulations = self.speakers.modulations(np.zeros(1, np.int64))
        self._draws: list[Noise] = [Noise(0)]
        self._noise = np.zeros((1, DRAWN, len(CHANNELS)), np.float32)
        self._free = [0]

    def claim(self, stream: "Stream", identity: Choice, emotion: Choice, seed: int) -> int:
        """The row of a stream that begins, until it is forgotten. Raises UserError: bad values."""
        draws = Noise(seed)
        if not self._free:
            self._grow()
        row = self._free[-1]
        self.speakers.begin(row, identity, emotion)
        self.ears.begin(row)
        self._history.begin(row)
        self._modulations[row] = self.speakers.modulations(np.array([row]))[0]
        self.frames[row] = 0
        self._draws[row] = draws
        weakref.finalize(stream, self._free.append, self._free.pop())
        return row

    def push(
        self, streams: Sequence["Stream"], chunks: Sequence[np.ndarray]
    ) -> list[np.ndarray | UserError]:
        """The next samples of many streams, as ``Stream.push`` takes them.

        Returns:
            for each stream the frames (T, 52) that its chunk completes, or why the chunk is
            refused: that stream is as it was before, and the others do not notice.

        Raises:
            UserError: a stream stands there twice or is none of these, or there are not as many
                chunks as streams; nothing changes then.
        """
        if len(chunks) != len(streams):
            raise UserError(
                f"{len(chunks)} chunks for {len(streams)} streams; give each stream one"
            )
        if len(set(streams)) < len(streams):
            raise UserError("a stream is pushed twice at once; join its chunks, or push again")
        if any(stream.company is not self for stream in streams):
            raise UserError("the stream belongs to another Streams; push it there")
        mistakes = {}
        for stream, chunk in zip(streams, chunks, strict=True):
            try:
                stream.take(chunk)
            except UserError as mistake:
                mistakes[stream] = mistake
        faces = iter(self.advance([stream for stream in streams if stream not in mistakes]))
        return [mistakes[stream] if stream in mistakes else next(faces) for stream in streams]

    def advance(self, streams: Sequence["Stream"]) -> list[np.ndarray]:
        """The frames (T, 52) of each stream that the samples it has taken complete."""
        parts = [[np.zeros((0, len(CHANNELS)), np.float32)] for _ in streams]
        rows = np.array([stream.row for stream in streams], np.int64)
        waiting = np.arange(len(streams))
        while len(waiting):
            ready = self.ears.hear(rows[waiting], self.frames[rows[waiting]])
            waiting, ready = waiting[ready > 0], ready[ready > 0]
            for _ in range(min(ready, default=0)):
                for number, frame in zip(waiting, self._make(rows[waiting]), strict=True):
                    parts[number].append(frame[None])
        return [
            stream.finish(np.concatenate(some)) for stream, some in zip(streams, parts, strict=True)
        ]

    def _make(self, rows: np.ndarray) -> np.ndarray:
        """The next frame of each face: (B, 52)."""
        frames = self.frames[rows]
        face, voice, now = self.student.frame(
            self.ears.log_mel(rows, frames), self._drawn(rows, frames), self._modulations[rows],
            self._history.past(rows, frames),
        )  # fmt: skip
        self._history.keep(rows, frames, now)
        presence = self.ears.presence(rows, frames)
        self.frames[rows] = frames = frames + 1
        self.speakers.hear(rows, voice)
        moved = self.speakers.update(rows, frames, presence > 0)
        if len(moved):
            self._modulations[moved] = self.speakers.modulations(moved)
        return face * presence[:, None]

    def _drawn(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Noise of the next frame of each face: (B, 1, 52)."""
        places = frames % DRAWN
        for row in rows[places == 0]:
            self._noise[row] = self._draws[row](DRAWN)
        return self._noise[rows, places][:, None]

    def _grow(self) -> None:
        rows = len(self.frames)
        self._free += range(rows, 2 * rows)
        self.ears.grow()
        self.speakers.grow()
        self.frames, self._noise = doubled(self.frames), doubled(self._noise)
        self._history.grow()
        self._modulations = doubled(self._modulations)
        self._draws += [Noise(0)] * rows
