"""Pretrained speech models: found by hub name, folder or asset, checked, and loaded."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils.logging import set_verbosity_error
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from transformers.utils import CONFIG_NAME
from transformers.utils.logging import disable_progress_bar

from diffusiontalker import storage
from diffusiontalker.config import fingerprint, layers_fit
from diffusiontalker.errors import UserError
from diffusiontalker.features import packaged

disable_progress_bar()  # every actor would show one
set_verbosity_error()  # retries at a hub that does not answer end in one line of our own

WHISPER = "whisper"
WAVEFORM_FAMILIES = ("hubert", "wavlm", "wav2vec2")
FAMILIES = (*WAVEFORM_FAMILIES, WHISPER)
"""Values of ``model_type`` in a configuration."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""A model's folder holds one of these."""
_NO_WEIGHTS = (
    "holds no model.safetensors, and pickled weights are not read; choose an encoder.revision that "
    "has it (the hub's converter proposes it as refs/pr/...), or save the model again with "
    "save_pretrained"
)
MASK_EMBEDDING = "masked_spec_embed"
"""Used in training only, and missing in some checkpoints."""


class _WhisperEncoder(WhisperEncoder):
    """Whisper's encoder, loaded from a checkpoint of the whole model without a report on the rest.

    Weights that are missing are checked for by ``load``.
    """

    _keys_to_ignore_on_load_unexpected = [r"."]  # noqa: RUF012  # as transformers declares it


def check(name: str, layers: Sequence[int], revision: str | None = None) -> None:
    """Check a model by its configuration, before its weights are loaded; fetch it if it is an
    asset.

    Raises:
        UserError: no such model, not of a family that is read here, a folder without weights that
            can be read, or a layer that it does not have.
    """
    source = resolve(name)
    if not storage.is_remote(storage.location(source)):
        with local(source) as folder:
            check_layers(name, _configuration(name, folder, revision), layers)
            if Path(folder).is_dir() and not any((Path(folder) / f).is_file() for f in WEIGHTS):
                raise UserError(f"encoder.name {name!r}: {_NO_WEIGHTS}")
        return
    with TemporaryDirectory(prefix="encoder-") as copy:
        copied = storage.read_bytes(storage.location(source) / CONFIG_NAME)
        (Path(copy) / CONFIG_NAME).write_bytes(copied)
        check_layers(name, _configuration(name, copy, None), layers)


def content(name: str, revision: str | None = None) -> str:
    """A hash of a model's files, which may change under its name; of a hub model, its commit.

    Raises:
        UserError: no such model, or it cannot be read.
    """
    source = resolve(name)
    if packaged.is_packaged(source):
        return packaged.content(source)
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


def check_layers(name: str, config: Any, layers: Sequence[int]) -> None:
    """Raises UserError if the model has no such hidden states."""
    depth = config.num_hidden_layers
    if not layers_fit(layers, depth):
        raise UserError(f"encoder.layers {list(layers)}: {name} has hidden states 0 to {depth}")


def resolve(name: str) -> str:
    """A folder as a location that every worker can open; another name unchanged."""
    place = storage.location(name)
    return str(place) if storage.is_remote(place) or place.is_dir() else name


@contextmanager
def local(name: str) -> Iterator[str]:
    """A source that transformers can read: an S3 folder is copied to a temporary one, an asset is
    fetched into the cache. Raises UserError."""
    if packaged.is_packaged(name):
        yield str(packaged.folder(name))
        return
    place = storage.location(name)
    if not storage.is_remote(place):
        yield name
        return
    with TemporaryDirectory(prefix="encoder-") as folder:
        storage.fetch(place, Path(folder))
        yield folder


class Pretrained(NamedTuple):
    """A model as it was loaded."""

    name: str
    """For errors."""
    config: Any
    """Its configuration."""
    module: Any
    """Its network; of Whisper the encoder alone."""
    front_end: dict[str, Any]
    """Its ``preprocessor_config.json``."""


def load(name: str, source: str, revision: str | None) -> Pretrained:
    """The model at ``source``; errors name the setting ``name``. Raises UserError."""
    config = _configuration(name, source, revision)
    whisper = config.model_type == WHISPER
    loader: Any = _WhisperEncoder if whisper else AutoModel
    # The same weights have other names in a whole model and in an encoder alone.
    options = {"key_mapping": {r"^(model\.)?encoder\.": ""}} if whisper else {}
    try:
        module, report = loader.from_pretrained(
            source,
            revision=revision,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # transformers and safetensors share no class of errors
        raise UserError(f"encoder.name {name!r}: {_reason(error)}") from error
    # Transformers draws missing weights at random.
    missing = sorted(set(report["missing_keys"]) - {MASK_EMBEDDING})
    if missing:
        raise UserError(
            f"encoder.name {name!r}: the weights lack {len(missing)} tensors, such as "
            f"{missing[0]}; use a complete {config.model_type} checkpoint"
        )
    return Pretrained(name, config, module, _front_end(name, source, revision))


def _front_end(name: str, source: str, revision: str | None) -> dict[str, Any]:
    """The model's ``preprocessor_config.json``; empty if there is none. Raises UserError."""
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


def _configuration(name: str, source: str, revision: str | None) -> Any:
    """The configuration at ``source``; errors name the setting ``name``. Raises UserError."""
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except Exception as error:  # transformers has no class of errors of its own
        raise UserError(f"encoder.name {name!r}: {_reason(error)}") from error
    if config.model_type not in FAMILIES:
        raise UserError(
            f"encoder.name {name!r}: a {config.model_type} model is not one of those that "
            "read speech here; use a HuBERT, WavLM, wav2vec 2.0 or Whisper model"
        )
    return config


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
