"""The motion decoder: a context that is computed once per clip, and a network that runs every step.

Both papers concatenate audio, personalized embedding, step and noisy coefficients and decode them
together, step after step. What does not depend on the step need not be computed again: the context
holds most of the capacity, so that fewer steps and more capacity no longer pull apart (our choice;
``context.depth: 0`` is the papers' form).
"""

import math
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.config import ContextSettings, DecoderSettings
from diffusiontalker.model.audio_encoder import FrameNorm
from diffusiontalker.model.convolutions import ChunkCache, FrameCache, TimeConv, masked

STEP_DIM = 64


def step_embedding(t: Tensor) -> Tensor:
    """Sines and cosines of t (B,) in [0, 1] at 32 geometric frequencies: (B, 64)."""
    frequencies = torch.exp(
        torch.arange(STEP_DIM // 2, device=t.device) * (math.log(1000.0) / (STEP_DIM // 2 - 1))
    )
    angles = t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(t.dtype)


def _expanded(t: Tensor, personalized: Tensor) -> Tensor:
    """``step_embedding`` of t (B,) or (1,), for the batch of ``personalized`` (B, P)."""
    return step_embedding(t).expand(personalized.shape[0], -1)


class TcnBlock(nn.Module):
    """A residual block: norm, FiLM scale and shift, convolution, GELU, linear."""

    def __init__(self, width: int, dilation: int, condition: int, causal: bool) -> None:
        super().__init__()
        self.norm = FrameNorm(width)
        self.film = nn.Linear(condition, 2 * width)
        self.dilated = TimeConv(width, width, 3, dilation, causal)
        self.mix = nn.Linear(width, width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def modulation(self, condition: Tensor) -> list[Tensor]:
        """FiLM scale and shift (B, 1, W) from the ``condition`` (B, K)."""
        scale, shift = self.film(condition)[:, None].chunk(2, dim=-1)
        return [1 + scale, shift]

    def forward(
        self, h: Tensor, modulation: Iterator[Tensor], mask: Tensor | None,
        cache: ChunkCache | FrameCache | None = None,
    ) -> Tensor:  # fmt: skip
        """``h`` (B, T, W), ``mask`` (B, T, 1)."""
        inner = masked(self.norm(h) * next(modulation) + next(modulation), mask)
        return h + masked(self.mix(nn.functional.gelu(self.dilated(inner, cache))), mask)


def _modulation(blocks: Iterable[nn.Module], condition: Tensor) -> list[Tensor]:
    return [part for block in blocks for part in cast(TcnBlock, block).modulation(condition)]


class Context(nn.Module):
    """Audio features and personalized embedding to the decoder's input in every step, and the mean.

    The mean (B, T, 52) is the expected face given the audio, standardised. It nearly determines
    the mouth, but not the upper face; the decoder samples around it.
    """

    def __init__(
        self, settings: ContextSettings, audio: int, personalized: int, causal: bool
    ) -> None:
        super().__init__()
        width, dilations = settings.width, settings.dilations
        self.enter = TimeConv(audio, width, 3, causal=causal)
        self.blocks = nn.ModuleList(
            TcnBlock(width, dilations[i % len(dilations)], personalized, causal)
            for i in range(settings.depth)
        )
        self.norm = FrameNorm(width)
        self.mean = nn.Linear(width, len(CHANNELS))
        # It begins at rest: random weights would make it tremble, and the moving average
        # of squared gradients in Adam would remember that for half of a short training.
        nn.init.zeros_(self.mean.weight)

    def modulation(self, personalized: Tensor) -> list[Tensor]:
        """FiLM scales and shifts of the blocks, in order, from the personalized embedding (B, P):
        (B, 1, W) each."""
        return _modulation(self.blocks, personalized)

    def forward(
        self, audio: Tensor, modulation: Iterable[Tensor], mask: Tensor | None,
        cache: ChunkCache | FrameCache | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """``audio`` (B, T, A), ``mask`` (B, T, 1) -> (B, T, K), mean."""
        h = masked(self.enter(masked(audio, mask), cache), mask)
        parts = iter(modulation)
        for block in self.blocks:
            h = block(h, parts, mask, cache)
        h = masked(self.norm(h), mask)
        return h, masked(self.mean(h), mask)


class GruDecoder(nn.Module):
    """v1's decoder: everything concatenated per frame, then a GRU (v1: 2 layers of 256).

    Unidirectional, as published.
    """

    def __init__(self, settings: DecoderSettings, context: int, personalized: int) -> None:
        super().__init__()
        size = len(CHANNELS) + context + personalized + STEP_DIM
        self.gru = nn.GRU(size, settings.width, settings.depth, batch_first=True)
        self.out = nn.Linear(settings.width, len(CHANNELS))
        nn.init.zeros_(self.out.weight)

    def modulation(self, t: Tensor, personalized: Tensor) -> list[Tensor]:
        """As ``TcnDecoder.modulation``."""
        return [torch.cat([personalized, _expanded(t, personalized)], dim=-1)[:, None]]

    def forward(
        self, x_t: Tensor, context: Tensor, modulation: Iterable[Tensor], mask: Tensor | None,
        cache: ChunkCache | FrameCache | None = None,
    ) -> Tensor:  # fmt: skip
        """``x_t`` (B, T, 52), ``context`` (B, T, K), ``mask`` (B, T, 1)."""
        (once,) = modulation
        once = once.expand(-1, x_t.shape[1], -1)
        x = masked(torch.cat([x_t, context, once], dim=-1), mask)
        if cache is None:
            h, _ = self.gru(x)
        else:
            layers, width = self.gru.num_layers, self.gru.hidden_size
            before = cache.read(x, layers * width).unflatten(1, (layers, width)).transpose(0, 1)
            h, after = self.gru(x, before.contiguous())
            cache.write(after.transpose(0, 1).flatten(1))
        return masked(self.out(h), mask)


class TcnDecoder(nn.Module):
    """Residual temporal convolutions: no recurrence, so fast on CPUs and easy to stream (ours)."""

    def __init__(
        self, settings: DecoderSettings, context: int, personalized: int, causal: bool
    ) -> None:
        super().__init__()
        width, dilations = settings.width, settings.dilations
        self.enter = TimeConv(len(CHANNELS) + context, width, 3, causal=causal)
        self.condition = nn.Sequential(
            nn.Linear(STEP_DIM + personalized, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
        )
        self.enter_condition = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            TcnBlock(width, dilations[i % len(dilations)], width, causal)
            for i in range(settings.depth)
        )
        self.norm = FrameNorm(width)
        self.out = nn.Linear(width, len(CHANNELS))
        nn.init.zeros_(self.out.weight)

    def modulation(self, t: Tensor, personalized: Tensor) -> list[Tensor]:
        """FiLM scales and shifts of the layers, in order: (B, 1, ...) each; from the step ``t``
        (B,), or (1,) for all, and the personalized embedding (B, P)."""
        condition = self.condition(torch.cat([_expanded(t, personalized), personalized], dim=-1))
        enter = self.enter_condition(condition)[:, None]
        return [enter, *_modulation(self.blocks, condition)]

    def forward(
        self, x_t: Tensor, context: Tensor, modulation: Iterable[Tensor], mask: Tensor | None,
        cache: ChunkCache | FrameCache | None = None,
    ) -> Tensor:  # fmt: skip
        """``x_t`` (B, T, 52), ``context`` (B, T, K), ``mask`` (B, T, 1)."""
        parts = iter(modulation)
        h = self.enter(masked(torch.cat([x_t, context], dim=-1), mask), cache)
        h = masked(h + next(parts), mask)
        for block in self.blocks:
            h = block(h, parts, mask, cache)
        return masked(self.out(self.norm(h)), mask)


def make_decoder(
    settings: DecoderSettings, context: int, personalized: int, causal: bool
) -> GruDecoder | TcnDecoder:
    """The decoder that ``settings.kind`` names."""
    if settings.kind == "gru":
        return GruDecoder(settings, context, personalized)
    return TcnDecoder(settings, context, personalized, causal)
