"""The settings of ``jobs/benchmark.py``."""

from typing import Annotated

from pydantic import Field

from diffusiontalker.config.section import Count, Section, Seed, Share


class DataBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py data``."""

    out: str = "runs/benchmark"
    """Folder of the figures."""
    s3: str | None = None
    """An s3:// prefix from which the shards are measured too; None: they are not."""
    training: str = "configs/quickstart.yaml"
    """The run whose teacher takes the training step."""
    clips: Annotated[int, Field(ge=64)] = 192
    """Clips of the generated set: ten seconds each, and shorter rests."""
    times: Annotated[int, Field(ge=2)] = 20
    """Factor by which the set is larger whose memory is compared."""
    passes: Count = 4
    """Passes over the set in an epoch, the unit that is measured."""
    repeats: Count = 3
    """Epochs of each case, alternating with the others; the median counts."""
    minutes: Annotated[int, Field(ge=12)] = 30
    """Minutes of generated recordings to prepare."""


class TrainBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py train``."""

    out: str = "runs/benchmark"
    """Folder of the figures."""
    training: str = "configs/quickstart.yaml"
    """The run whose teacher is trained, on noise."""
    clips: Annotated[int, Field(ge=64)] = 192
    """Clips of the generated set: ten seconds each, and shorter rests."""
    passes: Count = 2
    """Passes over the set in a run of each kind."""
    workers: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2)
    """Ray Train workers, one number after the other."""
    repeats: Count = 3
    """Runs of each kind, alternating with the others; the median counts."""


class RuntimeBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py runtime``."""

    run: str = "runs/quickstart"
    """Folder or s3:// prefix of a finished run; its last student is measured."""
    out: str = "runs/benchmark"
    """Folder or s3:// prefix of the figures."""
    lengths: Annotated[tuple[Annotated[float, Field(ge=1, le=3600)], ...], Field(min_length=1)] = (
        1,
        10,
        600,
    )
    """Seconds of the recordings; models on HuBERT run the shorter ones only."""
    threads: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2)
    """CPU threads, one number after the other."""
    repeats: Count = 5
    """Runs of each subject, alternating with the others; the median counts."""
    stream_seconds: Annotated[float, Field(ge=60, le=3600)] = 120
    """Seconds of speech in the stream."""


class HumanBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py human``."""

    model: str = "shipped"
    """The artifact that animates; shipped: the student that is part of the package."""
    recordings: str
    """A folder of recordings with their phones: ``phones.json``, or a TextGrid beside each; or
    what Debian's package pocketsphinx-testdata unpacks to, whose phones are at hand."""
    out: str = "runs/benchmark"
    """Folder or s3:// prefix of the figures."""
    seed: Seed = 0
    """Of the noise."""
    plotted: Annotated[int, Field(ge=0, le=20)] = 2
    """Recordings whose curves the page shows, the longest first."""


class RobustnessBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py robustness``."""

    model: str = "runs/quickstart/student"
    """The artifact that is measured."""
    corpus: str | None = None
    """Folder or s3:// prefix of shards, whose test splits are animated. None: the shards of the run
    in whose folder the artifact lies."""
    out: str = "runs/benchmark"
    """Folder or s3:// prefix of the figures."""
    clips: Count | None = None
    """Clips of each split, at most; None: all."""


class ServeBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py serve``."""

    model: str = "runs/quickstart/student"
    """The artifact that is served."""
    out: str = "runs/benchmark"
    """Folder or s3:// prefix of the figures."""
    seconds: Annotated[float, Field(ge=1)] = 10
    """How long each load lasts."""
    recording: Annotated[float, Field(ge=1, le=600)] = 10
    """Seconds of the recording that is sent."""
    callers: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 4, 16)
    """Concurrent callers, each of which sends a request as soon as it has its response."""
    shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.5, 0.8)
    """Open-loop request rates, as shares of the highest throughput of those callers."""
    streams: Annotated[tuple[Count, ...], Field(min_length=1)] = (10, 25, 50, 75, 100, 150)
    """Concurrent real-time streams, until their pushes take too long."""
    replicas: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2)
    """Replicas, one number after the other."""
    own_cores: bool = True
    """Give each replica a core to itself, as Kubernetes' static CPU manager does, where one is left
    for callers and proxy. Without, or elsewhere than on Linux, they share all cores."""
    soak: Annotated[float, Field(ge=0)] = 600
    """Seconds at the largest share with one replica, watching errors and memory; 0: not at all."""


class CapacityBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py capacity``."""

    streams: Annotated[tuple[Count, ...], Field(min_length=1)] = (10, 1_000, 100_000)
    """Live streams at a time, on average."""
    per_replica: Count = 75
    """Streams that a replica holds in real time, unless ``figures`` says."""
    figures: str | None = None
    """``serve.json`` of ``jobs/benchmark.py serve``, from which that number is taken."""
    target_ongoing_requests: Annotated[float, Field(gt=0)] = 32.0
    """Streams per replica that autoscaling aims at: replicas.target_ongoing_requests."""
    refused: Annotated[float, Field(gt=0, lt=1)] = 0.001
    """Share of new streams that may be refused."""
    replicas_per_node: Count = 4
    """One for each CPU that a node of the cluster gives to Ray."""
    price_per_node_hour: Annotated[float, Field(ge=0)] = 0.2
    """In any currency; the default is our assumption for four CPUs."""
    arrivals: Annotated[int, Field(ge=1000)] = 200_000
    """Streams that the simulation counts."""
    out: str = "runs/benchmark"
    """Folder or s3:// prefix of the figures."""


class SweepBenchmarkSettings(Section):
    """All settings of ``jobs/benchmark.py sweep``."""

    sweep: str = "configs/sweep-quick.yaml"
    """The sweep that is run several times: as it is, with random search, and without pruning."""
    trials: Annotated[int, Field(ge=2)] | None = None
    """Trials of each; None: as many as the sweep has."""
    out: str = "runs/benchmark"
    """Folder of the figures; the sweeps lie below it."""
