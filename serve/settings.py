"""What a server is told: which students, which limits, who may ask."""

import re
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from diffusiontalker.config import Count, Section

Seconds = Annotated[float, Field(gt=0)]


class LimitSettings(Section):
    """What a caller may ask for; beyond it, a line and a 4xx. Counts are per replica."""

    bytes: Count = 32 * 2**20
    """Largest body of a request."""
    seconds: Annotated[float, Field(ge=1, le=3600)] = 600.0
    """Longest recording of a request."""
    request_seconds: Seconds = 60.0
    """How long a body may take to arrive (408), work to be done (504), NDJSON to be read."""
    bytes_per_second: Count = 4096
    """Slowest upload: after ``patience_seconds`` a body that came more slowly is given up (408)."""
    patience_seconds: Seconds = 5.0
    """How long an upload may take to begin."""
    held_bytes: Count = 256 * 2**20
    """Bodies that a replica holds at once, from their first byte until they are animated. Of this,
    of ``uploads``, ``waiting`` and ``streams`` a key, or, without keys, an address, may hold three
    times what is left free: three quarters if it is alone."""
    uploads: Count = 64
    """Bodies that arrive at a replica at once."""
    requests_per_minute: Count = 600
    """Requests and new streams of one key, or, without keys, of one address."""
    storage: str = "memory://"
    """Where those are counted: each replica for itself, or in a Redis for all (redis://host:6379)."""
    waiting: Count = 64
    """Recordings that a replica takes in at once; more are answered with 429. Of ten seconds each,
    so many are about a second of work, after which the refused are told to come back."""
    streams: Count = 100
    """Streams that a replica bears."""
    streams_per_key: Count = 100
    """Streams of one key, or, without keys, of one address, on a replica."""
    stream_speed: Annotated[float, Field(ge=1, le=1000)] = 8.0
    """How many times faster than real time a stream is processed at most; what comes faster waits
    where it is."""
    stream_seconds: Seconds = 7200.0
    """Longest stream."""
    idle_seconds: Seconds = 30.0
    """A stream that says nothing for so long is closed."""
    identities: Count = 1000
    """Saved identities of one key."""


class ReplicaSettings(Section):
    """How many processes hold the students, and how they come and go."""

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
    drain_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long a replica that is to stop waits for what it has accepted."""


class ServeSettings(Section):
    """The server's settings: ``args`` in configs/serve/*.yaml, ``key=value`` of ``serve run``."""

    model: str | None = None
    """Short for ``models: {student: ...}``: the artifact, a folder or ``s3://``."""
    models: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")], str] = Field(
        default_factory=dict
    )
    """Artifacts by name, local or ``s3://``; the first is the default."""
    models_per_replica: Count = 4
    """Students that a replica holds in memory; the one asked for longest ago makes room."""
    identities: str = "runs/serve/identities"
    """Where saved identities are kept: a folder that all replicas see, or ``s3://``."""
    cors_origins: tuple[str, ...] = ()
    """Web pages of other origins that may call, such as https://studio.example."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which a server without keys answers, beside its addresses and localhost; "*" for
    any. With keys it answers under every name."""
    page: bool = True
    """Whether the page is shown at ``/``."""
    batch: Count = 64
    """Streams that are advanced together at most; 1 advances each for itself."""
    batch_pause_ms: Annotated[float, Field(ge=0, le=40)] = 8.0
    """Milliseconds from the beginning of one batch to that of the next, in which it fills."""
    limits: LimitSettings = LimitSettings()
    replicas: ReplicaSettings = ReplicaSettings()

    @model_validator(mode="before")
    @classmethod
    def _dotted(cls, told: Any) -> Any:
        """``limits.seconds=20`` of a command line as ``limits: {seconds: 20}``."""
        if not isinstance(told, dict):
            return told
        tree: dict[str, Any] = {}
        for key, value in told.items():
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
    def _of_a_command_line(cls, given: Any) -> Any:
        """``a,b`` as two."""
        return tuple(filter(None, given.split(","))) if isinstance(given, str) else given

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_say(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(origin.rstrip("/") for origin in origins)

    @field_validator("allowed_hosts")
    @classmethod
    def _without_ports(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(host.lower().rstrip(".") for host in hosts)
        if odd := [name for name in names if not re.fullmatch(r"\*|[^\s:/*]+", name)]:
            raise ValueError(f"{odd[0]!r} is no name; write studio.example, without scheme or port")
        return names

    @model_validator(mode="after")
    def _some_model(self) -> "ServeSettings":
        if bool(self.model) == bool(self.models):
            raise ValueError("give model=FOLDER, or models by name, and not both")
        return self

    def folders(self) -> dict[str, str]:
        """Artifacts by name; the first is the default."""
        return self.models or {"student": str(self.model)}
