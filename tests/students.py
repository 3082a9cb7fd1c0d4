"""A student of random weights, exported: small, and as quick to make as to use."""

from pathlib import Path

import torch

from diffusiontalker.config import ContextSettings, DecoderSettings, PersonalizerSettings
from diffusiontalker.export import artifact
from diffusiontalker.model.talker import Talker, TalkerConfig


def random_student(folder: Path, steps: int = 2) -> Path:
    """Export one into ``folder`` and return it."""
    torch.manual_seed(0)
    config = TalkerConfig(
        identities=("ann", "bob"),
        emotions=("neutral", "anger"),
        audio_dim=8,
        context=ContextSettings(width=8, depth=1),
        decoder=DecoderSettings(kind="tcn", width=8, depth=1),
        personalizer=PersonalizerSettings(dim=4, fused=8),
        schedule="cosine",
        encoder_width=8,
        encoder_depth=1,
        look_ahead=3,
    )
    artifact.export(Talker(config).eval(), steps, folder, "# A random student\n")
    return folder
