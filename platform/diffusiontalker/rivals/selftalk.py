"""SelfTalk (Peng et al., ACM MM 2023, arXiv 2306.10799): lips must be readable.

A transformer decoder layer draws the face from the audio; a lip-reading transformer reads the lips
of that face, and what it reads must agree with what a speech recogniser hears (the authors'
``SelfTalk.py`` and ``main.py``, psyai-net/SelfTalk_release: mean squared errors of face, velocity
and latent, and a CTC loss on the recogniser's text, weighted 1000 : 1000 : 0.001 : 0.0001 on
vertices in metres). The equations' numbers could not be checked: our reading.

Here the frozen encoder takes the recogniser's place. It has no text, so the CTC loss is left out,
and the latent's weight on coefficients is our choice.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusiontalker.arkit import CHANNELS, LIP
from diffusiontalker.objectives import losses
from diffusiontalker.rivals.attention import HEADS, zero_linear
from diffusiontalker.rivals.base import Batch, Regression, RivalConfig, reconstruction, weighted
from diffusiontalker.training.objectives import without_padding

WEIGHTS = {"exp": 1.0, "vel": 1.0, "latent": 0.001}


class SelfTalk(Regression):
    """It knows neither speakers nor emotions."""

    title = "SelfTalk"
    width = 512
    training_only = ("lips", "reader", "read")

    def __init__(self, config: RivalConfig) -> None:
        super().__init__(config)
        self.audio = nn.Linear(config.feature_dim, self.size)
        self.layer = nn.TransformerDecoderLayer(self.size, HEADS, 2 * self.size, batch_first=True)
        self.out = zero_linear(self.size, len(CHANNELS))
        self.lips = nn.Linear(len(LIP), self.size)
        self.reader = nn.TransformerEncoderLayer(self.size, HEADS, 2 * self.size, batch_first=True)
        self.read = nn.Linear(self.size, config.feature_dim)

    def faces(self, batch: Batch) -> Tensor:
        """As ``Regression.faces``."""
        audio, padding = self.audio(batch["features"]), batch["mask"] == 0
        h = self.layer(audio, audio, tgt_key_padding_mask=padding, memory_key_padding_mask=padding)
        return self.destandardise(self.out(h))

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch of motion windows."""
        batch = without_padding(batch)
        face, heard = self.faces(batch), batch["features"]
        lips = self.lips(self.standardise(face)[..., list(LIP)])
        read = self.read(self.reader(lips, src_key_padding_mask=batch["mask"] == 0))
        latent = losses.exp(read, F.layer_norm(heard, heard.shape[-1:]), batch["mask"])
        return weighted({**reconstruction(face, batch), "latent": latent}, WEIGHTS)
