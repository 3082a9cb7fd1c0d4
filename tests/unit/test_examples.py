"""Training windows: shapes, masks, labels, and that everything in one stays in step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.runtime.log_mel import log_mel
from diffusiontalker.training.examples import (
    IGNORED,
    UNKNOWN,
    MotionExamples,
    PhonemeExamples,
    ShardReader,
    base_phoneme,
    windows_in,
)

MakeClip = Callable[..., Clip]


@pytest.fixture
def motion(hand_made: MakeClip) -> Callable[..., Clip]:
    """A maker of clips with features: frame k holds k / 100 in every column."""

    def make(frames: int, **changes: object) -> Clip:
        at = np.arange(frames, dtype=np.float32)[:, None] / 100
        mel = np.arange(2 * frames, dtype=np.float32)[:, None] / 200
        return hand_made(
            frames,
            features=np.repeat(at, 6, axis=1),
            log_mel=np.repeat(mel, 80, axis=1),
            **changes,
        )

    return make


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("frames", "windows"), [(1, 1), (96, 1), (143, 1), (145, 2), (240, 2), (241, 3), (960, 10)]
)
def test_windows_cover_a_clip_about_once(frames: int, windows: int):
    assert windows_in(frames, 96) == windows


def test_a_motion_window_has_the_shapes_of_the_batch(motion: MakeClip):
    examples = MotionExamples(20, ["ada", "ben"], ["neutral", "anger"])(motion(100), rng())
    assert len(examples) == 5
    for example in examples:
        assert {k: v.shape for k, v in example.items()} == {
            "coefficients": (20, 52),
            "features": (20, 6),
            "log_mel": (40, 80),
            "mask": (20,),
            "identity": (),
            "emotion": (),
        }
        assert {v.dtype for k, v in example.items() if v.shape} == {np.dtype(np.float32)}
        assert (example["identity"], example["emotion"]) == (0, 1)
        assert example["identity"].dtype == np.int64
        assert example["mask"].all()


def test_all_parts_of_a_window_begin_at_the_same_time(motion: MakeClip):
    starts = set()
    make = MotionExamples(20, [], [])
    for seed in range(20):
        for example in make(motion(100), rng(seed)):
            start = round(float(example["coefficients"][0, 0]) * 100)
            frames = (start + np.arange(20)) / 100
            assert np.allclose(example["coefficients"], frames[:, None])
            assert np.allclose(example["features"], frames[:, None])
            assert np.allclose(example["log_mel"][::2], frames[:, None])
            assert np.allclose(example["log_mel"][1::2], frames[:, None] + 0.005)
            starts.add(start)
    assert min(starts) < 10
    assert max(starts) > 70
    assert starts <= set(range(81))


def test_a_short_clip_is_padded_with_zeros_and_masked(motion: MakeClip):
    (example,) = MotionExamples(20, [], [])(motion(12), rng())
    assert example["mask"].tolist() == [1.0] * 12 + [0.0] * 8
    for name in ("coefficients", "features"):
        assert example[name][11].all()
        assert not example[name][12:].any()
    assert example["log_mel"][23].all()
    assert not example["log_mel"][24:].any()


@pytest.mark.parametrize(("identity", "emotion"), [(None, None), ("zoe", "boredom")])
def test_who_is_not_known_has_no_index(motion: MakeClip, identity: str | None, emotion: str | None):
    clip = motion(20, identity=identity, emotion=emotion)
    (example,) = MotionExamples(20, ["ada"], ["anger"])(clip, rng())
    assert example["identity"] == example["emotion"] == UNKNOWN


def test_windows_follow_the_generator(motion: MakeClip):
    make = MotionExamples(20, [], [])
    starts = [
        [float(e["coefficients"][0, 0]) for e in make(motion(200), rng(s))] for s in (1, 1, 2)
    ]
    assert starts[0] == starts[1] != starts[2]


def test_sound_and_face_of_a_window_agree(spoken: list):
    """On a real clip: a window's log-mel is the log-mel of the window's part of the audio."""
    plan, clip = max(spoken, key=lambda pair: len(pair[1].coefficients))
    mel = log_mel(clip.audio)
    clip = Clip(**{**vars(clip), "features": clip.coefficients, "log_mel": mel})
    for example in MotionExamples(30, [plan.speaker.name], [plan.emotion])(clip, rng()):
        assert (example["features"] == example["coefficients"]).all()
        start = next(
            k
            for k in range(len(clip.coefficients) - 29)
            if np.array_equal(clip.coefficients[k : k + 30], example["coefficients"])
        )
        first = round(start * SAMPLE_RATE / FPS)
        own = log_mel(clip.audio[first : first + SAMPLE_RATE])
        # But for the edges, where a window cut from the audio sees silence.
        assert np.abs(own[2:-2] - example["log_mel"][2:-2]).max() < 0.05
        assert (example["identity"], example["emotion"]) == (0, 0)


# Phonemes


def aligned(hand_made: MakeClip, **changes: object) -> Clip:
    """One second: a until 0.25 s, a pause until 0.5 s, then m."""
    values = {
        "audio": np.full(SAMPLE_RATE, 0.25, np.float32),
        "phones": ["ˈaː", "", "m"],
        "phone_starts": np.array([0.0, 0.25, 0.5], np.float32),
    }
    return hand_made(30, **(values | changes))


def test_labels_at_times_worked_out_by_hand(hand_made: MakeClip):
    # Outputs see 1600 samples, every 1600: they are centred on 0.05 s, 0.15 s, ... 0.95 s.
    make = PhonemeExamples(1.0, ["", "a", "m"], stride=1600, field=1600)
    (example,) = make(aligned(hand_made), rng())
    assert example["labels"].tolist() == [1, 1, 0, 0, 0, 2, 2, 2, 2, 2]
    assert example["labels"].dtype == np.int64
    assert example["audio"].shape == (SAMPLE_RATE,)
    assert example["audio"].dtype == np.float32


def test_a_wider_field_moves_the_centres(hand_made: MakeClip):
    # 3200 samples every 1600: centred on 0.1 s, 0.2 s, ... 0.9 s.
    make = PhonemeExamples(1.0, ["", "a", "m"], stride=1600, field=3200)
    (example,) = make(aligned(hand_made), rng())
    assert example["labels"].tolist() == [1, 1, 0, 0, 2, 2, 2, 2, 2]


def test_labels_follow_where_the_window_begins(hand_made: MakeClip):
    ramp = np.linspace(0, 1, SAMPLE_RATE, dtype=np.float32)
    make = PhonemeExamples(0.5, ["", "a", "m"], stride=160, field=160)
    for seed in range(5):
        for example in make(aligned(hand_made, audio=ramp), rng(seed)):
            again = rng(seed)
            start = int(again.integers(0, SAMPLE_RATE // 2 + 1))
            times = (start + np.arange(50) * 160 + 80) / SAMPLE_RATE
            expected = np.where(times < 0.25, 1, np.where(times < 0.5, 0, 2))
            assert (example["labels"] == expected).all()
            break  # the first window alone: its start is the generator's first draw


def test_beyond_the_audio_nothing_counts(hand_made: MakeClip):
    make = PhonemeExamples(1.5, ["", "a", "m"], stride=1600, field=1600)
    (example,) = make(aligned(hand_made), rng())
    assert example["labels"].tolist() == [1, 1, 0, 0, 0, 2, 2, 2, 2, 2] + [IGNORED] * 5
    assert np.abs(example["audio"][SAMPLE_RATE:]).max() < 0.03  # noise alone


def test_a_phoneme_that_is_not_in_the_list_counts_for_nothing(hand_made: MakeClip):
    make = PhonemeExamples(1.0, ["", "a"], stride=1600, field=1600)
    (example,) = make(aligned(hand_made), rng())
    assert example["labels"].tolist() == [1, 1, 0, 0, 0] + [IGNORED] * 5


@pytest.mark.parametrize(
    "changes",
    [{"phones": None}, {"phones": [], "phone_starts": np.zeros(0)}, {"phone_starts": None}],
)
def test_a_clip_without_times_counts_for_nothing(hand_made: MakeClip, changes: dict[str, object]):
    make = PhonemeExamples(0.5, ["", "a", "m"], stride=1600, field=1600)
    examples = make(aligned(hand_made, **changes), rng())
    assert len(examples) == 2
    assert all((example["labels"] == IGNORED).all() for example in examples)


def test_audio_before_the_first_phoneme_belongs_to_it(hand_made: MakeClip):
    late = aligned(hand_made, phone_starts=np.array([0.1, 0.25, 0.5], np.float32))
    (example,) = PhonemeExamples(1.0, ["", "a", "m"], 1600, 1600)(late, rng())
    assert example["labels"][0] == 1


def test_level_and_noise_vary_within_bounds(hand_made: MakeClip):
    make = PhonemeExamples(1.0, ["a"], stride=1600, field=1600)
    clip = aligned(hand_made)
    levels = [make(clip, rng(seed))[0]["audio"].mean() / 0.25 for seed in range(40)]
    assert min(levels) >= 10 ** (-6 / 20) * 0.99
    assert max(levels) <= 10 ** (6 / 20) * 1.01
    assert max(levels) > 1.5 * min(levels)


@pytest.mark.parametrize(
    ("ipa", "base"),
    [("ˈɑː", "ɑ"), ("ˌeɪ", "eɪ"), ("t͡ʃ", "tʃ"), ("n̩", "n"), ("", ""), ("ɹ", "ɹ"), ("eˑ", "e")],
)
def test_base_phoneme(ipa: str, base: str):
    assert base_phoneme(ipa) == base


# Shards


def test_a_shard_becomes_one_batch(tmp_path: Path, motion: MakeClip):
    path = tmp_path / "train-00000.parquet"
    shards.write_shard(path, [motion(n, id=str(n)) for n in (12, 40, 60)])
    reader = ShardReader(MotionExamples.columns, MotionExamples(20, ["ada"], ["anger"]))

    def batch(*seed: int) -> dict[str, np.ndarray]:
        return reader({"path": np.array([str(path)]), "seed": np.array([seed])})

    one = batch(3, 1)
    assert {k: v.shape for k, v in one.items()} == {
        "coefficients": (6, 20, 52),
        "features": (6, 20, 6),
        "log_mel": (6, 40, 80),
        "mask": (6, 20),
        "identity": (6,),
        "emotion": (6,),
    }
    assert sorted(one["mask"].sum(axis=1)) == [12, 20, 20, 20, 20, 20]
    assert all((one[k] == v).all() for k, v in batch(3, 1).items())
    assert any((one[k] != v).any() for k, v in batch(3, 2).items())


def test_a_shard_is_read_for_its_phonemes(tmp_path: Path, hand_made: MakeClip):
    path = tmp_path / "train-00000.parquet"
    shards.write_shard(path, [aligned(hand_made, id="a"), aligned(hand_made, id="b")])
    reader = ShardReader(
        PhonemeExamples.columns, PhonemeExamples(1.0, ["", "a", "m"], stride=1600, field=1600)
    )
    batch = reader({"path": np.array([str(path)]), "seed": np.array([[0]])})
    assert batch["audio"].shape == (2, SAMPLE_RATE)
    assert batch["labels"].tolist() == [[1, 1, 0, 0, 0, 2, 2, 2, 2, 2]] * 2
