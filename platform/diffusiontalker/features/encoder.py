"""The teacher's frozen large audio encoder: HuBERT, WavLM or wav2vec 2.0 on raw waveforms."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils.logging import set_verbosity_error
from torch import nn
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor
from transformers.utils import CONFIG_NAME
from transformers.utils.logging import disable_progress_bar

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.config import layers_fit
from diffusiontalker.errors import UserError
from diffusiontalker.features.timing import at_frames, reach

disable_progress_bar()  # a bar for every actor that loads the model is no news
set_verbosity_error()  # nor is every attempt at a hub that does not answer: one line follows

FAMILIES = ("hubert", "wavlm", "wav2vec2")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""What a folder of a model holds one of."""
_NO_WEIGHTS = (
    "holds no model.safetensors, and pickled weights are not read; choose an encoder.revision that "
    "has it (the hub's converter proposes it as refs/pr/...), or save the model again with "
    "save_pretrained"
)
_UNUSED = "masked_spec_embed"
"""The embedding of masks: training alone needs it, checkpoints may lack it."""
_INCIDENTAL = ("_name_or_path", "architectures", "dtype", "transformers_version")
"""What a configuration says that does not decide the features."""


class FrozenEncoder:
    """HuBERT, WavLM or wav2vec 2.0, by hub name, local folder or s3:// folder.

    Weights are read from safetensors alone; nothing is unpickled and no code of the model's
    repository runs. Layers above the highest that is asked for are dropped.

    Time grows with the square of a clip's length once attention outweighs the convolutions, and
    so does WavLM's memory: its relative positions take 4 bytes x heads x outputs^2 (0.6 GB a clip
    for the large model at 60 s, the longest that ``jobs/prepare.py`` makes).
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
                ``save_pretrained``, local or in S3.
            layers: hidden states to concatenate; 0 is the input of the first transformer layer.
            revision: hub revision.
            device: where to run.

        Raises:
            UserError: no such model, not a waveform model at 16 kHz, weights that are missing,
                damaged or pickled, or a layer that it does not have.
        """
        self.name, self.revision = _resolve(name), revision
        with _local(self.name) as source:
            config, model = _load(name, source, revision)
            front = _front_end(name, source, revision)
        _check_layers(name, config, layers)
        states = config.num_hidden_layers + 1
        self.layers = tuple(layer % states for layer in layers)
        del model.encoder.layers[max(*self.layers, 1) :]
        # float32 whatever the file holds: the audio is, and a CPU is slow in half precision.
        self.model: nn.Module = model.eval().requires_grad_(False).float().to(device)
        self.device = device
        self.config = config
        self.dim = len(layers) * int(config.hidden_size)
        self.stride, self.field = reach(config.conv_kernel, config.conv_stride)
        rate = front.get("sampling_rate", SAMPLE_RATE)
        if rate != SAMPLE_RATE:
            raise UserError(f"encoder.name {name!r}: reads {rate} Hz, but {SAMPLE_RATE} are needed")
        # Where the model does not say: base models were trained on raw audio, large ones (layer
        # norm in the convolutions) on audio of zero mean and unit variance.
        self.standardise = bool(front.get("do_normalize", config.feat_extract_norm == "layer"))
        # A group norm in the convolutions runs over time, so silence behind a clip would change it.
        self.pads = config.feat_extract_norm == "layer"

    def __call__(self, audio: np.ndarray, frames: int) -> np.ndarray:
        """Features (frames, D) float32 at 30 fps for audio (n,) at 16 kHz."""
        return self.many([audio], [frames], seconds=0)[0]

    def many(
        self, clips: Sequence[np.ndarray], frames: Sequence[int], seconds: float
    ) -> list[np.ndarray]:
        """Features (frames, D) float32 of each clip, as if it were alone.

        Clips of like length run together: of exactly equal length where the model normalises over
        time, else padded under a mask.

        Args:
            clips: audio (n,) at 16 kHz.
            frames: frames of each clip.
            seconds: audio in a batch, padding included; a longer clip runs alone.

        Raises:
            UserError: a batch does not fit the GPU's memory.
        """
        heard = [self._heard(audio) for audio in clips]
        features: dict[int, np.ndarray] = {}
        for batch in batches([len(a) for a in heard], round(seconds * SAMPLE_RATE), self.pads):
            try:
                hidden = self._hidden([heard[index] for index in batch])
            except torch.OutOfMemoryError as error:
                longest = max(len(heard[index]) for index in batch) / SAMPLE_RATE
                raise UserError(
                    f"{len(batch)} clips of up to {longest:.1f} s do not fit the GPU's memory; "
                    "lower extraction.batch_seconds, or prepare the corpus with shorter clips"
                ) from error
            for index, states in zip(batch, hidden, strict=True):
                features[index] = at_frames(states, self.stride, self.field, frames[index])
        return [features[index] for index in range(len(clips))]

    def _heard(self, audio: np.ndarray) -> np.ndarray:
        """The clip as the model wants it: its scale, and at least one receptive field long."""
        audio = standardise(audio) if self.standardise else audio
        return np.pad(audio, (0, max(self.field - len(audio), 0)))

    @torch.inference_mode()
    def _hidden(self, clips: list[np.ndarray]) -> list[np.ndarray]:
        """Hidden states (outputs, D) of clips that run at once."""
        lengths = np.array([len(clip) for clip in clips])
        longest = int(lengths.max())
        audio = np.zeros((len(clips), longest), np.float32)
        for row, clip in zip(audio, clips, strict=True):
            row[: len(clip)] = clip
        mask = None
        if lengths.min() < longest:
            inside = np.arange(longest) < lengths[:, None]
            mask = torch.from_numpy(inside.astype(np.int64)).to(self.device)
        states = self.model(
            torch.from_numpy(audio).to(self.device), attention_mask=mask, output_hidden_states=True
        ).hidden_states
        hidden = torch.cat([states[layer] for layer in self.layers], dim=-1).float().cpu().numpy()
        outputs = (lengths - self.field) // self.stride + 1
        return [states[:count] for states, count in zip(hidden, outputs, strict=True)]

    def fingerprint(self) -> str:
        """A short hash of all that decides the features, wherever the model lies."""
        config = {k: v for k, v in self.config.to_diff_dict().items() if k not in _INCIDENTAL}
        said = json.dumps([self.layers, self.standardise, config], sort_keys=True, default=str)
        digest = hashlib.sha256(said.encode())
        for key, value in sorted(self.model.state_dict().items()):
            if key != _UNUSED:
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().numpy())
        return digest.hexdigest()[:16]


