"""An artifact on disk or in S3: a folder of configuration, graphs and a model card."""

from pathlib import Path
from typing import Any

import onnxruntime
import yaml

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS
from diffusiontalker.errors import UserError

FORMAT_VERSION = 3
GRAPHS = ("encoder.onnx", "personalizer.onnx", "modulation.onnx", "decoder.onnx")
FRAME = "frame.onnx"
"""Of a student that can stream."""
CONFIG, CARD = "config.yaml", "README.md"
PARTS = (CONFIG, *GRAPHS, FRAME, CARD)
"""All that an artifact may hold."""
MAX_CONFIG_BYTES = 2**20
MAX_BYTES = 2**28
"""Largest graph that is read: a student has a few MB, and what is here is no student."""
ELSEWHERE = b"\x0a\x08location"
"""In an ONNX file whose weights lie in another: the key of ``TensorProto.external_data``."""
PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ],
}
"""What runs the graphs, by the setting's name: the first that can run an operator does."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check an artifact's ``config.yaml`` and the presence of its other files.

    Raises:
        UserError: not an artifact, a missing file, another version, other channels.
    """
    path = folder / CONFIG
    config = _parse(path) if storage.is_file(path) else {}
    names = files(config)
    missing = [name for name in names if not storage.is_file(folder / name)]
    if len(missing) == len(names):
        raise UserError(f"{folder}: no such artifact folder{_hint(folder)}")
    if missing:
        raise UserError(f"{folder}: the artifact lacks {missing[0]}; export it again")
    return config


def _hint(folder: Path) -> str:
    """The artifact that was meant, if it can be found: of a run, of one of its stages, or the one
    that a file is part of."""
    for near in (folder / "student", folder.parent, folder.parent / "student"):
        if storage.is_file(near / CONFIG) and storage.is_file(near / GRAPHS[0]):
            return f"; did you mean {near}?"
    return ""


def graphs(config: dict[str, Any]) -> tuple[str, ...]:
    """Names of the graphs of an artifact of this configuration."""
    return GRAPHS if config.get("look_ahead") is None else (*GRAPHS, FRAME)


def files(config: dict[str, Any]) -> tuple[str, ...]:
    """Names of all its files."""
    return CONFIG, *graphs(config), CARD


def _parse(path: Path) -> dict[str, Any]:
    content = storage.read_bytes(path, MAX_CONFIG_BYTES)
    try:
        config = yaml.safe_load(content)
        version = config["format_version"]
        if version != FORMAT_VERSION:
            raise UserError(
                f"{path.parent}: artifact format {version}, but this release reads "
                f"{FORMAT_VERSION}; export it again"
            )
        channels, names = config["channels"], [*config["identities"], *config["emotions"]]
        ahead = config["look_ahead"]
        sound = (
            all(isinstance(name, str) for name in names)
            and int(config["steps"]) > 0
            and (ahead is None or (isinstance(ahead, int) and -60 <= ahead <= 60))
        )
    except (
        yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, OverflowError,
        RecursionError,
    ) as error:  # fmt: skip
        raise UserError(f"{path}: not an artifact's configuration") from error
    if not sound:
        raise UserError(f"{path}: not an artifact's configuration")
    if channels != list(CHANNELS):
        raise UserError(
            f"{path}: the channels are not the 52 in this release's order; "
            "an artifact's channel order must not be edited"
        )
    return dict(config)


def sessions(
    folder: Path, names: tuple[str, ...], threads: int, provider: str
) -> dict[str, onnxruntime.InferenceSession]:
    """Graphs, ready to run, by name.

    Raises:
        UserError: a graph is damaged, far too large, or has its weights elsewhere; or the provider
            is not to be had here.
    """
    if provider not in PROVIDERS:
        raise UserError(f"provider {provider!r} is unknown; choose one of {', '.join(PROVIDERS)}")
    wanted = PROVIDERS[provider]
    if wanted[0] not in onnxruntime.get_available_providers():
        raise UserError(
            f"provider {provider!r}: this onnxruntime was built without {wanted[0]}; "
            "pip install onnxruntime-gpu in its place, or choose 'cpu'"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised: one line, not two
    found = {}
    for name in names:
        path = folder / name
        graph = storage.read_bytes(path, MAX_BYTES)
        if ELSEWHERE in graph:  # a path of whoever made it, which ONNX Runtime would follow
            raise UserError(f"{path}: keeps its weights in another file; export it again")
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=wanted)
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: cannot be loaded ({said})") from error
        if provider != "cpu" and wanted[0] not in session.get_providers():
            raise UserError(
                f"provider {provider!r}: {wanted[0]} does not start on this machine; is there a "
                "GPU, with its driver and libraries? Or choose 'cpu'"
            )
        found[name.removesuffix(".onnx")] = session
    return found
