"""Post-processing of coefficients: smoothing that keeps lip closures, mirroring."""

import numpy as np

from diffusiontalker.arkit import FPS, INDEX, LIP, mirror_permutation
from diffusiontalker.audio.waveform import is_number
from diffusiontalker.errors import UserError

CLOSED = 0.12
"""Opening of the mouth (jawOpen minus mouthClose) below which smoothing of the lips fades out; at 0
they are not smoothed."""
MAX_MS = 1000.0


class PostProcessor:
    """Applied frame by frame: a frame depends on those before it, never on those after."""

    def __init__(self, smooth_ms: float = 0.0, mirror: bool = False) -> None:
        """``smooth_ms``: time constant of an exponential moving average; 0: none.

        Raises:
            UserError: it is negative, longer than a second or no number; ``mirror`` is no bool.
        """
        if not (is_number(smooth_ms) and 0 <= smooth_ms <= MAX_MS):
            raise UserError(f"smooth_ms {smooth_ms!r}: must be from 0 to {MAX_MS:.0f}")
        if not isinstance(mirror, bool | np.bool_):  # the text "false" would be true
            raise UserError(f"mirror {mirror!r}: must be True or False")
        self._decay = float(np.exp(-1000 / FPS / smooth_ms)) if smooth_ms else 0.0
        self._order = mirror_permutation() if mirror else None
        self._last: np.ndarray | None = None

    def __call__(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients (T, 52) that follow those of the call before."""
        if self._decay:
            coefficients = self._smooth(coefficients)
        return coefficients if self._order is None else coefficients[:, self._order]

    def _smooth(self, coefficients: np.ndarray) -> np.ndarray:
        out = np.empty_like(coefficients)
        for frame, raw in zip(out, coefficients, strict=True):
            last = raw if self._last is None else self._last
            frame[:] = self._last = raw + self._decay * (last - raw)
        # An average never quite closes the lips, and a viewer sees at once that "m" stays open.
        opening = coefficients[:, INDEX["jawOpen"]] - coefficients[:, INDEX["mouthClose"]]
        closed = np.clip(1 - opening / CLOSED, 0, 1)[:, None]
        lips = list(LIP)
        out[:, lips] += closed * (coefficients[:, lips] - out[:, lips])
        return out
