"""UniTalker (Fan et al., ECCV 2024, arXiv 2408.00762): one model for many kinds of faces.

For the one kind that shards hold, one output head is left. The decoder is the convolutional one of
the authors' ``unitalker_decoder.py`` (X-niper/UniTalker): audio features and a style of 64
dimensions through temporal convolutions. The last style is the pivot identity: a share of the
training examples has it, and so have speakers who are not in the training set. The loss is that of
``BlendShapeLoss`` (loss.py): mean squared error of the vertices that the coefficients move, here of
the head that reports measure on, plus that of the coefficients. The depth of the convolutions, the
share and the weight of the coefficients (``blendshape_weight``) are our choice; the equations'
numbers could not be checked: our reading.
"""

import torch
from torch import Tensor, nn

from diffusiontalker.animation.rig import default_rig
from diffusiontalker.arkit import CHANNELS
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.rivals.attention import zero_linear
from diffusiontalker.rivals.base import Batch, Regression, RivalConfig, reconstruction, weighted
from diffusiontalker.training.objectives import without_padding
from diffusiontalker.training.windows import UNKNOWN

STYLE = 64
DILATIONS = (1, 2, 4, 8)
PIVOT = 0.1
"""Share of the training examples with the pivot identity."""
WEIGHTS = {"vertices": 1e4, "exp": 1.0, "vel": 0.0}
"""Of errors in m², so that they count in cm², and of coefficients."""


class UniTalker(Regression):
    """Speakers are given; others have the pivot identity."""

    title = "UniTalker"
    training_only = ("gram",)
    gram: Tensor
    """(52, 52): mean over a rig's vertices of the products of two channels' displacements, so that
    the vertices' mean squared error of a difference d is d G d."""

    def __init__(self, config: RivalConfig) -> None:
        super().__init__(config)
        self.audio = nn.Linear(config.feature_dim, self.size)
        self.style = nn.Embedding(len(config.identities) + 1, STYLE)
        self.layers = nn.ModuleList(
            nn.Conv1d(self.size + STYLE, self.size, 3, padding=dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        self.out = zero_linear(self.size, len(CHANNELS))
        self.register_buffer("gram", torch.eye(len(CHANNELS)))

    def prepare(self, data: CorpusFolder) -> None:
        """Scales, and the displacements of the head that reports show."""
        super().prepare(data)
        deltas = torch.tensor(default_rig().deltas).flatten(1)
        self.gram.copy_(deltas @ deltas.T / deltas.shape[1])

    def faces(self, batch: Batch) -> Tensor:
        """As ``Regression.faces``."""
        pivot = len(self.config.identities)
        return self.decode(
            batch, torch.where(batch["identity"] == UNKNOWN, pivot, batch["identity"])
        )

    def decode(self, batch: Batch, styles: Tensor) -> Tensor:
        """Coefficients (B, T, 52) in the styles (B,) of the table."""
        mask = batch["mask"][:, None]
        h = self.audio(batch["features"]).transpose(1, 2) * mask
        style = self.style(styles)[..., None].expand(-1, -1, h.shape[-1])
        for layer in self.layers:
            h = (h + nn.functional.gelu(layer(torch.cat([h, style], dim=1) * mask))) * mask
        return self.destandardise(self.out(h.transpose(1, 2)))

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch of motion windows."""
        batch = without_padding(batch)
        styles, device = batch["identity"], batch["identity"].device
        drawn = torch.rand(len(styles), generator=generator, device=device) < PIVOT
        pivot = drawn | (styles == UNKNOWN)
        face = self.decode(batch, torch.where(pivot, len(self.config.identities), styles))
        error = (face - batch["coefficients"]) * batch["mask"][..., None]
        moved = ((error @ self.gram) * error).sum() / batch["mask"].sum().clamp(min=1)
        return weighted({"vertices": moved, **reconstruction(face, batch)}, WEIGHTS)
