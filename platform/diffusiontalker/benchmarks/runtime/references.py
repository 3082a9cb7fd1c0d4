"""Baselines of speed: HuBERT-base alone, and the architecture of v1 on top of it.

Weights are random: they do not affect the speed.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from transformers import HubertConfig, HubertModel

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.log_mel import frame_count
from diffusiontalker.config import ContextSettings, DecoderSettings
from diffusiontalker.diffusion.samplers import sample
from diffusiontalker.evaluation.measure import batch_of_one
from diffusiontalker.features.timing import at_frames, reach
from diffusiontalker.model.talker import Condition, Talker, TalkerConfig

GRU = DecoderSettings(kind="gru", width=256, depth=2)
"""v1's decoder."""


class Hubert:
    """HuBERT of transformers; the default configuration is the base model."""

    def __init__(self, config: HubertConfig | None = None) -> None:
        self.config = config or HubertConfig()
        self.model = HubertModel(self.config).eval()

    @torch.inference_mode()
    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Samples (n,) at 16 kHz to the last hidden state (outputs, D)."""
        state: torch.Tensor = self.model(torch.from_numpy(samples)[None]).last_hidden_state
        return state[0].numpy()


class V1:
    """HuBERT and a talker with v1's architecture: no context, and a GRU in every step."""

    def __init__(self, hubert: Hubert, student: TalkerConfig) -> None:
        """``student`` gives libraries and noise schedule."""
        self.hubert = hubert
        self.stride, self.field = reach(hubert.config.conv_kernel, hubert.config.conv_stride)
        config = replace(
            student,
            context=ContextSettings(depth=0),
            decoder=GRU,
            feature_dim=hubert.config.hidden_size,
            encoder_width=0,
            encoder_depth=0,
            look_ahead=None,
        )
        self.talker = Talker(config).eval()

    @torch.inference_mode()
    def animate(self, samples: np.ndarray, steps: int, every_step: bool) -> np.ndarray:
        """Samples (n,) at 16 kHz to coefficients (T, 52); HuBERT runs once, or ``every_step``."""
        frames = frame_count(len(samples))
        once = None if every_step else self._listen(samples, frames)

        def predict(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return self.talker.predict(x_t, t, once or self._listen(samples, frames))

        noise = torch.randn(1, frames, len(CHANNELS))
        x_0 = sample(predict, self.talker.schedule, noise, steps)
        return self.talker.destandardise(x_0).clamp(0, 1)[0].numpy()

    def _listen(self, samples: np.ndarray, frames: int) -> Condition:
        hidden = self.hubert(samples)
        features = batch_of_one(at_frames(hidden, self.stride, self.field / 2, frames))
        assert features is not None
        mask = torch.ones(1, frames, 1)
        audio = self.talker.encode(features, mask)
        voice = self.talker.embed_voice(audio, mask)
        return self.talker.condition(audio, voice.identity, voice.emotion, mask)


def megabytes(tensors: Iterable[torch.Tensor]) -> float:
    """Size in units of 1e6 bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
