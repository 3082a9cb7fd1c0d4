"""Who speaks in many live streams, and how: followed in the voice, or pinned."""

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.runtime.batch_rows import doubled
from diffusiontalker.runtime.stream_parameters import StreamParameters
from diffusiontalker.runtime.student import Student
from diffusiontalker.runtime.voice import KINDS, Choice, mean_and_variance, moments

POLES = 0.1
"""From one pole to the other, half way is nowhere: embeddings shorter than this are passed over."""
SAME = 1e-6
"""Embeddings that differ by less are the same."""


class Speakers:
    """A row for each stream."""

    def __init__(self, student: Student, parameters: StreamParameters) -> None:
        self._parameters = parameters
        self._student = student
        self._libraries = student.libraries
        width = student.voice_width
        # The identity head's half of what is said of the voice, then the emotion's.
        self._keep = np.exp(-1 / (FPS * np.repeat(parameters.voice_seconds, width // 2)))
        self._sums = np.zeros((1, 3, width))
        self._middle = np.stack([library.middle() for library in self._libraries])
        self._now = self._middle[None].copy()
        """Embeddings (N, 2, E) that faces are made of."""
        self._given = self._now.copy()
        self._pinned, self._followed = np.zeros((2, 1, len(KINDS)), bool)
        """Which of them are given, and which of them were ever taken from the voice."""

    def grow(self) -> None:
        """Twice as many rows."""
        self._sums, self._now = doubled(self._sums), doubled(self._now)
        self._given, self._pinned = doubled(self._given), doubled(self._pinned)
        self._followed = doubled(self._followed)

    def begin(self, row: int, identity: Choice, emotion: Choice) -> None:
        """A stream begins. Raises UserError: an unknown name, or a bad value."""
        self._sums[row], self._pinned[row], self._followed[row] = 0, False, False
        self.pin(row, identity, emotion)
        self._now[row] = np.where(self._pinned[row, :, None], self._given[row], self._middle)

    def pin(self, row: int, *choices: Choice | None) -> None:
        """Glide to another identity, emotion or both; "auto" follows the voice again, None leaves
        things as they are.

        Raises:
            UserError: an unknown name, or a bad value; nothing changes then.
        """
        asked = [
            (kind, library.resolve(choice))
            for kind, (library, choice) in enumerate(zip(self._libraries, choices, strict=True))
            if choice is not None
        ]
        for kind, embedding in asked:
            self._pinned[row, kind] = embedding is not None
            if embedding is not None:
                self._given[row, kind] = embedding

    def name(self, row: int, kind: int) -> str | None:
        """The library's entry nearest to what is used now; None: nobody has spoken yet."""
        if not (self._pinned[row, kind] or self._followed[row, kind]):
            return None
        library = self._libraries[kind]
        return library.names[library.nearest(self._now[row, kind])]

    def modulations(self, rows: np.ndarray) -> np.ndarray:
        """What identities and emotions as they are now do to the layers: (B, 1, M)."""
        now = self._now[rows]
        return self._student.modulate(now[:, 0], now[:, 1])

    def hear(self, rows: np.ndarray, voice: np.ndarray) -> None:
        """What the encoder says of the voices (B, H) in the next frame: what was long ago weighs
        less."""
        self._sums[rows] = self._sums[rows] * self._keep + moments(voice)

    def update(self, rows: np.ndarray, frames: np.ndarray, spoken: np.ndarray) -> np.ndarray:
        """Glide to the entries nearest to the voices, if any has ``spoken`` (B,), or to what is
        pinned, where it is due in faces of so many ``frames`` (B,).

        Returns:
            the rows whose embeddings are others now.
        """
        parameters = self._parameters
        every = np.where(frames < parameters.early_frames, *parameters.update_frames)
        due = frames % every == 0
        rows, early, spoken = rows[due], frames[due] <= parameters.early_frames, spoken[due]
        if not len(rows):
            return rows
        now, pinned = self._now[rows], self._pinned[rows]
        follows = ~pinned & spoken[:, None]
        goal = np.where(pinned[..., None], self._given[rows], now)
        self._followed[rows] |= follows
        some = follows.any(axis=1)
        if some.any():
            voices = mean_and_variance(self._sums[rows[some]])
            for kind, heard in enumerate(self._student.personalise(*voices)):
                entries = self._libraries[kind].entries
                nearest = entries[(heard @ entries.T).argmax(axis=1)]
                own = follows[some, kind, None]
                goal[some, kind] = np.where(own, nearest, goal[some, kind])
        share = np.where(early, *parameters.glide).astype(np.float32)
        between = now + share[:, None, None] * (goal - now)
        length = np.linalg.norm(between, axis=-1, keepdims=True)
        new = np.where(length < POLES, goal, between / np.maximum(length, POLES))
        self._now[rows] = new
        return rows[(np.abs(new - now) > SAME).any(axis=(1, 2))]
