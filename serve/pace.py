"""How fast a stream is processed, against the clock on the wall."""

from collections.abc import Callable

BURST = 2.0
"""Seconds of audio that are processed at once, before ``speed`` counts."""


class Pace:
    """Counts seconds of audio; pauses of the speaker are not saved up."""

    def __init__(self, speed: float, clock: Callable[[], float]) -> None:
        """``speed``: how many times faster than real time; ``clock`` in seconds."""
        self._speed, self._clock = speed, clock
        self._live = self._free = clock()
        """When all that was processed has been spoken, and when it may have been processed."""

    @property
    def ahead(self) -> float:
        """Seconds of audio that were processed before they can have been spoken."""
        return max(self._live - self._clock(), 0.0)

    @property
    def wait(self) -> float:
        """Seconds until more may be processed."""
        return max(self._free - self._clock() - BURST / self._speed, 0.0)

    def spend(self, seconds: float) -> None:
        """So much audio is processed now."""
        now = self._clock()
        self._live = max(self._live, now) + seconds
        self._free = max(self._free, now) + seconds / self._speed
