"""An artifact, local or in S3: a folder with a configuration, ONNX graphs and a model card."""

import reprlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.front_end import FrontEnd
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.blinks import NO_BLINKS, BlinkParameters
from diffusiontalker.runtime.noise import WHITE, NoiseParameters
from diffusiontalker.runtime.stream_parameters import StreamParameters

FORMAT_VERSION = 6
GRAPHS = ("encoder.onnx", "personalizer.onnx", "modulation.onnx", "decoder.onnx")
FRAME = "frame.onnx"
"""Of a student that can stream."""
CONFIG, CARD = "config.yaml", "README.md"
PARTS = (CONFIG, *GRAPHS, FRAME, CARD)
"""All files that an artifact may hold."""
SHIPPED = "shipped"
"""Names the student that is part of this package; a folder of that name is ``./shipped``."""
MAX_CONFIG_BYTES = 2**20
MAX_LOOK_AHEAD = 60
"""Mel frames, before or after a frame's own time."""
RANGES = {
    "window": (16, 8000), "fft": (16, 8192), "bands": (1, 512), "mel_per_frame": (1, 8),
    "floor": (1e-12, 1.0), "mean": (-100.0, 100.0), "scale": (1e-3, 1e3), "stem": (1, 16),
    "level_db": (-60.0, 0.0), "floor_db": (-120, -10), "span_db": (1, 100),
    "level_memory": (1.0, 1e9), "level_trust": (0.0, 1e9), "level_max_db": (0.0, 120.0),
    "early_frames": (0, 10**9), "update_frames": (1, 10**6), "glide": (0.0, 1.0),
    "voice_seconds": (1e-3, 1e9), "rise_frames": (1, 10**6),
}  # fmt: skip
"""Values of ``FrontEnd`` and ``StreamParameters`` that this runtime can honour; web/artifact.js has
them too."""
Parameters = TypeVar("Parameters", FrontEnd, StreamParameters)


@dataclass(frozen=True)
class ArtifactConfig:
    """The contents of ``config.yaml``."""

    release: str
    """Version of the package that exported it."""
    steps: int
    """Sampling steps, unrolled into the graphs."""
    precision: str
    look_ahead: int | None
    """Mel frames (``log_mel.look_ahead_ms``); None: the student takes whole recordings only."""
    identities: list[str]
    """Names of the library's entries, in the order of the graph's."""
    emotions: list[str]
    model: dict[str, Any]
    """Architecture of the student, for whoever reads the file; the runtime does not."""
    front_end: FrontEnd
    stream: StreamParameters | None
    """None where ``look_ahead`` is."""
    noise: NoiseParameters = WHITE
    blinks: BlinkParameters = NO_BLINKS

    @property
    def graphs(self) -> tuple[str, ...]:
        """File names of its graphs."""
        return GRAPHS if self.look_ahead is None else (*GRAPHS, FRAME)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all its files."""
        return CONFIG, *self.graphs, CARD

    def to_dict(self) -> dict[str, Any]:
        """As it is written to ``config.yaml``."""
        return {
            "format_version": FORMAT_VERSION,
            "release": self.release,
            "steps": self.steps,
            "precision": self.precision,
            "fps": FPS,
            "sample_rate": SAMPLE_RATE,
            "look_ahead": self.look_ahead,
            "channels": list(CHANNELS),
            "identities": list(self.identities),
            "emotions": list(self.emotions),
            "front_end": asdict(self.front_end),
            "stream": None if self.stream is None else asdict(self.stream),
            "noise": {
                "lag_1": list(self.noise.lag_1),
                "lag_2": list(self.noise.lag_2),
                "gaze_threshold": self.noise.gaze_threshold,
            },
            "blinks": {"shape": list(self.blinks.shape)},
            "model": self.model,
        }


def location(model: str | Path) -> Path:
    """Where an artifact lies: ``SHIPPED``, a folder, or an ``s3://`` address."""
    return Path(__file__).parents[1] / SHIPPED if model == SHIPPED else storage.location(model)


def read_config(folder: Path) -> ArtifactConfig:
    """Read and check an artifact's ``config.yaml`` and the presence of its other files.

    Raises:
        UserError: not an artifact, a missing file, another format version, other channels, or a
            parameter that this runtime cannot honour.
    """
    path = folder / CONFIG
    if not storage.is_file(path):
        if any(storage.is_file(folder / name) for name in PARTS):
            raise UserError(f"{folder}: the artifact lacks {CONFIG}; export it again")
        raise UserError(f"{folder}: no such artifact folder{_hint(folder)}")
    config = _parse(path)
    for name in config.files:
        if not storage.is_file(folder / name):
            raise UserError(f"{folder}: the artifact lacks {name}; export it again")
    return config


def _hint(folder: Path) -> str:
    """The artifact that was meant, if it can be found: of a run, of one of its stages, or the one
    that a file is part of."""
    for near in (folder / "student", folder.parent, folder.parent / "student"):
        if storage.is_file(near / CONFIG) and storage.is_file(near / GRAPHS[0]):
            return f"; did you mean {near}?"
    return ""


