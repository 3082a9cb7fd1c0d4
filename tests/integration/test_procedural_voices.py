"""Real Ray: the pool of actors that makes a corpus of several synthesizers."""

from pathlib import Path

import numpy as np
import pytest

from diffusiontalker.config import CorpusSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import open_corpus
from diffusiontalker.corpus.procedural import generation, planning
from diffusiontalker.corpus.procedural.speech import Phone, Prosody

pytestmark = pytest.mark.usefixtures("ray_s3")


def test_a_pool_makes_what_is_missing_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Local, so that actors are given the code itself: they do not find this file.
    def fake(text: str, voice: str, prosody: Prosody) -> tuple[np.ndarray, int, list[Phone]]:
        seconds = np.arange(24_000) / 24_000
        tone = np.sin(2 * np.pi * 4 * prosody.pitch * seconds).astype(np.float32)
        return tone, 24_000, [Phone("p", 0.0, 0.2), Phone("ˈɑː", 0.2, 1.0)]

    class Maker(generation._ShardMaker):
        def _loaded_kokoro(self) -> generation.Speak:
            return fake

    monkeypatch.setattr(generation, "_ShardMaker", Maker)
    settings = CorpusSettings(
        minutes=0.1, eval_clips=4, expected_draws=2, clips_per_shard=4,
        voices={"espeak": 0, "kokoro": 1},
    )  # fmt: skip
    made = generation.make(tmp_path, settings, lambda *_: None)
    assert made == open_corpus(tmp_path)
    assert sum(shard.clips for shard in made.shards) == len(planning.plan(settings))
    clips = shards.clips_of(shards.read_table(tmp_path / made.shards[0].file))
    assert clips[0].identity in {f"kokoro-{voice}" for voice in planning.KOKORO_UNSEEN} | set(
        made.identities
    )
    assert clips[0].phones == ["p", "ˈɑː"]

    kept = tmp_path / made.shards[0].file
    before = kept.stat().st_mtime_ns
    (tmp_path / made.shards[1].file).unlink()
    (tmp_path / "manifest.json").unlink()
    assert generation.make(tmp_path, settings, lambda *_: None) == made
    assert kept.stat().st_mtime_ns == before
    printed = "".join(capfd.readouterr())
    assert "max_restarts" not in printed
    assert "Deprecat" not in printed
