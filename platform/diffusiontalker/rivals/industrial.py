"""The recipe of industrial tools: GRU diffusion on HuBERT, respaced to 2 steps, never distilled.

As NVIDIA's Audio2Face-3D diffusion model is described: two GRU layers of 256 units, an embedding of
32 dimensions for emotion and one for the actor, 1000 cosine steps in training and 2 in use. Nothing
else of it is published: the rest is FaceDiffuser's (our choice). Both labels are given where they
are known, as its users do.
"""

import torch
from torch import Tensor

from diffusiontalker.rivals.base import Batch, RivalConfig, Style
from diffusiontalker.rivals.facediffuser import FaceDiffuser

LABEL = 32
"""Width of each label's embedding."""


class Industrial(FaceDiffuser):
    """FaceDiffuser with emotion and actor."""

    title = "HuBERT + GRU diffusion, respaced"
    condition_width = 2 * LABEL

    def __init__(self, config: RivalConfig) -> None:
        super().__init__(config)
        self.actor = Style(len(config.identities), LABEL)
        self.emotion = Style(len(config.emotions), LABEL)

    def condition(self, batch: Batch) -> list[Tensor]:
        """Embeddings of the labels."""
        return [torch.cat([self.actor(batch["identity"]), self.emotion(batch["emotion"])], dim=-1)]
