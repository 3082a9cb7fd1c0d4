"""FaceDiffuser (Stan et al., MIG 2023, arXiv 2309.11306): GRU diffusion, 1000 steps.

Its form for BEAT's coefficients, as in the authors' ``FaceDiffBeat`` (models.py,
uuembodiedsocialai/FaceDiffuser): audio features, noisy face and an embedding of the step, layer
norm, a GRU of 2 layers and 256 units with dropout .3, no speaker; x_0 prediction, mean squared
error. The equations' numbers could not be checked: our reading.
"""

import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.rivals.base import Batch, Diffusion, RivalConfig


class FaceDiffuser(Diffusion):
    """``condition`` is empty here; a subclass appends what else the decoder sees."""

    title = "FaceDiffuser"
    condition_width = 0

    def __init__(self, config: RivalConfig) -> None:
        super().__init__(config)
        # A table is the linear layer over one-hot steps of the released code.
        self.step = nn.Sequential(nn.Embedding(self.steps, self.size), nn.Mish())
        total = config.feature_dim + len(CHANNELS) + self.size + self.condition_width
        self.norm = nn.LayerNorm(total)
        self.gru = nn.GRU(total, self.size, num_layers=2, batch_first=True, dropout=0.3)
        self.out = nn.Linear(self.size, len(CHANNELS))

    def condition(self, batch: Batch) -> list[Tensor]:
        """Further inputs (B, W) of every frame."""
        return []

    def predict(self, x_t: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """As ``Diffusion.predict``."""
        number = (t * self.steps).round().long().clamp(1, self.steps) - 1
        constant = torch.cat([self.step(number), *self.condition(batch)], dim=-1)
        frames = constant[:, None].expand(-1, x_t.shape[1], -1)
        h, _ = self.gru(self.norm(torch.cat([batch["features"], x_t, frames], dim=-1)))
        return self.out(h)
