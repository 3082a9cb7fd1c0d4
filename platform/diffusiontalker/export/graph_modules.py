"""The student as torch modules, one for each ONNX graph."""

from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.log_mel import BANDS, OVERLAP, PER_FRAME
from diffusiontalker.diffusion.samplers import ddim_step
from diffusiontalker.model.audio_encoder import LogMelEncoder
from diffusiontalker.model.convolutions import ChunkCache, FrameCache
from diffusiontalker.model.talker import Talker


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
            audio features (B, T, A), voice features (B, T, H), and the next state (B, S).
        """
        cache = ChunkCache(state)
        audio = self.encoder.chunk(log_mel, cache=cache if self.encoder.causal else None)
        return audio, self.personalizer.voice_features(audio), next_state(cache, state)


class PersonalizerGraph(nn.Module):
    """``personalizer.onnx``; see ``forward``."""

    def __init__(self, talker: Talker) -> None:
        super().__init__()
        self.personalizer = talker.personalizer

    def forward(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Identity and emotion of the voice, unit (B, E), from mean and variance of voice features
        over time (B, H); and both libraries, unit (I, E) and (M, E)."""
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
        """FiLM of the context, and of the decoder in each step: (B, 1, ...) of every layer."""
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
        """FiLM scale and shift of all layers and steps (B, 1, M) for unit embeddings (B, E): needed
        again only when these change."""
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
        """Width M of the output of ``modulation.onnx``."""
        return sum(map(sum, self.sizes))

    def forward(
        self, audio: Tensor, noise: Tensor, modulation: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A chunk of T frames.

        Args:
            audio: (B, T, A) from ``encoder.onnx``.
            noise: (B, T, 52), standard normal in every frame.
            modulation: (B, 1, M) from ``modulation.onnx``.
            state: (B, S) of the chunk before, zeros at the beginning.

        Returns:
            coefficients (B, T, 52) in 0-1, the probability (B, T) that a blink begins, and the
            next state (B, S).
        """
        cache = ChunkCache(state)
        own = cache if self.talker.config.look_ahead is not None else None
        return *self.decode(audio, noise, modulation, own), next_state(cache, state)

    def decode(
        self,
        audio: Tensor,
        noise: Tensor,
        modulation: Tensor,
        cache: ChunkCache | FrameCache | None,
    ) -> tuple[Tensor, Tensor]:
        """As ``forward``: the coefficients, and the probability that a blink begins."""
        talker, at = self.talker, 0
        parts: list[list[Tensor]] = []
        for sizes in self.sizes:
            ends = [*accumulate(sizes, initial=at)]
            parts.append([modulation[..., begin:end] for begin, end in pairwise(ends)])
            at = ends[-1]
        context, mean = talker.context_and_mean(audio, parts[0], None, cache)
        x = noise
        times = talker.schedule.times(self.steps)
        for (t, s), own in zip(pairwise(times), parts[1:], strict=True):
            x_0 = talker.denoise(x, t[None], context, mean, own, None, cache)
            x = ddim_step(talker.schedule, x, x_0, t, s)
        coefficients = talker.coefficients(x, talker.seal_logit(context))
        return coefficients, talker.blink_logit(context).sigmoid()


class FrameGraph(nn.Module):
    """``frame.onnx``; see ``forward``."""

    def __init__(self, talker: Talker, steps: int) -> None:
        super().__init__()
        assert isinstance(talker.encoder, LogMelEncoder)
        self.encoder = talker.encoder
        self.personalizer = talker.personalizer
        self.decoder = DecoderGraph(talker, steps)
        cache = FrameCache()
        with torch.no_grad():
            self._frame(
                torch.zeros(1, PER_FRAME + OVERLAP, BANDS), torch.zeros(1, 1, len(CHANNELS)),
                torch.zeros(1, 1, self.decoder.modulation), cache,
            )  # fmt: skip
        self.sizes = {dilation: seen.shape[-1] for dilation, seen in cache.now().items()}
        """Width of the inputs of all layers of each dilation, in a frame."""
        self.taps = {
            f"{name}_{dilation}": size
            for dilation, size in self.sizes.items()
            for name in (("far", "near") if dilation else ("near",))
        }
        """Widths by the names of ``FrameCache``."""

    def forward(
        self, log_mel: Tensor, noise: Tensor, modulation: Tensor, taps: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """One frame of each stream.

        Args:
            log_mel: (B, 5, 80); see ``LogMelEncoder.chunk``.
            noise: (B, 1, 52), standard normal.
            modulation: (B, 1, M) from ``modulation.onnx``.
            taps: (B, 1, C) each, as ``FrameCache`` has them, in the order of ``self.taps``.

        Returns:
            coefficients (B, 1, 52) in 0-1, the probability (B, 1) that a blink begins, voice
            features (B, 1, H), and the inputs at t of ``FrameCache.now``.
        """
        cache = FrameCache(dict(zip(self.taps, taps, strict=True)))
        return *self._frame(log_mel, noise, modulation, cache), *cache.now().values()

    def _frame(
        self, log_mel: Tensor, noise: Tensor, modulation: Tensor, cache: FrameCache
    ) -> tuple[Tensor, Tensor, Tensor]:
        audio = self.encoder.chunk(log_mel, cache=cache)
        voice = self.personalizer.voice_features(audio)
        return *self.decoder.decode(audio, noise, modulation, cache), voice


def next_state(cache: ChunkCache, state: Tensor) -> Tensor:
    """The next state; a network without state passes its empty one through."""
    return cache.state() if cache.used else state + 0.0


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
