"""Real Ray: the features' stage goes on where it was, names its mistakes, and computes right."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import refusals
from tests.s3 import Server
from transformers import HubertConfig, HubertModel

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.log_mel import log_mel
from diffusiontalker.config import DegradationSettings, ExtractionSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, open_corpus, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.features.stage import _FeatureWriter, cache_name, extract, to_length

FRAMES = {"train-00000": (30, 30, 21), "train-00001": (30, 9), "val-00000": (12, 30)}


pytestmark = pytest.mark.usefixtures("ray_s3")


def clip(name: str, number: int, frames: int) -> Clip:
    # the last coefficient lies a frame behind the end of the audio
    rng = np.random.default_rng(1000 * number + frames)
    audio = rng.normal(0, 0.1, (frames - 1) * 16_000 // 30).astype(np.float32)
    coefficients = rng.random((frames, len(CHANNELS))).astype(np.float32)
    split = name.split("-")[0]
    return Clip(f"{name}-{number}", "ada", None, split, "Hm.", audio, coefficients)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    infos = [
        shards.write_shard(
            folder / f"{name}.parquet", [clip(name, i, n) for i, n in enumerate(frames)]
        )
        for name, frames in FRAMES.items()
    ]
    write_manifest(folder, Manifest("hand", infos, ["ada"], ["anger"]))
    return folder


def save_model(folder: Path, seed: int = 0) -> FrozenEncoder:
    torch.manual_seed(seed)
    HubertModel(
        HubertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
            conv_dim=(8, 8), conv_kernel=(80, 8), conv_stride=(40, 8), num_feat_extract_layers=2,
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        )
    ).save_pretrained(folder)  # fmt: skip
    return FrozenEncoder(str(folder), (0, 2))


@pytest.fixture
def encoder(tmp_path: Path) -> FrozenEncoder:
    return save_model(tmp_path / "model")


def run(
    corpus: Path,
    target: Path,
    encoder: FrozenEncoder,
    gpu: bool = False,
    actors: int | None = 1,
) -> tuple[Manifest, list[tuple[int, int]]]:
    """The stage's manifest, and what it told of its progress. Every actor is a process that imports
    torch and transformers anew."""
    told: list[tuple[int, int]] = []
    made = extract(
        corpus, target, encoder, ExtractionSettings(actors=actors), DegradationSettings(), gpu,
        lambda *at: told.append(at),
    )  # fmt: skip
    return made, told


@dataclass(frozen=True)
class Extracted:
    """What one run of the stage left."""

    folder: Path
    manifest: Manifest
    told: list[tuple[int, int]]
    printed: str

    def copy(self, target: Path) -> Path:
        shutil.copytree(self.folder, target)
        return target


@pytest.fixture(scope="module")
def kept() -> list[Extracted]:
    """The one that tests share."""
    return []


@pytest.fixture
def extracted(
    kept: list[Extracted], corpus: Path, encoder: FrozenEncoder,
    tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str],
) -> Extracted:  # fmt: skip
    """The features of ``corpus``, by more actors than the machine may hold."""
    if not kept:
        folder = tmp_path_factory.mktemp("extracted") / "features"
        made, told = run(corpus, folder, encoder, actors=8)
        kept.append(Extracted(folder, made, told, capfd.readouterr().err))
    return kept[0]


def refusal(*arguments: Any, **settings: Any) -> str:
    """The line that a job would print of a stage that must fail."""
    return refusals.refusal(lambda: run(*arguments, **settings))


def written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}


def test_features_are_the_encoders(
    corpus: Path, encoder: FrozenEncoder, extracted: Extracted
) -> None:
    target, made = extracted.folder, extracted.manifest
    assert extracted.told == [(1, 3), (2, 3), (3, 3)]
    assert extracted.printed == ""
    assert made == open_corpus(target)
    assert (made.feature_dim, made.feature_fingerprint) == (32, encoder.fingerprint())
    assert (made.source, made.identities, made.emotions) == ("hand", ["ada"], ["anger"])
    assert [shard.file for shard in made.shards] == [f"{name}.parquet" for name in FRAMES]
    for shard in made.shards:
        clips = shards.clips_of(shards.read_table(target / shard.file, sha256=shard.sha256))
        before = shards.clips_of(shards.read_table(corpus / shard.file))
        assert tuple(len(c.coefficients) for c in clips) == FRAMES[shard.file.split(".")[0]]
        for found, old in zip(clips, before, strict=True):
            frames = len(old.coefficients)
            expected = encoder(old.audio, frames)
            np.testing.assert_allclose(found.features, expected, atol=2e-3)
            mel = to_length(log_mel(old.audio), frames)
            np.testing.assert_allclose(found.log_mel, mel, atol=2e-3)
            assert found.id == old.id
            np.testing.assert_array_equal(found.coefficients, old.coefficients)
            np.testing.assert_array_equal(found.audio, old.audio)


def test_a_killed_stage_goes_on_where_it_was(
    corpus: Path, tmp_path: Path, encoder: FrozenEncoder, extracted: Extracted
) -> None:
    target = extracted.copy(tmp_path / "features")
    before = written(target)
    # as a run leaves it that was killed within its second shard
    (target / "manifest.json").unlink()
    (target / "train-00001.parquet").unlink()
    again, told = run(corpus, target, encoder)
    assert told[-1] == (3, 3)
    assert again == extracted.manifest
    after = written(target)
    assert {name for name in before if after[name] != before[name]} == {"train-00001.parquet"}


def test_a_cache_is_used_when_it_matches_and_never_otherwise(
    corpus: Path, tmp_path: Path, encoder: FrozenEncoder, extracted: Extracted
) -> None:
    cache = tmp_path / "cache"
    target = extracted.copy(cache / cache_name(open_corpus(corpus), encoder.fingerprint()))
    before = written(target)
    # the same weights from another folder
    moved = save_model(tmp_path / "moved")
    assert cache / cache_name(open_corpus(corpus), moved.fingerprint()) == target
    assert run(corpus, target, moved) == (extracted.manifest, [])
    assert written(target) == before
    other = save_model(tmp_path / "other", seed=1)
    assert cache / cache_name(open_corpus(corpus), other.fingerprint()) != target
    assert "features of another corpus or encoder" in refusal(corpus, target, other)


def test_a_corrupt_shard_is_named_and_the_rest_stays(
    corpus: Path, tmp_path: Path, encoder: FrozenEncoder
) -> None:
    shard = corpus / "val-00000.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    target = tmp_path / "features"
    said = refusal(corpus, target, encoder)
    assert said.startswith(f"{shard}: the shard is corrupt")
    assert sorted(written(target)) == ["train-00000.parquet", "train-00001.parquet"]
    assert not (target / "manifest.json").exists()


def test_an_encoder_that_differs_where_the_actors_run(
    corpus: Path, tmp_path: Path, encoder: FrozenEncoder
) -> None:
    save_model(tmp_path / "model", seed=1)  # after the driver loaded it
    said = refusal(corpus, tmp_path / "features", encoder)
    assert "differ between the machines" in said
    assert encoder.name in said
    for path in (tmp_path / "model").iterdir():
        path.unlink()
    assert repr(encoder.name) in refusal(corpus, tmp_path / "features", encoder)


def test_features_that_are_not_finite_are_not_kept(
    corpus: Path, tmp_path: Path, encoder: FrozenEncoder
) -> None:
    loud = HubertModel.from_pretrained(encoder.name)
    with torch.no_grad():
        loud.encoder.layer_norm.weight.fill_(1e6)  # beyond half precision
    loud.save_pretrained(tmp_path / "loud")
    weights = FrozenEncoder(str(tmp_path / "loud"), (0,)).fingerprint()
    # Without an actor: what becomes of its mistakes is said above.
    writer = _FeatureWriter(
        corpus, tmp_path, (str(tmp_path / "loud"), (0,), None), weights, DegradationSettings(),
        10.0, False,
    )  # fmt: skip
    shard = open_corpus(corpus).shards[0]
    _, said = writer.write(shard.file, shard.sha256)
    assert "not finite" in said
    assert "encoder.layers" in said
    assert not (tmp_path / shard.file).exists()


def test_corpus_model_and_cache_in_s3(
    corpus: Path, tmp_path: Path, encoder: FrozenEncoder, extracted: Extracted, ray_s3: Server
) -> None:
    bucket = storage.location(f"s3://{ray_s3.bucket()}")
    storage.store(corpus, bucket / "corpus")
    storage.store(tmp_path / "model", bucket / "model")
    remote = FrozenEncoder(str(bucket / "model"), encoder.layers)
    assert remote.fingerprint() == encoder.fingerprint()
    name = cache_name(open_corpus(bucket / "corpus"), remote.fingerprint())
    made, told = run(bucket / "corpus", bucket / "cache" / name, remote)
    assert told[-1] == (3, 3)
    assert made == open_corpus(bucket / "cache" / name)
    assert made == extracted.manifest


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(corpus: Path, tmp_path: Path, encoder: FrozenEncoder) -> None:
    assert "the cluster has 0 GPUs" in refusal(
        corpus, tmp_path / "features", encoder, gpu=True, actors=None
    )


def test_a_target_that_cannot_be_written(
    corpus: Path, tmp_path: Path, encoder: FrozenEncoder
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot write" in refusal(corpus, tmp_path / "file" / "features", encoder)
