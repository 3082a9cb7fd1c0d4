"""The procedural corpus: its plan, and clips whose sound and face agree."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from diffusiontalker.arkit import CHANNELS, FPS, INDEX, LIP, UPPER
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.config import CorpusSettings, load
from diffusiontalker.corpus import procedural, shards, text
from diffusiontalker.corpus.face import _energy
from diffusiontalker.corpus.procedural import Plan
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.log_mel import frame_count

Spoken = list[tuple[Plan, Clip]]
ROOT = Path(__file__).resolve().parents[2]


# The plan


@pytest.fixture(scope="module", params=["defaults", "quickstart"])
def planned(request: pytest.FixtureRequest) -> tuple[CorpusSettings, list[Plan]]:
    settings = CorpusSettings()
    if request.param == "quickstart":
        settings = load(ROOT / "configs" / "quickstart.yaml").corpus
    return settings, procedural.plan(settings)


def test_splits_have_the_sizes_asked_for(planned: tuple[CorpusSettings, list[Plan]]):
    settings, plans = planned
    counts = Counter(p.split for p in plans)
    assert set(counts) == set(shards.SPLITS)
    assert {counts[s] for s in shards.SPLITS[1:]} == {settings.eval_clips}
    assert counts["train"] == round(settings.minutes * 60 / procedural.SECONDS_PER_CLIP)
    assert len({p.id for p in plans}) == len({p.seed for p in plans}) == len(plans)


def test_no_five_words_in_a_row_stand_in_two_splits(planned: tuple[CorpusSettings, list[Plan]]):
    runs = {
        split: set().union(*(text.runs(p.sentence) for p in planned[1] if p.split == split))
        for split in shards.SPLITS
    }
    for one, other in itertools.combinations(shards.SPLITS, 2):
        assert not runs[one] & runs[other]


def test_unseen_speakers_are_in_no_other_split(planned: tuple[CorpusSettings, list[Plan]]):
    settings, plans = planned
    people = {s: {p.speaker.name for p in plans if p.split == s} for s in shards.SPLITS}
    voices = {s: {p.speaker.voice for p in plans if p.split == s} for s in shards.SPLITS}
    assert len(people["test_unseen"]) == settings.unseen_speakers
    assert len(people["train"]) == settings.speakers
    for split in shards.SPLITS[:3]:
        assert people[split] == people["train"]
        assert not voices[split] & voices["test_unseen"]


@pytest.mark.parametrize("speakers", [2, 6, 7, 13, 16])
def test_every_speaker_says_every_emotion_about_equally_often(speakers: int):
    plans = procedural.plan(CorpusSettings(speakers=speakers, minutes=30))
    pairs = Counter((p.speaker.name, p.emotion) for p in plans if p.split == "train")
    assert len(pairs) == speakers * 7
    assert max(pairs.values()) - min(pairs.values()) <= 1
    for split in shards.SPLITS:
        emotions = Counter(p.emotion for p in plans if p.split == split)
        assert max(emotions.values()) <= 1.5 * min(emotions.values())


def test_the_plan_follows_the_seed():
    settings = CorpusSettings(minutes=2)
    assert procedural.plan(settings) == procedural.plan(settings)
    other = procedural.plan(CorpusSettings(minutes=2, seed=1))
    assert [p.sentence for p in other] != [p.sentence for p in procedural.plan(settings)]


def test_a_tiny_plan_still_has_every_speaker():
    plans = procedural.plan(CorpusSettings(minutes=0.01, eval_clips=4))
    assert Counter(p.split for p in plans) == {
        "train": 16, "val": 4, "test_seen": 4, "test_unseen": 4
    }  # fmt: skip


@pytest.mark.parametrize(
    ("emotions", "message"),
    [
        (("neutral", "boredom"), "corpus.emotions: unknown 'boredom'; known: neutral,"),
        (("anger", "anger"), "corpus.emotions: 'anger' stands twice"),
    ],
)
def test_emotions_that_cannot_be_planned(emotions: tuple[str, ...], message: str):
    with pytest.raises(UserError, match=message):
        procedural.plan(CorpusSettings(emotions=emotions))


def test_batches_hold_every_clip_of_one_split_once():
    settings = CorpusSettings(minutes=5, clips_per_shard=10, eval_clips=25)
    plans = procedural.plan(settings)
    batches = procedural._batches(plans, settings)
    assert sorted(p.id for b in batches.values() for p in b) == sorted(p.id for p in plans)
    assert [len(batches[f"val-{k:05d}.parquet"]) for k in range(3)] == [10, 10, 5]
    for name, batch in batches.items():
        assert {p.split for p in batch} == {name[: -len("-00000.parquet")]}
    assert procedural._batches(plans, settings) == batches


# Clips


def test_clips_are_whole(spoken: Spoken):
    for plan, clip in spoken:
        frames = len(clip.coefficients)
        assert clip.coefficients.shape == (frames, 52)
        assert frame_count(len(clip.audio)) == frames
        assert len(clip.audio) == frames * SAMPLE_RATE // FPS
        assert 0.1 < np.abs(clip.audio).max() <= 1.0
        assert (clip.id, clip.identity, clip.emotion) == (plan.id, plan.speaker.name, plan.emotion)
        assert (clip.text, clip.split, clip.source) == (plan.sentence, plan.split, "procedural")
        assert clip.phones is not None
        assert clip.phone_starts is not None
        assert len(clip.phones) == len(clip.phone_starts)
        assert (np.diff(clip.phone_starts) > 0).all()
        assert clip.phone_starts[-1] < frames / FPS + 0.1
        for values in (clip.coefficients, clip.redraw, clip.expected):
            if values is not None:
                assert values.shape == (frames, 52)
                assert values.min() >= 0
                assert values.max() <= 1
        assert (clip.redraw is None) == (clip.expected is None) == (plan.split == "train")


def test_the_mean_length_is_what_the_plan_assumes(spoken: Spoken):
    seconds = np.mean([len(clip.coefficients) / FPS for _, clip in spoken])
    assert seconds == pytest.approx(procedural.SECONDS_PER_CLIP, rel=0.15)


def test_a_clip_is_the_same_whenever_it_is_made(tiny_corpus: CorpusSettings, spoken: Spoken):
    # Made again after all others. The words, their times and the randomness are the plan's; the
    # breath in eSpeak's voice draws on random numbers that other threads of the process draw on
    # too, so sound and what follows from it are compared within a hair.
    for plan, clip in (spoken[0], spoken[-1]):
        again = procedural.make_clip(plan, tiny_corpus)
        assert again.phones == clip.phones
        assert np.array_equal(again.phone_starts, clip.phone_starts)
        assert np.corrcoef(again.audio, clip.audio)[0, 1] > 0.99
        mouth = [CHANNELS.index(name) for name in ("jawOpen", "mouthFunnel", "mouthPressLeft")]
        gap = np.abs(again.coefficients - clip.coefficients)[:, mouth]
        assert gap.mean() < 0.01
