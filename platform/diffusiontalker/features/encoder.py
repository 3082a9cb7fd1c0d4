"""The teacher's frozen large audio encoder: any Hugging Face speech model on raw waveforms."""

import hashlib
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor
from transformers.utils.logging import disable_progress_bar

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.errors import UserError
from diffusiontalker.features.timing import at_frames, reach

disable_progress_bar()  # a bar for every actor that loads the model is no news


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
            UserError: no such model, not a waveform model at 16 kHz, weights that are missing,
                damaged or pickled, or a layer that it does not have.
        """
        try:
            config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
            if not hasattr(config, "conv_stride"):
                raise UserError(
                    f"encoder.name {name!r}: a {config.model_type} model does not read waveforms; "
                    "use a HuBERT, WavLM or wav2vec 2.0 model"
                )
            model, report = AutoModel.from_pretrained(
                name,
                revision=revision,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except UserError:
            raise
        except Exception as error:  # transformers and safetensors share no class of errors
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"encoder.name {name!r}: cannot be loaded ({reason})") from error
        # Transformers draws missing weights at random. The embedding of masks is never used here.
        missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
        if missing:
            raise UserError(
                f"encoder.name {name!r}: the weights lack {len(missing)} tensors, such as "
                f"{missing[0]}; use a complete {config.model_type} checkpoint"
            )
        # float32 whatever the file holds: the audio is, and a CPU is slow in half precision.
        self.model: nn.Module = model.eval().requires_grad_(False).float().to(device)
        self.device = device
        states = config.num_hidden_layers + 1
        if any(not -states <= layer < states for layer in layers):
            raise UserError(
                f"encoder.layers {list(layers)}: {name} has hidden states 0 to {states - 1}"
            )
        self.layers = layers
        self.dim = len(layers) * int(config.hidden_size)
        self.stride, self.field = reach(config.conv_kernel, config.conv_stride)
        front = _front_end(name, revision)
        rate = front.get("sampling_rate", SAMPLE_RATE)
        if rate != SAMPLE_RATE:
            raise UserError(f"encoder.name {name!r}: reads {rate} Hz, but {SAMPLE_RATE} are needed")
        # Where the model does not say: base models were trained on raw audio, large ones (layer
        # norm in the convolutions) on audio of zero mean and unit variance.
        self.standardise = bool(front.get("do_normalize", config.feat_extract_norm == "layer"))

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
        """A short hash of all that decides the features: the name of a cache of them."""
        digest = hashlib.sha256(repr((self.layers, self.standardise)).encode())
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def standardise(audio: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance (n,), as the feature extractor of these models does it."""
    return ((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)).astype(np.float32)


def _front_end(name: str, revision: str | None) -> dict[str, Any]:
    """What the model's ``preprocessor_config.json`` says; nothing where there is none."""
    try:
        found, _ = Wav2Vec2FeatureExtractor.get_feature_extractor_dict(name, revision=revision)
    except OSError:
        return {}
    return found
