"""Mean and variance over time of the encoder's voice features: input of ``personalizer.onnx``."""

import numpy as np


class VoiceStatistics:
    """Count, sum and sum of squares per voice feature of a recording."""

    def __init__(self) -> None:
        self._sums = np.zeros((3, 1))

    def add(self, moments: np.ndarray) -> None:
        """The next frames, by their ``moments`` (T, 3, H)."""
        self._sums = self._sums + moments.sum(axis=0)

    def __call__(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (1, H) float32."""
        return mean_and_variance(self._sums[None])


def mean_and_variance(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of B voices (B, H) float32, from the sums of their ``moments`` (B, 3, H)."""
    count, total, squares = sums.swapaxes(0, 1)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    return mean.astype(np.float32), variance.astype(np.float32)


def moments(voice: np.ndarray) -> np.ndarray:
    """Powers 0, 1 and 2 of voice features (..., H): (..., 3, H) float64."""
    out = np.empty((*voice.shape[:-1], 3, voice.shape[-1]))
    out[..., 0, :] = 1
    out[..., 1, :] = voice
    np.square(out[..., 1, :], out=out[..., 2, :])
    return out
