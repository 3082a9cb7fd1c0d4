"""Models that sample faces for clips: exported, or of a run in PyTorch."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.log_mel import log_mel
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.evaluation import measure
from diffusiontalker.evaluation.measure import ClipSamples
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.features.stage import to_length
from diffusiontalker.runtime import artifact
from diffusiontalker.runtime.student import Student
from diffusiontalker.training.checkpoints import load_config, load_talker

Sample = Callable[[Clip, int], ClipSamples]
"""Samples faces for a clip; its number determines the noise."""


@dataclass(frozen=True)
class ExportedModel:
    """An artifact."""

    folder: str
    steps: int
    """Sampling steps, which are unrolled into its graphs."""
    seeds: int
    """Samples per clip."""

    def identities(self) -> Collection[str]:
        """Names of its library. Raises UserError."""
        return artifact.read_config(storage.location(self.folder)).identities

    def load(self) -> Sample:
        """The function that samples. Raises UserError: no artifact of this release."""
        student = Student(self.folder)

        def sample(clip: Clip, number: int) -> ClipSamples:
            seeds = range(number * self.seeds, (number + 1) * self.seeds)
            found = [
                student.animate(clip.audio, SAMPLE_RATE, seed=seed, where=clip.id) for seed in seeds
            ]
            faces = [to_frames(one.coefficients, len(clip.coefficients)) for one in found]
            # None: there is no speech in the clip.
            return ClipSamples(np.stack(faces), found[0].identity or "", found[0].emotion or "")

        return sample


@dataclass(frozen=True)
class TrainedModel:
    """A teacher or a student in PyTorch."""

    folder: str
    """Of its weights."""
    steps: int
    sampler: str
    seeds: int
    encoder: tuple[str, tuple[int, ...], str | None] | None = None
    """Name, layers and revision of the frozen encoder whose features it takes. It runs anew:
    features in shards may be another encoder's, or of degraded audio."""

    def identities(self) -> Collection[str]:
        """Names of its library. Raises UserError."""
        return load_config(storage.location(self.folder)).identities

    def load(self) -> Sample:
        """The function that samples. Raises UserError: no such model or encoder."""
        talker = load_talker(storage.location(self.folder)).eval()
        encoder = None if self.encoder is None else FrozenEncoder(*self.encoder)

        def sample(clip: Clip, number: int) -> ClipSamples:
            frames = len(clip.coefficients)
            features = None if encoder is None else encoder(clip.audio, frames)
            mel = measure.batch_of_one(to_length(log_mel(clip.audio), frames))
            assert mel is not None
            inputs = talker.inputs(measure.batch_of_one(features), mel)
            return measure.sample(
                talker, inputs, frames, self.steps, self.sampler, self.seeds, number
            )

        return sample


def to_frames(face: np.ndarray, frames: int) -> np.ndarray:
    """A face (T, 52) with exactly ``frames`` frames, the last one held: a recorded face may be a
    frame longer or shorter than its audio."""
    missing = frames - len(face)
    return face[:frames] if missing <= 0 else np.pad(face, ((0, missing), (0, 0)), "edge")
