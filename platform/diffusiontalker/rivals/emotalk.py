"""EmoTalk (Peng et al., ICCV 2023, arXiv 2303.11089): emotion and content disentangled.

A content branch and an emotion branch over the audio; frames of content, emotion and speaker enter
a decoder layer whose memory is the emotion (the authors' ``model.py``, psyai-net/EmoTalk_release:
widths 512 + 256 + 32, decoder 832 = 512 + 256 + 2 x 32, without the level of emotion here, which
our shards do not have). Losses: cross- and self-reconstruction, velocity, classification of the
emotion. The training code is not released, and the weights and equations' numbers could not be
checked: the weights are our choice.

Cross-reconstruction in the paper needs the same sentence in two emotions, aligned in time. No
shards hold such pairs; here the emotion branch sees another window of the same emotion (our
substitution), mostly of another clip, so that it can carry little content, and is pooled over time,
as windows differ in length.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.rivals.attention import AlignedDecoderLayer, positions, zero_linear
from diffusiontalker.rivals.base import (
    Batch,
    Regression,
    RivalConfig,
    Style,
    reconstruction,
    weighted,
)
from diffusiontalker.training.objectives import without_padding
from diffusiontalker.training.windows import UNKNOWN

WEIGHTS = {"cross": 1.0, "exp": 1.0, "vel": 0.5, "emotion": 0.001}
"""Of cross-reconstruction, self-reconstruction, velocity and classification: our choice."""
SHARES = {"content": 512, "emotion": 256, "person": 64}
"""Parts of the decoder's width."""


class EmoTalk(Regression):
    """It detects the emotion itself; the speaker is given."""

    title = "EmoTalk"
    width = 832
    recognises = ("emotion",)

    def __init__(self, config: RivalConfig) -> None:
        super().__init__(config)
        total = sum(SHARES.values())
        content, emotion = (self.size * SHARES[key] // total for key in ("content", "emotion"))
        self.content = nn.Linear(config.feature_dim, content)
        self.emotion_frames = nn.Sequential(nn.Linear(config.feature_dim, self.size), nn.ReLU())
        self.emotion = nn.Sequential(nn.Linear(self.size, emotion), nn.ReLU())
        self.classify = nn.Linear(self.size, max(len(config.emotions), 1))
        self.person = Style(len(config.identities), self.size - content - emotion)
        self.layer = AlignedDecoderLayer(self.size, self.size)
        self.out = zero_linear(self.size, len(CHANNELS))

    def faces(self, batch: Batch) -> Tensor:
        """As ``Regression.faces``."""
        return self.decode(batch, self.pooled_emotion(batch))

    def detect(self, batch: Batch) -> dict[str, str]:
        """The most probable emotion."""
        index = int(self.classify(self.pooled_emotion(batch)).argmax(-1))
        return {"emotion": self.config.emotions[index] if self.config.emotions else ""}

    def pooled_emotion(self, batch: Batch) -> Tensor:
        """The emotion branch (B, W), mean over time."""
        mask = batch["mask"][..., None]
        frames = self.emotion_frames(batch["features"]) * mask
        return frames.sum(1) / mask.sum(1).clamp(min=1)

    def decode(self, batch: Batch, emotion: Tensor) -> Tensor:
        """Coefficients (B, T, 52) from the content of a batch and an emotion (B, W)."""
        content = self.content(batch["features"])
        frames = content.shape[1]
        over_time = [self.emotion(emotion), self.person(batch["identity"])]
        constant = torch.cat(over_time, dim=-1)[:, None].expand(-1, frames, -1)
        x = torch.cat([content, constant], dim=-1)
        x = x + positions(frames, self.size, x)
        memory = emotion[:, None].expand(-1, frames, -1)
        return self.destandardise(self.out(self.layer(x, memory)))

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """One batch of motion windows."""
        batch = without_padding(batch)
        emotion, labels = self.pooled_emotion(batch), batch["emotion"]
        other = emotion[partners(labels, generator)]
        own = reconstruction(self.decode(batch, emotion), batch)
        crossed = reconstruction(self.decode(batch, other), batch)
        known = labels != UNKNOWN
        each = F.cross_entropy(self.classify(emotion), labels.clamp(min=0), reduction="none")
        parts = {
            "cross": crossed["exp"],
            "exp": own["exp"],
            "vel": (own["vel"] + crossed["vel"]) / 2,
            "emotion": (each * known).sum() / known.sum().clamp(min=1),
        }
        return weighted(parts, WEIGHTS)


def partners(labels: Tensor, generator: torch.Generator) -> Tensor:
    """For each example a random other one of the same known label, or itself: indices (B,)."""
    same = (labels[:, None] == labels) & (labels != UNKNOWN)
    same = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    alone = ~same.any(1)
    same[alone, alone.nonzero()[:, 0]] = True
    return torch.multinomial(same.float(), 1, generator=generator)[:, 0]
