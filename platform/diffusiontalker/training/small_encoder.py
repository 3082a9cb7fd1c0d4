"""Training a small frozen encoder where no pretrained one can be had."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor
from transformers.utils.logging import disable_progress_bar

from diffusiontalker import storage
from diffusiontalker.config import attention_heads
from diffusiontalker.training.windows import IGNORED

disable_progress_bar()  # ours tells what people need


class EncoderTask(nn.Module):
    """Frame-wise phoneme recognition, which makes a small HuBERT hear what a mouth must show.

    HuBERT's own masked prediction needs days; labels are exact here, so plain cross-entropy does
    (our choice).
    """

    def __init__(self, model: HubertModel, phonemes: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(model.config.hidden_size, phonemes)

    @property
    def trained(self) -> "EncoderTask":
        """Encoder and head."""
        return self

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """``audio`` (B, n) at 16 kHz, ``labels`` (B, outputs)."""
        audio = batch["audio"]
        audio = (audio - audio.mean(1, keepdim=True)) / (audio.std(1, keepdim=True) + 1e-4)
        scores = self.head(self.model(audio).last_hidden_state)
        labels = batch["labels"]
        loss = F.cross_entropy(scores.transpose(1, 2), labels, ignore_index=IGNORED)
        known = labels != IGNORED
        right = (scores.argmax(-1) == labels) & known
        return {"loss": loss, "accuracy": right.sum() / known.sum().clamp(min=1)}


def save_encoder(model: HubertModel, out: Path) -> None:
    """Write a Hugging Face folder, local or in S3, that says, too, that ``EncoderTask``
    standardised the audio. Raises UserError if it cannot be written."""
    with tempfile.TemporaryDirectory(prefix="diffusiontalker-") as folder:
        model.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
        storage.store(Path(folder), out)


def small_hubert(hidden: int, depth: int) -> HubertModel:
    """A HuBERT of a hundredth of the base model's size, at the same 50 Hz.

    Three wide strides replace seven narrow ones in the front end: most of HuBERT's time on a CPU
    goes into its first convolutions.
    """
    return HubertModel(
        HubertConfig(
            hidden_size=hidden,
            num_hidden_layers=depth,
            num_attention_heads=attention_heads(hidden),
            intermediate_size=3 * hidden,
            conv_dim=(2 * hidden // 3, hidden, hidden),
            conv_kernel=(80, 8, 4),
            conv_stride=(20, 4, 4),
            conv_bias=True,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
            num_conv_pos_embeddings=32,
            num_conv_pos_embedding_groups=8,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            layerdrop=0.0,
            apply_spec_augment=False,
        )
    )
