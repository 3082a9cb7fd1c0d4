"""Channel names, regions and mapping by name."""

import numpy as np
import pytest

from diffusiontalker.arkit import (
    CHANNELS,
    INDEX,
    LIP,
    LIP_PUBLISHED,
    LIVE_LINK,
    ORDERS,
    UPPER,
    UPPER_PUBLISHED,
    canonical,
    map_by_name,
    mirror_permutation,
    missing,
    region,
)
from diffusiontalker.errors import UserError


def test_channels_are_52_names_in_alphabetical_order():
    assert len(CHANNELS) == len(set(CHANNELS)) == 52
    assert list(CHANNELS) == sorted(CHANNELS)
    assert [INDEX[name] for name in CHANNELS] == list(range(52))


def test_lip_and_upper_part_the_face_but_for_the_cheeks_puff():
    assert not set(LIP) & set(UPPER)
    assert set(range(52)) - set(LIP) - set(UPPER) == {INDEX["cheekPuff"]}
    assert all(CHANNELS[i].startswith(("jaw", "mouth", "tongue")) for i in LIP)
    assert all(CHANNELS[i].startswith(("brow", "eye", "cheek", "nose")) for i in UPPER)


def test_published_masks_are_the_ones_with_gaps():
    assert set(LIP_PUBLISHED) < set(LIP)
    assert set(UPPER_PUBLISHED) < set(UPPER)
    assert INDEX["jawOpen"] not in LIP_PUBLISHED
    assert not any(CHANNELS[i].startswith("brow") for i in UPPER_PUBLISHED)


def test_region_by_name():
    assert region("lip") == LIP
    assert region("upper_published") == UPPER_PUBLISHED
    assert region("all") == tuple(range(52))
    with pytest.raises(KeyError):
        region("ears")


def test_mirror_swaps_sides_and_undoes_itself():
    mirror = mirror_permutation()
    assert mirror[INDEX["jawLeft"]] == INDEX["jawRight"]
    assert mirror[INDEX["eyeBlinkRight"]] == INDEX["eyeBlinkLeft"]
    assert mirror[INDEX["jawOpen"]] == INDEX["jawOpen"]
    assert (mirror[mirror] == np.arange(52)).all()


def test_map_by_name_puts_columns_where_their_names_say():
    order = np.random.default_rng(0).permutation(52)
    values = np.random.default_rng(1).random((3, 7, 52), dtype=np.float32)
    mapped = map_by_name(values[..., order], [CHANNELS[i] for i in order], "x.csv")
    assert mapped.dtype == np.float32
    assert (mapped == values).all()


def test_map_by_name_ignores_case_and_fills_with_zero():
    mapped = map_by_name(np.array([[0.25, 0.5]]), ["JawOpen", "TONGUEOUT"], "live link")
    assert mapped[0, INDEX["jawOpen"]] == 0.25
    assert mapped[0, INDEX["tongueOut"]] == 0.5
    assert mapped.sum() == 0.75


@pytest.mark.parametrize("mark", ["_L", "_l", "_Left", "Left"])
def test_sides_are_known_however_they_are_marked(mark: str):
    assert canonical(f"eyeBlink{mark}") == "eyeBlinkLeft"
    assert canonical(f"jaw{mark}") == "jawLeft"
    assert canonical("tongueOut") == "tongueOut"
    assert canonical("_neutral") is canonical("jawOpen_L") is None
    assert missing([f"eyeBlink{mark}", *CHANNELS[9:]]) == CHANNELS[:8]


def test_columns_that_are_no_channels_are_left_out():
    names = ["_neutral", "jawOpen", "HeadYaw", "Frame"]
    mapped = map_by_name(np.ones((1, 4)), names, "x.csv", ["frame"])
    assert np.flatnonzero(mapped).tolist() == [INDEX["jawOpen"]]
    with pytest.raises(UserError, match="unknown channel 'Frame'"):
        map_by_name(np.ones((1, 4)), names, "x.csv")


def test_orders_hold_every_channel_that_there_is():
    assert sorted(LIVE_LINK) == sorted(CHANNELS)
    assert ORDERS["mediapipe"][0].index("jawOpen") == 25
    assert [len(order) for order in ORDERS["livelink"]] == [52, 61]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["jawOpen"], "x.csv: 2 columns but 1 channel names"),
        (["jawOpen", "jawopen"], "x.csv: channel 'jawopen' stands twice"),
        (["jawOpen", "mouthSmileLefty"], "did you mean 'mouthSmileLeft'?"),
        (["jawOpen", "qqq"], "x.csv: unknown channel 'qqq'"),
    ],
)
def test_map_by_name_refuses(names: list[str], message: str):
    with pytest.raises(UserError) as error:
        map_by_name(np.zeros((1, 2)), names, "x.csv")
    assert message in str(error.value)


def test_a_user_error_is_one_line():
    assert str(UserError("a\n  b\tc")) == "a b c"
