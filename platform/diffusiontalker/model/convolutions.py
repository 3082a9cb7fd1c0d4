"""Temporal convolutions, and the caches with which causal ones run chunk by chunk."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChunkCache:
    """The inputs that the layers of a causal network keep from one chunk of a clip to the next.

    Layers read and write their slices in the order in which they run, so that the whole cache is
    one tensor (B, S), whatever the network. A clip begins with zeros, which is the padding of a
    network that is given the whole clip.
    """

    def __init__(self, state: Tensor | None = None) -> None:
        """``state`` (B, S) from ``state()`` after the previous chunk; None: a clip begins."""
        self._state = state
        self._read = 0
        self._written: list[Tensor] = []

    def read(self, like: Tensor, size: int) -> Tensor:
        """The next layer's slice (B, size); zeros like ``like`` where a clip begins."""
        if self._state is None:
            return like.new_zeros(like.shape[0], size)
        self._read += size
        return self._state[:, self._read - size : self._read]

    def write(self, part: Tensor) -> None:
        """That layer's slice (B, size) for the next chunk."""
        self._written.append(part)

    def windows(self, x: Tensor, kernel: int, dilation: int) -> Tensor:
        """Receptive fields of a causal convolution over ``x`` (B, T, C): (B, T, kernel * C)."""
        frames, channels = (kernel - 1) * dilation, x.shape[2]
        kept = self.read(x, frames * channels).unflatten(1, (frames, channels))
        longer = torch.cat([kept, x], dim=1)
        self.write(longer[:, -frames:].flatten(1))
        return windows(longer, kernel, dilation)

    @property
    def used(self) -> bool:
        """Whether any layer keeps anything."""
        return bool(self._written)

    def state(self) -> Tensor:
        """(B, S) for the next chunk."""
        return torch.cat(self._written, dim=1)


class FrameCache:
    """The cache of a causal network that computes one frame: only the taps that the frame needs.

    A layer of dilation d and kernel 3 reads its inputs at t - 2d and t - d. Those of all layers of
    one dilation go in together as ``far_d`` and ``near_d`` (B, 1, C), in the order in which the
    layers run, and their inputs at t come out for the ring buffers (``runtime``), which so move
    nothing that no layer reads. ``near_0`` is the state of a recurrent layer.
    """

    def __init__(self, taps: dict[str, Tensor] | None = None) -> None:
        """``taps`` by name; None: a clip begins."""
        self._taps = taps
        self._read: dict[int, int] = {}
        self._written: dict[int, list[Tensor]] = {}

    def read(self, like: Tensor, size: int) -> Tensor:
        """As ``ChunkCache.read``."""
        return self._next(0, size, like, "near")[0][:, 0]

    def write(self, part: Tensor) -> None:
        """As ``ChunkCache.write``."""
        self._written.setdefault(0, []).append(part[:, None])

    def windows(self, x: Tensor, kernel: int, dilation: int) -> Tensor:
        """As ``ChunkCache.windows`` of one frame (B, 1, C); ``kernel`` is 3."""
        assert kernel == 3
        self._written.setdefault(dilation, []).append(x)
        return torch.cat([*self._next(dilation, x.shape[2], x, "far", "near"), x], dim=-1)

    def now(self) -> dict[int, Tensor]:
        """Inputs at t of all layers, (B, 1, C) by dilation, in ascending order."""
        return {d: torch.cat(self._written[d], dim=-1) for d in sorted(self._written)}

    def _next(self, dilation: int, size: int, like: Tensor, *names: str) -> list[Tensor]:
        begin = self._read.get(dilation, 0)
        self._read[dilation] = begin + size
        if self._taps is None:
            return [like.new_zeros(like.shape[0], 1, size) for _ in names]
        return [self._taps[f"{name}_{dilation}"][..., begin : begin + size] for name in names]


class TimeConv(nn.Linear):
    """A convolution that keeps the number of frames; a causal one does not depend on later frames.

    Written as one matrix product over all frames and clips: for one frame each of many streams it
    takes a fraction of the time of a library's convolution, which goes clip by clip, and for a long
    clip the same.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, dilation: int = 1, causal: bool = False
    ) -> None:
        """``kernel`` is odd."""
        super().__init__(kernel * channels, out)
        self.kernel, self.dilation, self.causal = kernel, dilation, causal
        self.reach = (kernel - 1) * dilation

    def forward(self, x: Tensor, cache: ChunkCache | FrameCache | None = None) -> Tensor:
        """``x`` (B, T, C) -> (B, T, out). Only a causal convolution uses the ``cache``."""
        if cache is not None and self.causal:
            return super().forward(cache.windows(x, self.kernel, self.dilation))
        after = 0 if self.causal else self.reach // 2
        x = F.pad(x, (0, 0, self.reach - after, after))
        return super().forward(windows(x, self.kernel, self.dilation))


def windows(x: Tensor, kernel: int, dilation: int = 1, stride: int = 1) -> Tensor:
    """Receptive fields of a convolution over ``x`` (B, T, C), unfolded:
    (B, (T - (kernel - 1) * dilation - 1) // stride + 1, kernel * C)."""
    reach = (kernel - 1) * dilation
    # Counted from either end: a graph need not know how long the clip is.
    spans = [slice(start, start - reach or None, stride) for start in range(0, reach + 1, dilation)]
    return torch.cat([x[:, span] for span in spans], dim=-1)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` with zeros where ``mask`` is 0; None: every frame is real."""
    return x if mask is None else x * mask
