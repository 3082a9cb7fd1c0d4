"""A handful of spoken clips, and one made by hand, for the tests of the data side."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.config import CorpusSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, write_manifest
from diffusiontalker.corpus.procedural import generation, planning
from diffusiontalker.corpus.procedural.planning import ClipPlan
from diffusiontalker.corpus.shards import Clip


@pytest.fixture(scope="session")
def tiny_corpus() -> CorpusSettings:
    """21 training clips of three speakers in seven emotions, and seven clips in each test split."""
    return CorpusSettings(
        speakers=3, unseen_speakers=1, minutes=1.5, eval_clips=7, expected_draws=8
    )


@pytest.fixture(scope="session")
def spoken(tiny_corpus: CorpusSettings) -> list[tuple[ClipPlan, Clip]]:
    """Every clip of the tiny corpus with its plan; spoken once for all tests."""
    return [(p, generation.make_clip(p, tiny_corpus)) for p in planning.plan(tiny_corpus)]


@pytest.fixture
def hand_made() -> Callable[..., Clip]:
    """A maker of clips whose coefficients tell where they stand: frame k holds k / 100."""

    def make(frames: int = 12, **changes: Any) -> Clip:
        ramp = np.repeat(np.arange(frames, dtype=np.float32)[:, None] / 100, len(CHANNELS), axis=1)
        values: dict[str, Any] = {
            "id": "a",
            "identity": "ada",
            "emotion": "anger",
            "split": "train",
            "text": "Hm.",
            "audio": np.linspace(-1, 1, frames * 16_000 // 30, dtype=np.float32),
            "coefficients": ramp,
        }
        return Clip(**(values | changes))

    return make


@pytest.fixture
def corpus_folder(tmp_path: Path, hand_made: Callable[..., Clip]) -> Path:
    """A whole corpus of two small shards."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    infos = [
        shards.write_shard(
            folder / f"{split}-00000.parquet",
            [hand_made(12, id=f"{split}-{i}", split=split) for i in range(3)],
        )
        for split in ("train", "val")
    ]
    write_manifest(folder, Manifest("hand", infos, ["ada"], ["anger"]))
    return folder