class _Loader(yaml.SafeLoader):
    """Refuses aliases, by which a file of a few lines can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _InvalidError("it has aliases")
        return super().compose_node(parent, index)


def _parse(path: Path) -> ArtifactConfig:
    content = storage.read_bytes(path, MAX_CONFIG_BYTES)
    try:
        values = yaml.load(content, _Loader)
        if (version := values["format_version"]) != FORMAT_VERSION:
            raise UserError(
                f"{path.parent}: artifact format {_shown(version)}, but this release reads "
                f"{FORMAT_VERSION}; export it again: python jobs/export.py run=RUN out=ARTIFACT "
                "(a run of another release must be trained again first)"
            )
        if values["channels"] != list(CHANNELS):
            raise UserError(
                f"{path}: the channels are not the 52 in this release's order; "
                "an artifact's channel order must not be edited"
            )
        return _config(values)
    except (
        yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, OverflowError,
        RecursionError,
    ) as error:  # fmt: skip
        why = f" ({error})" if isinstance(error, _InvalidError) else ""
        raise UserError(f"{path}: not an artifact's configuration{why}") from error


class _InvalidError(ValueError):
    """A value that this runtime cannot honour: which, and what it may be."""


def _config(values: dict[str, Any]) -> ArtifactConfig:
    for key, expected in (("fps", FPS), ("sample_rate", SAMPLE_RATE)):
        if values[key] != expected:
            raise _InvalidError(
                f"{key} is {_shown(values[key])}; this release takes {expected} only"
            )
    texts = [values["release"], values["precision"], *values["identities"], *values["emotions"]]
    if not all(isinstance(text, str) for text in texts):
        raise _InvalidError("release, precision, or a name in identities or emotions is not text")
    ahead, stream = values["look_ahead"], values["stream"]
    if ahead is not None:
        _check_numbers("look_ahead", [ahead], int, (-MAX_LOOK_AHEAD, MAX_LOOK_AHEAD))
    if (ahead is None) != (stream is None):
        raise _InvalidError("look_ahead and stream: either both are null or neither is")
    front_end = _parameters(FrontEnd, values["front_end"], "front_end")
    if not (front_end.fft >= front_end.window and front_end.stem >= front_end.mel_per_frame):
        raise _InvalidError("front_end: fft is less than window, or stem less than mel_per_frame")
    _check_numbers("steps", [values["steps"]], int, (1, 10**6))
    return ArtifactConfig(
        values["release"],
        values["steps"],
        values["precision"],
        ahead,
        list(values["identities"]),
        list(values["emotions"]),
        dict(values["model"]),
        front_end,
        None if stream is None else _parameters(StreamParameters, stream, "stream"),
        _noise(values["noise"]),
        _blinks(values["blinks"]),
    )


def _noise(block: dict[str, Any]) -> NoiseParameters:
    """Correlations of a stationary process, and whether gaze jumps."""
    lag_1, lag_2 = _lags("lag_1", block), _lags("lag_2", block)
    if any(two <= 2 * one * one - 1 for one, two in zip(lag_1, lag_2, strict=True)):
        raise _InvalidError("noise: no process has these correlations")
    if (threshold := block["gaze_threshold"]) is not None:
        _check_numbers("noise.gaze_threshold", [threshold], float, (0.0, 10.0))
    return NoiseParameters(lag_1, lag_2, threshold)


def _lags(key: str, block: dict[str, Any]) -> tuple[float, ...]:
    numbers = list(block[key])
    _check_numbers(f"noise.{key}", numbers, float, (-0.99999, 0.99999))
    if len(numbers) != len(CHANNELS):
        raise _InvalidError(f"noise.{key}: give a number for each of the 52 channels")
    return tuple(map(float, numbers))


def _blinks(block: dict[str, Any]) -> BlinkParameters:
    shape = list(block["shape"])
    _check_numbers("blinks.shape", shape, float, (0.0, 1.0))
    if len(shape) > FPS:
        raise _InvalidError("blinks.shape: a blink lasts a second at most")
    return BlinkParameters(tuple(map(float, shape)))


def _parameters(kind: type[Parameters], block: Any, name: str) -> Parameters:
    """A dataclass of numbers from a block of the file."""
    known = {field.name: field.default for field in fields(kind)}
    if different := sorted(known.keys() ^ dict(block).keys()):
        raise _InvalidError(f"{name}: {_shown(different[0])} is missing or unknown")
    values: dict[str, Any] = {}
    for key, default in known.items():
        pair, value = isinstance(default, tuple), block[key]
        numbers = list(value) if pair else [value]
        if pair and len(numbers) != 2:
            raise _InvalidError(f"{name}.{key}: give two numbers")
        example = default[0] if isinstance(default, tuple) else default
        _check_numbers(f"{name}.{key}", numbers, type(example), RANGES[key])
        values[key] = tuple(numbers) if pair else value
    return kind(**values)


def _check_numbers(name: str, numbers: list[Any], kind: type, limits: tuple[float, float]) -> None:
    kinds = (int,) if kind is int else (int, float)
    for number in numbers:
        known = isinstance(number, kinds) and not isinstance(number, bool)
        if not (known and limits[0] <= number <= limits[1]):
            whole = "a whole number" if kind is int else "a number"
            raise _InvalidError(
                f"{name} is {_shown(number)}; must be {whole} from {limits[0]} to {limits[1]}"
            )


def _shown(value: Any) -> str:
    """A value of the file for a message."""
    return value[:40] if isinstance(value, str) else reprlib.repr(value)[:40]
