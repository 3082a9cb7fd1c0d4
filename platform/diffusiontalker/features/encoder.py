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
from diffusiontalker.config import fingerprint, layers_fit
from diffusiontalker.errors import UserError
from diffusiontalker.features.timing import at_frames, reach

disable_progress_bar()  # every actor would show one
set_verbosity_error()  # retries at a hub that does not answer end in one line of our own

FAMILIES = ("hubert", "wavlm", "wav2vec2")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""A model's folder holds one of these."""
_NO_WEIGHTS = (
    "holds no model.safetensors, and pickled weights are not read; choose an encoder.revision that "
    "has it (the hub's converter proposes it as refs/pr/...), or save the model again with "
    "save_pretrained"
)
_UNUSED = "masked_spec_embed"
"""The mask embedding: used in training only, and missing in some checkpoints."""
_INCIDENTAL = ("_name_or_path", "architectures", "dtype", "transformers_version")
"""Entries of a configuration that do not affect the features."""


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
        # Without do_normalize: base models were trained on raw audio, large ones (layer norm in
        # the convolutions) on audio of zero mean and unit variance.
        self.standardise = bool(front.get("do_normalize", config.feat_extract_norm == "layer"))
        # A group norm in the convolutions runs over time: padding would change the features.
        self.pads = config.feat_extract_norm == "layer"

    def __call__(self, audio: np.ndarray, frames: int) -> np.ndarray:
        """Features (frames, D) float32 at 30 fps for audio (n,) at 16 kHz."""
        return self.many([audio], [frames], seconds=0)[0]

    def many(
        self, clips: Sequence[np.ndarray], frames: Sequence[int], seconds: float
    ) -> list[np.ndarray]:
        """Features (frames, D) float32 of each clip, independent of the other clips.

        Clips of similar length are batched: of exactly equal length where the model normalises over
        time, else padded and masked.

        Args:
            clips: audio (n,) at 16 kHz.
            frames: frames of each clip.
            seconds: audio in a batch, padding included; a longer clip is a batch of its own.

        Raises:
            UserError: a batch does not fit the GPU's memory.
        """
        inputs = [self._input(audio) for audio in clips]
        features: dict[int, np.ndarray] = {}
        for batch in batches([len(a) for a in inputs], round(seconds * SAMPLE_RATE), self.pads):
            try:
                hidden = self._hidden([inputs[index] for index in batch])
            except torch.OutOfMemoryError as error:
                longest = max(len(inputs[index]) for index in batch) / SAMPLE_RATE
                raise UserError(
                    f"{len(batch)} clips of up to {longest:.1f} s do not fit the GPU's memory; "
                    "lower extraction.batch_seconds, or prepare the corpus with shorter clips"
                ) from error
            for index, states in zip(batch, hidden, strict=True):
                features[index] = at_frames(states, self.stride, self.field, frames[index])
        return [features[index] for index in range(len(clips))]

    def _input(self, audio: np.ndarray) -> np.ndarray:
        """The model's input: standardised if it needs that, at least one receptive field long."""
        audio = standardise(audio) if self.standardise else audio
        return np.pad(audio, (0, max(self.field - len(audio), 0)))

    @torch.inference_mode()
    def _hidden(self, clips: list[np.ndarray]) -> list[np.ndarray]:
        """Hidden states (outputs, D) of the clips of a batch."""
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
        """A short hash of all that determines the features: configuration, layers, weights."""
        config = {k: v for k, v in self.config.to_diff_dict().items() if k not in _INCIDENTAL}
        text = json.dumps([self.layers, self.standardise, config], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode())
        for key, value in sorted(self.model.state_dict().items()):
            if key != _UNUSED:
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().numpy())
        return digest.hexdigest()[:16]


def check(name: str, layers: Sequence[int], revision: str | None = None) -> None:
    """Check a model by its configuration, before its weights are loaded.

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


def content(name: str, revision: str | None = None) -> str:
    """A hash of a model's files, which may change under its name; of a hub model, its commit.

    Raises:
        UserError: no such model, or it cannot be read.
    """
    source = _resolve(name)
    folder = storage.location(source)
    if storage.is_remote(folder):
        tags = {key: str(info.get("ETag")) for key, info in storage.objects(folder).items()}
        return fingerprint(tags)
    if not folder.is_dir():
        return str(getattr(_configuration(name, source, revision), "_commit_hash", None))
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name == CONFIG_NAME or path.suffix in (".json", ".safetensors"):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _check_layers(name: str, config: Any, layers: Sequence[int]) -> None:
    depth = config.num_hidden_layers
    if not layers_fit(layers, depth):
        raise UserError(f"encoder.layers {list(layers)}: {name} has hidden states 0 to {depth}")


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


def standardise(audio: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance (n,), as the feature extractor of these models does it."""
    return ((audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)).astype(np.float32)


def _resolve(name: str) -> str:
    """A folder as a location that every worker can open; a hub name unchanged."""
    place = storage.location(name)
    return str(place) if storage.is_remote(place) or place.is_dir() else name


@contextmanager
def _local(name: str) -> Iterator[str]:
    """A source that transformers can read: an S3 folder is copied to a temporary one."""
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
    """Why transformers could not load a model, in one line."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    if isinstance(error.__cause__, HFValidationError):
        return "there is no such folder, and a hub name looks like facebook/hubert-base-ls960"
    if isinstance(error.__cause__, LocalEntryNotFoundError):
        return (
            "neither a folder here nor in this machine's Hugging Face cache, and the hub is "
            "offline or does not answer; give a local or s3:// folder saved by save_pretrained, "
            "or run once with a network (HF_HUB_OFFLINE unset, the same revision)"
        )
    if "model.safetensors" in text:
        return _NO_WEIGHTS
    return f"cannot be loaded ({text})"


def _front_end(name: str, source: str, revision: str | None) -> dict[str, Any]:
    """The model's ``preprocessor_config.json``; empty if there is none."""
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
