"""Speed, acceleration and blinks: worked by hand, and that flicker and blur both lose."""

import math

import numpy as np
import pytest

from diffusiontalker import arkit
from diffusiontalker.objectives.movement import (
    REACH,
    acceleration_ratio,
    blink_course,
    blink_shape_error,
    blinks,
    speed_ratio,
)

BLINK = arkit.CHANNELS.index("eyeBlinkLeft")


def eyes(*values: float) -> np.ndarray:
    face = np.zeros((len(values), 52))
    face[:, BLINK] = values
    return face


def test_speed_and_acceleration_by_hand() -> None:
    true, faster = eyes(0, 1, 1, 3), eyes(0, 2, 2, 6)
    # |1| + |0| + |2| = 3, and |-1| + |2| = 3
    assert speed_ratio([faster], [true]) == 2
    assert acceleration_ratio([faster], [true]) == 2
    assert speed_ratio([eyes(0, 1, 2, 3)], [true]) == 1
    assert acceleration_ratio([eyes(0, 1, 2, 3)], [true]) == 0  # as fast, without any jolt


def test_sequences_pool() -> None:
    quiet, loud = eyes(0, 0.1, 0.1), eyes(0, 1, 0)
    # (0.2 + 2) over (0.1 + 2), not the mean of 2 and 1
    assert speed_ratio([2 * quiet, loud], [quiet, loud]) == pytest.approx(2.2 / 2.1)


def test_a_region_is_measured_alone() -> None:
    true = eyes(0, 1, 0)
    assert math.isnan(speed_ratio([true], [true], "lip"))  # no lip moves
    assert speed_ratio([true], [true], [BLINK]) == 1


def test_flicker_and_blur_lose_where_spread_is_met() -> None:
    true = np.zeros((600, 52))
    true[:, BLINK] = np.sin(np.arange(600) / 30)
    rng = np.random.default_rng(0)
    flicker = eyes(*rng.normal(0, true[:, BLINK].std(), 600))
    assert speed_ratio([flicker], [true]) > 10
    assert acceleration_ratio([flicker], [true]) > 100
    assert speed_ratio([0.5 * true], [true]) == pytest.approx(0.5)


def test_blinks_by_hand() -> None:
    one_minute = np.zeros(1800)
    one_minute[0] = 0.6  # of one frame, at the edge
    one_minute[100:108] = 0.9
    one_minute[200:202] = 0.51
    one_minute[300:310] = 0.5  # not above it
    found = blinks([eyes(*one_minute), eyes(*np.zeros(1800))])
    assert found.per_minute == 1.5  # three in two minutes
    assert found.single_frame == pytest.approx(1 / 3)


def test_two_clips_are_not_joined() -> None:
    assert blinks([eyes(0, 1), eyes(1, 0)]).single_frame == 1


def test_without_a_blink() -> None:
    found = blinks([eyes(0, 0)])
    assert found.per_minute == 0
    assert math.isnan(found.single_frame)
    assert math.isnan(found.length)


def around(*values: float) -> np.ndarray:
    """An eye that is open, blinks in these frames, and is open again."""
    return eyes(*[0.0] * 10, *values, *[0.0] * 10)


def test_the_length_of_a_blink_is_that_above_half_of_its_peak() -> None:
    # the peak is 0.8: 0.4 to 0.5 count although the eye is not closed there
    assert blinks([around(0.1, 0.4, 0.8, 0.6, 0.5, 0.39)]).length == pytest.approx(4 / 30)
    three = [around(0.9), around(0.9, 0.9), around(*[0.9] * 6)]
    assert blinks(three).length == pytest.approx(2 / 30)  # the median
    assert math.isnan(blinks([eyes(0.9, 0.9, 0.1), eyes(0.1, 0.9, 0.9)]).length)  # cut
    assert blinks([eyes(0.9, 0.1), around(0.9)]).length == pytest.approx(1 / 30)


def test_the_course_of_blinks_is_relative_to_their_peaks() -> None:
    course = blink_course([around(0.4, 0.8, 0.2), around(0.6), eyes(0, 0.9, 0)])  # the last is cut
    assert course is not None
    assert len(course) == 2 * REACH + 1
    assert course[REACH - 1 : REACH + 2] == pytest.approx([0.25, 1, 0.125])
    assert course.sum() == pytest.approx(1.375)
    assert blink_course([eyes(0, 0.4, 0)]) is None


def test_the_shape_of_blinks_by_hand() -> None:
    true = [around(0.4, 0.8, 0.4)]
    assert blink_shape_error([around(0.3, 0.6, 0.3)], true) == pytest.approx(0)  # as high or not
    assert blink_shape_error([around(0.8)], true) == pytest.approx(1 / 17)  # too short
    assert blink_shape_error([around(0.6, 0.8, 0.6)], true) == pytest.approx(2 * 0.25 / 17)
    assert math.isnan(blink_shape_error([eyes(*[0] * 20)], true))
