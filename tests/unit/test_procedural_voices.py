"""Several synthesizers in one corpus: the plan, the files that they need, and the shards."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diffusiontalker import assets, config, preparation, storage
from diffusiontalker.config import CorpusSettings, VoiceWeights
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import (
    SCHEMA_VERSION,
    SPLITS,
    Manifest,
    open_corpus,
    write_manifest,
)
from diffusiontalker.corpus.procedural import generation, planning
from diffusiontalker.corpus.procedural.speech import Phone, Prosody
from diffusiontalker.corpus.procedural.voices import EMOTIONS, KOKORO, KOKORO_UNSEEN
from diffusiontalker.errors import UserError
from diffusiontalker.pipeline import data

MIXED = CorpusSettings(minutes=20, voices=VoiceWeights(kokoro=0.6))


def test_every_split_is_mixed_by_weight() -> None:
    plans = planning.plan(MIXED)
    for split in SPLITS:
        kinds = [plan.speaker.synthesizer for plan in plans if plan.split == split]
        assert kinds.count("kokoro") / len(kinds) == pytest.approx(0.375, abs=0.02)
        # Spread evenly, so that every stretch of the plan is mixed too.
        assert len(set(kinds[:4])) == 2


@pytest.mark.parametrize("seed", [0, 1])
def test_unseen_voices_are_in_no_other_split(seed: int) -> None:
    plans = planning.plan(MIXED.model_copy(update={"seed": seed}))
    voices = {s: {p.speaker.voice for p in plans if p.split == s} for s in SPLITS}
    for split in SPLITS[:3]:
        assert not voices[split] & voices["test_unseen"]
        assert voices[split] <= voices["train"]
    assert set(KOKORO_UNSEEN) < voices["test_unseen"]
    assert not set(KOKORO_UNSEEN) & set(KOKORO)
    names = {s: {p.speaker.name for p in plans if p.split == s} for s in SPLITS}
    assert not names["train"] & names["test_unseen"]
    assert len(names["train"]) == MIXED.speakers + len(KOKORO)


def test_a_voice_has_one_face_whichever_others_speak() -> None:
    few = planning.speakers(MIXED.model_copy(update={"minutes": 2.0}))[0][1]
    many = planning.speakers(MIXED)[0][1]
    assert few == many[: len(few)]
    assert len({speaker.lag for speaker in many}) == len(many)


def test_kokoros_speakers_use_every_emotion() -> None:
    train = [p for p in planning.plan(MIXED) if p.split == "train"]
    emotions = Counter(p.emotion for p in train if p.speaker.synthesizer == "kokoro")
    assert set(emotions) == set(EMOTIONS)
    assert max(emotions.values()) <= 1.3 * min(emotions.values())


@pytest.mark.parametrize("minutes", [0.01, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weights", [(1.0, 0.6), (0.0, 1.0), (1.0, 0.05)])
def test_a_small_plan_has_every_speaker_in_training(
    minutes: float, weights: tuple[float, float]
) -> None:
    voices = VoiceWeights(espeak=weights[0], kokoro=weights[1])
    settings = CorpusSettings(minutes=minutes, eval_clips=8, voices=voices)
    spoken = {p.speaker.name for p in planning.plan(settings) if p.split == "train"}
    assert spoken == {speaker.name for own in planning.speakers(settings)[0] for speaker in own}


def test_espeak_alone_is_planned_as_ever() -> None:
    plans = planning.plan(CorpusSettings(minutes=2))
    assert {plan.speaker.synthesizer for plan in plans} == {"espeak"}
    mixed = planning.plan(CorpusSettings(minutes=2, voices=VoiceWeights(kokoro=0.0)))
    assert mixed == plans


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(UserError, match=r"corpus\.voices"):
        config.load(None, ["output=a", "corpus.voices={espeak: 0, kokoro: 0}"])
    with pytest.raises(UserError, match="festival"):
        config.load(None, ["output=a", "corpus.voices.festival=1"])


# The files of Kokoro


def missing(name: str) -> Path:
    raise UserError(f"{name}: no network")


def test_without_its_files_espeak_speaks_alone_under_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(assets, "fetch", missing)
    alone = generation.obtainable(MIXED, tmp_path)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "corpus.voices" in out
    assert "no network" in out
    assert alone == MIXED.model_copy(update={"voices": VoiceWeights()})
    keys = {generation.key_of(s) for s in (MIXED, alone, CorpusSettings(minutes=20))}
    assert len(keys) == 2
    monkeypatch.setattr(assets, "fetch", Path)
    assert generation.obtainable(MIXED, tmp_path) == MIXED
    assert capsys.readouterr().out == ""


def test_a_part_of_a_mix_is_not_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "fetch", missing)
    for settings, key in ((MIXED, "mix"), (CorpusSettings(minutes=20), "espeak")):
        storage.write_json(tmp_path / generation.PLAN, {"key": generation.key_of(settings)})
        if key == "mix":
            with pytest.raises(UserError, match=r"unfinished.*no network"):
                generation.obtainable(MIXED, tmp_path)
        else:
            assert not generation.obtainable(MIXED, tmp_path).voices.kokoro


def test_espeaks_weight_alone_makes_no_other_corpus() -> None:
    keys = {
        generation.key_of(CorpusSettings(voices=VoiceWeights(espeak=weight)))
        for weight in (1.0, 2.0)
    }
    # That of the corpora made before there were other voices.
    content = CorpusSettings().model_dump(mode="json", exclude={"path", "voices"})
    assert keys == {config.fingerprint("procedural", generation.VERSION, SCHEMA_VERSION, content)}


def test_the_key_of_a_mix_follows_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [generation.key_of(s) for s in (MIXED, CorpusSettings())]
    monkeypatch.setitem(assets.ASSETS, "kokoro", SimpleNamespace(fingerprint="other"))
    assert generation.key_of(MIXED) != before[0]
    assert generation.key_of(CorpusSettings()) == before[1]


def test_a_run_keeps_a_mix_that_is_complete_and_records_the_voices_that_it_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus_folder: Path
) -> None:
    run: Any = SimpleNamespace(
        settings=config.load(None, [f"output={tmp_path}", "corpus.voices.kokoro=0.6"]),
        folder=lambda name, key: tmp_path / f"{name}-{key}",
        stage=lambda name, folder, work: folder,
    )
    asked = run.settings.corpus
    folders = [
        tmp_path / f"corpus-{generation.key_of(asked.model_copy(update={'voices': voices}))}"
        for voices in (VoiceWeights(), asked.voices)
    ]
    monkeypatch.setattr(assets, "fetch", missing)
    manifest = open_corpus(corpus_folder)
    infos = Manifest(**{**vars(manifest), "source_fingerprint": generation.key_of(asked)})
    write_manifest(corpus_folder, infos)
    corpus_folder.rename(folders[0])
    assert data.corpus_data(run).folder == folders[0]
    assert run.settings.corpus.voices == VoiceWeights()
    folders[0].rename(folders[1])
    run.settings = run.settings.model_copy(update={"corpus": asked})
    assert data.corpus_data(run) == data.CorpusFolder(folders[1], infos)
    assert run.settings.corpus == asked


def test_a_prepared_mix_that_is_complete_needs_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus_folder: Path
) -> None:
    monkeypatch.setattr(assets, "fetch", missing)
    manifest = open_corpus(corpus_folder)
    key = generation.key_of(MIXED)
    write_manifest(corpus_folder, Manifest(**{**vars(manifest), "source_fingerprint": key}))
    assert "minutes" in preparation.procedural_corpus(MIXED, corpus_folder)[0]


def test_a_prepared_set_that_fell_back_is_kept_until_the_files_can_be_had(
    monkeypatch: pytest.MonkeyPatch, corpus_folder: Path
) -> None:
    monkeypatch.setattr(assets, "fetch", missing)
    alone = generation.key_of(MIXED.model_copy(update={"voices": VoiceWeights()}))
    manifest = open_corpus(corpus_folder)
    write_manifest(corpus_folder, Manifest(**{**vars(manifest), "source_fingerprint": alone}))
    assert "minutes" in preparation.procedural_corpus(MIXED, corpus_folder)[0]
    monkeypatch.setattr(assets, "fetch", Path)
    with pytest.raises(UserError, match="other settings"):
        preparation.procedural_corpus(MIXED, corpus_folder)


# Shards


def fake(text: str, voice: str, prosody: Prosody) -> tuple[np.ndarray, int, list[Phone]]:
    """A quarter of a second of tone for each letter."""
    seconds = np.arange(len(text) * 2_000) / 24_000
    phones = [Phone("p" if c == "p" else "ˈɑː", i / 12, (i + 1) / 12) for i, c in enumerate(text)]
    return np.sin(2 * np.pi * prosody.pitch * 4 * seconds).astype(np.float32), 24_000, phones


def test_a_shard_holds_both_and_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "Kokoro", lambda: fake)
    settings = CorpusSettings(minutes=0.1, eval_clips=4, expected_draws=2, voices=MIXED.voices)
    plans = [p for p in planning.plan(settings) if p.split == "test_seen"]
    maker = generation._ShardMaker(tmp_path, {"test_seen-00000.parquet": plans}, settings)
    made = maker({"file": "test_seen-00000.parquet"})
    clips = shards.clips_of(shards.read_table(tmp_path / "test_seen-00000.parquet"))
    kinds = [clip.identity[:6] for clip in clips if clip.identity]
    assert kinds.count("kokoro") == sum(p.speaker.synthesizer == "kokoro" for p in plans) > 0
    for plan, clip in zip(plans, clips, strict=True):
        if plan.speaker.synthesizer == "kokoro":
            assert clip.identity == f"kokoro-{plan.speaker.voice}"
            assert clip.expected is not None
            assert set(clip.phones or []) <= {"p", "ˈɑː"}
            assert len(clip.audio) == pytest.approx(len(plan.sentence) * 16_000 / 12, abs=600)
    monkeypatch.setattr(generation, "make_clip", None)  # which is not called again
    assert maker({"file": "test_seen-00000.parquet"}) == made


def test_a_mistake_in_a_worker_is_a_line_and_no_exception_of_ray_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "Kokoro", lambda: missing("kokoro"))
    plans = [p for p in planning.plan(MIXED) if p.speaker.synthesizer == "kokoro"][:1]
    maker = generation._ShardMaker(tmp_path, {"train-00000.parquet": plans}, MIXED)
    assert maker({"file": "train-00000.parquet"}) == {
        "info": "", "mistake": "kokoro: no network",
    }  # fmt: skip
