"""Whisper as a frozen encoder: as transformers runs it on 30 s, and on clips of any length."""

import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    PreTrainedModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from diffusiontalker.errors import UserError
from diffusiontalker.features import whisper_model
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.features.whisper_model import windows

SHAPE: dict[str, Any] = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 16, "vocab_size": 20,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip


def model(kind: type[PreTrainedModel] = WhisperModel, **more: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    made = kind(WhisperConfig(**{**SHAPE, **more})).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(made.named_parameters()):
            if "decoder" not in name:  # the same encoder whatever is around it; biases are not 0
                nn.init.normal_(parameter, 0, 0.3)
    return made


def saved(folder: Path, **more: Any) -> str:
    model(**more).save_pretrained(folder)
    return str(folder)


def noise(samples: int = 16_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def hidden(encoder: FrozenEncoder, audio: np.ndarray) -> np.ndarray:
    (found,) = encoder.model.hidden([encoder.model.prepare(audio)])
    return found


def reference(module: nn.Module, audio: np.ndarray, positions: int) -> np.ndarray:
    """All hidden states by transformers alone, of an encoder with fewer positions."""
    config = WhisperConfig(**{**SHAPE, "max_source_positions": positions})
    weights = dict(module.state_dict())
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:positions]
    cut = WhisperEncoder(config).eval()
    cut.load_state_dict(weights)
    extractor = WhisperFeatureExtractor()
    mel = extractor(audio, sampling_rate=16_000, return_tensors="pt")["input_features"]
    with torch.no_grad():
        states = cut(mel[..., : 2 * positions], output_hidden_states=True).hidden_states
    return torch.cat(states, dim=-1)[0].numpy()


def test_thirty_seconds_are_as_transformers_has_them(tmp_path: Path) -> None:
    encoder = FrozenEncoder(saved(tmp_path), (0, 1, 2))
    audio = noise(30 * 16_000)
    extractor = WhisperFeatureExtractor()
    with torch.no_grad():
        states = model().encoder(
            extractor(audio, sampling_rate=16_000, return_tensors="pt")["input_features"],
            output_hidden_states=True,
        )
    expected = torch.cat(states.hidden_states, dim=-1)[0].numpy()
    np.testing.assert_allclose(hidden(encoder, audio), expected, atol=1e-4)
    assert encoder(audio, 900).shape == (900, 48)


@pytest.mark.parametrize("outputs", [1, 7, 100])
def test_a_shorter_clip_takes_the_first_positions(tmp_path: Path, outputs: int) -> None:
    encoder = FrozenEncoder(saved(tmp_path), (0, 1, 2))
    audio = noise(max(320 * outputs, 400))
    expected = reference(model().encoder, audio, outputs)
    np.testing.assert_allclose(hidden(encoder, audio), expected, atol=1e-4)


def test_an_odd_frame_of_the_spectrogram_is_an_output(tmp_path: Path) -> None:
    encoder = FrozenEncoder(saved(tmp_path), (0,))
    assert [len(hidden(encoder, noise(160 * frames))) for frames in (3, 4, 5)] == [2, 2, 3]


def spectrogram(encoder: FrozenEncoder, audio: np.ndarray) -> np.ndarray:
    assert isinstance(encoder.model, whisper_model.WhisperModel)
    return encoder.model.spectrogram([audio])


@pytest.mark.parametrize("samples", [400, 16_000, 20_801, 479_900, 480_000])
def test_the_spectrogram_is_the_padded_ones_beginning(tmp_path: Path, samples: int) -> None:
    encoder = FrozenEncoder(saved(tmp_path), (0,))
    audio = noise(samples)
    whole = WhisperFeatureExtractor()(audio, sampling_rate=16_000)["input_features"][0]
    found = spectrogram(encoder, audio)[0]
    np.testing.assert_allclose(found, whole[:, : samples // 160], atol=1e-5)


@pytest.mark.parametrize("at", [0.3, 0.52, 0.8])
def test_features_are_at_the_right_time(tmp_path: Path, at: float) -> None:
    # layer 0: what attention adds is at all times
    encoder = FrozenEncoder(saved(tmp_path), (0,))
    audio = noise()
    rest = encoder(audio, 30)
    start = round(at * 16_000)
    audio[start - 240 : start + 240] += np.sin(2 * np.pi * 800 * np.arange(480) / 16_000) / 2
    moved = np.abs(encoder(audio, 30) - rest).sum(-1)
    centre = (moved * np.arange(30)).sum() / moved.sum() / 30
    assert centre == pytest.approx(at, abs=0.010)


def test_audio_shorter_than_a_window_of_the_spectrogram(tmp_path: Path) -> None:
    features = FrozenEncoder(saved(tmp_path), (1,))(noise(100), 1)
    assert features.shape == (1, 16)
    assert np.isfinite(features).all()


def test_clips_together_are_as_clips_alone(tmp_path: Path) -> None:
    encoder = FrozenEncoder(saved(tmp_path), (0, 1, 2))
    clips = [noise(n, seed) for seed, n in enumerate((11_200, 8000, 16_000, 150, 11_200, 11_360))]
    frames = [max(round(len(clip) * 30 / 16_000), 1) for clip in clips]
    alone = [encoder(audio, count) for audio, count in zip(clips, frames, strict=True)]
    runs: Counter[int] = Counter()
    encoder.model.module.conv1.register_forward_pre_hook(
        lambda _, given: runs.update([len(given[0])])
    )
    together = encoder.many(clips, frames, seconds=2.1)
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert runs == {2: 1, 1: 4}  # equal lengths alone: Whisper cannot mask padding


# windows


def test_windows_by_hand() -> None:
    assert windows(90, 100, 20) == [(0, 0, 90)]
    assert windows(100, 100, 20) == [(0, 0, 100)]
    assert windows(101, 100, 20) == [(0, 0, 50), (1, 50, 101)]
    assert windows(180, 100, 20) == [(0, 0, 90), (80, 90, 180)]
    assert windows(260, 100, 20) == [(0, 0, 90), (80, 90, 170), (160, 170, 260)]


@given(st.integers(1, 5000), st.integers(2, 1500), st.data())
def test_windows_hold_every_output_once(count: int, limit: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, limit // 2))
    found = windows(count, limit, overlap)
    assert [first for _, first, _ in found[1:]] == [last for _, _, last in found[:-1]]
    assert (found[0][1], found[-1][2]) == (0, count)
    for start, first, last in found:
        assert start <= first < last <= start + limit
        assert start + limit <= count or len(found) == 1
    starts = [start for start, _, _ in found]
    # a rounded start may be one output late
    assert all(low + limit - high >= overlap - 1 for low, high in pairwise(starts))


def test_a_clip_longer_than_the_positions(tmp_path: Path) -> None:
    name = saved(tmp_path, max_source_positions=60)
    encoder = FrozenEncoder(name, (0, 2))
    audio = noise(3 * 16_000)
    found = hidden(encoder, audio)
    assert found.shape == (150, 32)
    # layer 0: the convolutions over the whole clip, and each window's own positions
    module = model(max_source_positions=60).encoder
    mel = torch.from_numpy(spectrogram(encoder, audio))
    with torch.no_grad():
        embedded = nn.functional.gelu(module.conv2(nn.functional.gelu(module.conv1(mel))))[0].T
        spans = windows(150, 60, 10)
        assert len(spans) == 3
        for start, first, last in spans:
            positions = module.embed_positions.weight[first - start : last - start]
            expected = (embedded[first:last] + positions).numpy()
            np.testing.assert_allclose(found[first:last, :16], expected, atol=1e-5)
    # attention stays within a window: quiet sounds beyond the first one do not reach it
    audio[round(1.3 * 16_000) :] /= 2
    changed = np.abs(hidden(encoder, audio) - found).max(1)
    assert changed[: spans[0][2]].max() < 1e-5
    assert changed[70:].min() > 1e-3


# loading


@pytest.mark.parametrize("kind", [WhisperForConditionalGeneration, WhisperEncoder])
def test_whole_models_and_encoders_alone_are_the_same(
    tmp_path: Path, kind: type[PreTrainedModel], capfd: pytest.CaptureFixture[str]
) -> None:
    whole = FrozenEncoder(saved(tmp_path / "whole"), (1, 2))
    other = model(kind, decoder_ffn_dim=40)
    other.save_pretrained(tmp_path / "other")
    if kind is WhisperEncoder:
        # transformers orders parameters by name, and they were drawn in that order
        model().encoder.save_pretrained(tmp_path / "other")
    capfd.readouterr()
    found = FrozenEncoder(str(tmp_path / "other"), (1, 2))
    assert "UNEXPECTED" not in capfd.readouterr().err  # nothing of the decoder
    np.testing.assert_array_equal(found(noise(), 30), whole(noise(), 30))
    assert found.fingerprint() == whole.fingerprint()
    names = [name for name, _ in found.model.module.named_parameters()]
    assert not any("decoder" in name for name in names)


@pytest.mark.parametrize(("layers", "kept"), [((0,), 0), ((1, 0), 1), ((-1,), 2)])
def test_layers_above_the_highest_are_dropped(
    tmp_path: Path, layers: tuple[int, ...], kept: int
) -> None:
    name = saved(tmp_path)
    encoder = FrozenEncoder(name, layers)
    assert len(encoder.model.module.layers) == kept
    every = hidden(FrozenEncoder(name, (0, 1, 2)), noise())
    expected = [every[:, 16 * (layer % 3) : 16 * (layer % 3) + 16] for layer in layers]
    np.testing.assert_allclose(hidden(encoder, noise()), np.concatenate(expected, 1), atol=1e-6)


def test_a_model_with_more_mel_bands(tmp_path: Path) -> None:
    # large-v3
    name = saved(tmp_path, num_mel_bins=128)
    WhisperFeatureExtractor(feature_size=128).save_pretrained(tmp_path)
    assert FrozenEncoder(name, (1,))(noise(), 30).shape == (30, 16)


def test_half_precision_weights(tmp_path: Path) -> None:
    whole = FrozenEncoder(saved(tmp_path / "whole"), (1,))
    model().half().save_pretrained(tmp_path / "half")
    half = FrozenEncoder(str(tmp_path / "half"), (1,))
    np.testing.assert_allclose(half(noise(), 30), whole(noise(), 30), atol=0.05)


def test_fingerprint_names_layers_weights_and_heads(tmp_path: Path) -> None:
    name = saved(tmp_path / "a")
    found = [FrozenEncoder(name, layers).fingerprint() for layers in ((1, 2), (2, 1))]
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert FrozenEncoder(str(tmp_path / "b"), (1, 2)).fingerprint() == found[0]
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    (tmp_path / "b" / "config.json").write_text(json.dumps(config | {"encoder_attention_heads": 4}))
    found.append(FrozenEncoder(str(tmp_path / "b"), (1, 2)).fingerprint())
    weights = load_file(tmp_path / "a" / "model.safetensors")
    weights["encoder.conv1.bias"][0] += 1e-3
    save_file(weights, tmp_path / "a" / "model.safetensors", metadata={"format": "pt"})
    found.append(FrozenEncoder(name, (1, 2)).fingerprint())
    assert len(set(found)) == 4


# refusals


def refused(folder: Path, pattern: str, layers: tuple[int, ...] = (1,)) -> None:
    with pytest.raises(UserError, match=pattern):
        FrozenEncoder(str(folder), layers)


def test_layers_out_of_range(tmp_path: Path) -> None:
    refused(Path(saved(tmp_path)), "hidden states 0 to 2", (3,))


@pytest.mark.parametrize(
    "change",
    [{"sampling_rate": 24_000}, {"n_fft": 512}, {"feature_size": 128}, {"do_normalize": True}],
)
def test_another_front_end(tmp_path: Path, change: dict[str, Any]) -> None:
    saved(tmp_path)
    WhisperFeatureExtractor(**change).save_pretrained(tmp_path)
    refused(tmp_path, f"preprocessor_config.json has {next(iter(change))}")


def test_missing_and_pickled_weights(tmp_path: Path) -> None:
    saved(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "encoder.layers.1" not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    refused(tmp_path, "the weights lack")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    refused(tmp_path, r"holds no model\.safetensors")
