"""What may be done to a face after it was made: smoothing that keeps lip closures, mirroring."""

import numpy as np

from diffusiontalker.arkit import FPS, INDEX, LIP, mirror_permutation
from diffusiontalker.audio.waveform import is_number
from diffusiontalker.errors import UserError

CLOSED = 0.12
"""Opening of the mouth (jawOpen less mouthClose) up to which the lips are left as they are, more
and more, towards 0."""
MAX_MS = 1000.0


class Post:
    """Applied frame by frame; what it did to a frame depends on those before, never after."""

    def __init__(self, smooth_ms: float = 0.0, mirror: bool = False) -> None:
        """``smooth_ms``: time constant of an exponential average; 0 leaves it out.

        Raises:
            UserError: it is negative, longer than a second or no number; ``mirror`` is no bool.
        """
        if not (is_number(smooth_ms) and 0 <= smooth_ms <= MAX_MS):
            raise UserError(f"smooth_ms {smooth_ms!r}: must be from 0 to {MAX_MS:.0f}")
        if not isinstance(mirror, bool | np.bool_):  # the text "false" would be true
            raise UserError(f"mirror {mirror!r}: must be True or False")
        self._keep = float(np.exp(-1000 / FPS / smooth_ms)) if smooth_ms else 0.0
        self._order = mirror_permutation() if mirror else None
        self._last: np.ndarray | None = None

    def __call__(self, face: np.ndarray) -> np.ndarray:
        """Coefficients (T, 52) that follow those of the call before."""
        if self._keep:
            face = self._smooth(face)
        return face if self._order is None else face[:, self._order]

    def _smooth(self, face: np.ndarray) -> np.ndarray:
        out = np.empty_like(face)
        for frame, raw in zip(out, face, strict=True):
            last = raw if self._last is None else self._last
            frame[:] = self._last = raw + self._keep * (last - raw)
        # An average never quite closes the lips, and a viewer sees at once that "m" stays open.
        opening = face[:, INDEX["jawOpen"]] - face[:, INDEX["mouthClose"]]
        closed = np.clip(1 - opening / CLOSED, 0, 1)[:, None]
        lips = list(LIP)
        out[:, lips] += closed * (face[:, lips] - out[:, lips])
        return out
