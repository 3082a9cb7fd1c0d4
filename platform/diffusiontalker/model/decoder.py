"""Motion decoders: (noisy coefficients, audio, personalized embedding, step) to a prediction.

Both map (B, T, 52) to (B, T, 52) and see the step as an embedding of t in [0, 1].
"""

import math

import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.config import DecoderSettings
from diffusiontalker.model.audio import ChannelNorm

STEP_DIM = 64


def step_embedding(t: Tensor) -> Tensor:
    """Sines and cosines of t (B,) in [0, 1] at 32 geometric frequencies: (B, 64)."""
    frequencies = torch.exp(
        torch.arange(STEP_DIM // 2, device=t.device) * (math.log(1000.0) / (STEP_DIM // 2 - 1))
    )
    angles = t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(t.dtype)


class GruDecoder(nn.Module):
    """v1's decoder: everything concatenated per frame, then a GRU (v1: 2 layers of 256)."""

    def __init__(self, settings: DecoderSettings, audio: int, personalized: int) -> None:
        super().__init__()
        size = len(CHANNELS) + audio + personalized + STEP_DIM
        self.gru = nn.GRU(size, settings.width, settings.depth, batch_first=True)
        self.out = nn.Linear(settings.width, len(CHANNELS))

    def forward(
        self, x_t: Tensor, t: Tensor, audio: Tensor, personalized: Tensor, mask: Tensor
    ) -> Tensor:
        """``x_t`` (B, T, 52), ``t`` (B,), ``audio`` (B, T, A), ``personalized`` (B, P)."""
        once = torch.cat([personalized, step_embedding(t)], dim=-1)
        once = once[:, None].expand(-1, x_t.shape[1], -1)
        h, _ = self.gru(torch.cat([x_t, audio, once], dim=-1) * mask)
        return self.out(h) * mask


class TcnBlock(nn.Module):
    """One residual block: norm, scale and shift by the condition, dilated convolution, GELU, 1x1."""

    def __init__(self, width: int, dilation: int, condition: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.film = nn.Linear(condition, 2 * width)
        self.dilated = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, h: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """``h`` (B, W, T), ``condition`` (B, K), ``mask`` (B, 1, T)."""
        scale, shift = self.film(condition)[..., None].chunk(2, dim=1)
        inner = (self.norm(h) * (1 + scale) + shift) * mask
        return h + self.mix(nn.functional.gelu(self.dilated(inner))) * mask


class TcnDecoder(nn.Module):
    """Residual temporal convolutions: no recurrence, so fast on CPUs and easy to stream (ours)."""

    def __init__(self, settings: DecoderSettings, audio: int, personalized: int) -> None:
        super().__init__()
        width = settings.width
        self.enter = nn.Conv1d(len(CHANNELS) + audio, width, 3, padding=1)
        self.condition = nn.Sequential(
            nn.Linear(STEP_DIM + personalized, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.enter_condition = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            TcnBlock(width, settings.dilations[i % len(settings.dilations)], width)
            for i in range(settings.depth)
        )
        self.norm = ChannelNorm(width)
        self.out = nn.Conv1d(width, len(CHANNELS), 1)

    def forward(
        self, x_t: Tensor, t: Tensor, audio: Tensor, personalized: Tensor, mask: Tensor
    ) -> Tensor:
        """``x_t`` (B, T, 52), ``t`` (B,), ``audio`` (B, T, A), ``personalized`` (B, P)."""
        mask = mask.transpose(1, 2)
        condition = self.condition(torch.cat([step_embedding(t), personalized], dim=-1))
        h = self.enter(torch.cat([x_t, audio], dim=-1).transpose(1, 2) * mask)
        h = (h + self.enter_condition(condition)[..., None]) * mask
        for block in self.blocks:
            h = block(h, condition, mask)
        return (self.out(self.norm(h)) * mask).transpose(1, 2)


def make_decoder(
    settings: DecoderSettings, audio: int, personalized: int
) -> GruDecoder | TcnDecoder:
    """The decoder that ``settings.kind`` names."""
    kind = GruDecoder if settings.kind == "gru" else TcnDecoder
    return kind(settings, audio, personalized)
