"""The features' stage without Ray: what names a cache, and how many actors run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError

from diffusiontalker.config import ExtractionSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, open_corpus
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.features import stage
from diffusiontalker.features.stage import cache_name, pool_size, to_length


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
            corpus_folder, tmp_path / "features", encoder, ExtractionSettings(), False,
            lambda done, total: None,
        )  # fmt: skip
    assert options["max_task_retries"] == stage.RETRIES > 0
    assert killed == ["actor"]
