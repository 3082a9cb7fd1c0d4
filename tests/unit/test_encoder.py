"""Frozen encoders of three families: loading, refusals, time, and what names a cache."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
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
    BertConfig,
    BertModel,
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from diffusiontalker import storage
from diffusiontalker.errors import UserError
from diffusiontalker.features.encoder import FrozenEncoder, batches
from diffusiontalker.features.pretrained import WAVEFORM_FAMILIES
from diffusiontalker.features.waveform_model import standardise
from diffusiontalker.training.small_encoder import PhonemeObjective, save_encoder, small_hubert
from diffusiontalker.training.windows import IGNORED_LABEL

SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_kernel": (80, 8),
    "conv_stride": (40, 8),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
STRIDE, FIELD = 320, 80 + 7 * 40
FAMILIES: dict[str, tuple[type[PreTrainedModel], type]] = {
    "hubert": (HubertModel, HubertConfig),
    "wavlm": (WavLMModel, WavLMConfig),
    "wav2vec2": (Wav2Vec2Model, Wav2Vec2Config),
}


def model(family: str = "hubert", norm: str = "group", **more: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    make, config = FAMILIES[family]
    return make(config(**{**SHAPE, "feat_extract_norm": norm, **more})).eval()


def saved(folder: Path, *arguments: Any, **more: Any) -> str:
    model(*arguments, **more).save_pretrained(folder)
    return str(folder)


def noise(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(tmp_path: Path, family: str, norm: str) -> None:
    encoder = FrozenEncoder(saved(tmp_path, family, norm), (0, 1, -1))
    assert (encoder.model.stride, encoder.model.field, encoder.dim) == (STRIDE, FIELD, 48)
    assert encoder.model.standardise is (norm == "layer")
    assert not any(p.requires_grad for p in encoder.model.module.parameters())
    audio = noise()
    features = encoder(audio, 30)
    assert features.shape == (30, 48)
    assert features.dtype == np.float32
    # the same by transformers alone, at the frame nearest to an output: 15 / 30 s
    # = sample 8000; output j is centred on 320 j + 180
    heard = standardise(audio) if norm == "layer" else audio
    with torch.no_grad():
        states = model(family, norm)(torch.from_numpy(heard)[None], output_hidden_states=True)
    low = (8000 - FIELD / 2) / STRIDE
    share = low % 1
    for part, layer in enumerate((0, 1, 2)):
        hidden = states.hidden_states[layer][0].numpy()
        expected = (1 - share) * hidden[int(low)] + share * hidden[int(low) + 1]
        found = features[15, 16 * part : 16 * (part + 1)]
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("at", [0.3, 0.52, 0.8])
def test_features_are_at_the_right_time(tmp_path: Path, at: float) -> None:
    # the convolutions alone (layer 0, the positional convolution silenced): a burst must show
    # where it is, not half a receptive field or a count of outputs later
    quiet = model("hubert", "layer")
    silent = quiet.encoder.pos_conv_embed.conv
    for parameter in (silent.bias, silent.parametrizations.weight.original0):
        nn.init.zeros_(parameter)
    quiet.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    encoder = FrozenEncoder(str(tmp_path), (0,))
    audio = np.zeros(16_000, np.float32)
    start = round(at * 16_000)
    burst = np.sin(2 * np.pi * 800 * np.arange(480) / 16_000)
    rest = encoder(audio, 30)
    audio[start - 240 : start + 240] = burst
    moved = np.abs(encoder(audio, 30) - rest).sum(-1)
    centre = (moved * np.arange(30)).sum() / moved.sum() / 30
    assert centre == pytest.approx(at, abs=0.010)


def test_audio_shorter_than_a_receptive_field(tmp_path: Path) -> None:
    encoder = FrozenEncoder(saved(tmp_path), (1,))
    features = encoder(noise(0.01), 1)
    assert features.shape == (1, 16)
    assert np.isfinite(features).all()


def test_standardise_is_the_feature_extractors() -> None:
    audio = noise() * 3 + 0.2
    theirs = Wav2Vec2FeatureExtractor(do_normalize=True)(audio, sampling_rate=16_000)
    np.testing.assert_allclose(standardise(audio), theirs["input_values"][0], atol=1e-5)


@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_what_the_model_says_of_its_input_counts(tmp_path: Path, norm: str, says: bool) -> None:
    name = saved(tmp_path, "hubert", norm)
    Wav2Vec2FeatureExtractor(do_normalize=says).save_pretrained(tmp_path)
    encoder = FrozenEncoder(name, (1,))
    assert encoder.model.standardise is says
    heard: list[torch.Tensor] = []
    encoder.model.module.register_forward_pre_hook(lambda _, given: heard.append(given[0][0]))
    encoder(noise(), 30)
    expected = standardise(noise()) if says else noise()
    np.testing.assert_array_equal(heard[0].numpy(), expected)


def test_a_front_end_that_says_nothing_of_it(tmp_path: Path) -> None:
    name = saved(tmp_path, "hubert", "layer")
    (tmp_path / "preprocessor_config.json").write_text('{"feature_size": 1}')
    assert FrozenEncoder(name, (1,)).model.standardise


# layers and batches


@pytest.mark.parametrize(("layers", "kept"), [((0,), 1), ((1, 0), 1), ((-1,), 2)])
def test_layers_that_nobody_asked_for_are_dropped(
    tmp_path: Path, layers: tuple[int, ...], kept: int
) -> None:
    encoder = FrozenEncoder(saved(tmp_path), layers)
    assert len(encoder.model.module.encoder.layers) == kept


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_clips_together_are_as_clips_alone(
    tmp_path: Path, family: str, norm: str, stable: bool
) -> None:
    encoder = FrozenEncoder(saved(tmp_path, family, norm, do_stable_layer_norm=stable), (0, 1, 2))
    seconds = (0.7, 0.5, 1.0, 0.01, 0.7, 0.31, 0.7)  # 0.01 s is less than a receptive field
    clips = [noise(s, seed) for seed, s in enumerate(seconds)]
    frames = [max(round(30 * s), 1) for s in seconds]
    alone = [encoder(audio, count) for audio, count in zip(clips, frames, strict=True)]
    runs: Counter[int] = Counter()
    encoder.model.module.feature_extractor.register_forward_pre_hook(
        lambda _, given: runs.update([len(given[0])])
    )
    together = encoder.many(clips, frames, seconds=2.1)
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    # equal lengths alone, or up to 2.1 s padded: three of at most 0.5 s, three of 0.7 s, 1 s
    assert runs == ({3: 1, 1: 4} if norm == "group" else {3: 2, 1: 1})


def test_silence_behind_a_clip_changes_a_group_norm(tmp_path: Path) -> None:
    # why such models get no padding
    encoder = FrozenEncoder(saved(tmp_path, "hubert", "group"), (0,))
    encoder.model.pads = True
    together = encoder.many([noise(0.5), noise(1.0, 1)], [15, 30], seconds=10)[0]
    assert np.abs(together - encoder(noise(0.5), 15)).max() > 1e-2


def test_batches_by_hand() -> None:
    lengths = [10, 4, 10, 3, 25, 10]
    assert list(batches(lengths, 20, pad=False)) == [[3], [1], [0, 2], [5], [4]]
    assert list(batches(lengths, 20, pad=True)) == [[3, 1], [0, 2], [5], [4]]
    assert list(batches([10, 10], 0, pad=True)) == [[0], [1]]
    assert list(batches([], 20, pad=True)) == []


@given(st.lists(st.integers(1, 50)), st.integers(0, 200), st.booleans())
def test_batches_hold_every_clip_once_within_the_limit(
    lengths: list[int], limit: int, pad: bool
) -> None:
    found = list(batches(lengths, limit, pad))
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        heard = [lengths[index] for index in batch]
        assert len(batch) == 1 or len(batch) * max(heard) <= limit
        assert pad or len(set(heard)) == 1


def test_a_batch_that_does_not_fit_the_gpu(tmp_path: Path) -> None:
    encoder = FrozenEncoder(saved(tmp_path), (1,))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")

    encoder.model.module.register_forward_pre_hook(full)
    with pytest.raises(UserError, match=r"2 clips of up to 1\.0 s .* extraction\.batch_seconds"):
        encoder.many([noise(), noise()], [30, 30], seconds=2)


# where models lie


def test_a_relative_folder_means_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "models" / "mine")
    monkeypatch.chdir(tmp_path)
    assert FrozenEncoder("models/mine", (1,)).name == str(tmp_path / "models" / "mine")


def test_a_folder_in_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "model")
    copies: list[Path] = []

    def fetch(folder: Path, to: Path) -> None:
        assert str(folder) == "s3://models/hubert"
        copies.append(to)
        shutil.copytree(tmp_path / "model", to, dirs_exist_ok=True)

    monkeypatch.setattr(storage, "fetch", fetch)
    remote = FrozenEncoder("s3://models/hubert", (1,))
    assert remote.name == "s3://models/hubert"
    assert len(copies) == 1
    assert not copies[0].exists()
    local = FrozenEncoder(str(tmp_path / "model"), (1,))
    np.testing.assert_array_equal(remote(noise(), 30), local(noise(), 30))
    assert remote.fingerprint() == local.fingerprint()
    (tmp_path / "model" / "model.safetensors").unlink()
    refused("s3://models/hubert", "holds no model.safetensors")


SHA = {"main": "a" * 40, "v2": "b" * 40}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache as the hub's client leaves it, and no network; v2 has other weights."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--ada--hubert"
    for number, (ref, sha) in enumerate(SHA.items()):
        torch.manual_seed(number)
        HubertModel(HubertConfig(**SHAPE)).save_pretrained(tmp_path / ref)
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / ref)
        for folder in ("blobs", "refs", f"snapshots/{sha}"):
            (repository / folder).mkdir(parents=True, exist_ok=True)
        (repository / "refs" / ref).write_text(sha)
        for path in (tmp_path / ref).iterdir():
            path.rename(repository / "blobs" / f"{number}-{path.name}")
            link = repository / "snapshots" / sha / path.name
            link.symlink_to(f"../../blobs/{number}-{path.name}")
    return repository


def test_a_hub_name_without_a_network(hub: Path) -> None:
    main = FrozenEncoder("ada/hubert", (1,))
    assert main.name == "ada/hubert"
    assert main.model.standardise  # its preprocessor_config.json was found too
    folder = FrozenEncoder(str(hub / "snapshots" / SHA["main"]), (1,))
    assert main.fingerprint() == folder.fingerprint()
    np.testing.assert_array_equal(main(noise(), 30), folder(noise(), 30))


@pytest.mark.parametrize("revision", ["v2", SHA["v2"]])
def test_a_revision_of_a_hub_name(hub: Path, revision: str) -> None:
    pinned = FrozenEncoder("ada/hubert", (1,), revision).fingerprint()
    assert pinned == FrozenEncoder(str(hub / "snapshots" / SHA["v2"]), (1,)).fingerprint()
    assert pinned != FrozenEncoder("ada/hubert", (1,)).fingerprint()


@pytest.mark.usefixtures("hub")
def test_names_that_an_offline_machine_does_not_know() -> None:
    said = "neither a folder here nor in this machine's Hugging Face cache"
    refused("ada/wavlm", said)
    refused("hubert-base", said)
    refused("ada/hubert", said, revision="v3")
    refused("one/name/too many", "there is no such folder")


def test_a_hub_model_with_pickled_weights_alone(hub: Path) -> None:
    snapshot = hub / "snapshots" / SHA["main"]
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    refused("ada/hubert", "refs/pr/")


# refusals


def test_the_families_are_those_tested() -> None:
    assert set(WAVEFORM_FAMILIES) == set(FAMILIES)


def test_a_model_for_another_rate(tmp_path: Path) -> None:
    name = saved(tmp_path)
    Wav2Vec2FeatureExtractor(sampling_rate=24_000).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="reads 24000 Hz"):
        FrozenEncoder(name, (1,))


@pytest.mark.parametrize("layers", [(3,), (0, -4), (100,)])
def test_layers_out_of_range(tmp_path: Path, layers: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="hidden states 0 to 2"):
        FrozenEncoder(saved(tmp_path), layers)


def refused(name: Path | str, said: str, revision: str | None = None) -> None:
    with pytest.raises(UserError) as caught:
        FrozenEncoder(str(name), (1,), revision)
    assert said in str(caught.value)
    assert repr(str(name)) in str(caught.value)
    assert len(str(caught.value)) < 450


def test_missing_and_empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(tmp_path / "nowhere", "there is no such folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "cannot be loaded")


def test_a_text_model(tmp_path: Path) -> None:
    BertModel(
        BertConfig(
            vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
            intermediate_size=8,
        )
    ).save_pretrained(tmp_path)  # fmt: skip
    refused(tmp_path, "a bert model is not one of those that read speech")


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    refused(tmp_path, "holds no model.safetensors")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def without_a_layer(path: Path) -> None:
    weights = load_file(path)
    kept = {k: v for k, v in weights.items() if "layers.1." not in k}
    save_file(kept, path, metadata={"format": "pt"})


def of_another_width(path: Path) -> None:
    narrow = {k: v[..., :1].contiguous() for k, v in load_file(path).items()}
    save_file(narrow, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "cannot be loaded"),
        (without_a_layer, "the weights lack"),
        (of_another_width, "cannot be loaded"),
    ],
)
def test_damaged_weights(tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    saved(tmp_path)
    damage(tmp_path / "model.safetensors")
    refused(tmp_path, said)


def test_damaged_configuration(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").write_text("{")
    refused(tmp_path, "cannot be loaded")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{", "is no JSON"), (b"\xff\xfe", "is no JSON"), (b"[1]", "holds no settings")],
)
def test_damaged_front_end(tmp_path: Path, content: bytes, said: str) -> None:
    # guessing here would standardise a model's input that wants it raw, or the other way about
    saved(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes(content)
    refused(tmp_path, f"preprocessor_config.json {said}")


def test_a_repository_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    ran = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass C: pass\n")
    path = tmp_path / "config.json"
    config = json.loads(path.read_text()) | {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.C"},
    }
    path.write_text(json.dumps(config))
    refused(tmp_path, "cannot be loaded")
    assert not ran.exists()


# the name of a cache


def test_fingerprint_names_weights_layers_and_front_end(tmp_path: Path) -> None:
    name = saved(tmp_path / "a")
    first = FrozenEncoder(name, (1, 2)).fingerprint()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    again = FrozenEncoder(str(tmp_path / "b"), (1, 2)).fingerprint()
    assert first == again
    assert len(first) == 16
    other_layers = FrozenEncoder(name, (2, 1)).fingerprint()
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "b")
    other_front = FrozenEncoder(str(tmp_path / "b"), (1, 2)).fingerprint()
    weights = load_file(tmp_path / "a" / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] += 1e-3
    save_file(weights, tmp_path / "a" / "model.safetensors", metadata={"format": "pt"})
    other_weights = FrozenEncoder(name, (1, 2)).fingerprint()
    assert len({first, other_layers, other_front, other_weights}) == 4


def test_fingerprint_counts_layers_from_either_end(tmp_path: Path) -> None:
    name = saved(tmp_path)
    assert FrozenEncoder(name, (-1, -2)).fingerprint() == FrozenEncoder(name, (2, 1)).fingerprint()


def test_fingerprint_names_what_weights_do_not_show(tmp_path: Path) -> None:
    name = saved(tmp_path)
    found = [FrozenEncoder(name, (1,)).fingerprint()]
    for change in ({"num_attention_heads": 4}, {"conv_stride": [20, 8]}, {"hidden_act": "relu"}):
        path = tmp_path / "config.json"
        before = path.read_text()
        path.write_text(json.dumps(json.loads(before) | change))
        found.append(FrozenEncoder(name, (1,)).fingerprint())
        path.write_text(before)
    assert len(set(found)) == 4


def test_fingerprint_overlooks_what_is_drawn_at_random(tmp_path: Path) -> None:
    # a checkpoint without the embedding of masks gets another one with every loading
    saved(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["masked_spec_embed"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    first, again = (FrozenEncoder(str(tmp_path), (1,)) for _ in range(2))
    assert not torch.equal(
        first.model.module.masked_spec_embed, again.model.module.masked_spec_embed
    )
    assert first.fingerprint() == again.fingerprint()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = FrozenEncoder(saved(tmp_path / "whole"), (1,))
    model().to(dtype).save_pretrained(tmp_path / "half")
    half = FrozenEncoder(str(tmp_path / "half"), (1,))
    np.testing.assert_allclose(half(noise(), 30), whole(noise(), 30), atol=0.05)
    assert half.fingerprint() != whole.fingerprint()


# our own small encoder


def test_our_encoder_is_read_as_it_was_trained(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = PhonemeObjective(small_hubert(16, 2).eval(), phonemes=5)
    save_encoder(task.model, tmp_path)
    encoder = FrozenEncoder(str(tmp_path), (2,))
    assert encoder.model.standardise
    assert encoder.model.stride == 320  # 50 Hz
    audio = noise()
    # what the task hears of raw audio, and what its head reads
    heard: list[torch.Tensor] = []
    task.model.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    labels = torch.zeros(
        1, (len(audio) - encoder.model.field) // encoder.model.stride + 1, dtype=torch.int64
    )
    with torch.no_grad():
        task({"audio": torch.from_numpy(audio)[None], "labels": labels}, torch.Generator())
        hidden = task.model(heard[0], output_hidden_states=True).hidden_states[2][0].numpy()
    np.testing.assert_allclose(heard[0][0].numpy(), standardise(audio), rtol=2e-3)
    centre = (9 / 30 * 16_000 - encoder.model.field / 2) / 320  # of frame 9, in outputs
    share = centre % 1
    expected = (1 - share) * hidden[int(centre)] + share * hidden[int(centre) + 1]
    np.testing.assert_allclose(encoder(audio, 30)[9], expected, atol=2e-3)


def test_encoder_task_counts_known_phonemes_alone() -> None:
    task = PhonemeObjective(small_hubert(16, 1).eval(), phonemes=3)
    nn.init.zeros_(task.head.weight)
    with torch.no_grad():
        task.head.bias.copy_(torch.tensor([2.0, 0.0, 0.0]))  # always says phoneme 0
    audio = torch.from_numpy(noise(0.5))[None]
    outputs = task.model(audio).last_hidden_state.shape[1]
    labels = torch.full((1, outputs), IGNORED_LABEL)
    labels[0, :4] = torch.tensor([0, 0, 0, 1])
    found = task({"audio": audio, "labels": labels}, torch.Generator())
    assert found["accuracy"].item() == pytest.approx(0.75)
    normaliser = np.log(np.exp(2) + 2)
    assert found["loss"].item() == pytest.approx(normaliser - 2 * 0.75, rel=1e-5)


def test_only_the_embedding_of_masks_gets_no_gradient() -> None:
    # why the loop tells DDP to look for unused parameters
    task = PhonemeObjective(small_hubert(16, 1), phonemes=3)
    audio = torch.from_numpy(noise(0.5))[None]
    outputs = task.model(audio).last_hidden_state.shape[1]
    labels = torch.zeros(1, outputs, dtype=torch.int64)
    task.train()({"audio": audio, "labels": labels}, torch.Generator())["loss"].backward()
    without = {name for name, p in task.named_parameters() if p.grad is None}
    assert without == {"model.masked_spec_embed"}
