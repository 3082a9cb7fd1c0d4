"""Speed, acceleration and blinks: worked by hand, and that flicker and blur both lose."""

import math

import numpy as np
import pytest

from diffusiontalker import arkit
from diffusiontalker.objectives.movement import acceleration_ratio, blinks, speed_ratio

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
