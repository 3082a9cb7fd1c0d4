"""The teacher's frozen large audio encoder: HuBERT, WavLM, wav2vec 2.0 or Whisper."""

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.errors import UserError
from diffusiontalker.features import pretrained
from diffusiontalker.features.timing import at_frames
from diffusiontalker.features.waveform_model import WaveformModel
from diffusiontalker.features.whisper_model import WhisperModel


class FrozenEncoder:
    """A pretrained speech model, by hub name, local folder, s3:// folder or asset.

    Weights are read from safetensors alone; nothing is unpickled and no code of the model's
    repository runs. Layers above the highest that is asked for are dropped.
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
            name: hub name such as facebook/hubert-base-ls960, a folder saved by
                ``save_pretrained``, local or in S3, or an asset such as asset:whisper-base.
            layers: hidden states to concatenate; 0 is the input of the first transformer layer.
            revision: hub revision.
            device: where to run.

        Raises:
            UserError: no such model, not a speech model at 16 kHz, weights that are missing,
                damaged or pickled, or a layer that it does not have.
        """
        self.name, self.revision = pretrained.resolve(name), revision
        with pretrained.local(self.name) as source:
            loaded = pretrained.load(name, source, revision)
        config = loaded.config
        pretrained.check_layers(name, config, layers)
        states = config.num_hidden_layers + 1
        self.layers = tuple(layer % states for layer in layers)
        self.dim = len(layers) * int(config.hidden_size)
        # float32 whatever the file holds: the audio is, and a CPU is slow in half precision.
        loaded.module.eval().requires_grad_(False).float().to(device)
        family = WhisperModel if config.model_type == pretrained.WHISPER else WaveformModel
        self.model: WhisperModel | WaveformModel = family(loaded, self.layers)

    def __call__(self, audio: np.ndarray, frames: int) -> np.ndarray:
        """Features (frames, D) float32 at 30 fps for audio (n,) at 16 kHz."""
        return self.many([audio], [frames], seconds=0)[0]

    def many(
        self, clips: Sequence[np.ndarray], frames: Sequence[int], seconds: float
    ) -> list[np.ndarray]:
        """Features (frames, D) float32 of each clip, independent of the other clips.

        Clips of similar length are batched: of exactly equal length where the model cannot mask
        padding, else padded and masked.

        Args:
            clips: audio (n,) at 16 kHz.
            frames: frames of each clip.
            seconds: audio in a batch, padding included; a longer clip is a batch of its own.

        Raises:
            UserError: a batch does not fit the GPU's memory.
        """
        model = self.model
        inputs = [model.prepare(audio) for audio in clips]
        features: dict[int, np.ndarray] = {}
        for batch in batches([len(a) for a in inputs], round(seconds * SAMPLE_RATE), model.pads):
            try:
                hidden = model.hidden([inputs[index] for index in batch])
            except torch.OutOfMemoryError as error:
                longest = max(len(inputs[index]) for index in batch) / SAMPLE_RATE
                raise UserError(
                    f"{len(batch)} clips of up to {longest:.1f} s do not fit the GPU's memory; "
                    "lower extraction.batch_seconds, or prepare the corpus with shorter clips"
                ) from error
            for index, states in zip(batch, hidden, strict=True):
                features[index] = at_frames(states, model.stride, model.centre, frames[index])
        return [features[index] for index in range(len(clips))]

    def fingerprint(self) -> str:
        """A short hash of all that determines the features: configuration, layers, weights."""
        text = json.dumps([self.layers, *self.model.description()], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode())
        for key, value in sorted(self.model.module.state_dict().items()):
            if key != pretrained.MASK_EMBEDDING:
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().numpy())
        return digest.hexdigest()[:16]


def batches(lengths: Sequence[int], limit: int, pad: bool) -> Iterator[list[int]]:
    """Indices of the clips of each batch, shorter clips first.

    Args:
        lengths: samples of each clip.
        limit: samples in a batch, padding included; a longer clip is a batch of its own.
        pad: clips of a batch may differ in length.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        unequal = bool(batch) and lengths[batch[0]] != lengths[index]
        if batch and ((len(batch) + 1) * lengths[index] > limit or (unequal and not pad)):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
