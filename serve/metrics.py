"""Counters, gauges and histograms of a replica, through Ray's metrics; see ``GET /metrics``."""

from time import perf_counter
from types import TracebackType
from typing import Any

from ray.serve import metrics

MILLISECONDS = [1.0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 60000]
FRAMES_TAGS: Any = ("model", "kind")
"""Ray's type is tuple[str], and takes any number."""
PREFIX = "diffusiontalker_"


class Metrics:
    """The instruments of a replica."""

    def __init__(self) -> None:
        self.stage_ms = metrics.Histogram(
            f"{PREFIX}stage_ms", "Milliseconds of a stage of the work.", MILLISECONDS, ("stage",)
        )
        self.batch_size = metrics.Histogram(
            f"{PREFIX}batch_size", "Streams advanced together.", [1, 2, 4, 8, 16, 32, 64, 128]
        )
        self.frames = metrics.Counter(f"{PREFIX}frames", "Frames of animation made.", FRAMES_TAGS)
        self.rejected = metrics.Counter(
            f"{PREFIX}rejected", "Requests and streams refused.", ("reason",)
        )
        self.working = metrics.Gauge(f"{PREFIX}working", "Recordings taken in and not answered.")
        self.streams = metrics.Gauge(f"{PREFIX}streams", "Open streams.")

    def count_frames(self, model: str, kind: str, frames: int) -> None:
        """Count frames that were generated; ``kind``: recording or stream."""
        if frames:
            self.frames.inc(frames, {"model": model, "kind": kind})

    def count_rejected(self, status: int) -> None:
        """Count an error response by its status."""
        self.rejected.inc(1, {"reason": str(status)})

    def timed(self, stage: str) -> "StageTimer":
        """A context whose duration is recorded."""
        return StageTimer(self.stage_ms, stage)


class StageTimer:
    """A context whose duration is recorded in a histogram."""

    def __init__(self, histogram: metrics.Histogram, stage: str) -> None:
        self._histogram, self._stage = histogram, stage

    def __enter__(self) -> None:
        self._start = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._histogram.observe(1000 * (perf_counter() - self._start), {"stage": self._stage})