def check(name: str, layers: Sequence[int], revision: str | None = None) -> None:
    """Look at a model's configuration alone, long before its weights are wanted.

    Raises:
        UserError: no such model, not a waveform model, a folder without weights that can be
            read, or a layer that it does not have.
    """
    source = _resolve(name)
    if not storage.is_remote(storage.location(source)):
        _check_layers(name, _configuration(name, source, revision), layers)
        folder = Path(source)
        if folder.is_dir() and not any((folder / file).is_file() for file in WEIGHTS):
            raise UserError(f"encoder.name {name!r}: {_NO_WEIGHTS}")
        return
    with TemporaryDirectory(prefix="encoder-") as copy:
        content = storage.read_bytes(storage.location(source) / CONFIG_NAME)
        (Path(copy) / CONFIG_NAME).write_bytes(content)
        _check_layers(name, _configuration(name, copy, None), layers)


def _check_layers(name: str, config: Any, layers: Sequence[int]) -> None:
    depth = config.num_hidden_layers
    if not layers_fit(layers, depth):
        raise UserError(f"encoder.layers {list(layers)}: {name} has hidden states 0 to {depth}")


def batches(lengths: Sequence[int], limit: int, pad: bool) -> Iterator[list[int]]:
    """Indices of the clips that run at once, shorter clips first.

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


def standardise(audio: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance (n,), as the feature extractor of these models does it."""
    return ((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)).astype(np.float32)


def _resolve(name: str) -> str:
    """A folder as a location that every worker understands; a hub name as it is."""
    place = storage.location(name)
    return str(place) if storage.is_remote(place) or place.is_dir() else name


@contextmanager
def _local(name: str) -> Iterator[str]:
    """What transformers can read: an S3 folder is copied here for the length of the loading."""
    place = storage.location(name)
    if not storage.is_remote(place):
        yield name
        return
    with TemporaryDirectory(prefix="encoder-") as folder:
        storage.fetch(place, Path(folder))
        yield folder


def _configuration(name: str, source: str, revision: str | None) -> Any:
    """The configuration at ``source``; errors name the setting ``name``. Raises UserError."""
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except Exception as error:  # transformers has no class of errors of its own
        raise UserError(f"encoder.name {name!r}: {_reason(error)}") from error
    if config.model_type not in FAMILIES:
        raise UserError(
            f"encoder.name {name!r}: a {config.model_type} model is not one of those that "
            "read waveforms here; use a HuBERT, WavLM or wav2vec 2.0 model"
        )
    return config


def _load(name: str, source: str, revision: str | None) -> tuple[Any, Any]:
    """Configuration and model at ``source``; errors name the setting ``name``. Raises UserError."""
    config = _configuration(name, source, revision)
    try:
        model, report = AutoModel.from_pretrained(
            source,
            revision=revision,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and safetensors share no class of errors
        raise UserError(f"encoder.name {name!r}: {_reason(error)}") from error
    # Transformers draws missing weights at random.
    missing = sorted(set(report["missing_keys"]) - {_UNUSED})
    if missing:
        raise UserError(
            f"encoder.name {name!r}: the weights lack {len(missing)} tensors, such as "
            f"{missing[0]}; use a complete {config.model_type} checkpoint"
        )
    return config, model


def _reason(error: Exception) -> str:
    """What to say, in a line, of a model that transformers could not load."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if isinstance(error.__cause__, HFValidationError):
        return "there is no such folder, and a hub name looks like facebook/hubert-base-ls960"
    if isinstance(error.__cause__, LocalEntryNotFoundError):
        return (
            "neither a folder here nor in this machine's Hugging Face cache, and the hub is "
            "offline or does not answer; give a local or s3:// folder saved by save_pretrained, "
            "or run once with a network (HF_HUB_OFFLINE unset, the same revision)"
        )
    if "model.safetensors" in said:
        return _NO_WEIGHTS
    return f"cannot be loaded ({said})"


def _front_end(name: str, source: str, revision: str | None) -> dict[str, Any]:
    """What the model's ``preprocessor_config.json`` says; nothing where there is none."""
    try:
        found, _ = Wav2Vec2FeatureExtractor.get_feature_extractor_dict(source, revision=revision)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or isinstance(error.__context__, ValueError):
            raise UserError(
                f"encoder.name {name!r}: preprocessor_config.json is no JSON"
            ) from error
        return {}
    if not isinstance(found, dict):
        raise UserError(f"encoder.name {name!r}: preprocessor_config.json holds no settings")
    return found
