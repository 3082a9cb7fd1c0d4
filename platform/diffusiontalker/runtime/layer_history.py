"""What the layers of many live streams have seen, as far as they will look at it again."""

import numpy as np

from diffusiontalker.runtime.batch_rows import doubled


class History:
    """A row for each stream.

    A layer of dilation d sees its own input of two and of one dilations ago: of the last 2 d frames
    one place each in a ring, of which two are read and one is written per frame. Dilation 0 stands
    for what a recurrent layer left a frame ago.
    """

    def __init__(self, sizes: dict[int, int]) -> None:
        """``sizes``: how much the layers of each dilation see in a frame."""
        self._rings = {
            dilation: np.zeros((1, max(2 * dilation, 1), size), np.float32)
            for dilation, size in sizes.items()
        }

    def grow(self) -> None:
        """Twice as many rows."""
        self._rings = {dilation: doubled(ring) for dilation, ring in self._rings.items()}

    def begin(self, row: int) -> None:
        """A stream begins."""
        for ring in self._rings.values():
            ring[row] = 0

    def past(self, rows: np.ndarray, frames: np.ndarray) -> dict[str, np.ndarray]:
        """What the next frame of streams of so many ``frames`` (B,) sees: (B, 1, C) by the names
        of ``frame.onnx``."""
        found = {}
        for dilation, ring in self._rings.items():
            if dilation:
                found[f"far_{dilation}"] = ring[rows, frames % ring.shape[1]][:, None]
            found[f"near_{dilation}"] = ring[rows, (frames - dilation) % ring.shape[1]][:, None]
        return found

    def keep(self, rows: np.ndarray, frames: np.ndarray, now: list[np.ndarray]) -> None:
        """What that frame's layers saw: (B, 1, C) for each dilation, the least first."""
        for ring, seen in zip(self._rings.values(), now, strict=True):
            ring[rows, frames % ring.shape[1]] = seen[:, 0]
