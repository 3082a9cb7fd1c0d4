"""Whisper's encoder (arXiv 2212.04356): a transformer over a log-mel spectrogram, 50 Hz.

The published model reads exactly 30 s, padded with silence. Here a clip is read at its own length:
the first position embeddings are used, and attention sees no padding. Whisper cannot mask padding,
so clips are batched with clips of the same length alone.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu
from transformers import WhisperFeatureExtractor

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.errors import UserError
from diffusiontalker.features.pretrained import Pretrained

_DETERMINING = (
    "model_type", "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim",
    "activation_function", "num_mel_bins", "max_source_positions",
)  # fmt: skip
"""Entries of a configuration that determine the encoder; the others are the decoder's."""
OVERLAP = 6
"""Consecutive windows of a clip longer than the model's positions share a sixth of a window or
more: 5 s of 30 s. Our choice."""


class WhisperModel:
    """Hidden states of Whisper's encoder; the last has passed the final layer norm.

    A clip longer than 30 s is read in windows, each of which attends to itself alone; its log-mel
    spectrogram is normalised by the maximum of the whole clip.

    Attributes:
        stride: samples from one output to the next.
        field: window of the spectrogram, in samples.
        centre: sample at which output 0 is centred.
        pads: clips of a batch may differ in length.
    """

    pads = False
    centre = 0.0
    """The convolutions and the spectrogram are padded on both sides."""

    def __init__(self, loaded: Pretrained, layers: tuple[int, ...]) -> None:
        """Keep the layers that are needed: hidden states to concatenate, counted from 0.

        Raises:
            UserError: its front end is not Whisper's.
        """
        self.config, self.module, self.layers = loaded.config, loaded.module, layers
        self.mel = WhisperFeatureExtractor(feature_size=self.config.num_mel_bins)
        for key, value in _front_end(self.mel).items():
            if (found := loaded.front_end.get(key, value)) != value:
                raise UserError(
                    f"encoder.name {loaded.name!r}: preprocessor_config.json has {key} {found}, "
                    f"but Whisper's is {value}; use a model with Whisper's own front end"
                )
        self.stride = 2 * self.mel.hop_length
        self.field = self.mel.n_fft
        self.normed = max(layers) == len(self.module.layers)
        del self.module.layers[max(layers) :]

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        """The model's input: at least one window of the spectrogram long."""
        return np.pad(audio, (0, max(self.field - len(audio), 0)))

    @torch.inference_mode()
    def hidden(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Hidden states (outputs, D) float32 of clips of one length, from ``prepare``."""
        device = self.module.conv1.weight.device
        mel = torch.from_numpy(self.spectrogram(clips)).to(device)
        embedded = gelu(self.module.conv2(gelu(self.module.conv1(mel)))).transpose(1, 2)
        limit = self.config.max_source_positions
        parts = [
            self._transform(embedded[:, start : start + limit])[:, first - start : last - start]
            for start, first, last in windows(embedded.shape[1], limit, limit // OVERLAP)
        ]
        return list(torch.cat(parts, dim=1).cpu().numpy())

    def spectrogram(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """The feature extractor's log-mel (clips, bins, n // 160) of clips (n,) of one length.

        The same values as the first n // 160 frames of audio that is padded to 30 s: a window's
        length of silence is all of the padding that these frames reach.
        """
        silence = min(max(self.mel.n_samples - len(clips[0]), 0), self.mel.n_fft)
        padded = [np.pad(clip, (0, silence)) for clip in clips]
        found = self.mel(padded, sampling_rate=SAMPLE_RATE, padding="do_not_pad", truncation=False)[
            "input_features"
        ]
        return np.ascontiguousarray(found[..., : len(clips[0]) // self.mel.hop_length])

    def _transform(self, embedded: Tensor) -> Tensor:
        """The transformer over one window (clips, outputs, width): the chosen hidden states."""
        hidden = embedded + self.module.embed_positions.weight[: embedded.shape[1]]
        states = [hidden]
        for layer in self.module.layers:
            states.append(layer(states[-1], None))
        if self.normed:
            states[-1] = self.module.layer_norm(states[-1])
        return torch.cat([states[layer] for layer in self.layers], dim=-1)

    def description(self) -> list[Any]:
        """All that determines the features beside layers and weights."""
        return [{key: getattr(self.config, key) for key in _DETERMINING}]


def windows(count: int, limit: int, overlap: int) -> list[tuple[int, int, int]]:
    """Windows over the outputs of a clip: start, and the first and last (excluded) that is kept.

    All have ``limit`` outputs if the clip has more; neighbours meet in the middle of what they
    share.

    Args:
        count: outputs of the clip.
        limit: outputs of a window at most.
        overlap: outputs that neighbours share at least; below ``limit``.
    """
    number = max(-(-(count - overlap) // (limit - overlap)), 1)
    starts = np.linspace(0, max(count - limit, 0), number).round().astype(int).tolist()
    seams = [(start + limit + after) // 2 for start, after in pairwise(starts)]
    return list(zip(starts, [0, *seams], [*seams, count], strict=True))


def _front_end(mel: WhisperFeatureExtractor) -> dict[str, Any]:
    """The settings of the front end that a model may not change."""
    return {
        "sampling_rate": SAMPLE_RATE, "feature_size": mel.feature_size, "n_fft": mel.n_fft,
        "hop_length": mel.hop_length, "dither": 0.0, "do_normalize": False,
    }  # fmt: skip
