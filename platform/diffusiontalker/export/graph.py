"""The student as ONNX graphs.

``encoder.onnx`` hears, ``personalizer.onnx`` says who speaks and how, ``modulation.onnx`` what that
does to the layers, ``decoder.onnx`` moves the face, every sampling step unrolled. A clip is heard
as a whole before its face is made; so hearing and moving are apart. What a causal student keeps
from chunk to chunk goes in and out as one tensor (``model.past``), so that a graph takes clips of
any length in pieces of any length.

``frame.onnx`` hears and moves a single frame of many streams. It is the same network, but what it
is given of the past, and what there is to do besides matrix products, is a fraction.
"""

import copy
import logging
import warnings
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.log_mel import BANDS, OVERLAP, PER_FRAME
from diffusiontalker.diffusion.samplers import ddim_step
from diffusiontalker.model.audio_encoder import LogMelEncoder
from diffusiontalker.model.convolutions import ChunkCache, FrameCache
from diffusiontalker.model.decoder import GruDecoder
from diffusiontalker.model.personalizer import VOICE_FEATURES
from diffusiontalker.model.talker import Talker
from diffusiontalker.runtime.artifact import FRAME

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
        past = ChunkCache(state)
        audio = self.encoder.chunk(log_mel, cache=past if self.encoder.causal else None)
        return audio, self.personalizer.voice_features(audio), after(past, state)


