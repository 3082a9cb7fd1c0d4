"""How late a mouth is: shifted faces, and closures beside phones worked by hand."""

import math

import numpy as np
import pytest

from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.corpus import lip_sync
from diffusiontalker.objectives.lag import SHORTEST, closure_lag, closure_lags, lip_lag


def face(jaw: np.ndarray) -> np.ndarray:
    out = np.zeros((len(jaw), len(CHANNELS)))
    out[:, INDEX["jawOpen"]] = jaw
    return out


def speech(frames: int, late: float = 0.0, seed: int = 0) -> np.ndarray:
    """A jaw that opens at random times, ``late`` by so many frames."""
    at = np.random.default_rng(seed).uniform(0, frames, frames // 6)
    time = np.arange(frames)[:, None] - late
    return face(np.exp(-0.5 * ((time - at) / 3) ** 2).sum(1))


@pytest.mark.parametrize("late", [0.0, 1.0, -2.0, 0.4, 14.0])
def test_a_late_mouth_lags(late: float) -> None:
    pairs = [(speech(120, late, seed), speech(120, 0.0, seed)) for seed in range(4)]
    predicted, recorded = zip(*pairs, strict=True)
    assert lip_lag(predicted, recorded) == pytest.approx(late * 1000 / 30, abs=3)


def test_correlations_pool_by_frames() -> None:
    late, early = speech(300, 2.0), speech(75, -2.0)
    found = lip_lag([late, early], [speech(300), speech(75)])
    assert 1000 / 30 < found < 2000 / 30  # four times as many frames lag as lead


def test_the_vertex_of_a_parabola() -> None:
    scores = np.zeros(2 * lip_sync.MAX_LAG + 1)
    scores[lip_sync.MAX_LAG : lip_sync.MAX_LAG + 3] = 0.5, 1.0, 0.75
    # shift (0.5 - 0.75) / 2 / (0.5 - 2 + 0.75) = 1/6
    assert lip_sync.lag_of(scores) == pytest.approx((1 + 1 / 6) / 30)
    assert lip_sync.lag_of(scores[: lip_sync.MAX_LAG + 2]) == pytest.approx(1 / 30)  # at its end


def test_without_a_lag() -> None:
    moving, still = speech(120), face(np.zeros(120))
    short = speech(SHORTEST - 1)
    for predicted, recorded in ((still, moving), (moving, still), (short, short)):
        assert math.isnan(lip_lag([predicted], [recorded]))
    other = [speech(300, seed=seed) for seed in range(8)]
    assert math.isnan(lip_lag(other, [speech(300, seed=100 + seed) for seed in range(8)]))


VOWELS = ("ɑ", 0.0, 0.2), ("ɑ", 0.3, 1.0)


def lags(jaw: list[float], phone: tuple[str, float, float] = ("p", 0.2, 0.3)) -> list[float]:
    before, after = VOWELS
    return [1000 * lag for lag in closure_lags([face(np.array(jaw))], [[before, phone, after]])]


def test_closures_by_hand() -> None:
    jaw = [0.5] * 30  # the middle of p, 0.25 s, lies between frames 7 and 8
    assert lags([*jaw[:8], 0.2, *jaw[9:]]) == pytest.approx([500 / 30])  # open, the least
    assert lags([*jaw[:7], 0.01, *jaw[8:]]) == pytest.approx([-500 / 30])
    # sealed over frames 8 to 10: their middle counts, not the least of them
    assert lags([*jaw[:8], 0.0, 0.02, 0.04, *jaw[11:]]) == pytest.approx([1500 / 30])
    # sealed again in frame 6, apart from the least aperture in frame 8
    assert lags([*jaw[:6], 0.04, 0.5, 0.01, *jaw[9:]]) == pytest.approx([500 / 30])


def test_closures_are_looked_for_near_the_phone() -> None:
    jaw = [0.5] * 30  # p lasts from frame 6 to 9, so frames 3 to 12 count
    assert lags([*jaw[:12], 0.0, *jaw[13:]]) == pytest.approx([4500 / 30])
    far = [*jaw[:2], 0.0, *jaw[3:8], 0.3, *jaw[9:13], 0.0, *jaw[14:]]
    assert lags(far) == pytest.approx([500 / 30])


def test_phones_beside_a_closed_mouth_are_left_out() -> None:
    jaw = face(np.full(30, 0.5))
    first, last = VOWELS
    for phones in (
        [("", 0.0, 0.2), ("p", 0.2, 0.3), last],
        [first, ("b", 0.2, 0.3), ("m", 0.3, 0.4), ("", 0.4, 1.0)],
        [("p", 0.0, 0.2), last],
        [first, ("p", 0.2, 0.95), ("ɑ", 0.95, 1.2)],  # the face ends before
        [first, ("t", 0.2, 0.3), last],
    ):
        assert closure_lags([jaw], [phones]) == []
    assert math.isnan(closure_lag([jaw], [[first, last]]))


@pytest.mark.parametrize("jaw", [0.0, 0.5])
def test_a_mouth_that_never_moves_has_no_lag(jaw: float) -> None:
    assert lags([jaw] * 30) == []


def test_a_second_closure_nearby_is_not_taken_for_the_phones() -> None:
    """As in baby: the vowel between is shorter than the search."""
    jaw = face(np.array([0.5] * 8 + [0.0] + [0.5] * 21))
    spoken = [VOWELS[0], ("b", 0.2, 0.3), ("e", 0.3, 0.36), ("b", 0.36, 0.42), ("i", 0.42, 1.0)]
    assert closure_lags([jaw], [spoken]) == []


def test_the_median_over_all_faces() -> None:
    faces = [np.full(30, 0.5) for _ in range(3)]
    for jaw, closed in zip(faces, (7, 8, 12), strict=True):
        jaw[closed] = 0.0
    before, after = VOWELS
    phones = [[before, ("m", 0.2, 0.3), after]] * 3
    assert closure_lag([face(jaw) for jaw in faces], phones) == pytest.approx(500 / 30)
