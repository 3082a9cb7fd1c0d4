"""Models that sample faces for clips: exported, or of a run in PyTorch."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.log_mel import frame_count, log_mel
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.evaluation import measure
from diffusiontalker.evaluation.measure import ClipSamples
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.features.stage import to_length
from diffusiontalker.model.talker import Talker
from diffusiontalker.runtime import artifact
from diffusiontalker.runtime.student import Student
from diffusiontalker.training.checkpoints import load_config, load_talker

Sample = Callable[[Clip, int], ClipSamples]
"""Samples faces for a clip; its number determines the noise."""
EncoderName = tuple[str, tuple[int, ...], str | None]
"""Name, layers and revision of a frozen encoder."""
LABELS = ("identity", "emotion")


@dataclass(frozen=True)
class Animation:
    """A model's work for a recording (n,) at 16 kHz, to be timed."""

    animate: Callable[[np.ndarray], object]
    """From the waveform to a face."""
    features: Callable[[np.ndarray], object]
    """From the waveform to the audio features, which no sampling step changes: a part of it."""
    tensors: Sequence[Tensor]
    """All that it needs: weights of its own, and of its frozen encoder."""


class SampledModel(Protocol):
    """What is asked of a model to be measured on clips."""

    @property
    def steps(self) -> int:
        """Sampling steps."""
        ...

    def identities(self) -> Collection[str]:
        """Names of its library of identities. Raises UserError."""
        ...

    def recognised(self) -> Collection[str]:
        """Those of ``LABELS`` that it detects in a voice. Raises UserError."""
        ...

    def load(self) -> Sample:
        """The function that samples. Raises UserError: there is no such model."""
        ...


class TimedModel(SampledModel, Protocol):
    """What is asked of a model in PyTorch, whose speed and size are measured, too."""

    @property
    def folder(self) -> str:
        """Of its weights."""
        ...

    def animation(self) -> Animation:
        """Its work for a recording. Raises UserError."""
        ...

    def on_other_shards(self) -> Self:
        """The same for shards whose features are not its encoder's."""
        ...


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

    def recognised(self) -> Collection[str]:
        """Those of ``LABELS`` that it uses, and so detects. Raises UserError."""
        own = artifact.read_config(storage.location(self.folder)).model.get("personalizer", {})
        return [label for label in LABELS if own.get(f"use_{label}", True)]

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
    encoder: EncoderName | None = None
    """The frozen encoder whose features it takes."""
    cached: bool = False
    """Whether features and log-mel of the clips' own shards are this encoder's. Else it runs anew:
    those in shards may be another encoder's, or of degraded audio."""

    def identities(self) -> Collection[str]:
        """Names of its library. Raises UserError."""
        return load_config(storage.location(self.folder)).identities

    def recognised(self) -> Collection[str]:
        """Those of ``LABELS`` that it uses, and so detects. Raises UserError."""
        own = load_config(storage.location(self.folder)).personalizer
        used = {"identity": own.use_identity, "emotion": own.use_emotion}
        return [label for label in LABELS if used[label]]

    def load(self) -> Sample:
        """The function that samples. Raises UserError: no such model or encoder."""
        talker = load_talker(storage.location(self.folder)).eval()
        encoder = None if self.cached else self._encoder()

        def sample(clip: Clip, number: int) -> ClipSamples:
            inputs = talker_inputs(talker, *model_inputs(clip, encoder, self.cached))
            return measure.sample(
                talker, inputs, len(clip.coefficients), self.steps, self.sampler, self.seeds, number
            )

        return sample

    def animation(self) -> Animation:
        """Its work for a recording. Raises UserError: no such model or encoder."""
        talker = load_talker(storage.location(self.folder)).eval()
        encoder = self._encoder()
        tensors = list(talker.deployed().values())
        if encoder is not None:
            tensors += encoder.model.module.parameters()

        @torch.inference_mode()
        def features(audio: np.ndarray) -> Tensor:
            inputs = audio_inputs(talker, encoder, audio)
            return talker.encode(inputs, torch.ones(1, frame_count(len(audio)), 1))

        return Animation(
            lambda audio: animate(talker, encoder, audio, self.steps, self.sampler),
            features, tensors,
        )  # fmt: skip

    def on_other_shards(self) -> Self:
        """The same for shards whose features are not its encoder's."""
        return replace(self, cached=False)

    def _encoder(self) -> FrozenEncoder | None:
        return None if self.encoder is None else FrozenEncoder(*self.encoder)


def model_inputs(
    clip: Clip, encoder: FrozenEncoder | None, cached: bool
) -> tuple[np.ndarray | None, np.ndarray]:
    """Features (T, D) and log-mel (2T, 80) of a clip: those of its shard where they are ``cached``,
    or anew, features by the ``encoder``."""
    if cached:
        assert clip.log_mel is not None
        return clip.features, clip.log_mel
    frames = len(clip.coefficients)
    features = None if encoder is None else encoder(clip.audio, frames)
    return features, to_length(log_mel(clip.audio), frames)


def talker_inputs(talker: Talker, features: np.ndarray | None, mel: np.ndarray) -> Tensor:
    """``Talker.inputs`` of a batch of one."""
    own = measure.batch_of_one(mel)
    assert own is not None
    return talker.inputs(measure.batch_of_one(features), own)


def audio_inputs(talker: Talker, encoder: FrozenEncoder | None, audio: np.ndarray) -> Tensor:
    """``Talker.inputs`` of audio (n,) at 16 kHz."""
    frames = frame_count(len(audio))
    features = encoder(audio, frames) if encoder is not None else None
    return talker_inputs(talker, features, to_length(log_mel(audio), frames))


@torch.inference_mode()
def animate(
    talker: Talker, encoder: FrozenEncoder | None, audio: np.ndarray, steps: int, sampler: str,
    seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Audio (n,) at 16 kHz to coefficients (T, 52) with the PyTorch model."""
    inputs = audio_inputs(talker, encoder, audio)
    frames = frame_count(len(audio))
    return measure.sample(talker, inputs, frames, steps, sampler, 1, seed).samples[0]


def to_frames(face: np.ndarray, frames: int) -> np.ndarray:
    """A face (T, 52) with exactly ``frames`` frames, the last one held: a recorded face may be a
    frame longer or shorter than its audio."""
    missing = frames - len(face)
    return face[:frames] if missing <= 0 else np.pad(face, ((0, missing), (0, 0)), "edge")
