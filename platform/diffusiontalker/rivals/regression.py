"""Our student's network without diffusion: one prediction from the audio, v1's losses.

What is left of the method where nothing is sampled (our baseline): the decoder gets zeros for the
noisy face, at t = 1; identity and emotion are the library entries nearest to the voice.
"""

from dataclasses import replace

import torch
from torch import Tensor

from diffusiontalker.config import LossSettings
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.model.talker import Condition, Talker, TalkerConfig
from diffusiontalker.objectives import losses
from diffusiontalker.rivals.base import Batch, Regression, RivalConfig, reconstruction, weighted
from diffusiontalker.training.motion_statistics import motion_statistics
from diffusiontalker.training.objectives import contrast, personalise, without_padding

OWN = LossSettings()
WEIGHTS = {key: getattr(OWN, key) for key in ("exp", "vel", "lip", "con_identity", "con_emotion")}


class PlainRegression(Regression):
    """It recognises identity and emotion as our models do."""

    title = "regression, our student's network"
    recognises = ("identity", "emotion")

    def __init__(self, config: RivalConfig) -> None:
        super().__init__(config)
        assert config.talker is not None
        own = TalkerConfig.from_dict(config.talker)
        self.talker = Talker(replace(own, lip_seal=False))

    @property
    def takes_features(self) -> bool:
        """Whether our student does."""
        return self.talker.config.feature_dim is not None

    def prepare(self, data: CorpusFolder) -> None:
        """Scales, those of the network's own preconditioning among them."""
        super().prepare(data)
        statistics = motion_statistics(data, blinks=False)
        self.talker.set_scales(statistics.mean, statistics.deviation)

    def deployed(self) -> list[Tensor]:
        """As of our student."""
        return list(self.talker.deployed().values())

    def recognised(self, batch: Batch) -> tuple[Condition, Tensor, Tensor]:
        """As ``Talker.recognise``."""
        inputs = self.talker.inputs(batch.get("features"), batch["log_mel"])
        return self.talker.recognise(inputs, batch["mask"][..., None])

    def faces(self, batch: Batch) -> Tensor:
        """As ``Regression.faces``."""
        return self.predict(self.recognised(batch)[0])

    def detect(self, batch: Batch) -> dict[str, str]:
        """The library entries nearest to the voice."""
        _, identity, emotion = self.recognised(batch)
        own = self.talker.config
        return {"identity": own.identities[identity], "emotion": own.emotions[emotion]}

    def predict(self, condition: Condition) -> Tensor:
        """Coefficients (B, T, 52)."""
        nothing = torch.zeros_like(condition.mean)
        x_0 = self.talker.predict(nothing, nothing.new_ones(len(nothing)), condition)
        return self.talker.destandardise(x_0)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch of motion windows."""
        batch = without_padding(batch)
        inputs = self.talker.inputs(batch.get("features"), batch["log_mel"])
        audio = self.talker.encode(inputs, batch["mask"][..., None])
        condition, voice, keys = personalise(self.talker, audio, batch, generator)
        face = self.predict(condition)
        errors = {
            **reconstruction(face, batch),
            "lip": losses.lip(face, batch["coefficients"], batch["mask"]),
        }
        # As for our models the mean variance of a channel counts as 1: the weights of contrast are
        # relative to that.
        unit = self.talker.coefficient_scale.square().mean()
        parts = {
            **{key: error / unit for key, error in errors.items()},
            **contrast(voice, keys, batch, OWN.temperature),
        }
        return weighted(parts, WEIGHTS)
