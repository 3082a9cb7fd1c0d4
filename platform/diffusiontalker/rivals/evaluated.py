"""A trained rival as evaluation measures models."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from diffusiontalker import storage
from diffusiontalker.audio.log_mel import PER_FRAME, frame_count
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.evaluation.measure import ClipSamples, batch_of_one
from diffusiontalker.evaluation.models import Animation, EncoderName, Sample, model_inputs
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.rivals.base import Batch, Rival, labels_of
from diffusiontalker.rivals.kinds import KINDS, load_rival, read_config


@dataclass(frozen=True)
class TrainedRival:
    """A rival in PyTorch."""

    kind: str
    folder: str
    """Of its weights."""
    steps: int
    """Of diffusion; 1 for others."""
    seeds: int
    encoder: EncoderName
    """The frozen encoder of the run, which runs where the rival takes its features."""
    cached: bool = False
    """As in ``evaluation.models.TrainedModel``."""

    def identities(self) -> Collection[str]:
        """Names of its library. Raises UserError."""
        return read_config(storage.location(self.folder))[1].identities

    def recognised(self) -> Collection[str]:
        """The labels that it detects in a voice."""
        return KINDS[self.kind].recognises

    def load(self) -> Sample:
        """The function that samples. Raises UserError."""
        rival = load_rival(storage.location(self.folder))
        encoder = None if self.cached else self._encoder(rival)

        @torch.inference_mode()
        def sample(clip: Clip, number: int) -> ClipSamples:
            features, log_mel = model_inputs(clip, encoder, self.cached)
            batch = batch_of(rival, features, log_mel, clip.identity, clip.emotion)
            generator = torch.Generator().manual_seed(number)
            faces = rival.sample(batch, self.seeds, self.steps, generator).numpy()
            found = rival.detect(batch)
            return ClipSamples(faces, found.get("identity", ""), found.get("emotion", ""))

        return sample

    def on_other_shards(self) -> Self:
        """The same for shards whose features are not its encoder's."""
        return replace(self, cached=False)

    def animation(self) -> Animation:
        """Its work for a recording. Raises UserError."""
        rival = load_rival(storage.location(self.folder))
        encoder = self._encoder(rival)
        tensors = rival.deployed()
        if encoder is not None:
            tensors += encoder.model.module.parameters()

        @torch.inference_mode()
        def animate(audio: np.ndarray) -> None:
            clip = Clip("", None, None, "", None, audio, np.zeros((frame_count(len(audio)), 0)))
            batch = batch_of(rival, *model_inputs(clip, encoder, False), None, None)
            rival.sample(batch, 1, self.steps, torch.Generator().manual_seed(0))

        def features(audio: np.ndarray) -> np.ndarray | None:
            return None if encoder is None else encoder(audio, frame_count(len(audio)))

        return Animation(animate, features, tensors)

    def _encoder(self, rival: Rival) -> FrozenEncoder | None:
        return FrozenEncoder(*self.encoder) if rival.takes_features else None


def batch_of(
    rival: Rival, features: np.ndarray | None, log_mel: np.ndarray, identity: str | None,
    emotion: str | None,
) -> Batch:  # fmt: skip
    """A batch of one clip; a label that is not in the rival's library is unknown."""
    own, mel = batch_of_one(features), batch_of_one(log_mel)
    assert mel is not None
    return {
        **({} if own is None else {"features": own}),
        "log_mel": mel,
        "mask": torch.ones(1, mel.shape[1] // PER_FRAME),
        "identity": labels_of(rival.config.identities, identity),
        "emotion": labels_of(rival.config.emotions, emotion),
    }
