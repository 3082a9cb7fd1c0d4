"""Frame times: which rate they mean, and that nothing drifts however long a take is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusiontalker.animation.timing import RATES, frame_rate, on_even_grid, resampled
from diffusiontalker.errors import UserError

TEN_MINUTES = 600.0


def clocked(fps: float, seconds: float = TEN_MINUTES, start: float = 0.0) -> np.ndarray:
    return start + np.arange(int(seconds * fps)) / fps


def worst_drift(times: np.ndarray) -> float:
    """Frames by which an event is shifted, when the values are the times of the frames."""
    values, fps, *_ = on_even_grid(times, times[:, None], "take")
    shift = np.arange(len(values)) / fps + times[0] - values[:, 0]
    # The last frame may lie beyond the last time, by half a frame.
    return float(np.abs(shift[:-1]).max() * fps)


@pytest.mark.parametrize("fps", [30.0, 60.0, 59.98, 60.02, 30.01, 59.999, 29.97, 24.0, 23.976])
@pytest.mark.parametrize("decimals", [3, 12])
def test_nothing_drifts_over_ten_minutes(fps: float, decimals: int):
    assert worst_drift(np.round(clocked(fps), decimals)) <= 0.11


@given(
    fps=st.floats(20, 120),
    dropped=st.sets(st.integers(1, 580), max_size=20),
    start=st.floats(-5, 5),
    decimals=st.integers(4, 9),
)
def test_nothing_drifts_whatever_is_dropped(
    fps: float, dropped: set[int], start: float, decimals: int
):
    times = np.round(np.delete(clocked(fps, 600 / fps, start), sorted(dropped)), decimals)
    assert worst_drift(times) <= 0.11


@pytest.mark.parametrize(
    ("clock", "expected"),
    [(60.0, 60.0), (59.98, 60.0), (30.01, 30.0), (29.97, 29.97), (23.976, 23.976)],
)
def test_a_whole_number_is_meant_if_it_is_near(clock: float, expected: float):
    times = clocked(clock)
    values, fps, *_ = on_even_grid(times, times[:, None], "take")
    assert fps == pytest.approx(expected, abs=1e-9)
    # Ten minutes stay ten minutes: a clock that runs slow gets frames added.
    assert len(values) / fps == pytest.approx(TEN_MINUTES, abs=1 / fps)


def test_even_frames_come_back_as_they_are():
    values = np.random.default_rng(0).random((600, 3)).astype(np.float32)
    for fps in (60.0, 29.97):
        assert on_even_grid(clocked(fps, 600 / fps + 1e-6), values, "take")[0] is values
        assert (
            on_even_grid(np.round(clocked(fps, 600 / fps + 1e-6), 3), values, "take")[0] is values
        )


def test_a_slow_clock_by_hand():
    """Five frames at 59.98 fps are within a tenth of a frame of 60; ten thousand are not, and the
    value that belongs to 100 s stands in frame 6000."""
    short = clocked(59.98, 0.1)
    assert on_even_grid(short, short[:, None], "take")[1] == 60.0
    long = clocked(59.98, 200.0)
    values, fps, *_ = on_even_grid(long, long[:, None], "take")
    assert fps == 60.0
    assert values[6000, 0] == pytest.approx(100.0, abs=1e-9)


def test_dropped_frames_are_filled_at_the_rate_of_the_others():
    times = np.delete(clocked(60.0, 2.0), [10, 11, 50])
    values, fps, *_ = on_even_grid(times, times[:, None], "take")
    assert fps == 60.0
    np.testing.assert_allclose(values[:, 0], np.arange(120) / 60, atol=1e-9)


def test_rounded_stamps_of_a_take_with_a_hole_still_say_60():
    """The steps are 16 or 17 ms, so that their median is 58.8 fps."""
    times = np.round(np.delete(clocked(60.0, 5.0), [100]), 3)
    assert frame_rate(times, "take") == pytest.approx(60.0, rel=1e-3)
    assert on_even_grid(times, times[:, None], "take")[1] == 60.0


def test_jitter_is_put_straight():
    rng = np.random.default_rng(0)
    times = clocked(30.0, 20.0) + rng.uniform(-0.3, 0.3, 600) / 30
    values, fps, *_ = on_even_grid(times, times[:, None], "take")
    assert fps == pytest.approx(30.0, rel=2e-3)
    np.testing.assert_allclose(values[:-1, 0], times[0] + np.arange(len(values) - 1) / fps)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.0], "one frame has no frame rate"),
        ([], "one frame has no frame rate"),
        ([0.0, 0.1, 0.05], "time of frame 2 is not after"),
        ([0.0, 0.1, 0.1, 0.1, 0.1], "time of frame 2 is not after"),
        ([0.0, np.nan, 0.1], "the time of frame"),
        ([0.0, np.inf], "the time of frame"),
        ([-1.7e308, 1.7e308], "the time of frame|0 frames per second"),
        ([0.0, 33.3, 66.7], r"0\.03 frames per second; give them in s"),
        ([0.0, 1e-12, 2e-12], "frames per second"),
        ([0.0, 0.01, 1e9], "3 frames where 100 fps would have 100000000001"),
    ],
)
def test_times_that_make_no_sense(times: list[float], message: str):
    with pytest.raises(UserError, match=message) as error:
        on_even_grid(np.array(times), np.zeros((len(times), 2)), "take.json")
    assert str(error.value).startswith("take.json: ")


def test_a_time_that_stands_twice_loses_the_second_frame():
    times = clocked(60.0, 1.0)
    times[20] = times[19]
    even = on_even_grid(times, times[:, None], "take")
    assert (even.fps, len(even.values)) == (60.0, 60)
    np.testing.assert_allclose(even.values[:, 0], np.arange(60) / 60, atol=1e-9)
    assert np.flatnonzero(~even.tracked).tolist() == [20]
    assert even.notes == ("frames left out that have the time of the one before: 1",)


def test_a_clock_that_passes_midnight_goes_on():
    times = np.round((86_399 + clocked(30.0, 2.0)) % 86_400, 4)
    even = on_even_grid(times, np.arange(60.0)[:, None], "take")
    assert (even.fps, len(even.values), even.tracked.all()) == (30.0, 60, True)
    assert "midnight" in even.notes[0]


def test_what_is_filled_in_is_known():
    """Dropped frames, frames that hold nothing, and a clock that jitters, which lacks none."""
    times = np.delete(clocked(60.0, 2.0), [10, 11, 12, 50])
    held = np.ones(116, bool)
    held[[70, 71]] = False
    even = on_even_grid(times, times[:, None], "take", held)
    assert np.flatnonzero(~even.tracked).tolist() == [10, 11, 12, 50, 74, 75]
    np.testing.assert_allclose(even.values[:, 0], np.arange(120) / 60, atol=1e-9)
    jitter = clocked(30.0, 20.0) + np.random.default_rng(0).uniform(-0.3, 0.3, 600) / 30
    assert on_even_grid(jitter, jitter[:, None], "take").tracked.all()


# to another rate


def ramp(frames: int) -> np.ndarray:
    """Frame n has the value n."""
    return np.arange(frames, dtype=np.float32)[:, None]


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("sizes", [[60], [1] * 60, [7, 0, 50, 3]])
def test_parts_at_another_rate_are_the_whole_at_that_rate(fps: int, sizes: list[int]) -> None:
    parts = np.split(ramp(60), np.cumsum(sizes)[:-1])
    made = np.concatenate(list(resampled(parts, 30, fps)))
    assert made.dtype == np.float32
    expected = np.minimum(np.arange(2 * fps) * 30 / fps, 59)
    np.testing.assert_allclose(made[:, 0], expected, rtol=1e-6)


def test_a_clip_never_ends_before_its_speech() -> None:
    assert len(np.concatenate(list(resampled([ramp(1)], 30, 24)))) == 1
    assert len(np.concatenate(list(resampled([ramp(11)], 30, 24)))) == 9  # 8.8
    assert list(resampled([], 30, 24)) == []


def test_a_live_frame_comes_with_its_later_neighbour() -> None:
    parts = resampled(iter(np.split(ramp(4), 4)), 30, 60)
    assert next(parts)[:, 0].tolist() == [0, 0.5]
    assert next(parts)[:, 0].tolist() == [1, 1.5]
