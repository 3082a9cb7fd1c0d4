"""The procedural corpus: its plan, and clips whose sound and face agree."""

import dataclasses
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from diffusiontalker import config, preparation
from diffusiontalker.arkit import CHANNELS, FPS, INDEX, LIP, UPPER
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.log_mel import frame_count
from diffusiontalker.config import CorpusSettings, load
from diffusiontalker.corpus.manifest import SPLITS, Manifest, open_corpus
from diffusiontalker.corpus.procedural import generation, planning, text, voice_quality
from diffusiontalker.corpus.procedural.articulation import loudness
from diffusiontalker.corpus.procedural.planning import ClipPlan
from diffusiontalker.corpus.procedural.voices import EMOTIONS
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError

Spoken = list[tuple[ClipPlan, Clip]]
ROOT = Path(__file__).resolve().parents[2]


# The plan


@pytest.fixture(scope="module", params=["defaults", "quickstart"])
def planned(request: pytest.FixtureRequest) -> tuple[CorpusSettings, list[ClipPlan]]:
    settings = CorpusSettings()
    if request.param == "quickstart":
        settings = load(ROOT / "configs" / "quickstart.yaml").corpus
    return settings, planning.plan(settings)


def test_splits_have_the_sizes_asked_for(planned: tuple[CorpusSettings, list[ClipPlan]]):
    settings, plans = planned
    counts = Counter(p.split for p in plans)
    assert set(counts) == set(SPLITS)
    assert {counts[s] for s in SPLITS[1:]} == {settings.eval_clips}
    assert counts["train"] == round(settings.minutes * 60 / planning.SECONDS_PER_CLIP)
    assert len({p.id for p in plans}) == len({p.seed for p in plans}) == len(plans)


def test_no_five_words_in_a_row_stand_in_two_splits(planned: tuple[CorpusSettings, list[ClipPlan]]):
    runs = {
        split: set().union(*(text.ngrams(p.sentence) for p in planned[1] if p.split == split))
        for split in SPLITS
    }
    for one, other in itertools.combinations(SPLITS, 2):
        assert not runs[one] & runs[other]


def test_unseen_speakers_are_in_no_other_split(planned: tuple[CorpusSettings, list[ClipPlan]]):
    settings, plans = planned
    people = {s: {p.speaker.name for p in plans if p.split == s} for s in SPLITS}
    voices = {s: {p.speaker.voice for p in plans if p.split == s} for s in SPLITS}
    assert len(people["test_unseen"]) == settings.unseen_speakers
    assert len(people["train"]) == settings.speakers
    for split in SPLITS[:3]:
        assert people[split] == people["train"]
        assert not voices[split] & voices["test_unseen"]


@pytest.mark.parametrize("speakers", [2, 6, 7, 13, 16])
def test_every_speaker_says_every_emotion_about_equally_often(speakers: int):
    plans = planning.plan(CorpusSettings(speakers=speakers, minutes=30))
    pairs = Counter((p.speaker.name, p.emotion) for p in plans if p.split == "train")
    assert len(pairs) == speakers * 7
    assert max(pairs.values()) - min(pairs.values()) <= 1
    for split in SPLITS:
        emotions = Counter(p.emotion for p in plans if p.split == split)
        assert max(emotions.values()) <= 1.5 * min(emotions.values())


def test_a_share_of_neutral_speech_leaves_the_others_equal() -> None:
    plans = planning.plan(CorpusSettings(speakers=13, minutes=60, neutral_share=0.4))
    for split in SPLITS:
        emotions = Counter(p.emotion for p in plans if p.split == split)
        neutral = emotions.pop("neutral")
        assert neutral / (neutral + emotions.total()) == pytest.approx(0.4, abs=0.05)
        assert len(emotions) == 6
        assert max(emotions.values()) <= 2 * min(emotions.values())
    pairs = Counter((p.speaker.name, p.emotion) for p in plans if p.split == "train")
    assert len(pairs) == 13 * 7


def test_the_plan_follows_the_seed():
    settings = CorpusSettings(minutes=2)
    assert planning.plan(settings) == planning.plan(settings)
    other = planning.plan(CorpusSettings(minutes=2, seed=1))
    assert [p.sentence for p in other] != [p.sentence for p in planning.plan(settings)]


