"""HuBERT, WavLM and wav2vec 2.0: transformers over convolutions of the waveform."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.errors import UserError
from diffusiontalker.features.pretrained import Pretrained
from diffusiontalker.features.timing import reach

_INCIDENTAL = ("_name_or_path", "architectures", "dtype", "transformers_version")
"""Entries of a configuration that do not affect the features."""


class WaveformModel:
    """Hidden states of a model that reads waveforms.

    Time grows with the square of a clip's length once attention outweighs the convolutions, and
    so does WavLM's memory: its relative positions take 4 bytes x heads x outputs^2 (0.6 GB a clip
    for the large model at 60 s, the longest that ``jobs/prepare.py`` makes).

    Attributes:
        stride: samples from one output to the next.
        field: receptive field of the convolutions, in samples.
        centre: sample at which output 0 is centred.
        standardise: the model reads audio of zero mean and unit variance.
        pads: clips of a batch may differ in length.
    """

    def __init__(self, loaded: Pretrained, layers: tuple[int, ...]) -> None:
        """Keep the layers that are needed: hidden states to concatenate, counted from 0.

        Raises:
            UserError: it reads another sample rate.
        """
        rate = loaded.front_end.get("sampling_rate", SAMPLE_RATE)
        if rate != SAMPLE_RATE:
            raise UserError(
                f"encoder.name {loaded.name!r}: reads {rate} Hz, but {SAMPLE_RATE} are needed"
            )
        self.config, self.module, self.layers = loaded.config, loaded.module, layers
        del self.module.encoder.layers[max(*layers, 1) :]
        self.stride, self.field = reach(self.config.conv_kernel, self.config.conv_stride)
        self.centre = self.field / 2
        # Without do_normalize: base models were trained on raw audio, large ones (layer norm in
        # the convolutions) on audio of zero mean and unit variance.
        group_norm = self.config.feat_extract_norm != "layer"
        self.standardise = bool(loaded.front_end.get("do_normalize", not group_norm))
        # A group norm in the convolutions runs over time: padding would change the features.
        self.pads = not group_norm

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        """The model's input: standardised if it needs that, at least one receptive field long."""
        audio = standardise(audio) if self.standardise else audio
        return np.pad(audio, (0, max(self.field - len(audio), 0)))

    @torch.inference_mode()
    def hidden(self, clips: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Hidden states (outputs, D) float32 of the clips of a batch, from ``prepare``."""
        lengths = np.array([len(clip) for clip in clips])
        longest = int(lengths.max())
        audio = np.zeros((len(clips), longest), np.float32)
        for row, clip in zip(audio, clips, strict=True):
            row[: len(clip)] = clip
        device = next(self.module.parameters()).device
        mask = None
        if lengths.min() < longest:
            inside = np.arange(longest) < lengths[:, None]
            mask = torch.from_numpy(inside.astype(np.int64)).to(device)
        states = self.module(
            torch.from_numpy(audio).to(device), attention_mask=mask, output_hidden_states=True
        ).hidden_states
        hidden = torch.cat([states[layer] for layer in self.layers], dim=-1).float().cpu().numpy()
        outputs = (lengths - self.field) // self.stride + 1
        return [states[:count] for states, count in zip(hidden, outputs, strict=True)]

    def description(self) -> list[Any]:
        """All that determines the features beside layers and weights."""
        config = {k: v for k, v in self.config.to_diff_dict().items() if k not in _INCIDENTAL}
        return [self.standardise, config]


def standardise(audio: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance (n,), as the feature extractor of these models does it."""
    return ((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)).astype(np.float32)
