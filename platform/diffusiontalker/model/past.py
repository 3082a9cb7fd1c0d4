"""Causal networks chunk by chunk: what they remember of the frames before, in one flat tensor."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Past:
    """The state of a causal network between two chunks of a clip.

    The layers take and give their parts in the order in which they run, so that the whole is one
    tensor (B, S), whatever the network. Zeros stand for the time before the clip, as padding does
    where a clip is seen whole.
    """

    def __init__(self, state: Tensor | None = None) -> None:
        """``state`` (B, S) as ``state()`` gave it after the chunk before; None: a clip begins."""
        self._state = state
        self._taken = 0
        self._given: list[Tensor] = []

    def take(self, like: Tensor, size: int) -> Tensor:
        """The next layer's part (B, size); zeros like ``like`` where a clip begins."""
        if self._state is None:
            return like.new_zeros(like.shape[0], size)
        self._taken += size
        return self._state[:, self._taken - size : self._taken]

    def give(self, part: Tensor) -> None:
        """That layer's part (B, size) for the next chunk."""
        self._given.append(part)

    def before(self, x: Tensor, frames: int) -> Tensor:
        """``x`` (B, C, T) with the ``frames`` frames before it: (B, C, frames + T)."""
        channels = x.shape[1]
        kept = self.take(x, channels * frames).unflatten(1, (channels, frames))
        longer = torch.cat([kept, x], dim=-1)
        self.give(longer[..., -frames:].flatten(1))
        return longer

    @property
    def used(self) -> bool:
        """Whether any layer keeps anything."""
        return bool(self._given)

    def state(self) -> Tensor:
        """(B, S) for the next chunk."""
        return torch.cat(self._given, dim=1)


class TimeConv(nn.Conv1d):
    """A convolution that keeps the number of frames; causal, it sees nothing of the future."""

    def __init__(
        self, channels: int, out: int, kernel: int, dilation: int = 1, causal: bool = False
    ) -> None:
        self.reach = (kernel - 1) * dilation
        self.causal = causal
        padding = 0 if causal else self.reach // 2
        super().__init__(channels, out, kernel, padding=padding, dilation=dilation)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """``x`` (B, C, T) -> (B, out, T). Only a causal one goes on from a ``past``."""
        if self.causal:
            x = F.pad(x, (self.reach, 0)) if past is None else past.before(x, self.reach)
        return super().forward(x)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` with zeros where ``mask`` is 0; None: every frame is real."""
    return x if mask is None else x * mask