class PersonalizerGraph(nn.Module):
    """``personalizer.onnx``; see ``forward``."""

    def __init__(self, talker: Talker) -> None:
        super().__init__()
        self.personalizer = talker.personalizer

    def forward(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The voice's embeddings, unit (B, E), from statistics (B, H) over the time heard; and both
        libraries, unit (I, E) and (M, E)."""
        voice = self.personalizer.embed_statistics(mean, variance)
        libraries = self.personalizer.identities(), self.personalizer.emotions()
        return voice.identity, voice.emotion, *libraries


class ModulationGraph(nn.Module):
    """``modulation.onnx``; see ``forward``."""

    def __init__(self, talker: Talker, steps: int) -> None:
        super().__init__()
        self.talker = talker
        self.steps = steps

    def parts(self, identity: Tensor, emotion: Tensor) -> list[list[Tensor]]:
        """Of the context, and of the decoder in each step: (B, 1, ...) of every layer."""
        talker = self.talker
        personalized = talker.personalizer(identity, emotion)
        return [
            talker.context_modulation(personalized),
            *(
                talker.decoder.modulation(t[None], personalized)
                for t in talker.schedule.times(self.steps)[:-1]
            ),
        ]

    def forward(self, identity: Tensor, emotion: Tensor) -> Tensor:
        """What unit embeddings (B, E) do to all layers (B, 1, M): as long as they stay the same,
        so does this."""
        return torch.cat([x for part in self.parts(identity, emotion) for x in part], dim=-1)


class DecoderGraph(nn.Module):
    """``decoder.onnx``; see ``forward``."""

    def __init__(self, talker: Talker, steps: int) -> None:
        super().__init__()
        self.talker = talker
        self.steps = steps
        one = torch.ones(1, talker.config.personalizer.dim)
        with torch.no_grad():
            parts = ModulationGraph(talker, steps).parts(one, one)
        self.sizes = [[x.shape[-1] for x in part] for part in parts]

    @property
    def modulation(self) -> int:
        """Width of what ``modulation.onnx`` gives."""
        return sum(map(sum, self.sizes))

    def forward(
        self, audio: Tensor, noise: Tensor, modulation: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A chunk of T frames.

        Args:
            audio: (B, T, A) from ``encoder.onnx``.
            noise: (B, T, 52), standard normal.
            modulation: (B, 1, M) from ``modulation.onnx``.
            state: (B, S) of the chunk before, zeros at the beginning.

        Returns:
            coefficients (B, T, 52) in 0-1, and the next state (B, S).
        """
        past = ChunkCache(state)
        own = past if self.talker.config.look_ahead is not None else None
        return self.move(audio, noise, modulation, own), after(past, state)

    def move(
        self, audio: Tensor, noise: Tensor, modulation: Tensor, past: ChunkCache | FrameCache | None
    ) -> Tensor:
        """As ``forward``: the coefficients."""
        talker, at = self.talker, 0
        parts: list[list[Tensor]] = []
        for sizes in self.sizes:
            ends = [*accumulate(sizes, initial=at)]
            parts.append([modulation[..., begin:end] for begin, end in pairwise(ends)])
            at = ends[-1]
        context, mean = talker.context_and_mean(audio, parts[0], None, past)
        x = noise
        times = talker.schedule.times(self.steps)
        for (t, s), own in zip(pairwise(times), parts[1:], strict=True):
            x_0 = talker.denoise(x, t[None], context, mean, own, None, past)
            x = ddim_step(talker.schedule, x, x_0, t, s)
        return talker.destandardise(x).clamp(0, 1)


class FrameGraph(nn.Module):
    """``frame.onnx``; see ``forward``."""

    def __init__(self, talker: Talker, steps: int) -> None:
        super().__init__()
        assert isinstance(talker.encoder, LogMelEncoder)
        self.encoder = talker.encoder
        self.personalizer = talker.personalizer
        self.decoder = DecoderGraph(talker, steps)
        taps = FrameCache()
        with torch.no_grad():
            self._make(
                torch.zeros(1, PER_FRAME + OVERLAP, BANDS), torch.zeros(1, 1, len(CHANNELS)),
                torch.zeros(1, 1, self.decoder.modulation), taps,
            )  # fmt: skip
        self.sizes = {dilation: seen.shape[-1] for dilation, seen in taps.now().items()}
        """Numbers that each dilation's layers see in a frame."""
        self.past = {
            f"{name}_{dilation}": size
            for dilation, size in self.sizes.items()
            for name in (("far", "near") if dilation else ("near",))
        }
        """And by the names of ``FrameCache``."""

    def forward(
        self, log_mel: Tensor, noise: Tensor, modulation: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """One frame of each stream.

        Args:
            log_mel: (B, 5, 80); see ``LogMelEncoder.chunk``.
            noise: (B, 1, 52), standard normal.
            modulation: (B, 1, M) from ``modulation.onnx``.
            past: (B, 1, C) each, as ``FrameCache`` has them, in the order of ``self.past``.

        Returns:
            coefficients (B, 1, 52) in 0-1, what ``personalizer.onnx`` wants the statistics of
            (B, 1, H), and what ``FrameCache`` sees now.
        """
        taps = FrameCache(dict(zip(self.past, past, strict=True)))
        face, voice = self._make(log_mel, noise, modulation, taps)
        return face, voice, *taps.now().values()

    def _make(
        self, log_mel: Tensor, noise: Tensor, modulation: Tensor, taps: FrameCache
    ) -> tuple[Tensor, Tensor]:
        audio = self.encoder.chunk(log_mel, cache=taps)
        voice = self.personalizer.voice_features(audio)
        return self.decoder.move(audio, noise, modulation, taps), voice


def after(past: ChunkCache, state: Tensor) -> Tensor:
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
    heard, moved, decoder = ChunkCache(), ChunkCache(), DecoderGraph(talker, steps)
    audio = talker.encoder.chunk(torch.zeros(1, PER_FRAME + OVERLAP, BANDS), cache=heard)
    noise, modulation = torch.zeros(1, 1, len(CHANNELS)), torch.zeros(1, 1, decoder.modulation)
    decoder.move(audio, noise, modulation, moved)
    return heard.state().shape[1], moved.state().shape[1]


def export_onnx(talker: Talker, steps: int, folder: Path) -> None:
    """Write the graphs (float32)."""
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
    voice = torch.zeros(two, 2 * VOICE_FEATURES)
    _write(
        EncoderGraph(talker), folder / "encoder.onnx",
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
            "state": (torch.zeros(two, moved), {0: batch}),
        },
        ["coefficients", "next_state"],
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
        ["coefficients", "voice", *(f"now_{dilation}" for dilation in frame.sizes)],
        {name: (torch.zeros(two, 1, size), {0: batch}) for name, size in frame.past.items()},
    )  # fmt: skip


Inputs = dict[str, tuple[Tensor, dict[int, Any]]]
"""By name, with the axes that may be of any length."""


def _write(
    module: nn.Module, path: Path, inputs: Inputs, outputs: list[str], listed: Inputs | None = None
) -> None:
    """``listed`` inputs are given as a list behind the others."""
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
    """Take out what tracing noted beside the graph: a fifth of the file, with the paths of the
    machine that made it."""
    model = onnx.load(path)
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, graph, model):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    onnx.save(model, path)
