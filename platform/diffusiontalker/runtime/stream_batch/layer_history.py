"""Layer history of many live streams: ring buffers of the inputs of dilated convolutions."""

import numpy as np

from diffusiontalker.runtime.stream_batch.rows import double_rows


class LayerHistory:
    """A ring buffer of the last 2d inputs of all layers of dilation d, for each stream.

    A causal convolution of three taps reads its inputs of t - d (near) and t - 2d (far). Dilation 0
    stands for the state of recurrent layers, of the frame before.
    """

    def __init__(self, sizes: dict[int, int]) -> None:
        """``sizes``: numbers per frame by dilation, as ``Graphs.history_sizes``."""
        self._rings = {
            dilation: np.zeros((1, max(2 * dilation, 1), size), np.float32)
            for dilation, size in sizes.items()
        }

    def grow(self) -> None:
        """Double the number of rows."""
        self._rings = {dilation: double_rows(ring) for dilation, ring in self._rings.items()}

    def reset(self, row: int) -> None:
        """Begin a stream in this row."""
        for ring in self._rings.values():
            ring[row] = 0

    def read(self, rows: np.ndarray, frames: np.ndarray) -> dict[str, np.ndarray]:
        """The taps that the next frame takes of streams with so many ``frames`` (B,): (B, 1, C) by
        the input names of ``frame.onnx``."""
        taps = {}
        for dilation, ring in self._rings.items():
            if dilation:
                taps[f"far_{dilation}"] = ring[rows, frames % ring.shape[1]][:, None]
            taps[f"near_{dilation}"] = ring[rows, (frames - dilation) % ring.shape[1]][:, None]
        return taps

    def write(self, rows: np.ndarray, frames: np.ndarray, layers: list[np.ndarray]) -> None:
        """The inputs of that frame's layers: (B, 1, C) for each dilation, the least first."""
        for ring, layer in zip(self._rings.values(), layers, strict=True):
            ring[rows, frames % ring.shape[1]] = layer[:, 0]
