"""Training windows: shapes, masks, labels, and that everything in one stays in step."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.log_mel import log_mel
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import ShardInfo
from diffusiontalker.corpus.phonemes import base_phoneme
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.blinks import LIDS
from diffusiontalker.training.windows import (
    IGNORED_LABEL,
    MAX_PADDING,
    UNKNOWN,
    MotionWindows,
    PhonemeWindows,
    ShardReader,
    batch_count,
    buckets,
    clip_ids,
    collate,
    located,
    mixed_groups,
    shard_groups,
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
    cut = MotionWindows(20, ["ada", "ben"], ["neutral", "anger"])(motion(100), rng())
    assert len(cut) == 5
    for example in cut:
        assert clip_ids({"clip": example["clip"][None]}) == ["a"]
        assert {k: v.shape for k, v in example.items()} == {
            "clip": (1,),
            "coefficients": (20, 52),
            "features": (20, 6),
            "log_mel": (40, 80),
            "mask": (20,),
            "blinks": (20,),
            "bilabials": (0, 2),
            "identity": (),
            "emotion": (),
        }
        assert {v.dtype for v in example.values() if v.size > 1} == {np.dtype(np.float32)}
        assert example["coefficients"].base is not None  # a view: nothing was copied
        assert (example["identity"], example["emotion"]) == (0, 1)
        assert example["identity"].dtype == np.int64
        assert example["mask"].all()


def test_blinks_are_taken_out_of_windows_and_labelled(motion: MakeClip):
    clip, lids = motion(100), list(LIDS)
    clip.coefficients[:, lids] = 0.1
    clip.coefficients[40:44, lids] = [[0.3], [0.9], [0.8], [0.3]]
    recorded = clip.coefficients.copy()
    (left,) = MotionWindows(100, [], [])(clip, rng())
    (taken,) = MotionWindows(100, [], [], blinks=True)(clip, rng())
    np.testing.assert_array_equal(left["coefficients"], recorded)
    assert not left["blinks"].any()
    np.testing.assert_allclose(taken["coefficients"][:, lids], 0.1, atol=1e-6)
    assert np.flatnonzero(taken["blinks"] == 1).tolist() == [40]
    np.testing.assert_array_equal(clip.coefficients, recorded)


def test_windows_name_the_frames_in_which_lips_may_close(motion: MakeClip):
    phones = {"phones": ["ɑ", "p", "ɑ", "ˈb", "m"], "phone_starts": np.array([0, 1, 1.1, 2, 2.2])}
    clip = motion(100, **phones)
    (whole,) = MotionWindows(100, [], [])(clip, rng())
    assert whole["bilabials"].tolist() == [[30, 34], [60, 67], [66, 100]]
    seen = set()
    for seed in range(20):
        for one in MotionWindows(40, [], [])(clip, rng(seed)):
            start = round(float(one["coefficients"][0, 0]) * 100)
            inside = {(first + start, last + start) for first, last in one["bilabials"].tolist()}
            spans = (30, 34), (60, 67), (66, 100)
            assert inside == {one for one in spans if start <= one[0] and one[1] <= start + 40}
            seen |= inside
    assert {(30, 34), (60, 67)} <= seen


def test_all_parts_of_a_window_begin_at_the_same_time(motion: MakeClip):
    starts = set()
    make = MotionWindows(20, [], [])
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


@pytest.mark.parametrize("frames", [1, 12, 20])
def test_a_clip_that_fits_gives_one_window_of_its_own_length(motion: MakeClip, frames: int):
    make = MotionWindows(20, [], [])
    assert make.lengths(frames) == [frames]
    (example,) = make(motion(frames), rng())
    assert example["mask"].tolist() == [1.0] * frames
    assert len(example["features"]) == frames
    assert len(example["log_mel"]) == 2 * frames
    assert (example["coefficients"][:, 0] * 100).round().tolist() == list(range(frames))


@given(frames=st.integers(1, 400), window=st.integers(16, 300))
def test_lengths_are_those_of_the_windows(frames: int, window: int):
    clip = Clip(
        "a", None, None, "train", None, np.zeros(0), np.zeros((frames, 1)),
        features=np.zeros((frames, 1)), log_mel=np.zeros((2 * frames, 1)),
    )  # fmt: skip
    make = MotionWindows(window, [], [])
    windows = make(clip, rng())
    assert [len(example["coefficients"]) for example in windows] == make.lengths(frames)
    # about once over the clip, and never beyond it
    assert 0.66 * frames <= sum(make.lengths(frames)) < 1.5 * frames + 1
    assert max(make.lengths(frames)) <= min(frames, window)


@pytest.mark.parametrize(("identity", "emotion"), [(None, None), ("zoe", "boredom")])
def test_who_is_not_known_has_no_index(motion: MakeClip, identity: str | None, emotion: str | None):
    clip = motion(20, identity=identity, emotion=emotion)
    (example,) = MotionWindows(20, ["ada"], ["anger"])(clip, rng())
    assert example["identity"] == example["emotion"] == UNKNOWN


def test_windows_follow_the_generator(motion: MakeClip):
    make = MotionWindows(20, [], [])
    starts = [
        [float(e["coefficients"][0, 0]) for e in make(motion(200), rng(s))] for s in (1, 1, 2)
    ]
    assert starts[0] == starts[1] != starts[2]


def test_sound_and_face_of_a_window_agree(spoken: list):
    """On a real clip: a window's log-mel is the log-mel of the window's part of the audio."""
    plan, clip = max(spoken, key=lambda pair: len(pair[1].coefficients))
    mel = log_mel(clip.audio)
    clip = Clip(**{**vars(clip), "features": clip.coefficients, "log_mel": mel})
    for example in MotionWindows(30, [plan.speaker.name], [plan.emotion])(clip, rng()):
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
    make = PhonemeWindows(1.0, ["", "a", "m"], stride=1600, field=1600)
    (example,) = make(aligned(hand_made), rng())
    assert example["labels"].tolist() == [1, 1, 0, 0, 0, 2, 2, 2, 2, 2]
    assert example["labels"].dtype == np.int64
    assert example["audio"].shape == (SAMPLE_RATE,)
    assert example["audio"].dtype == np.float32


def test_a_wider_field_moves_the_centres(hand_made: MakeClip):
    # 3200 samples every 1600: centred on 0.1 s, 0.2 s, ... 0.9 s.
    make = PhonemeWindows(1.0, ["", "a", "m"], stride=1600, field=3200)
    (example,) = make(aligned(hand_made), rng())
    assert example["labels"].tolist() == [1, 1, 0, 0, 2, 2, 2, 2, 2]


def test_labels_follow_where_the_window_begins(hand_made: MakeClip):
    ramp = np.linspace(0, 1, SAMPLE_RATE, dtype=np.float32)
    make = PhonemeWindows(0.5, ["", "a", "m"], stride=160, field=160)
    for seed in range(5):
        for example in make(aligned(hand_made, audio=ramp), rng(seed)):
            again = rng(seed)
            start = int(again.integers(0, SAMPLE_RATE // 2 + 1))
            times = (start + np.arange(50) * 160 + 80) / SAMPLE_RATE
            expected = np.where(times < 0.25, 1, np.where(times < 0.5, 0, 2))
            assert (example["labels"] == expected).all()
            break  # the first window alone: its start is the generator's first draw


def test_beyond_the_audio_nothing_counts(hand_made: MakeClip):
    make = PhonemeWindows(1.5, ["", "a", "m"], stride=1600, field=1600)
    (example,) = make(aligned(hand_made), rng())
    assert example["labels"].tolist() == [1, 1, 0, 0, 0, 2, 2, 2, 2, 2] + [IGNORED_LABEL] * 5
    assert np.abs(example["audio"][SAMPLE_RATE:]).max() < 0.03  # noise alone


def test_a_phoneme_that_is_not_in_the_list_counts_for_nothing(hand_made: MakeClip):
    make = PhonemeWindows(1.0, ["", "a"], stride=1600, field=1600)
    (example,) = make(aligned(hand_made), rng())
    assert example["labels"].tolist() == [1, 1, 0, 0, 0] + [IGNORED_LABEL] * 5


@pytest.mark.parametrize(
    "changes",
    [{"phones": None}, {"phones": [], "phone_starts": np.zeros(0)}, {"phone_starts": None}],
)
def test_a_clip_without_times_counts_for_nothing(hand_made: MakeClip, changes: dict[str, object]):
    make = PhonemeWindows(0.5, ["", "a", "m"], stride=1600, field=1600)
    cut = make(aligned(hand_made, **changes), rng())
    assert len(cut) == 2
    assert all((example["labels"] == IGNORED_LABEL).all() for example in cut)


def test_audio_before_the_first_phoneme_belongs_to_it(hand_made: MakeClip):
    late = aligned(hand_made, phone_starts=np.array([0.1, 0.25, 0.5], np.float32))
    (example,) = PhonemeWindows(1.0, ["", "a", "m"], 1600, 1600)(late, rng())
    assert example["labels"][0] == 1


def test_level_and_noise_vary_within_bounds(hand_made: MakeClip):
    make = PhonemeWindows(1.0, ["a"], stride=1600, field=1600)
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


def test_as_many_windows_as_the_frames_say_whatever_the_audio(hand_made: MakeClip):
    make = PhonemeWindows(0.5, ["", "a", "m"], stride=1600, field=1600)
    assert make.lengths(38) == [15, 15, 15]  # 2.53 windows
    for samples in (18_000, 20_266, 21_000):
        cut = make(aligned(hand_made, audio=np.zeros(samples, np.float32)), rng())
        assert len(cut) == len(make.lengths(30)) == 2
    longer = hand_made(38, audio=np.zeros(19_000, np.float32))  # 2.4 windows of audio
    assert len(make(longer, rng())) == 3


# Batches


def share_of_padding(lengths: list[int], found: list[np.ndarray]) -> float:
    padded = sum(len(bucket) * max(lengths[i] for i in bucket) for bucket in found)
    return 1 - sum(lengths) / padded


Lengths = st.lists(st.integers(1, 300), min_size=1, max_size=200)


@given(lengths=Lengths, size=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_window_is_in_one_batch_and_batches_are_even(
    lengths: list[int], size: int, seed: int
):
    found = buckets(lengths, size, rng(seed))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    sizes = [len(bucket) for bucket in found]
    assert 1 <= min(sizes) <= max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(found) == batch_count(lengths, size)
    least = math.ceil(len(lengths) / size)
    assert least <= len(found) <= 2 * least


@given(lengths=Lengths, size=st.integers(1, 40), seed=st.integers(0, 99))
def test_padding_stays_under_its_limit_unless_batches_would_be_halved(
    lengths: list[int], size: int, seed: int
):
    found = buckets(lengths, size, rng(seed))
    if len(found) < min(2 * math.ceil(len(lengths) / size), len(lengths)):
        assert share_of_padding(lengths, found) < MAX_PADDING


def test_more_batches_only_where_padding_asks_for_them():
    assert batch_count([96] * 64, 32) == 2
    assert batch_count([96] * 65, 32) == 3
    assert batch_count([], 32) == 0
    # 4 : 6 in one batch is a sixth of padding; one alone pads nothing
    assert batch_count([40, 60], 32) == 2
    # the long one alone would still leave 8 short ones of 10 to 90: at most twice as many
    assert batch_count([10, 20, 30, 40, 50, 60, 70, 80, 90, 300], 10) == 2


def test_similar_lengths_meet_and_others_each_time():
    lengths = rng().permutation(np.repeat(np.arange(90, 151), 2)).tolist()
    members = set()
    for seed in range(6):
        found = buckets(lengths, 32, rng(seed))
        assert share_of_padding(lengths, found) < 0.08
        members |= {frozenset(bucket.tolist()) for bucket in found}
    assert len(members) > 2 * len(found)


def test_batches_come_in_random_order():
    lengths = list(range(100, 180))
    orders = [[min(lengths[i] for i in b) for b in buckets(lengths, 8, rng(s))] for s in range(4)]
    assert all(order != sorted(order) for order in orders)
    assert orders[0] != orders[1]


def test_collate_by_hand():
    windows = [
        {"x": np.array(x, np.float16), "mask": np.ones(len(x), np.float32), "id": np.array(number)}
        for number, x in ((7, [[1, 2]]), (8, [[3, 4], [5, 6]]))
    ]
    batch = collate(windows)
    assert batch["x"].tolist() == [[[1, 2], [0, 0]], [[3, 4], [5, 6]]]
    assert batch["x"].dtype == np.float16
    assert batch["mask"].tolist() == [[1, 0], [1, 1]]
    assert batch["id"].tolist() == [7, 8]


def split_of(*shards_: list[int]) -> list[ShardInfo]:
    return [ShardInfo(str(k), "train", tuple(n), (), (), 1, "") for k, n in enumerate(shards_)]


def files(split: list[ShardInfo], window: int, size: int) -> list[tuple[str, ...]]:
    return [part.files for part in shard_groups(split, MotionWindows(window, [], []), size)]


def test_a_shard_is_read_alone_where_its_lengths_are_alike():
    split = split_of([96] * 10, [96] * 20, [400], [96])
    assert files(split, 96, 8) == [("0",), ("1",), ("2",), ("3",)]
    assert [p.batches for p in shard_groups(split, MotionWindows(96, [], []), 8)] == [2, 3, 1, 1]


def test_shards_of_unlike_lengths_are_read_together_up_to_a_limit():
    mixed = [20, 60, 100, 140, 180, 220, 260, 300]
    together = files(split_of(*[mixed] * 12), 300, 8)
    assert [len(part) for part in together] == [8, 4]
    # where one more is enough, no more are read
    assert files(split_of([100, 150], [100, 150], [100]), 300, 2) == [("0", "1"), ("2",)]


def test_each_group_holds_its_share_of_every_set():
    make = MotionWindows(96, [], [])
    speech = split_of(*[[96] * 10] * 9)
    more = [replace(shard, file=f"more-{shard.file}") for shard in split_of(*[[96] * 6] * 4)]
    groups = mixed_groups([speech, more], make, 8)
    assert [part.files for part in groups] == [
        ("0", "1", "2", "more-0"),
        ("3", "4", "5", "more-1"),
        ("6", "7", "8", "more-2", "more-3"),
    ]
    assert [part.batches for part in groups] == [5, 5, 6]
    # neither a set of one shard nor an empty one leaves a group without shards
    for sets in ([speech, more[:1]], [speech, []], [speech[:1], more[:1]], [[], more[:2]]):
        found = [file for part in mixed_groups(sets, make, 8) for file in part.files]
        assert sorted(found) == sorted(shard.file for shards_ in sets for shard in shards_)
        assert all(part.files for part in mixed_groups(sets, make, 8))


MIXES = {
    "sentences of 3 to 5 s": lambda r, n: r.integers(90, 151, n),
    "procedural": lambda r, n: np.clip(r.normal(126, 35, n), 40, 220).astype(int),
    "10 s with rests": lambda r, n: np.where(r.random(n) < 0.8, 300, r.integers(30, 300, n)),
    "anything from 1 to 10 s": lambda r, n: r.integers(30, 301, n),
}


@pytest.mark.parametrize("window", [96, 300])
@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("mix", MIXES)
def test_padding_of_realistic_sets_is_under_a_tenth(mix: str, size: int, window: int):
    split = split_of(*(MIXES[mix](rng(k), 48).tolist() for k in range(12)))
    make = MotionWindows(window, [], [])
    real = padded = windows = batches = 0
    for part in shard_groups(split, make, size):
        shards_ = [split[int(file)] for file in part.files]
        lengths = [w for shard in shards_ for n in shard.lengths for w in make.lengths(n)]
        found = buckets(lengths, size, rng(9))
        assert len(found) == part.batches
        real += sum(lengths)
        padded += sum(len(b) * max(lengths[i] for i in b) for b in found)
        windows, batches = windows + len(lengths), batches + len(found)
    assert 1 - real / padded < 0.1
    assert windows / batches > 0.5 * size


# Shards


@pytest.fixture
def split(tmp_path: Path, motion: MakeClip) -> list[ShardInfo]:
    """Four shards; in shard k, clip i is k.i."""
    return [
        shards.write_shard(
            tmp_path / f"train-{k}.parquet",
            [motion(n, id=f"{k}.{i}", identity=f"{k}.{i}") for i, n in enumerate((18, 40, 60, 19))],
        )
        for k in range(4)
    ]


def reader(folder: Path, split: list[ShardInfo], epoch: int = 0, seed: int = 0) -> ShardReader:
    names = [f"{k}.{i}" for k in range(4) for i in range(4)]
    make = MotionWindows(20, names, ["anger"])
    return ShardReader(shard_groups(located(split, folder), make, 3), make, 3, seed, lambda: epoch)


def rows(read: ShardReader, *turns: int) -> list[dict[str, np.ndarray]]:
    return [{k: v[None] for k, v in b.items()} for b in read({"turn": np.array(turns)})]


def test_a_turn_gives_the_batches_of_one_shard(tmp_path: Path, split: list[ShardInfo]):
    read = reader(tmp_path, split)
    found = rows(read, 0)
    # windows of 18, 19 and five of 20 frames
    assert len(found) == 3 == read.groups[0].batches
    assert sorted(len(row["mask"][0]) for row in found) == [2, 2, 3]
    for row in found:
        count, frames = row["mask"].shape[1:]
        assert len(clip_ids({"clip": row["clip"][0]})) == count
        assert {k: v.shape[1:] for k, v in row.items()} == {
            "clip": (count, row["clip"].shape[2]),
            "coefficients": (count, frames, 52),
            "features": (count, frames, 6),
            "log_mel": (count, 2 * frames, 80),
            "mask": (count, frames),
            "blinks": (count, frames),
            "bilabials": (count, 0, 2),
            "identity": (count,),
            "emotion": (count,),
        }
        assert {len(v) for v in row.values()} == {1}
        assert row["features"].dtype == row["log_mel"].dtype == np.float16
        assert row["coefficients"].dtype == np.float32
    assert sorted(np.concatenate([row["mask"][0].sum(1) for row in found])) == [18, 19] + [20] * 5
    shard = {int(i) // 4 for row in found for i in row["identity"][0]}
    assert len(shard) == 1


def test_padding_is_zero_and_masked(tmp_path: Path, split: list[ShardInfo]):
    (row,) = (r for r in rows(reader(tmp_path, split), 0) if 18 in r["mask"][0].sum(1))
    batch = {key: value[0] for key, value in row.items()}
    (short,) = np.flatnonzero(batch["mask"].sum(1) == 18)
    longest = int(batch["mask"].sum(1).max())
    assert batch["mask"][short].tolist() == [1.0] * 18 + [0.0] * (longest - 18)
    assert longest > 18
    for name, last in (("coefficients", 17), ("features", 17), ("log_mel", 35)):
        assert batch[name][short, last].all()
        assert not batch[name][short, last + 1 :].any()


def test_every_pass_takes_every_shard_once_in_an_order_of_its_own(
    tmp_path: Path, split: list[ShardInfo]
):
    def order(epoch: int, number: int) -> list[int]:
        read = reader(tmp_path, split, epoch)
        return [int(rows(read, 4 * number + k)[0]["identity"][0, 0]) // 4 for k in range(4)]

    orders = [order(epoch, number) for epoch in range(3) for number in range(2)]
    assert all(sorted(one) == [0, 1, 2, 3] for one in orders)
    assert len({tuple(one) for one in orders}) > 2


def test_batches_follow_seed_epoch_and_turn_alone(tmp_path: Path, split: list[ShardInfo]):
    def content(turn: int, **changes: int) -> bytes:
        found = rows(reader(tmp_path, split, **changes), turn)
        return b"".join(row[key].tobytes() for row in found for key in sorted(row))

    first = content(0, epoch=2, seed=1)
    read = reader(tmp_path, split, epoch=2, seed=1)
    rows(read, 5, 3)  # whatever was read before
    again = b"".join(row[key].tobytes() for row in rows(read, 0) for key in sorted(row))
    assert again == first
    others = {content(1, epoch=2, seed=1), content(0, epoch=3, seed=1), content(0, epoch=2, seed=2)}
    # the same shard a pass later
    read_later = [content(4 + k, epoch=2, seed=1) for k in range(4)]
    assert first not in others | set(read_later)


def test_the_epoch_is_asked_for_when_a_shard_is_read(tmp_path: Path, split: list[ShardInfo]):
    now = [0]
    read = reader(tmp_path, split)
    read.epoch = lambda: now[0]
    first = rows(read, 0)[0]["coefficients"].tobytes()
    now[0] = 1
    assert rows(read, 0)[0]["coefficients"].tobytes() != first
    now[0] = 0
    assert rows(read, 0)[0]["coefficients"].tobytes() == first


def test_a_shard_is_read_for_its_phonemes(tmp_path: Path, hand_made: MakeClip):
    path = tmp_path / "train-00000.parquet"
    info = shards.write_shard(path, [aligned(hand_made, id="a"), aligned(hand_made, id="b")])
    make = PhonemeWindows(1.0, ["", "a", "m"], stride=1600, field=1600)
    read = ShardReader(shard_groups(located([info], tmp_path), make, 8), make, 8, 0, lambda: 0)
    (row,) = rows(read, 0)
    assert row["audio"].shape == (1, 2, SAMPLE_RATE)
    assert row["audio"].dtype == np.float32
    assert row["labels"][0].tolist() == [[1, 1, 0, 0, 0, 2, 2, 2, 2, 2]] * 2


def test_a_corrupt_or_missing_shard_is_named(tmp_path: Path, split: list[ShardInfo]):
    for file in (info.file for info in split):
        (tmp_path / file).write_bytes(b"PAR1 not")
    with pytest.raises(UserError, match=r"train-\d\.parquet: the shard is corrupt"):
        rows(reader(tmp_path, split), 0)
    with pytest.raises(UserError, match=r"gone/train-\d\.parquet: the shard is missing"):
        rows(reader(tmp_path / "gone", split), 0)


def test_rounds_between_students_read_no_features(motion: Callable[..., Clip]) -> None:
    without = MotionWindows(20, [], [], features=False)
    assert set(MotionWindows(20, [], []).columns) - set(without.columns) == {"features"}
    clip = replace(motion(20), features=None)
    (window,) = without(clip, np.random.default_rng(0))
    assert "features" not in window
    (same,) = MotionWindows(20, [], [])(motion(20), np.random.default_rng(0))
    for key, value in window.items():
        np.testing.assert_array_equal(value, same[key])
