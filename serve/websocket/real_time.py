"""Rate limit of a live stream, in seconds of audio per second."""

from collections.abc import Callable

BURST = 2.0
"""Seconds of audio that may be processed at once, before ``speed`` applies."""


class RealTimeLimiter:
    """A token bucket of seconds of audio. A pause of the speaker fills it up to ``BURST`` only."""

    def __init__(self, speed: float, clock: Callable[[], float]) -> None:
        """``speed``: multiple of real time; ``clock`` in seconds."""
        self._speed, self._clock = speed, clock
        self._spoken_at = self._allowed_at = clock()
        """When all audio consumed so far has been spoken in real time, and at full speed."""

    @property
    def ahead(self) -> float:
        """Seconds of audio that were consumed earlier than in real time."""
        return max(self._spoken_at - self._clock(), 0.0)

    @property
    def delay(self) -> float:
        """Seconds until more may be consumed."""
        return max(self._allowed_at - self._clock() - BURST / self._speed, 0.0)

    def consume(self, seconds: float) -> None:
        """Count audio that is processed now."""
        now = self._clock()
        self._spoken_at = max(self._spoken_at, now) + seconds
        self._allowed_at = max(self._allowed_at, now) + seconds / self._speed
