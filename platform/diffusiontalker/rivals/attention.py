"""The transformer decoder layer of FaceFormer, which EmoTalk and others took over.

Self-attention is causal and biased towards recent periods, cross-attention is aligned: a frame
attends to its own frame of the memory alone, so that its weights are 1 and only the projection of
the memory is left. Positions repeat after a period (FaceFormer, arXiv 2112.05329, its sections on
biased causal and cross-modal multi-head attention and periodic positional encoding; as in the
authors' ``faceformer.py``).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEADS = 4
PERIOD = 30
"""Frames after which positions repeat (for 30 fps, as in the released code)."""
DROPOUT = 0.1


def positions(frames: int, width: int, like: Tensor) -> Tensor:
    """Periodic positional encoding (frames, W): sines and cosines of the place in the period."""
    at = (torch.arange(frames, device=like.device) % PERIOD)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10000.0) / width))
    angles = at * rate
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)


def bias(frames: int, like: Tensor, first: int = 0) -> Tensor:
    """Bias (heads, frames - first, frames) of self-attention for the frames from ``first`` on.

    Minus the number of whole periods between two frames, times a slope per head (2^-2, 2^-4, ...),
    and minus infinity for later frames."""
    at = torch.arange(frames, device=like.device)
    gap = at[first:, None] - at
    slopes = 2.0 ** (-8 / HEADS * torch.arange(1, HEADS + 1, device=like.device))
    found = -slopes[:, None, None] * (gap // PERIOD)
    return found.masked_fill(gap < 0, -math.inf).to(like.dtype)


class AlignedDecoderLayer(nn.Module):
    """A post-norm layer: biased causal self-attention, aligned cross-attention, feed-forward."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.cross = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))
        self.inner = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(hidden, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """``x`` and ``memory`` (B, T, W) -> (B, T, W)."""
        query, key, value = (self._split(part) for part in self.qkv(x).chunk(3, dim=-1))
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias(x.shape[1], x)[None]
        )
        return self._rest(x, attended.transpose(1, 2).flatten(2), memory)

    def step(self, x: Tensor, memory: Tensor, cache: list[tuple[Tensor, Tensor]]) -> Tensor:
        """One more frame: ``x`` and ``memory`` (B, 1, W); ``cache`` holds keys and values so far.
        All frames, one after another, give what ``forward`` gives."""
        query, key, value = (self._split(part) for part in self.qkv(x).chunk(3, dim=-1))
        cache.append((key, value))
        keys, values = (torch.cat(parts, dim=2) for parts in zip(*cache, strict=True))
        attended = F.scaled_dot_product_attention(
            query, keys, values, attn_mask=bias(len(cache), x, len(cache) - 1)[None]
        )
        return self._rest(x, attended.transpose(1, 2).flatten(2), memory)

    def _rest(self, x: Tensor, attended: Tensor, memory: Tensor) -> Tensor:
        self_norm, cross_norm, inner_norm = self.norms
        x = self_norm(x + self.dropout(self.mix(attended)))
        x = cross_norm(x + self.dropout(self.cross(memory)))
        return inner_norm(x + self.dropout(self.inner(x)))

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, W) -> (B, heads, T, W / heads)."""
        return x.unflatten(-1, (HEADS, self.width // HEADS)).transpose(1, 2)


def zero_linear(width: int, out: int) -> nn.Linear:
    """A linear layer that begins with zeros, as the released codes do for their output."""
    layer = nn.Linear(width, out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
