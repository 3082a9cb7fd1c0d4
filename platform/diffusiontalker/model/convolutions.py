"""Convolutions over time, and what causal ones remember of the frames before, chunk by chunk."""

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

    def windows(self, x: Tensor, kernel: int, dilation: int) -> Tensor:
        """What each frame of a causal convolution of ``x`` (B, T, C) sees: (B, T, kernel * C)."""
        frames, channels = (kernel - 1) * dilation, x.shape[2]
        kept = self.take(x, frames * channels).unflatten(1, (frames, channels))
        longer = torch.cat([kept, x], dim=1)
        self.give(longer[:, -frames:].flatten(1))
        return windows(longer, kernel, dilation)

    @property
    def used(self) -> bool:
        """Whether any layer keeps anything."""
        return bool(self._given)

    def state(self) -> Tensor:
        """(B, S) for the next chunk."""
        return torch.cat(self._given, dim=1)


class Taps:
    """The state of a causal network that makes a single frame: of each layer's past, no more than
    that frame sees.

    What layers of one dilation d saw two and one dilations ago goes in as ``far_d`` and ``near_d``
    (B, 1, C), in the order in which the layers run, and what they see now comes out; who keeps it
    (``runtime.history``) need not move what no layer looks at. ``near_0`` is what a recurrent layer
    left.
    """

    def __init__(self, past: dict[str, Tensor] | None = None) -> None:
        """``past`` by name; None: a clip begins."""
        self._past = past
        self._taken: dict[int, int] = {}
        self._given: dict[int, list[Tensor]] = {}

    def take(self, like: Tensor, size: int) -> Tensor:
        """As ``Past.take``."""
        return self._next(0, size, like, "near")[0][:, 0]

    def give(self, part: Tensor) -> None:
        """As ``Past.give``."""
        self._given.setdefault(0, []).append(part[:, None])

    def windows(self, x: Tensor, kernel: int, dilation: int) -> Tensor:
        """As ``Past.windows`` of one frame (B, 1, C); ``kernel`` is 3."""
        assert kernel == 3
        self._given.setdefault(dilation, []).append(x)
        return torch.cat([*self._next(dilation, x.shape[2], x, "far", "near"), x], dim=-1)

    def now(self) -> dict[int, Tensor]:
        """(B, 1, C) for each dilation, the least first."""
        return {d: torch.cat(self._given[d], dim=-1) for d in sorted(self._given)}

    def _next(self, dilation: int, size: int, like: Tensor, *names: str) -> list[Tensor]:
        begin = self._taken.get(dilation, 0)
        self._taken[dilation] = begin + size
        if self._past is None:
            return [like.new_zeros(like.shape[0], 1, size) for _ in names]
        return [self._past[f"{name}_{dilation}"][..., begin : begin + size] for name in names]


class TimeConv(nn.Linear):
    """A convolution that keeps the number of frames; causal, it sees nothing of the future.

    One matrix product over all frames and clips: next to a library's convolution, which goes clip
    by clip, a frame each of many streams costs a fraction, and a long clip the same.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, dilation: int = 1, causal: bool = False
    ) -> None:
        """``kernel`` is odd."""
        super().__init__(kernel * channels, out)
        self.kernel, self.dilation, self.causal = kernel, dilation, causal
        self.reach = (kernel - 1) * dilation

    def forward(self, x: Tensor, past: Past | Taps | None = None) -> Tensor:
        """``x`` (B, T, C) -> (B, T, out). Only a causal one goes on from a ``past``."""
        if past is not None and self.causal:
            return super().forward(past.windows(x, self.kernel, self.dilation))
        after = 0 if self.causal else self.reach // 2
        x = F.pad(x, (0, 0, self.reach - after, after))
        return super().forward(windows(x, self.kernel, self.dilation))


def windows(x: Tensor, kernel: int, dilation: int = 1, stride: int = 1) -> Tensor:
    """What each frame of a convolution sees of ``x`` (B, T, C), one after the other:
    (B, (T - (kernel - 1) * dilation - 1) // stride + 1, kernel * C)."""
    reach = (kernel - 1) * dilation
    # Counted from either end: a graph need not know how long the clip is.
    spans = [slice(start, start - reach or None, stride) for start in range(0, reach + 1, dilation)]
    return torch.cat([x[:, span] for span in spans], dim=-1)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` with zeros where ``mask`` is 0; None: every frame is real."""
    return x if mask is None else x * mask