def test_a_tiny_plan_still_has_every_speaker():
    plans = planning.plan(CorpusSettings(minutes=0.01, eval_clips=4))
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
        planning.plan(CorpusSettings(emotions=emotions))


@pytest.mark.parametrize("emotions", [("anger", "fear"), ("neutral",)])
def test_a_share_of_neutral_speech_needs_it_and_another(emotions: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="neutral_share"):
        planning.plan(CorpusSettings(emotions=emotions, neutral_share=0.5))


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_that_leaves_an_emotion_without_speech_is_refused(share: float) -> None:
    with pytest.raises(UserError, match="leaves no clip"):
        planning.plan(CorpusSettings(minutes=10, neutral_share=share))


def test_voices_vary_in_every_emotion_without_changing_its_face() -> None:
    rng = np.random.default_rng(0)
    varied = [voice_quality.varied(EMOTIONS["neutral"], 1.0, rng) for _ in range(400)]
    rough = [one for one in varied if one.tremor > 0]
    assert 0.3 < len(rough) / 400 < 0.5
    assert all(20 <= one.tremor_hz <= 35 and one.tremor <= 0.4 for one in rough)
    assert np.std([one.tilt for one in varied]) == pytest.approx(1.5, rel=0.15)
    assert np.mean([np.log(one.rate) for one in varied]) == pytest.approx(0.0, abs=0.02)
    assert min(one.drive for one in varied) == 0 < max(one.drive for one in varied)
    assert all(one.pose == {} for one in varied)
    trembling = [voice_quality.varied(EMOTIONS["fear"], 1.0, rng) for _ in range(50)]
    assert {one.tremor_hz for one in trembling} == {EMOTIONS["fear"].tremor_hz}


def test_a_clip_with_varied_voice_keeps_words_and_emotion(tiny_corpus: CorpusSettings) -> None:
    one = planning.plan(tiny_corpus)[0]
    usual = generation.make_clip(one, tiny_corpus)
    varied = generation.make_clip(one, tiny_corpus.model_copy(update={"voice_variation": 1.0}))
    assert varied.phones == usual.phones
    assert varied.emotion == usual.emotion
    assert len(varied.audio) != len(usual.audio)


def test_batches_hold_every_clip_of_one_split_once():
    settings = CorpusSettings(minutes=5, clips_per_shard=10, eval_clips=25)
    plans = planning.plan(settings)
    batches = generation._batches(plans, settings)
    assert sorted(p.id for b in batches.values() for p in b) == sorted(p.id for p in plans)
    assert [len(batches[f"val-{k:05d}.parquet"]) for k in range(3)] == [10, 10, 5]
    for name, batch in batches.items():
        assert {p.split for p in batch} == {name[: -len("-00000.parquet")]}
    assert generation._batches(plans, settings) == batches


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
    assert seconds == pytest.approx(planning.SECONDS_PER_CLIP, rel=0.15)


def test_a_clip_is_the_same_whenever_it_is_made(tiny_corpus: CorpusSettings, spoken: Spoken):
    # Made again after all others. The words, their times and the randomness are the plan's; the
    # breath in eSpeak's voice draws on random numbers that other threads of the process draw on
    # too, so sound and what follows from it are compared within a hair.
    for plan, clip in (spoken[0], spoken[-1]):
        again = generation.make_clip(plan, tiny_corpus)
        assert again.phones == clip.phones
        assert np.array_equal(again.phone_starts, clip.phone_starts)
        assert np.corrcoef(again.audio, clip.audio)[0, 1] > 0.99
        mouth = [CHANNELS.index(name) for name in ("jawOpen", "mouthFunnel", "mouthPressLeft")]
        gap = np.abs(again.coefficients - clip.coefficients)[:, mouth]
        assert gap.mean() < 0.01


def test_sound_and_jaw_agree_in_time(spoken: Spoken):
    """The correlation of the jaw with loudness peaks at the speaker's lag, clip by clip."""
    offsets = []
    for plan, clip in spoken:
        jaw = clip.coefficients[:, INDEX["jawOpen"]]
        loud = loudness(clip.audio, SAMPLE_RATE, len(jaw))
        jaw, loud = (v - v.mean() for v in (jaw, loud))
        lags = range(-6, 7)
        scores = [np.sum(jaw[6 + k : len(jaw) - 6 + k] * loud[6:-6]) for k in lags]
        offsets.append(lags[int(np.argmax(scores))] - plan.speaker.lag * FPS)
    assert abs(np.median(offsets)) < 0.7
    assert np.mean(np.abs(offsets) <= 2) > 0.9


