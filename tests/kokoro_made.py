"""A graph with Kokoro's names and no more of it: every token lasts 100 ms, at a pitch of 200 Hz."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

SYMBOLS = ";:,.!? —AIOQWYbdfhijklmnpstuvwzæðŋɑɔəɚɛɜɡɪɹʃʊʌʒʤʧˈˌθᵊᵻT"
VOCABULARY = {symbol: number for number, symbol in enumerate(SYMBOLS, 1)}
F0 = 200.0
"""Pitch in Hz, less the number of the token."""


def make_graph() -> bytes:
    """Its ``audio`` is 2400 samples a token, each the mean pitch in kHz."""
    f0, user = "/encoder/Squeeze_output_0", "/encoder/Reshape_output_0"
    constants = {
        "frames": np.float32([4.0]), "zero": np.float32([0.0]), "samples": np.int64([2400]),
        "pitch_of_frame": np.float32([F0 / 4]), "kilo": np.float32([0.001]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["tokens"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "frames"], ["/encoder/Clip_output_0"]),
        # Pitch falls with the number of a token, so that it has a range.
        helper.make_node("Mul", ["/encoder/Clip_output_0", "pitch_of_frame"], ["level"]),
        helper.make_node("Sub", ["level", "number"], [f0]),
        helper.make_node("Identity", [f0], [user]),
        helper.make_node("Shape", ["tokens"], ["shape"], start=1),
        helper.make_node("Mul", ["shape", "samples"], ["length"]),
        helper.make_node("ReduceMean", [user], ["hertz"], keepdims=0),
        helper.make_node("Mul", ["hertz", "kilo"], ["value"]),
        helper.make_node("Expand", ["value", "length"], ["audio"]),
    ]
    real, whole = TensorProto.FLOAT, TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "kokoro",
        [
            helper.make_tensor_value_info("tokens", whole, [1, None]),
            helper.make_tensor_value_info("style", real, [1, 256]),
            helper.make_tensor_value_info("speed", real, [1]),
        ],
        [helper.make_tensor_value_info("audio", real, [None])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return content


def make_kokoro(folder: Path, voices: tuple[str, ...] = ("af_heart", "bm_george")) -> Path:
    """The files of the asset in ``folder``."""
    (folder / "voices").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(make_graph())
    (folder / "config.json").write_text(json.dumps({"vocab": VOCABULARY}))
    for voice in voices:
        np.zeros((12, 1, 256), "<f4").tofile(folder / "voices" / f"{voice}.bin")
    return folder
