"""The lip seal: whether the lips meet is decided in every frame, and then they do.

A closure of p, b or m is an event of one or two frames. Where the audio leaves it in doubt, what
minimises a squared error is a mouth half closed, and viewers see lips that never meet. So the
network also gives the probability that the lips are sealed. Where that is high enough, mouthClose
takes back the jaw's opening, as it is meant in ARKit, and lips that are drawn apart are let go. Our
choice.
"""

import torch
from torch import Tensor

from diffusiontalker.arkit import CHANNELS, INDEX

CENTRE = 0.12
"""Probability at which the lips are half sealed. A closure lasts a frame or two, and which is in
doubt: each has a fraction of the closure's own probability. A closure that is missing is noticed,
one that lasts a frame more is not. Chosen on validation clips of ``configs/release.yaml``: the
highest at which a student closes the lips in 90 % of p, b, m."""
SLOPE = 12.0
"""How fast the seal grows with the probability: from 0 at 0.08 to 1 at 0.16."""
JAW, CLOSE = INDEX["jawOpen"], INDEX["mouthClose"]
APART = tuple(
    INDEX[f"mouth{part}{side}"] for part in ("LowerDown", "UpperUp") for side in ("Left", "Right")
)
"""Channels that draw the lips apart."""


def seal_matrix() -> Tensor:
    """(52, 52) M, for which x + x M has sealed lips for coefficients x (..., 52)."""
    matrix = torch.zeros(len(CHANNELS), len(CHANNELS))
    matrix[JAW, CLOSE] = 1.0
    for channel in (CLOSE, *APART):
        matrix[channel, channel] = -1.0
    return matrix


def seal_lips(coefficients: Tensor, probability: Tensor) -> Tensor:
    """Coefficients (B, T, 52) with lips that are sealed where that is probable, (B, T)."""
    share = (SLOPE * (probability - CENTRE) + 0.5).clamp(0, 1)[..., None]
    return coefficients + share * (coefficients @ seal_matrix().to(coefficients))
