"""Times of an encoder's outputs, and their interpolation to the times of frames."""

from collections.abc import Sequence

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE


def reach(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Stride and receptive field, in samples, of a stack of convolutions."""
    stride, field = 1, 1
    for kernel, step in zip(kernels, strides, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return stride, field


def at_frames(hidden: np.ndarray, stride: int, centre: float, frames: int) -> np.ndarray:
    """Interpolate encoder outputs (n, D) to the times of ``frames`` frames: (frames, D).

    Output ``j`` is centred on sample ``j * stride + centre``, frame ``k`` on ``k / 30`` s; of
    convolutions without padding ``centre`` is half the receptive field. Interpolating by index
    alone would shift the face by up to that.
    """
    centres = (np.arange(len(hidden)) * stride + centre) / SAMPLE_RATE
    position = np.interp(np.arange(frames) / FPS, centres, np.arange(len(hidden)))
    low = np.minimum(position.astype(int), len(hidden) - 1)
    high = np.minimum(low + 1, len(hidden) - 1)
    share = (position - low)[:, None].astype(np.float32)
    return hidden[low] * (1 - share) + hidden[high] * share
