"""Encoders of the published sizes, with random weights, as ``save_pretrained`` writes them.

The configurations are those of hubert-base-ls960, wavlm-base-plus and wav2vec2-base, of a large
wav2vec 2.0 cut to four of its 24 layers, and of whisper-base's encoder.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from diffusiontalker.features.encoder import FrozenEncoder

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Published:
    """A model as it is published: what its files say, and what must be found in them."""

    model: type[PreTrainedModel]
    config: Any
    do_normalize: bool
    width: int
    layers: int
    millions: float


MODELS = {
    "hubert-base": Published(HubertModel, HubertConfig(), True, 768, 12, 94.4),
    "wavlm-base-plus": Published(WavLMModel, WavLMConfig(), False, 768, 12, 94.4),
    "wav2vec2-base": Published(Wav2Vec2Model, Wav2Vec2Config(), True, 768, 12, 94.4),
    "wav2vec2-large": Published(
        Wav2Vec2Model,
        Wav2Vec2Config(
            hidden_size=1024, num_hidden_layers=4, num_attention_heads=16, intermediate_size=4096,
            feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
        ),
        True, 1024, 4, 63.5,
    ),
    "whisper-base": Published(
        WhisperEncoder,
        WhisperConfig(
            d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048
        ),
        False, 512, 6, 20.6,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    published = MODELS[request.param]
    folder = tmp_path_factory.mktemp("models") / request.param
    torch.manual_seed(0)
    published.model(published.config).save_pretrained(folder)
    if published.model is WhisperEncoder:
        WhisperFeatureExtractor().save_pretrained(folder)
    else:
        Wav2Vec2FeatureExtractor(do_normalize=published.do_normalize).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Iterator[FrozenEncoder]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield FrozenEncoder(str(folder), (0, 4, -1))
    torch.set_num_threads(threads)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, int(seconds * 16_000)).astype(np.float32)


def test_size_and_shape(folder: Path, encoder: FrozenEncoder) -> None:
    published = MODELS[folder.name]
    count = sum(p.numel() for p in encoder.model.module.parameters()) / 1e6
    assert count == pytest.approx(published.millions, abs=0.5)
    assert (encoder.model.stride, encoder.model.field) == (320, 400)  # 20 ms, 25 ms
    assert getattr(encoder.model, "standardise", False) is published.do_normalize
    assert encoder.layers == (0, 4, published.layers)
    features = encoder(noise(1.0), 30)
    assert features.shape == (30, 3 * published.width)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("at", [0.4, 0.91])
def test_an_impulse_shows_at_its_time(encoder: FrozenEncoder, at: float) -> None:
    audio = noise(1.5)
    width = encoder.dim // 3  # layer 0 alone: attention above it mixes all times
    rest = encoder(audio, 45)[:, :width]
    audio[round(at * 16_000)] += 1.0
    moved = np.abs(encoder(audio, 45)[:, :width] - rest).sum(-1)
    assert abs(int(moved.argmax()) - at * 30) < 1


def test_clips_together_are_as_clips_alone(encoder: FrozenEncoder) -> None:
    seconds = (1.0, 0.6, 1.0, 0.83)
    clips = [noise(s, seed) for seed, s in enumerate(seconds)]
    frames = [round(30 * s) for s in seconds]
    together = encoder.many(clips, frames, seconds=10)
    for audio, count, found in zip(clips, frames, together, strict=True):
        np.testing.assert_allclose(found, encoder(audio, count), atol=1e-4)


def test_layers_that_are_not_asked_for_cost_nothing_and_change_nothing(
    folder: Path, encoder: FrozenEncoder
) -> None:
    cut = FrozenEncoder(str(folder), (4,))
    module = cut.model.module
    assert len(getattr(module, "encoder", module).layers) == 4
    width = encoder.dim // 3
    whole = encoder(noise(0.5), 15)[:, width : 2 * width]
    np.testing.assert_allclose(cut(noise(0.5), 15), whole, atol=1e-5)


def test_a_fingerprint_takes_no_time(encoder: FrozenEncoder) -> None:
    started = time.process_time()
    first = encoder.fingerprint()
    assert time.process_time() - started < 3
    assert first == encoder.fingerprint()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_hears_what_a_cpu_hears(folder: Path, encoder: FrozenEncoder) -> None:
    torch.backends.cudnn.allow_tf32 = False
    clips = [noise(10.0, seed) for seed in range(4)]
    on_gpu = FrozenEncoder(str(folder), (0, 4, -1), device="cuda").many(clips, [300] * 4, 40)
    for audio, found in zip(clips, on_gpu, strict=True):
        np.testing.assert_allclose(found, encoder(audio, 300), atol=1e-3)


def test_hf_hub_offline_is_one_clear_line(tmp_path: Path) -> None:
    # in a process of its own: the hub's client reads its environment when it is imported
    code = (
        "from diffusiontalker.features.encoder import FrozenEncoder\n"
        "from diffusiontalker.errors import UserError\n"
        "try: FrozenEncoder('facebook/hubert-base-ls960', (1,))\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "platform", capture_output=True, text=True,
        timeout=120, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("encoder.name 'facebook/hubert-base-ls960': neither a folder here")
    assert "HF_HUB_OFFLINE" in line
    assert done.stderr == ""
