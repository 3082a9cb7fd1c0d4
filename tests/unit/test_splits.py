from collections import Counter

import pytest

from diffusiontalker.config import SplitSettings
from diffusiontalker.corpus import splits
from diffusiontalker.corpus.sources import Take
from diffusiontalker.errors import UserError


def takes(speakers: int = 10, each: int = 20, **changes: object) -> list[Take]:
    return [
        Take(**({"id": f"s{s}-{k}", "identity": f"s{s}", "group": f"text-{k}"} | changes))
        for s in range(speakers)
        for k in range(each)
    ]


def test_speakers_are_set_aside_and_texts_stay_together() -> None:
    everything = takes()
    chosen = splits.by_take(everything, SplitSettings(), final=False)
    of = {split: [t for t in everything if chosen[t.id] == split] for split in splits.SPLITS}
    unseen = {t.identity for t in of["test_unseen"]}
    assert len(unseen) == 1
    assert not unseen & {t.identity for t in of["train"]}
    groups = {split: {t.group for t in of[split]} for split in ("train", "val", "test_seen")}
    assert [len(groups[s]) for s in ("train", "val", "test_seen")] == [16, 2, 2]
    assert not groups["train"] & (groups["val"] | groups["test_seen"])
    assert not groups["val"] & groups["test_seen"]


def test_a_new_take_moves_no_other() -> None:
    before = splits.by_take(takes(each=40), SplitSettings(), final=False)
    more = [*takes(each=40), Take("new", "s3", group="text-new")]
    after = splits.by_take(more, SplitSettings(), final=False)
    assert sum(before[k] != after[k] for k in before) <= 10  # one text at an edge, ten speakers


def test_another_seed_holds_out_others() -> None:
    one = splits.by_take(takes(), SplitSettings(), final=False)
    other = splits.by_take(takes(), SplitSettings(seed=1), final=False)
    assert one != other
    assert one == splits.by_take(takes()[::-1], SplitSettings(), final=False)


def test_the_data_sets_own_split_stands_except_for_unseen_speakers() -> None:
    chosen = splits.by_take(takes(split="val"), SplitSettings(), final=False)
    assert Counter(chosen.values()) == {"val": 180, "test_unseen": 20}
    assert set(splits.by_take(takes(split="val"), SplitSettings(), final=True).values()) == {"val"}


def test_who_is_unseen_in_one_take_is_unseen_in_all() -> None:
    marked = [Take("s3-asked", "s3", split="test_unseen"), *takes()]
    chosen = splits.by_take(marked, SplitSettings(unseen_speakers=()), final=False)
    assert {chosen[take.id] for take in marked if take.identity == "s3"} == {"test_unseen"}
    assert {k.split("-")[0] for k, v in chosen.items() if v == "test_unseen"} == {"s3"}
    marked.append(Take("s3-seen", "s3", split="train"))
    with pytest.raises(UserError, match="s3-seen: its split is train, but another take of s3"):
        splits.by_take(marked, SplitSettings(), final=False)


def test_unseen_speakers_by_name() -> None:
    settings = SplitSettings(unseen_speakers=("s2", "s5"))
    chosen = splits.by_take(takes(split="train"), settings, final=True)
    assert {k.split("-")[0] for k, v in chosen.items() if v == "test_unseen"} == {"s2", "s5"}
    with pytest.raises(UserError, match="'s55' is not in the set; did you mean 's5'"):
        splits.by_take(takes(), SplitSettings(unseen_speakers=("s55",)), final=False)


def test_a_small_set_still_has_one_of_each_and_most_in_training() -> None:
    few = [Take(f"t{k}") for k in range(5)]
    counts = Counter(splits.by_take(few, SplitSettings(), final=False).values())
    assert counts == {"train": 3, "val": 1, "test_seen": 1}
    assert splits.by_take(few[:1], SplitSettings(), final=False) == {"t0": "train"}
    none = SplitSettings(val=0, test=0)
    assert set(splits.by_take(few, none, final=False).values()) == {"train"}


def test_takes_of_nobody_known_are_never_unseen() -> None:
    chosen = splits.by_take(takes(identity=None), SplitSettings(unseen_speakers=1.0), final=False)
    assert "test_unseen" not in chosen.values()


def test_clips_one_by_one_come_near_their_shares() -> None:
    counts = Counter(splits.by_clip(f"c{k}", SplitSettings(val=0.1, test=0.2)) for k in range(5000))
    assert counts["test_seen"] / 5000 == pytest.approx(0.2, abs=0.02)
    assert counts["val"] / 5000 == pytest.approx(0.1, abs=0.02)
