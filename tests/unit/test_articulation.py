"""Closure, opening and rounding from phoneme times, worked by hand."""

import math

import numpy as np
import pytest

from diffusiontalker import arkit
from diffusiontalker.corpus.phonemes import intervals
from diffusiontalker.objectives.articulation import aperture, articulation


def face(frames: int, **channels: list[float] | float) -> np.ndarray:
    out = np.zeros((frames, 52))
    for name, values in channels.items():
        out[:, arkit.CHANNELS.index(name)] = values
    return out


def test_aperture_by_hand() -> None:
    made = face(2, jawOpen=[0.5, 0.2], mouthClose=[0.2, 0.4], mouthLowerDownLeft=[0.1, 0],
                mouthUpperUpLeft=[0.3, 0])  # fmt: skip
    assert aperture(made) == pytest.approx([0.3 + 0.2, 0])  # a closed mouth is not less than closed


def test_phones_have_ends_and_no_marks() -> None:
    found = list(intervals(["", "ˈɑː", "p"], [0, 0.5, 1.0], 1.25))
    assert found == [("", 0, 0.5), ("ɑ", 0.5, 1.0), ("p", 1.0, 1.25)]


def test_one_closed_frame_is_a_closure() -> None:
    # 30 frames a second: p in frames 3 to 6, b in 9 to 12, m in 15 to 18
    jaw = [0.4] * 19
    jaw[4], jaw[10], jaw[13] = 0.04, 0.06, 0.0  # closed enough, not quite, and between two phones
    phones = [("p", 0.1, 0.2), ("b", 0.3, 0.4), ("m", 0.5, 0.6)]
    assert articulation([face(19, jawOpen=jaw)], [phones]).closure == pytest.approx(1 / 3)
    assert articulation([face(19, jawOpen=0.0)], [phones]).closure == 1


def test_the_frames_beside_a_phone_count() -> None:
    phones = [("p", 0.11, 0.12)]  # between frames 3 and 4
    for closed in (3, 4):
        jaw = [0.4] * 8
        jaw[closed] = 0.0
        assert articulation([face(8, jawOpen=jaw)], [phones]).closure == 1
    assert articulation([face(8, jawOpen=[0, 0, 0, 0.4, 0.4, 0, 0, 0])], [phones]).closure == 0


def test_lips_that_are_closed_elsewhere() -> None:
    # 30 frames a second: of s, t, k and i, the t alone is far from the m and the pauses
    phones = [("", 0, 0.1), ("s", 0.1, 0.2), ("t", 0.2, 0.3), ("k", 0.3, 0.4), ("m", 0.4, 0.5),
              ("i", 0.5, 0.6), ("", 0.6, 0.7)]  # fmt: skip
    jaw = [0.0] * 21
    jaw[7] = 0.04  # the middle of t, 0.25 s, in frame 8 by rounding to even
    jaw[8] = 0.4
    assert articulation([face(21, jawOpen=jaw)], [phones]).closed_elsewhere == 0
    jaw[8] = 0.04
    assert articulation([face(21, jawOpen=jaw)], [phones]).closed_elsewhere == 1
    assert math.isnan(articulation([face(21)], [phones[:2]]).closed_elsewhere)
    # an open vowel counts beside an m, too: closures must not last into it
    phones = [("m", 0, 0.1), ("ɑ", 0.1, 0.3), ("m", 0.3, 0.4), ("ɑ", 0.4, 0.44)]
    jaw = [0.0] * 14
    assert articulation([face(14, jawOpen=jaw)], [phones]).closed_elsewhere == 1
    jaw[6] = 0.4  # the middle
    assert articulation([face(14, jawOpen=jaw)], [phones]).closed_elsewhere == 0


def test_closure_auc_counts_pairs() -> None:
    jaw = [0.1] * 4 + [0.9] * 2 + [0.3] * 4 + [0.9] * 2 + [0.2] * 3 + [0.4] * 3
    phones = [("p", 0, 0.1), ("b", 0.2, 0.3), ("ɑ", 0.4, 0.5), ("æ", 0.5, 0.6), ("æ", 0.6, 0.64)]
    # .1 is below .2 and .4, .3 below .4 alone; the last vowel is too short, and outside
    assert articulation([face(18, jawOpen=jaw)], [phones]).closure_auc == 0.75


def test_rounding_auc() -> None:
    pucker = [0.5] * 3 + [0.1] * 3 + [0.1] * 3
    phones = [("w", 0, 0.1), ("s", 0.1, 0.2), ("u", 0.2, 0.3)]
    found = articulation([face(9, mouthPucker=pucker)], [phones])
    assert found.rounding_auc == 0.75  # above, and a tie
    assert math.isnan(found.closure)
    assert math.isnan(found.closure_auc)


def test_the_jaw_in_pauses() -> None:
    phones = [("", 0, 0.3), ("", 0.3, 0.45)]  # the second is too short
    found = articulation([face(14, jawOpen=[0.2] * 9 + [0.9] * 5)], [phones])
    assert found.jaw_in_pauses == pytest.approx(0.2)


def test_clips_pool_and_phones_behind_the_end_are_left_out() -> None:
    phones = [("p", 0, 0.1), ("p", 5.0, 5.1)]
    found = articulation([face(3), face(3, jawOpen=1.0)], [phones, phones])
    assert found.closure == 0.5
