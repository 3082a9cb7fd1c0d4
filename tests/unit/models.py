"""Tiny talkers, batches and clips for the tests of the model side."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.log_mel import BANDS, PER_FRAME
from diffusiontalker.config import (
    ContextSettings,
    DecoderSettings,
    PersonalizerSettings,
)
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.diffusion.noise import correlations
from diffusiontalker.model.talker import Condition, Talker, TalkerConfig

torch.set_num_threads(1)  # on tensors this small threads only wait for each other

FEATURES = 6
"""Width of the frozen encoder's features."""
IDENTITIES = ("ada", "ben", "cleo")
EMOTIONS = ("neutral", "anger")


def config(kind: str = "tcn", teacher: bool = True, depth: int = 2, **more: Any) -> TalkerConfig:
    """The shape of a tiny teacher or student; ``depth`` is the context's."""
    if teacher:
        more["feature_dim"] = FEATURES
    else:
        more = {"encoder_width": 8, "encoder_depth": 2, "look_ahead": 3} | more
    settings: dict[str, Any] = {
        "identities": IDENTITIES,
        "emotions": EMOTIONS,
        "audio_dim": 8,
        "context": ContextSettings(width=12, depth=depth, dilations=(1, 2)),
        "decoder": DecoderSettings.model_validate(
            {"kind": kind, "width": 12, "depth": 2, "dilations": (1, 2)}
        ),
        "personalizer": PersonalizerSettings(dim=8, fused=8),
        "schedule": "cosine",
    }
    return TalkerConfig(**(settings | more))


def talker(seed: int = 0, **kind: Any) -> Talker:
    """A talker with random weights, none of them zero, and plausible statistics."""
    torch.manual_seed(seed)
    model = Talker(config(**kind))
    rng = np.random.default_rng(seed)
    count = len(CHANNELS)
    model.set_blinks([0.25, 0.9, 0.5], 0.1)
    for parameter in model.parameters():
        if not parameter.any():  # FiLM starts at zero, where a mistake in it would not show
            nn.init.normal_(parameter, std=0.2)
    model.set_movement(
        correlations(rng.uniform(0.05, 0.4, count), rng.uniform(0.05, 0.5, count)),
        rng.uniform(0.01, 0.3, (2, count)),
        gaze_threshold=1.0,
    )
    model.set_scales(
        rng.uniform(0.1, 0.4, count).astype(np.float32),
        rng.uniform(0.05, 0.2, count).astype(np.float32),
    )
    model.residual_variance.uniform_(0.1, 1.0)
    return model.eval()


def batch(
    lengths: tuple[int, ...] = (20, 14), window: int = 20, seed: int = 0
) -> dict[str, Tensor]:
    """A batch as the stream makes it: zeros and mask 0 behind the end of a short clip."""
    rng = np.random.default_rng(seed)

    def values(frames: int, width: int) -> np.ndarray:
        out = np.zeros((len(lengths), frames * window, width), np.float32)
        for row, length in zip(out, lengths, strict=True):
            row[: length * frames] = rng.normal(0, 1, (length * frames, width))
        return out

    mask = np.arange(window) < np.array(lengths)[:, None]
    blinks = rng.choice([0.0, 1.0, -1.0], mask.shape, p=[0.7, 0.1, 0.2]) * mask
    coefficients = np.clip(0.25 + 0.1 * values(1, len(CHANNELS)), 0, 1) * mask[..., None]
    return {
        "coefficients": torch.from_numpy(coefficients.astype(np.float32)),
        "blinks": torch.from_numpy(blinks.astype(np.float32)),
        "bilabials": torch.zeros(len(lengths), 0, 2, dtype=torch.int64),
        "features": torch.from_numpy(values(1, FEATURES)),
        "log_mel": torch.from_numpy(values(PER_FRAME, BANDS)),
        "mask": torch.from_numpy(mask.astype(np.float32)),
        "identity": torch.arange(len(lengths)) % len(IDENTITIES),
        "emotion": torch.arange(len(lengths)) % len(EMOTIONS),
    }


def inputs(model: Talker, values: dict[str, Tensor]) -> Tensor:
    """What the talker's encoder reads of a batch."""
    return values["log_mel" if model.config.feature_dim is None else "features"]


def listen(model: Talker, values: dict[str, Tensor]) -> Condition:
    """The condition of a batch, from the library."""
    mask = values["mask"][..., None]
    library = model.personalizer.identities(), model.personalizer.emotions()
    return model.condition(
        model.encode(inputs(model, values), mask),
        library[0][values["identity"].clamp(min=0)],
        library[1][values["emotion"].clamp(min=0)],
        mask,
    )


def clip(name: str = "c", frames: int = 20, seed: int = 0, **more: Any) -> Clip:
    """A clip with random faces: recording, another draw and the expected face."""
    rng = np.random.default_rng(seed)
    faces = {
        key: rng.uniform(0, 1, (frames, len(CHANNELS))).astype(np.float32)
        for key in ("coefficients", "redraw", "expected")
    }
    values: dict[str, Any] = {
        "id": name,
        "identity": "ada",
        "emotion": "anger",
        "split": "test_seen",
        "text": None,
        "audio": np.zeros(frames * 16_000 // 30, np.float32),
        "features": rng.normal(size=(frames, FEATURES)).astype(np.float16),
        "log_mel": rng.normal(size=(frames * PER_FRAME, BANDS)).astype(np.float16),
    }
    return Clip(**(values | faces | more))
