"""Speech synthesis with phone times by Kokoro-82M, through ONNX Runtime.

The int8 graph comes out of packages (``assets``). It draws nothing at random: the same text, voice
and prosody give the same samples on the same processor and version of ONNX Runtime; others may
round int8 products differently. Kokoro has no emotions and no dial but speed. Three changes to the
graph add what the corpus needs: the durations of the tokens as an output, and factors on the level
and the range of its predicted pitch, which leave the formants alone.
"""

import json
from pathlib import Path

import numpy as np

from diffusiontalker import assets
from diffusiontalker.corpus.procedural.kokoro_timing import phone_times
from diffusiontalker.corpus.procedural.kokoro_tokens import tokenize
from diffusiontalker.corpus.procedural.speech import Phone, Prosody
from diffusiontalker.errors import UserError

ASSET = "kokoro"
SAMPLE_RATE = 24_000
MAX_TOKENS = 510
"""Context of the model, without padding."""
_STYLE = 256
_DURATIONS = "/encoder/Clip_output_0"
_F0 = "/encoder/Squeeze_output_0"
"""Predicted pitch in Hz, 80 values a second, under 20 where unvoiced."""
_VOICED = 60.0
"""Least pitch in Hz that counts as voiced."""


class Kokoro:
    """Speaks as ``speech.speak`` does, with the model in memory and one thread."""

    def __init__(self, folder: Path | None = None) -> None:
        """
        Args:
            folder: the files of the asset ``kokoro``; None fetches them.

        Raises:
            UserError: they cannot be fetched.
        """
        import onnxruntime

        folder = folder or assets.fetch(ASSET)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = with_pitch((folder / "model.onnx").read_bytes())
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._vocabulary = json.loads((folder / "config.json").read_bytes())["vocab"]
        self._voices = folder / "voices"

    def __call__(
        self, text: str, voice: str, prosody: Prosody
    ) -> tuple[np.ndarray, int, list[Phone]]:
        """As ``speech.speak``; volume has no effect.

        Raises:
            UserError: no such voice, no speech for the text, or a text that is too long.
        """
        path = self._voices / f"{voice}.bin"
        if not path.is_file():
            raise UserError(f"Kokoro has no voice {voice!r}")
        ipa, tokens = tokenize(text, accent_of(voice), self._vocabulary)
        length = len(tokens) - 2
        if not ipa:
            raise UserError(f"Kokoro made no sound for {text!r}")
        if length > MAX_TOKENS:
            raise UserError(f"{text[:40]!r}...: {length} tokens; Kokoro speaks {MAX_TOKENS}")
        styles = np.fromfile(path, "<f4").reshape(-1, 1, _STYLE)
        numbers = [self._vocabulary.get(token.symbol, 0) for token in tokens]
        pitch, span = (2.0 ** ((dial - 50.0) / 100.0) for dial in (prosody.pitch, prosody.range))
        feeds = {
            "tokens": np.array([numbers]),
            "style": styles[min(length, len(styles) - 1)],
            "speed": np.array([prosody.rate / Prosody.rate], np.float32),
            "pitch": np.array([pitch], np.float32),
            "range": np.array([span], np.float32),
        }
        samples, durations = self._session.run(["audio", _DURATIONS], feeds)
        phones = phone_times(ipa, tokens, durations.ravel(), samples, SAMPLE_RATE)
        return samples, SAMPLE_RATE, phones


def accent_of(voice: str) -> str:
    """eSpeak's English whose phonemes a voice speaks. Voices of other languages speak American."""
    return "en-gb-x-rp" if voice.startswith("b") else "en-us"


def with_pitch(model: bytes) -> bytes:
    """The graph of Kokoro with inputs ``pitch`` and ``range`` and token durations as an output.

    Where voiced, the pitch f becomes ``pitch * (f + (range - 1) * (f - mean))``.
    """
    import onnx
    from onnx import TensorProto, helper

    loaded = onnx.load_from_string(model)
    graph = loaded.graph
    for name in ("pitch", "range"):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]))
    graph.output.append(helper.make_tensor_value_info(_DURATIONS, TensorProto.FLOAT, [1, None]))
    for name, value in (("pitch/least", _VOICED), ("pitch/one", 1.0)):
        graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [1], [value]))
    added = [
        helper.make_node(kind, inputs, [output])
        for kind, inputs, output in (
            ("Greater", [_F0, "pitch/least"], "pitch/is_voiced"),
            ("CastLike", ["pitch/is_voiced", "pitch/one"], "pitch/voiced"),
            ("ReduceSum", ["pitch/voiced"], "pitch/counted"),
            ("Max", ["pitch/counted", "pitch/one"], "pitch/count"),
            ("Mul", [_F0, "pitch/voiced"], "pitch/voiced_f0"),
            ("ReduceSum", ["pitch/voiced_f0"], "pitch/sum"),
            ("Div", ["pitch/sum", "pitch/count"], "pitch/mean"),
            ("Sub", [_F0, "pitch/mean"], "pitch/above"),
            ("Mul", ["pitch/above", "pitch/voiced"], "pitch/deviation"),
            ("Sub", ["range", "pitch/one"], "pitch/more"),
            ("Mul", ["pitch/deviation", "pitch/more"], "pitch/added"),
            ("Add", [_F0, "pitch/added"], "pitch/ranged"),
            ("Mul", ["pitch/ranged", "pitch"], "pitch/f0"),
        )
    ]
    nodes = list(graph.node)
    at = next(i for i, node in enumerate(nodes) if _F0 in node.output) + 1
    for node in nodes[at:]:
        node.input[:] = ["pitch/f0" if name == _F0 else name for name in node.input]
    ordered = onnx.GraphProto(node=[*nodes[:at], *added, *nodes[at:]])
    del graph.node[:]
    graph.node.extend(ordered.node)
    content: bytes = loaded.SerializeToString()
    return content
