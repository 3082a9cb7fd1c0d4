"""Voice tracking of many live streams: identity and emotion follow the voice, or are pinned."""

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.runtime.conditioning import KINDS, Conditioning
from diffusiontalker.runtime.graphs import Graphs
from diffusiontalker.runtime.stream_batch.rows import double_rows
from diffusiontalker.runtime.stream_parameters import StreamParameters
from diffusiontalker.runtime.voice_statistics import mean_and_variance, moments

SHORTEST = 0.1
"""Half way between opposite embeddings there is no direction: one that is shorter than this on the
way is replaced by its goal."""
EQUAL = 1e-6
"""Embeddings that differ by less are the same."""


class VoiceTracking:
    """A row for each stream: exponential moving averages of count, sum and sum of squares per voice
    feature, and the embeddings in use."""

    def __init__(self, graphs: Graphs, parameters: StreamParameters) -> None:
        self._graphs, self._parameters = graphs, parameters
        self._libraries = graphs.libraries
        width = graphs.voice_width
        # The first half of the voice features serves identity, the second emotion.
        self._decay = np.exp(-1 / (FPS * np.repeat(parameters.voice_seconds, width // 2)))
        self._sums = np.zeros((1, 3, width))
        self._mean = np.stack([library.mean() for library in self._libraries])
        self._embeddings = self._mean[None].copy()
        """In use: (N, 2, E)."""
        self._pinned_to = self._embeddings.copy()
        self._pinned, self._tracked = np.zeros((2, 1, len(KINDS)), bool)
        """Which of them are pinned, and which have ever been taken from the voice."""

    def grow(self) -> None:
        """Double the number of rows."""
        self._sums, self._embeddings = double_rows(self._sums), double_rows(self._embeddings)
        self._pinned_to, self._pinned = double_rows(self._pinned_to), double_rows(self._pinned)
        self._tracked = double_rows(self._tracked)

    def reset(self, row: int, identity: Conditioning, emotion: Conditioning) -> None:
        """Begin a stream in this row. Raises UserError: an unknown name, or a bad value."""
        self._sums[row], self._pinned[row], self._tracked[row] = 0, False, False
        self.pin(row, identity, emotion)
        pinned = self._pinned[row, :, None]
        self._embeddings[row] = np.where(pinned, self._pinned_to[row], self._mean)

    def pin(self, row: int, *conditionings: Conditioning | None) -> None:
        """Glide to another identity, emotion or both; "auto" follows the voice again, None leaves
        things as they are.

        Raises:
            UserError: an unknown name, or a bad value; nothing changes then.
        """
        resolved = [
            (kind, library.resolve(conditioning))
            for kind, (library, conditioning) in enumerate(
                zip(self._libraries, conditionings, strict=True)
            )
            if conditioning is not None
        ]
        for kind, embedding in resolved:
            self._pinned[row, kind] = embedding is not None
            if embedding is not None:
                self._pinned_to[row, kind] = embedding

    def nearest_name(self, row: int, kind: int) -> str | None:
        """The library's entry nearest to the embedding in use; None: no speech so far."""
        if not (self._pinned[row, kind] or self._tracked[row, kind]):
            return None
        library = self._libraries[kind]
        return library.names[library.nearest(self._embeddings[row, kind])]

    def modulations(self, rows: np.ndarray) -> np.ndarray:
        """FiLM scale and shift (B, 1, M) by the embeddings in use."""
        embeddings = self._embeddings[rows]
        return self._graphs.modulate(embeddings[:, 0], embeddings[:, 1])

    def accumulate(self, rows: np.ndarray, voice: np.ndarray) -> None:
        """Take the voice features (B, H) of the next frame into the moving averages."""
        self._sums[rows] = self._sums[rows] * self._decay + moments(voice)

    def update(self, rows: np.ndarray, frames: np.ndarray, speech: np.ndarray) -> np.ndarray:
        """Glide to the entries nearest to the voices or to what is pinned, where an update is due.

        Args:
            rows: (B,) of streams.
            frames: (B,) of their animations so far.
            speech: (B,) whether there has been any.

        Returns:
            the rows whose embeddings have changed.
        """
        parameters = self._parameters
        every = np.where(frames < parameters.early_frames, *parameters.update_frames)
        due = frames % every == 0
        rows, early, speech = rows[due], frames[due] <= parameters.early_frames, speech[due]
        if not len(rows):
            return rows
        before, pinned = self._embeddings[rows], self._pinned[rows]
        tracked = ~pinned & speech[:, None]
        goal = np.where(pinned[..., None], self._pinned_to[rows], before)
        self._tracked[rows] |= tracked
        any_tracked = tracked.any(axis=1)
        if any_tracked.any():
            statistics = mean_and_variance(self._sums[rows[any_tracked]])
            for kind, voices in enumerate(self._graphs.personalise(*statistics)):
                entries = self._libraries[kind].entries
                nearest = entries[(voices @ entries.T).argmax(axis=1)]
                own = tracked[any_tracked, kind, None]
                goal[any_tracked, kind] = np.where(own, nearest, goal[any_tracked, kind])
        share = np.where(early, *parameters.glide).astype(np.float32)
        between = before + share[:, None, None] * (goal - before)
        length = np.linalg.norm(between, axis=-1, keepdims=True)
        after = np.where(length < SHORTEST, goal, between / np.maximum(length, SHORTEST))
        self._embeddings[rows] = after
        return rows[(np.abs(after - before) > EQUAL).any(axis=(1, 2))]
