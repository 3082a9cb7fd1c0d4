"""Settings of a server: students, limits, access, replicas."""

import re
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from diffusiontalker.config import Count, Section
from diffusiontalker.runtime.artifact import SHIPPED

Seconds = Annotated[float, Field(gt=0)]


class LimitSettings(Section):
    """Limits of requests, beyond which they are refused with a 4xx. Counts are per replica."""

    bytes: Count = 32 * 2**20
    """Largest body of a request."""
    seconds: Annotated[float, Field(ge=1, le=3600)] = 600.0
    """Longest recording of a request."""
    request_seconds: Seconds = 60.0
    """How long a body may take to arrive (408), its work to be done (504), NDJSON to be read."""
    bytes_per_second: Count = 4096
    """Slowest upload, measured after ``patience_seconds``; a slower one is refused (408)."""
    patience_seconds: Seconds = 5.0
    """Time that an upload has in addition to its bytes at ``bytes_per_second``."""
    held_bytes: Count = 256 * 2**20
    """Bodies that a replica holds at once, from their first byte until they are animated. Of this,
    of ``uploads``, ``waiting`` and ``streams`` a key (or, without keys, an address) may hold three
    times what is left free: three quarters if it is alone."""
    uploads: Count = 64
    """Bodies that a replica receives at once."""
    requests_per_minute: Count = 600
    """Requests and new streams of one key (or, without keys, of one address)."""
    storage: str = "memory://"
    """Where those are counted: in each replica alone, or in one Redis (redis://host:6379)."""
    waiting: Count = 64
    """Recordings that a replica accepts at once; more are refused with 429. Of ten seconds each,
    the default is about a second of work, which is the ``Retry-After`` of those refused."""
    streams: Count = 100
    """Open streams of a replica."""
    streams_per_key: Count = 100
    """Those of one key (or, without keys, of one address)."""
    stream_speed: Annotated[float, Field(ge=1, le=1000)] = 8.0
    """How many times faster than real time a stream is processed at most; flow control holds back
    what arrives faster."""
    stream_seconds: Seconds = 7200.0
    """Longest stream."""
    idle_seconds: Seconds = 30.0
    """A stream without a message for so long is closed."""
    identities: Count = 1000
    """Saved identities of one key."""


class ReplicaSettings(Section):
    """Processes that hold the students, and their autoscaling."""

    min_replicas: Annotated[int, Field(ge=0)] = 1
    max_replicas: Count = 4
    target_ongoing_requests: Annotated[float, Field(gt=0)] = 32.0
    """Requests and streams per replica that autoscaling aims at."""
    upscale_delay_s: Annotated[float, Field(ge=0)] = 5.0
    downscale_delay_s: Annotated[float, Field(ge=0)] = 120.0
    num_cpus: Annotated[float, Field(gt=0)] = 1.0
    threads: Count = 1
    """CPU threads of a model; replicas scale better than threads."""
    provider: str = "cpu"
    """cpu, cuda or tensorrt."""
    num_gpus: Annotated[float, Field(gt=0)] = 1.0
    """GPUs that Ray reserves for a replica, or the share of one; with ``provider: cpu`` none."""
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long a stopping replica continues with what it has accepted."""

    def actor_options(self) -> dict[str, float]:
        """What Ray reserves for a replica: a GPU only for a provider that computes on it."""
        gpus = {} if self.provider == "cpu" else {"num_gpus": self.num_gpus}
        return {"num_cpus": self.num_cpus} | gpus


class ServeSettings(Section):
    """The server's settings: ``args`` in configs/serve/*.yaml, ``key=value`` of ``serve run``."""

    model: str | None = None
    """Short for ``models: {student: ...}``: the artifact, a folder or ``s3://``. Without either the
    student that ships with the package is served, as ``shipped``."""
    models: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")], str] = Field(
        default_factory=dict
    )
    """Artifacts by name, local or ``s3://``; the first is the default."""
    models_per_replica: Count = 4
    """Students that a replica holds in memory; the least recently used one is unloaded."""
    identities: str = "runs/serve/identities"
    """Where saved identities are kept: a folder that all replicas see, or ``s3://``."""
    cors_origins: tuple[str, ...] = ()
    """Origins of other web pages that may use the server, such as https://studio.example."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names under which a server without keys answers, beside addresses and localhost; "*" for
    any. With keys it answers under every name."""
    page: bool = True
    """Whether the page is shown at ``/``."""
    batch: Count = 64
    """Streams that are advanced as one batch, at most; 1 disables batching."""
    batch_pause_ms: Annotated[float, Field(ge=0, le=40)] = 8.0
    """Milliseconds between the starts of two batches, in which the next one fills."""
    limits: LimitSettings = LimitSettings()
    replicas: ReplicaSettings = ReplicaSettings()

    @model_validator(mode="before")
    @classmethod
    def _nest_dotted_keys(cls, given: Any) -> Any:
        """``limits.seconds=20`` of a command line as ``limits: {seconds: 20}``."""
        if not isinstance(given, dict):
            return given
        tree: dict[str, Any] = {}
        for key, value in given.items():
            part, _, rest = str(key).partition(".")
            if rest and not isinstance(tree.setdefault(part, {}), dict):
                raise ValueError(f"{key} and {part} are both given")
            if rest:
                tree[part] = {**tree[part], rest: value}
            else:
                tree[key] = value
        return tree

    @field_validator("cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split_commas(cls, given: Any) -> Any:
        """``a,b`` of a command line as two."""
        return tuple(filter(None, given.split(","))) if isinstance(given, str) else given

    @field_validator("cors_origins")
    @classmethod
    def _without_trailing_slash(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(origin.rstrip("/") for origin in origins)

    @field_validator("allowed_hosts")
    @classmethod
    def _without_ports(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(host.lower().rstrip(".") for host in hosts)
        if odd := [name for name in names if not re.fullmatch(r"\*|[^\s:/*]+", name)]:
            raise ValueError(f"{odd[0]!r} is no name; write studio.example, without scheme or port")
        return names

    @model_validator(mode="after")
    def _one_way_of_naming_models(self) -> "ServeSettings":
        if self.model == "":
            raise ValueError(
                "model is empty: give a folder, or leave it out for the one that ships"
            )
        if self.models and self.model is not None:
            raise ValueError("give model=FOLDER, or models by name, and not both")
        return self

    def folders(self) -> dict[str, str]:
        """Artifacts by name; the first is the default."""
        return self.models or (
            {SHIPPED: SHIPPED} if self.model is None else {"student": self.model}
        )
