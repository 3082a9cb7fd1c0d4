"""The features' stage without Ray: what names a cache, and how many actors run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError

from diffusiontalker.audio.log_mel import log_mel
from diffusiontalker.config import DegradationSettings, ExtractionSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, open_corpus, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.features import stage
from diffusiontalker.features.stage import cache_name, content, pool_size, to_length


def test_a_cache_is_named_by_corpus_and_encoder(
    corpus_folder: Path, hand_made: Callable[..., Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = open_corpus(corpus_folder)
    name = cache_name(corpus, "abc")
    assert name.startswith("features-")
    assert name == cache_name(open_corpus(corpus_folder), "abc")
    info = shards.write_shard(corpus_folder / corpus.shards[0].file, [hand_made(13)])
    other = cache_name(replace(corpus, shards=[info, *corpus.shards[1:]]), "abc")
    encoder = cache_name(corpus, "abd")
    monkeypatch.setattr(stage, "VERSION", stage.VERSION + 1)
    assert len({name, other, encoder, cache_name(corpus, "abc")}) == 4


def test_a_cache_is_not_named_by_where_the_corpus_lies(corpus_folder: Path) -> None:
    moved = corpus_folder.rename(corpus_folder.with_name("moved"))
    manifest: Manifest = open_corpus(moved)
    again = Manifest("elsewhere", manifest.shards, ["ada"], ["anger"])
    assert cache_name(manifest, "abc") == cache_name(again, "abc")


def test_the_same_features_without_degradation_and_others_with_it() -> None:
    off, on = DegradationSettings(), DegradationSettings(share=0.5)
    other_seed = DegradationSettings(share=0.5, seed=1)
    assert content("abc", off) == content("abc", DegradationSettings(seed=1)) == "abc"
    assert len({content("abc", one) for one in (off, on, other_seed)} | {content("a", on)}) == 4


class OneSample:
    """Stands for ``FrozenEncoder``: one sample of a clip, in every frame."""

    def many(self, clips: list[np.ndarray], frames: list[int], seconds: float) -> list[np.ndarray]:
        pairs = zip(clips, frames, strict=True)
        return [np.full((n, 1), a[3000], np.float32) for a, n in pairs]


def written(corpus: Path, target: Path, **settings: Any) -> dict[str, list[Clip]]:
    """The clips with features of both shards, by split."""
    target.mkdir(parents=True)
    writer = stage._FeatureWriter(
        corpus, target, ("model", (0,), None), "abc", DegradationSettings(**settings), 0.0, False
    )
    vars(writer)["encoder"] = OneSample()
    found = {}
    for shard in open_corpus(corpus).shards:
        info, mistake = writer.write(shard.file, shard.sha256)
        assert info
        assert not mistake
        found[shard.split] = shards.clips_of(shards.read_table(target / shard.file))
    return found


@pytest.fixture
def noisy_corpus(corpus_folder: Path, hand_made: Callable[..., Clip]) -> Path:
    infos = []
    for split in ("train", "val"):
        noise = [np.random.default_rng(i).normal(0, 0.07, 6400) for i in range(4)]
        clips = [
            hand_made(12, id=f"{split}-{i}", split=split, audio=audio.astype(np.float32))
            for i, audio in enumerate(noise)
        ]
        infos.append(shards.write_shard(corpus_folder / f"{split}-00000.parquet", clips))
    write_manifest(corpus_folder, Manifest("hand", infos, ["ada"], ["anger"]))
    return corpus_folder


def test_training_clips_alone_are_degraded_and_their_faces_are_not(
    noisy_corpus: Path, tmp_path: Path
) -> None:
    off = written(noisy_corpus, tmp_path / "off")
    on = written(noisy_corpus, tmp_path / "on", share=1)
    both = written(noisy_corpus, tmp_path / "both", share=1, features=True)
    assert len(on["train"]) == 4
    for split in ("train", "val"):
        for clean, one, two in zip(off[split], on[split], both[split], strict=True):
            for column in ("id", "audio", "coefficients"):
                np.testing.assert_array_equal(getattr(one, column), getattr(clean, column))
            expected = to_length(log_mel(clean.audio), 12)
            np.testing.assert_allclose(clean.log_mel, expected, atol=2e-3)
            np.testing.assert_array_equal(one.features, clean.features)
            np.testing.assert_array_equal(one.log_mel, two.log_mel)
            assert np.array_equal(one.log_mel, clean.log_mel) == (split == "val")
            assert np.array_equal(two.features, clean.features) == (split == "val")


def test_a_resumed_stage_degrades_as_before(noisy_corpus: Path, tmp_path: Path) -> None:
    written(noisy_corpus, tmp_path / "a", share=0.5)
    written(noisy_corpus, tmp_path / "b", share=0.5)
    for file in ("train-00000.parquet", "val-00000.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(
    ("settings", "gpu", "cluster", "expected"),
    [
        ({}, False, {"CPU": 2.0}, 2),
        ({}, False, {"CPU": 64.0}, 10),  # no more than shards
        ({"actors": 3}, False, {"CPU": 64.0}, 3),
        ({"actors": 12}, False, {"CPU": 1.0}, 10),
        ({}, True, {"CPU": 16.0, "GPU": 4.0}, 4),
        ({"gpus_per_actor": 0.3}, True, {"CPU": 16.0, "GPU": 1.0}, 3),
        ({"gpus_per_actor": 0.1}, True, {"CPU": 16.0, "GPU": 0.3}, 3),  # 0.3 / 0.1 < 3 in floats
        ({"actors": 2}, True, {"CPU": 16.0}, 2),  # a cluster that will grow
    ],
)
def test_pool_size(
    settings: dict[str, float], gpu: bool, cluster: dict[str, float], expected: int
) -> None:
    assert pool_size(10, ExtractionSettings(**settings), gpu, cluster) == expected


def test_a_cluster_without_a_gpu() -> None:
    with pytest.raises(UserError, match=r"0 GPUs.* resources\.gpu=false.* extraction\.actors"):
        pool_size(10, ExtractionSettings(), True, {"CPU": 16.0})


def test_fit_cuts_or_repeats_the_last_column() -> None:
    mel = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.testing.assert_array_equal(to_length(mel, 2), mel)
    np.testing.assert_array_equal(to_length(mel, 1), mel[:2])
    np.testing.assert_array_equal(to_length(mel, 3), np.vstack([mel, mel[3], mel[3]]))


def test_an_encoder_that_dies_again_and_again_is_not_started_without_end(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {}
    killed: list[object] = []

    def lost(pool: list[object], work: object) -> list[tuple[str, str]]:
        raise RayActorError

    def with_options(**given: Any) -> SimpleNamespace:
        options.update(given)
        return SimpleNamespace(remote=lambda *_: "actor")

    ray = SimpleNamespace(
        remote=lambda _: SimpleNamespace(options=with_options),
        cluster_resources=lambda: {"CPU": 1.0}, kill=killed.append,
    )  # fmt: skip
    monkeypatch.setattr(stage, "ray", ray)
    monkeypatch.setattr(stage, "distribute", lost)
    encoder: Any = SimpleNamespace(
        name="model", layers=(0,), revision=None, dim=4, fingerprint=lambda: "abc"
    )
    with pytest.raises(UserError, match=r"ended 4 times at the same shard.*extraction\.actors"):
        stage.extract(
            corpus_folder, tmp_path / "features", encoder, ExtractionSettings(),
            DegradationSettings(), False, lambda done, total: None,
        )  # fmt: skip
    assert options["max_task_retries"] == stage.RETRIES > 0
    assert killed == ["actor"]
