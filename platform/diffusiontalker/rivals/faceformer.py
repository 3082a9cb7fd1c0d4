"""FaceFormer (Fan et al., CVPR 2022, arXiv 2112.05329): autoregressive transformer regression.

As in the authors' ``faceformer.py`` (EvelynFan/FaceFormer): one decoder layer of width 64, whose
input is the face that it predicted for the frame before, plus the speaker's style; trained without
teacher forcing, with the mean squared error. The equations' numbers could not be checked: our
reading.
"""

import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.rivals.attention import AlignedDecoderLayer, positions, zero_linear
from diffusiontalker.rivals.base import Batch, Regression, RivalConfig, Style, reconstruction
from diffusiontalker.training.objectives import without_padding


class FaceFormer(Regression):
    """Its face is drawn frame by frame, in training, too."""

    title = "FaceFormer"
    width = 64

    def __init__(self, config: RivalConfig) -> None:
        super().__init__(config)
        self.audio = nn.Linear(config.feature_dim, self.size)
        self.motion = nn.Linear(len(CHANNELS), self.size)
        self.style = Style(len(config.identities), self.size)
        self.layer = AlignedDecoderLayer(self.size, 2 * self.size)
        self.out = zero_linear(self.size, len(CHANNELS))

    def faces(self, batch: Batch) -> Tensor:
        """As ``Regression.faces``."""
        memory = self.audio(batch["features"])
        style = self.style(batch["identity"])[:, None]
        places = positions(memory.shape[1], self.size, memory)
        cache: list[tuple[Tensor, Tensor]] = []
        found: list[Tensor] = []
        token = style
        for place, own in zip(places, memory.split(1, dim=1), strict=True):
            found.append(self.out(self.layer.step(token + place, own, cache)))
            token = self.motion(found[-1]) + style
        return self.destandardise(torch.cat(found, dim=1))

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the coefficients."""
        batch = without_padding(batch)
        parts = reconstruction(self.faces(batch), batch)
        return {"loss": parts["exp"], **parts}
