"""ONNX Runtime sessions of an artifact's graphs."""

from pathlib import Path

import onnxruntime

from diffusiontalker import storage
from diffusiontalker.errors import UserError

MAX_BYTES = 2**28
"""Largest graph that is read: a student has a few MB."""
EXTERNAL_DATA = b"\x0a\x08location"
"""Key of ``TensorProto.external_data`` in an ONNX file: its weights lie in another file."""
PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ],
}
"""Execution providers by the setting's name: the first that can run an operator runs it."""


def load_sessions(
    folder: Path, names: tuple[str, ...], threads: int, provider: str
) -> dict[str, onnxruntime.InferenceSession]:
    """A session of each graph, by its file's name without suffix.

    Raises:
        UserError: a graph is damaged, far too large, or has its weights in another file; or the
            provider is not available.
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
    options.log_severity_level = 4  # errors are raised, and need not be logged too
    sessions = {}
    for name in names:
        path = folder / name
        graph = storage.read_bytes(path, MAX_BYTES)
        if EXTERNAL_DATA in graph:  # a path of the exporter's choice, which ONNX Runtime would open
            raise UserError(f"{path}: keeps its weights in another file; export it again")
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=wanted)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: cannot be loaded ({reason})") from error
        if provider != "cpu" and wanted[0] not in session.get_providers():
            raise UserError(
                f"provider {provider!r}: {wanted[0]} does not start on this machine; is there a "
                "GPU, with its driver and libraries? Or choose 'cpu'"
            )
        sessions[name.removesuffix(".onnx")] = session
    return sessions
