"""The teacher's frozen large audio encoder: any Hugging Face speech model on raw waveforms."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.errors import UserError


class FrozenEncoder:
    """HuBERT, WavLM, wav2vec 2.0 or a relative of theirs, by hub name or local folder.

    Weights are read from safetensors alone; nothing is unpickled and no code of the model's
    repository runs.
    """

    def __init__(
        self,
        name: str,
        layers: tuple[int, ...],
        revision: str | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """Load the model.

        Args:
            name: hub name such as facebook/hubert-base-ls960, or a folder saved by
                ``save_pretrained``.
            layers: hidden states to concatenate; 0 is the input of the first transformer layer.
            revision: hub revision.
            device: where to run.

        Raises:
            UserError: no such model, not a waveform model, or a layer that it does not have.
        """
        try:
            config = AutoConfig.from_pretrained(name, revision=revision)
            if not hasattr(config, "conv_stride"):
                raise UserError(
                    f"encoder.name {name!r}: a {config.model_type} model does not read waveforms; "
                    "use a HuBERT, WavLM or wav2vec 2.0 model"
                )
            self.model: nn.Module = AutoModel.from_pretrained(
                name, revision=revision, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"encoder.name {name!r}: cannot be loaded ({reason})") from error
        self.model.eval().requires_grad_(False).to(device)
        self.device = device
        states = config.num_hidden_layers + 1
        if any(not -states <= layer < states for layer in layers):
            raise UserError(
                f"encoder.layers {list(layers)}: {name} has hidden states 0 to {states - 1}"
            )
        self.layers = layers
        self.dim = len(layers) * int(config.hidden_size)
        self.stride, self.field = reach(config.conv_kernel, config.conv_stride)
        # The base models of all three families were trained on raw audio, the large ones
        # (layer norm in the convolutions) on audio of zero mean and unit variance.
        self.standardise = config.feat_extract_norm == "layer"

    @torch.inference_mode()
    def __call__(self, audio: np.ndarray, frames: int) -> np.ndarray:
        """Features (frames, D) float32 at 30 fps for audio (n,) at 16 kHz."""
        if self.standardise:
            audio = standardise(audio)
        audio = np.pad(audio, (0, max(self.field - len(audio), 0)))
        out = self.model(
            torch.from_numpy(audio)[None].to(self.device), output_hidden_states=True
        ).hidden_states
        hidden = torch.cat([out[layer] for layer in self.layers], dim=-1)[0].float().cpu().numpy()
        return at_frames(hidden, self.stride, self.field, frames)

    def fingerprint(self) -> str:
        """A short hash of weights and layers: the name of a cache of features."""
        digest = hashlib.sha256(repr(self.layers).encode())
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def standardise(audio: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance (n,), as the feature extractor of these models does it."""
    return ((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)).astype(np.float32)


def reach(kernels: list[int], strides: list[int]) -> tuple[int, int]:
    """Stride and receptive field, in samples, of a stack of convolutions."""
    stride, field = 1, 1
    for kernel, step in zip(kernels, strides, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return stride, field


def at_frames(hidden: np.ndarray, stride: int, field: int, frames: int) -> np.ndarray:
    """Interpolate encoder outputs (n, D) to the times of ``frames`` frames: (frames, D).

    Output ``j`` is centred on sample ``j * stride + field / 2``; frame ``k`` on ``k / 30`` s.
    Interpolating by index alone would shift the face by up to half a receptive field.
    """
    centres = (np.arange(len(hidden)) * stride + field / 2) / SAMPLE_RATE
    position = np.interp(np.arange(frames) / FPS, centres, np.arange(len(hidden)))
    low = np.minimum(position.astype(int), len(hidden) - 1)
    high = np.minimum(low + 1, len(hidden) - 1)
    share = (position - low)[:, None].astype(np.float32)
    return hidden[low] * (1 - share) + hidden[high] * share


