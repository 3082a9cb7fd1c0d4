"""The contrastive personalizer: identity and emotion embeddings from the voice (v1, v2).

Two learnable libraries hold one entry per identity and per emotion; MLP encoders turn entries into
embeddings on the unit sphere. Heads over the audio features derive embeddings in the same space;
the contrastive loss pulls a voice to its own entries. At inference the most similar entry is used
(v1), or a name, or the embedding of the voice itself. Identity and emotion are fused into the
personalized embedding by attention, over both or to the other alone (v2: cross-attention).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusiontalker.config import PersonalizerSettings

HEADS = 4
"""Of the cross-attention between identity and emotion; our choice."""
VOICE_FEATURES = 96
"""Voice features per head, whose mean and variance are pooled; our choice."""


@dataclass(frozen=True)
class VoiceEmbeddings:
    """Unit embeddings (B, E) of identity and emotion."""

    identity: Tensor
    emotion: Tensor


class Library(nn.Module):
    """Learnable entries (N, E) and the MLP that encodes them (v1's identity encoder)."""

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.randn(count, dim))
        self.encode = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self) -> Tensor:
        """Unit embeddings (N, E) of all entries."""
        return F.normalize(self.encode(self.entries), dim=-1)


class VoiceHead(nn.Module):
    """Audio features (B, T, A) to one unit embedding (B, E), by statistics over time.

    Mean and standard deviation of a frame-wise MLP: our choice; v1 leaves the pooling open.
    """

    def __init__(self, audio: int, dim: int) -> None:
        super().__init__()
        hidden = VOICE_FEATURES
        self.frames = nn.Sequential(nn.Linear(audio, hidden), nn.GELU())
        self.pooled = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.GELU(), nn.Linear(hidden, dim)
        )

    def forward(self, audio: Tensor, mask: Tensor) -> Tensor:
        """``audio`` (B, T, A), ``mask`` (B, T, 1) of real frames."""
        h = self.frames(audio)
        count = mask.sum(1).clamp(min=1)
        mean = (h * mask).sum(1) / count
        variance = ((h - mean[:, None]).square() * mask).sum(1) / count
        return self.pool(mean, variance)

    def pool(self, mean: Tensor, variance: Tensor) -> Tensor:
        """The embedding (B, E) from mean and variance (B, H) of ``frames``."""
        statistics = torch.cat([mean, (variance + 1e-5).sqrt()], dim=-1)
        return F.normalize(self.pooled(statistics), dim=-1)


class Personalizer(nn.Module):
    """Libraries, heads and fusion."""

    def __init__(
        self, settings: PersonalizerSettings, audio: int, identities: int, emotions: int
    ) -> None:
        super().__init__()
        self.settings = settings
        dim = settings.dim
        self.identities = Library(identities, dim)
        self.emotions = Library(emotions, dim)
        self.identity_head = VoiceHead(audio, dim)
        self.emotion_head = VoiceHead(audio, dim)
        self.tokens = nn.Linear(dim, settings.fused)
        is_cross = settings.fusion == "cross"
        self.kinds = nn.Parameter(torch.zeros(2, settings.fused)) if is_cross else None
        self.attention = nn.MultiheadAttention(settings.fused, HEADS, batch_first=True)
        self.fuse = nn.Linear(2 * settings.fused, settings.fused)

    def embed(self, audio: Tensor, mask: Tensor) -> VoiceEmbeddings:
        """Embeddings of the voice in ``audio`` (B, T, A), ``mask`` (B, T, 1) of real frames."""
        return VoiceEmbeddings(self.identity_head(audio, mask), self.emotion_head(audio, mask))

    def voice_features(self, audio: Tensor) -> Tensor:
        """Voice features (B, T, H) of ``audio`` (B, T, A), for ``embed_statistics``."""
        heads = self.identity_head, self.emotion_head
        return torch.cat([head.frames(audio) for head in heads], dim=-1)

    def embed_statistics(self, mean: Tensor, variance: Tensor) -> VoiceEmbeddings:
        """Embeddings from mean and variance (B, H) of ``voice_features`` over any period."""
        identity, emotion = zip(mean.chunk(2, dim=-1), variance.chunk(2, dim=-1), strict=True)
        return VoiceEmbeddings(self.identity_head.pool(*identity), self.emotion_head.pool(*emotion))

    def forward(self, identity: Tensor, emotion: Tensor) -> Tensor:
        """Fuse unit embeddings (B, E) of identity and emotion: personalized embedding (B, P).

        Each of the two tokens attends to both, or to the other alone (``fusion``); an embedding
        switched off in the settings is zero.
        """
        identity = identity * float(self.settings.use_identity)
        emotion = emotion * float(self.settings.use_emotion)
        tokens = self.tokens(torch.stack([identity, emotion], dim=1))
        itself = None  # true where a token must not attend
        if self.kinds is not None:
            tokens = tokens + self.kinds
            itself = torch.eye(2, dtype=torch.bool, device=tokens.device)
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False, attn_mask=itself)
        return self.fuse((tokens + attended).flatten(1))
