"""A small HuBERT, trained on phonemes, for use where no pretrained encoder is available."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor
from transformers.utils.logging import disable_progress_bar

from diffusiontalker import storage
from diffusiontalker.config import attention_heads
from diffusiontalker.training.windows import IGNORED_LABEL

disable_progress_bar()  # the stage has a progress display of its own


class PhonemeObjective(nn.Module):
    """Frame-wise phoneme recognition with a small HuBERT: phonemes determine mouth shapes.

    HuBERT's own masked prediction takes days of training; with exact phoneme times cross-entropy
    suffices (our choice).
    """

    def __init__(self, model: HubertModel, phonemes: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(model.config.hidden_size, phonemes)

    @property
    def trained(self) -> "PhonemeObjective":
        """Encoder and head."""
        return self

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """``audio`` (B, n) at 16 kHz, ``labels`` (B, outputs)."""
        audio = batch["audio"]
        audio = (audio - audio.mean(1, keepdim=True)) / (audio.std(1, keepdim=True) + 1e-4)
        scores = self.head(self.model(audio).last_hidden_state)
        labels = batch["labels"]
        loss = F.cross_entropy(scores.transpose(1, 2), labels, ignore_index=IGNORED_LABEL)
        known = labels != IGNORED_LABEL
        right = (scores.argmax(-1) == labels) & known
        return {"loss": loss, "accuracy": right.sum() / known.sum().clamp(min=1)}


def save_encoder(model: HubertModel, out: Path) -> None:
    """Write a Hugging Face folder, local or in S3; its feature extractor standardises the audio, as
    ``PhonemeObjective`` does. Raises UserError if it cannot be written."""
    with tempfile.TemporaryDirectory(prefix="diffusiontalker-") as folder:
        model.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
        storage.store(Path(folder), out)


def small_hubert(hidden: int, depth: int) -> HubertModel:
    """A HuBERT of a hundredth of the base model's size, at the same 50 Hz.

    Three convolutions with wide strides replace seven in the front end, which takes most of
    HuBERT's time on a CPU (our choice).
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
