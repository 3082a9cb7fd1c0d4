"""What the server counts, through Ray's metrics: Prometheus reads it at /metrics."""

from time import perf_counter
from types import TracebackType
from typing import Any

from ray.serve import metrics

MILLISECONDS = [1.0, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 60000]
KIND: Any = ("model", "kind")
"""Ray says tuple[str], and takes any number."""
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
        self.frames = metrics.Counter(f"{PREFIX}frames", "Frames of animation made.", KIND)
        self.rejected = metrics.Counter(
            f"{PREFIX}rejected", "Requests and streams refused.", ("reason",)
        )
        self.working = metrics.Gauge(f"{PREFIX}working", "Recordings taken in and not answered.")
        self.streams = metrics.Gauge(f"{PREFIX}streams", "Open streams.")

    def heard(self, model: str, kind: str, frames: int) -> None:
        """Count the frames that were made of a recording or a stream."""
        if frames:
            self.frames.inc(frames, {"model": model, "kind": kind})

    def refused(self, status: int) -> None:
        """Count a refusal by its status."""
        self.rejected.inc(1, {"reason": str(status)})

    def stage(self, name: str) -> "Stage":
        """Times what is done inside."""
        return Stage(self.stage_ms, name)


class Stage:
    """A context whose length is observed."""

    def __init__(self, histogram: metrics.Histogram, name: str) -> None:
        self._histogram, self._name = histogram, name

    def __enter__(self) -> None:
        self._begun = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._histogram.observe(1000 * (perf_counter() - self._begun), {"stage": self._name})
