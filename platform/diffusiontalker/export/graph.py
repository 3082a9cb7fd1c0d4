"""Exporting the student as ONNX graphs.

``encoder.onnx`` gives audio and voice features, ``personalizer.onnx`` embeddings of the voice,
``modulation.onnx`` FiLM scale and shift for embeddings, ``decoder.onnx`` coefficients, with every
sampling step unrolled. The voice of a clip is known when all of it has been encoded; so encoder and
decoder are separate graphs. The state of a causal student between chunks goes in and out as one
tensor (``model.convolutions``), so that a graph takes clips of any length in chunks of any length.

``frame.onnx`` is encoder and decoder for a single frame of many streams. It is the same network,
with a fraction of the state to read and of the work besides matrix products.
"""

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.log_mel import BANDS, OVERLAP, PER_FRAME
from diffusiontalker.export.graph_modules import (
    DecoderGraph,
    EncoderGraph,
    FrameGraph,
    ModulationGraph,
    OnnxGru,
    PersonalizerGraph,
)
from diffusiontalker.model.audio_encoder import LogMelEncoder
from diffusiontalker.model.convolutions import ChunkCache
from diffusiontalker.model.decoder import GruDecoder
from diffusiontalker.model.personalizer import VOICE_FEATURES
from diffusiontalker.model.talker import Talker
from diffusiontalker.runtime.artifact import FRAME

TRACED = 8
"""Frames of the example that the graphs are traced with: more than one, to keep that axis free."""


@torch.no_grad()
def state_sizes(talker: Talker, steps: int) -> tuple[int, int]:
    """Numbers that encoder and decoder keep between chunks; 0 where they are not causal."""
    if talker.config.look_ahead is None:
        return 0, 0
    assert isinstance(talker.encoder, LogMelEncoder)
    encoder, decoder, graph = ChunkCache(), ChunkCache(), DecoderGraph(talker, steps)
    audio = talker.encoder.chunk(torch.zeros(1, PER_FRAME + OVERLAP, BANDS), cache=encoder)
    noise, modulation = torch.zeros(1, 1, len(CHANNELS)), torch.zeros(1, 1, graph.modulation)
    graph.decode(audio, noise, modulation, decoder)
    return encoder.state().shape[1], decoder.state().shape[1]


def export_onnx(talker: Talker, steps: int, folder: Path) -> None:
    """Write the graphs (float32)."""
    talker = talker.eval()
    encoder_state, decoder_state = state_sizes(talker, steps)
    if isinstance(talker.decoder, GruDecoder):
        gru = talker.decoder.gru
        talker = copy.deepcopy(talker)
        talker.decoder.gru = OnnxGru(gru)
    config = talker.config
    batch = torch.export.Dim("batch", min=1, max=4096)
    frames = torch.export.Dim("frames", min=1, max=1_000_000)
    two, dim = 2, config.personalizer.dim
    voice = torch.zeros(two, 2 * VOICE_FEATURES)
    _write(
        EncoderGraph(talker), folder / "encoder.onnx",
        {
            "log_mel": (
                torch.zeros(two, PER_FRAME * TRACED + OVERLAP, BANDS),
                {0: batch, 1: PER_FRAME * frames + OVERLAP},
            ),
            "state": (torch.zeros(two, encoder_state), {0: batch}),
        },
        ["audio", "voice", "next_state"],
    )  # fmt: skip
    _write(
        PersonalizerGraph(talker), folder / "personalizer.onnx",
        {"mean": (voice, {0: batch}), "variance": (voice + 1, {0: batch})},
        ["identity", "emotion", "identities", "emotions"],
    )  # fmt: skip
    _write(
        ModulationGraph(talker, steps), folder / "modulation.onnx",
        {kind: (torch.ones(two, dim), {0: batch}) for kind in ("identity", "emotion")},
        ["modulation"],
    )  # fmt: skip
    decoder = DecoderGraph(talker, steps)
    modulation = torch.ones(two, 1, decoder.modulation), {0: batch}
    _write(
        decoder, folder / "decoder.onnx",
        {
            "audio": (torch.zeros(two, TRACED, config.audio_dim), {0: batch, 1: frames}),
            "noise": (torch.zeros(two, TRACED, len(CHANNELS)), {0: batch, 1: frames}),
            "modulation": modulation,
            "state": (torch.zeros(two, decoder_state), {0: batch}),
        },
        ["coefficients", "blink", "next_state"],
    )  # fmt: skip
    if config.look_ahead is None:
        return
    frame = FrameGraph(talker, steps)
    _write(
        frame, folder / FRAME,
        {
            "log_mel": (torch.zeros(two, PER_FRAME + OVERLAP, BANDS), {0: batch}),
            "noise": (torch.zeros(two, 1, len(CHANNELS)), {0: batch}),
            "modulation": modulation,
        },
        ["coefficients", "blink", "voice", *(f"now_{dilation}" for dilation in frame.sizes)],
        {name: (torch.zeros(two, 1, size), {0: batch}) for name, size in frame.taps.items()},
    )  # fmt: skip


Inputs = dict[str, tuple[Tensor, dict[int, Any]]]
"""Example tensors by name, with their dynamic axes."""


def _write(
    module: nn.Module, path: Path, inputs: Inputs, outputs: list[str], listed: Inputs | None = None
) -> None:
    """``listed`` inputs are passed as one list after the others."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    more = [[*zip(*listed.values(), strict=True)]] if listed else []
    given = [*inputs.values(), *((list(tensors), list(axes)) for tensors, axes in more)]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(tensors for tensors, _ in given),
            dynamo=True,
            verbose=False,
            input_names=[*inputs, *(listed or {})],
            output_names=outputs,
            dynamic_shapes=tuple(axes for _, axes in given),
        )
        assert program is not None
        program.save(path, external_data=False)
    strip(path)


def strip(path: Path) -> None:
    """Remove the metadata of tracing: a fifth of the file, with paths of the exporting machine."""
    model = onnx.load(path)
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, graph, model):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    onnx.save(model, path)