def test_pauses_are_quiet_and_vowels_are_loud(spoken: Spoken):
    """Phoneme times fit the audio after resampling, speaker by speaker."""
    gaps: dict[str, list[float]] = {}
    for plan, clip in spoken:
        assert clip.phones is not None
        assert clip.phone_starts is not None
        ends = np.r_[clip.phone_starts[1:], len(clip.audio) / SAMPLE_RATE]
        power = {"vowel": [0.0], "pause": [0.0]}
        for ipa, start, end in zip(clip.phones, clip.phone_starts, ends, strict=True):
            # The last pause alone: with a wrong time scale it would drift into the speech.
            kind = "vowel" if "ˈ" in ipa else "pause" if not ipa and start > ends[-1] - 0.5 else ""
            piece = clip.audio[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
            if kind and len(piece) > 400:
                power[kind].append(float(np.mean(piece[len(piece) // 4 : -len(piece) // 4] ** 2)))
        gaps.setdefault(plan.speaker.name, []).append(max(power["vowel"]) - max(power["pause"]))
    assert all(np.mean(np.array(gap) > 0.002) > 0.8 for gap in gaps.values()), gaps


@pytest.mark.parametrize("tract", [0.9, 1.12])
def test_the_tract_scales_sound_phones_and_face_together(
    tiny_corpus: CorpusSettings, spoken: Spoken, tract: float
):
    plan = spoken[0][0]

    def with_tract(value: float) -> Clip:
        speaker = dataclasses.replace(plan.speaker, tract=value, lag=0.0)
        return generation.make_clip(dataclasses.replace(plan, speaker=speaker), tiny_corpus)

    before, after = with_tract(1.0), with_tract(tract)
    assert after.phones == before.phones
    assert before.phone_starts is not None
    assert after.phone_starts is not None
    assert np.allclose(after.phone_starts, before.phone_starts / tract, atol=1e-5)
    assert len(after.audio) == pytest.approx(len(before.audio) / tract, abs=2 * SAMPLE_RATE / FPS)
    # Loudness and jaw, at the same moments of the sentence.
    at = np.arange(len(before.coefficients)) / tract
    originals, scaled = (
        (loudness(c.audio, SAMPLE_RATE, len(c.coefficients)), c.coefficients[:, INDEX["jawOpen"]])
        for c in (before, after)
    )
    for one, other in zip(originals, scaled, strict=True):
        stretched = np.interp(at, np.arange(len(other)), other)
        assert np.corrcoef(one, stretched)[0, 1] > 0.9


def test_lips_meet_for_p_b_and_m(spoken: Spoken):
    openings = []
    for plan, clip in spoken:
        opening = np.subtract(*clip.coefficients[:, [INDEX["jawOpen"], INDEX["mouthClose"]]].T)
        assert clip.phones is not None
        assert clip.phone_starts is not None
        ends = np.r_[clip.phone_starts[1:], len(opening) / FPS]
        for ipa, start, end in zip(clip.phones, clip.phone_starts, ends, strict=True):
            first, last = ((t + plan.speaker.lag) * FPS for t in (start, end))
            if ipa in ("p", "b", "m") and last < len(opening) - 1:
                openings.append(opening[max(int(first), 0) : int(last) + 2].min())
    assert len(openings) > 100
    assert np.mean(np.array(openings) < 0.02) > 0.95


def test_a_second_draw_moves_the_upper_face_and_leaves_the_mouth(spoken: Spoken):
    evaluated = [clip for _, clip in spoken if clip.redraw is not None]
    difference = np.mean([np.abs(c.redraw - c.coefficients).mean(axis=0) for c in evaluated], 0)
    assert all(difference[i] > 0.005 for i in UPPER)
    # Poses of an emotion breathe at random; what the tongue, jaw and lips say does not.
    spoken_channels = [
        INDEX[name]
        for name in CHANNELS
        if name.startswith(
            ("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRoll", "mouthLower")
        )
    ]
    assert difference[spoken_channels].max() < 0.002
    assert difference[list(LIP)].mean() < 0.25 * difference[list(UPPER)].mean()


def test_the_expected_face_is_nearer_to_a_draw_than_another_draw(
    tiny_corpus: CorpusSettings, spoken: Spoken
):
    apart, off = 0.0, 0.0
    for _, clip in spoken:
        if clip.redraw is not None and clip.expected is not None:
            apart += float(np.square(clip.coefficients - clip.redraw).sum())
            off += float(np.square(clip.coefficients - clip.expected).sum())
    # Two independent draws: 2 variances. A draw and the mean of n others: 1 + 1 / n of them.
    ratio = (1 + 1 / tiny_corpus.expected_draws) / 2
    assert off / apart == pytest.approx(ratio, rel=0.2)


def test_emotion_shows_in_the_corpus(spoken: Spoken):
    def mean(emotion: str, channel: str) -> float:
        own = [c.coefficients[:, INDEX[channel]].mean() for _, c in spoken if c.emotion == emotion]
        return float(np.mean(own))

    assert mean("anger", "browDownLeft") > mean("happiness", "browDownLeft") + 0.2
    assert mean("happiness", "mouthSmileRight") > mean("sadness", "mouthSmileRight") + 0.2
    assert mean("fear", "eyeWideLeft") > mean("neutral", "eyeWideLeft") + 0.1


def test_two_speakers_differ_more_than_two_draws(tiny_corpus: CorpusSettings, spoken: Spoken):
    plan, clip = next((p, c) for p, c in spoken if p.split == "val" and p.emotion == "neutral")
    other = next(p.speaker for p, _ in spoken if p.speaker != plan.speaker)
    # The other's face on the same voice, so that frames correspond.
    face_of_other = dataclasses.replace(
        other, voice=plan.speaker.voice, pitch=plan.speaker.pitch, rate=plan.speaker.rate,
        tract=plan.speaker.tract,
    )  # fmt: skip
    theirs = generation.make_clip(dataclasses.replace(plan, speaker=face_of_other), tiny_corpus)
    lip = list(LIP)
    assert clip.redraw is not None
    between = np.abs(theirs.coefficients - clip.coefficients)[:, lip].mean()
    within = np.abs(clip.redraw - clip.coefficients)[:, lip].mean()
    assert between > 1.5 * within


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / "corpus"
    with pytest.raises(UserError, match="Not a directory") as error:
        generation.make(folder, CorpusSettings(), lambda *_: None)
    assert str(error.value).startswith(f"cannot write {folder}: ")


def test_a_whole_corpus_is_opened_and_not_made_again(corpus_folder: Path):
    manifest = generation.make(corpus_folder, CorpusSettings(), lambda *_: None)
    assert manifest == open_corpus(corpus_folder)


def test_a_set_of_other_settings_is_neither_taken_nor_mixed(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    def make(folder: Path, **changes: float) -> Manifest:
        return generation.make(folder, CorpusSettings(**changes), lambda *_: None)

    begun = tmp_path / "begun"
    monkeypatch.setattr(generation, "_make_shards", killed)
    for _ in range(2):  # which goes on where it was
        with pytest.raises(KeyboardInterrupt):
            make(begun)
    with pytest.raises(UserError, match="other settings"):
        make(begun, minutes=9)

    infos = open_corpus(corpus_folder).shards
    (corpus_folder / "manifest.json").unlink()
    monkeypatch.setattr(generation, "_make_shards", lambda *_: infos)
    made = make(corpus_folder)
    assert make(corpus_folder) == made
    assert {path.suffix for path in corpus_folder.iterdir()} == {".parquet", ".json"}
    assert not (corpus_folder / generation.PLAN).exists()
    with pytest.raises(UserError, match="other settings"):
        make(corpus_folder, minutes=9)


def test_settings_that_would_do_nothing_to_it() -> None:
    def given(*overrides: str) -> CorpusSettings:
        own = ["source.kind=procedural", "output=a", *overrides]
        return preparation.procedural_settings(config.load_data(None, own))

    assert given("source.options.minutes=3").minutes == 3
    for idle in ("clip_seconds=5", "split.val=0.2", "source.root=a", "source.options.path=a"):
        with pytest.raises(UserError, match=idle.split("=")[0].split(".val")[0]):
            given(idle)
    with pytest.raises(UserError, match="bored"):
        given("source.options.emotions=[bored]")
