"""The student as three ONNX graphs, which serve a whole clip and a stream alike.

``encoder.onnx`` hears, ``personalizer.onnx`` says who speaks and how, ``decoder.onnx`` moves the
face, every sampling step unrolled. A clip is heard as a whole before its face is made, a stream
chunk by chunk; so hearing and moving are apart. What a causal student keeps from chunk to chunk
goes in and out as one tensor (``model.past``), so that a graph takes clips of any length in pieces
of any length, and many streams as one batch.
"""

import copy
import logging
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.diffusion.samplers import ddim_step
from diffusiontalker.model.audio import LogMelEncoder
from diffusiontalker.model.decoder import GruDecoder
from diffusiontalker.model.past import Past
from diffusiontalker.model.personalizer import VOICE
from diffusiontalker.model.talker import Talker
from diffusiontalker.runtime.artifact import GRAPHS
from diffusiontalker.runtime.log_mel import BANDS, OVERLAP, PER_FRAME

TRACED = 8
"""Frames of the example that the graphs are traced with: more than one, so that none is special."""


class EncoderGraph(nn.Module):
    """``encoder.onnx``; see ``forward``."""

    def __init__(self, talker: Talker) -> None:
        super().__init__()
        assert isinstance(talker.encoder, LogMelEncoder)
        self.encoder = talker.encoder
        self.personalizer = talker.personalizer

    def forward(self, log_mel: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A chunk of T frames.

        Args:
            log_mel: (B, 2T + 3, 80); see ``LogMelEncoder.chunk``.
            state: (B, S) of the chunk before, zeros at the beginning.

        Returns:
            audio features (B, T, A), what ``personalizer.onnx`` wants the statistics of (B, T, H),
            and the next state (B, S).
        """
        past = Past(state)
        audio = self.encoder.chunk(log_mel, past=past if self.encoder.causal else None)
        return audio, self.personalizer.voice_frames(audio), after(past, state)


class PersonalizerGraph(nn.Module):
    """``personalizer.onnx``; see ``forward``."""

    def __init__(self, talker: Talker) -> None:
        super().__init__()
        self.personalizer = talker.personalizer

    def forward(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The voice's embeddings, unit (B, E), from statistics (B, H) over the time heard; and both
        libraries, unit (I, E) and (M, E)."""
        voice = self.personalizer.voice(mean, variance)
        libraries = self.personalizer.identities(), self.personalizer.emotions()
        return voice.identity, voice.emotion, *libraries


class DecoderGraph(nn.Module):
    """``decoder.onnx``; see ``forward``."""

    def __init__(self, talker: Talker, steps: int) -> None:
        super().__init__()
        self.talker = talker
        self.steps = steps

    def forward(
        self, audio: Tensor, noise: Tensor, identity: Tensor, emotion: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A chunk of T frames.

        Args:
            audio: (B, T, A) from ``encoder.onnx``.
            noise: (B, T, 52), standard normal.
            identity: (B, E), unit.
            emotion: (B, E), unit.
            state: (B, S) of the chunk before, zeros at the beginning.

        Returns:
            coefficients (B, T, 52) in 0-1, and the next state (B, S).
        """
        talker, past = self.talker, Past(state)
        own = past if talker.config.look_ahead is not None else None
        condition = talker.condition(audio, identity, emotion, None, own)
        x = noise
        for t, s in pairwise(talker.schedule.times(self.steps)):
            x_0 = talker.predict(x, t[None], condition, own)
            x = ddim_step(talker.schedule, x, x_0, t, s)
        return talker.destandardise(x).clamp(0, 1), after(past, state)


def after(past: Past, state: Tensor) -> Tensor:
    """The next state; a network without one hands its empty state through."""
    return past.state() if past.used else state + 0.0


class OnnxGru(nn.Module):
    """A GRU (batch first) as ONNX's operator: torch would unroll it for one length of clip."""

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        self.num_layers, self.hidden_size = gru.num_layers, gru.hidden_size
        self.layers = [[_zrn(weight)[None] for weight in layer] for layer in gru.all_weights]

    def forward(self, x: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``x`` (B, T, D), ``before`` (L, B, W) -> (B, T, W), (L, B, W); as ``nn.GRU``."""
        h = x.transpose(0, 1)
        if before is None:
            before = h.new_zeros(self.num_layers, h.shape[1], self.hidden_size)
        last = []
        for number, (w_input, w_hidden, b_input, b_hidden) in enumerate(self.layers):
            every, end = torch.onnx.ops.symbolic_multi_out(
                "GRU",
                (
                    h, w_input, w_hidden, torch.cat([b_input, b_hidden], dim=1), None,
                    before[number : number + 1],
                ),
                {"hidden_size": self.hidden_size, "linear_before_reset": 1},
                dtypes=(h.dtype, h.dtype),
                shapes=(
                    (h.shape[0], 1, h.shape[1], self.hidden_size),
                    (1, h.shape[1], self.hidden_size),
                ),
            )  # fmt: skip
            h = every.squeeze(1)
            last.append(end)
        return h.transpose(0, 1), torch.cat(last)


def _zrn(weight: Tensor) -> Tensor:
    """Torch stacks the gates (3W, ...) as reset, update, new; ONNX as update, reset, new."""
    reset, update, new = weight.detach().chunk(3)
    return torch.cat([update, reset, new])


@torch.no_grad()
def state_sizes(talker: Talker, steps: int) -> tuple[int, int]:
    """Numbers that encoder and decoder keep of a stream; 0 for what is not causal."""
    if talker.config.look_ahead is None:
        return 0, 0
    assert isinstance(talker.encoder, LogMelEncoder)
    dim = talker.config.personalizer.dim
    heard, moved = Past(), Past()
    audio = talker.encoder.chunk(torch.zeros(1, PER_FRAME + OVERLAP, BANDS), past=heard)
    condition = talker.condition(audio, torch.ones(1, dim), torch.ones(1, dim), None, moved)
    x = torch.zeros(1, 1, len(CHANNELS))
    for t in talker.schedule.times(steps)[:-1]:
        talker.predict(x, t[None], condition, moved)
    return heard.state().shape[1], moved.state().shape[1]


def export_onnx(talker: Talker, steps: int, folder: Path) -> None:
    """Write the three graphs (float32) for chunks of any length."""
    talker = talker.eval()
    heard, moved = state_sizes(talker, steps)
    if isinstance(talker.decoder, GruDecoder):
        gru = talker.decoder.gru
        talker = copy.deepcopy(talker)
        talker.decoder.gru = OnnxGru(gru)
    config = talker.config
    batch = torch.export.Dim("batch", min=1, max=4096)
    frames = torch.export.Dim("frames", min=1, max=1_000_000)
    two, dim = 2, config.personalizer.dim
    voice = torch.zeros(two, 2 * VOICE)
    _write(
        EncoderGraph(talker), folder / GRAPHS[0],
        {
            "log_mel": (
                torch.zeros(two, PER_FRAME * TRACED + OVERLAP, BANDS),
                {0: batch, 1: PER_FRAME * frames + OVERLAP},
            ),
            "state": (torch.zeros(two, heard), {0: batch}),
        },
        ["audio", "voice", "next_state"],
    )  # fmt: skip
    _write(
        PersonalizerGraph(talker), folder / GRAPHS[1],
        {"mean": (voice, {0: batch}), "variance": (voice + 1, {0: batch})},
        ["identity", "emotion", "identities", "emotions"],
    )  # fmt: skip
    _write(
        DecoderGraph(talker, steps), folder / GRAPHS[2],
        {
            "audio": (torch.zeros(two, TRACED, config.audio_dim), {0: batch, 1: frames}),
            "noise": (torch.zeros(two, TRACED, len(CHANNELS)), {0: batch, 1: frames}),
            "identity": (torch.ones(two, dim), {0: batch}),
            "emotion": (torch.ones(two, dim), {0: batch}),
            "state": (torch.zeros(two, moved), {0: batch}),
        },
        ["coefficients", "next_state"],
    )  # fmt: skip


def _write(
    module: nn.Module, path: Path, inputs: dict[str, tuple[Tensor, dict[int, Any]]],
    outputs: list[str],
) -> None:  # fmt: skip
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(tensor for tensor, _ in inputs.values()),
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=tuple(axes for _, axes in inputs.values()),
        )
        assert program is not None
        program.optimize()
        program.save(path, external_data=False)
    strip(path)


def strip(path: Path) -> None:
    """Take out what tracing noted beside the graph: a fifth of the file, with the paths of the
    machine that made it."""
    model = onnx.load(path)
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, graph, model):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    onnx.save(model, path)
