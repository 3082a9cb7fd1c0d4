from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import refusals

from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus import clips
from diffusiontalker.corpus.sources import Recording
from diffusiontalker.errors import UserError


def recording(seconds: float = 4.0, fps: float = 60.0, **changes: object) -> Recording:
    """A tone of that length, and jawOpen that rises from 0 to 1 over it."""
    times = np.arange(round(seconds * fps)) / fps
    face = np.zeros((len(times), len(CHANNELS)), np.float32)
    face[:, INDEX["jawOpen"]] = times / seconds
    audio = np.sin(2 * np.pi * 220 * np.arange(round(seconds * 48_000)) / 48_000)
    values = {"audio": audio.astype(np.float32), "rate": 48_000, "coefficients": face, "fps": fps}
    return Recording(**(values | changes))


def refusal(one: Recording, mismatch: float = 0.5) -> str:
    return refusals.refusal(lambda: clips.align(one, mismatch))


def test_thirty_frames_per_second_come_back_as_they_are() -> None:
    values = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    assert np.array_equal(clips.resample(values, 30.0, np.arange(50) / 30), values)


def test_sixty_to_thirty_weighs_the_neighbours_a_quarter_each() -> None:
    values = np.array([[0.0], [0.4], [1.0], [0.2], [0.0], [0.0]])
    out = clips.resample(values, 60.0, np.arange(3) / 30)
    # The first frame has no left neighbour: weights 1/2 and 1/4 of 3/4.
    assert out[:, 0] == pytest.approx([0.4 / 3, 0.1 + 0.5 + 0.05, 0.05])


def test_twenty_five_to_thirty_interpolates() -> None:
    values = np.arange(26.0)[:, None]
    out = clips.resample(values, 25.0, np.arange(30) / 30)
    assert out[:, 0] == pytest.approx(np.arange(30) * 25 / 30)


def test_beyond_the_ends_the_last_value_is_held() -> None:
    values = np.array([[0.2], [0.6]])
    out = clips.resample(values, 30.0, np.array([-0.5, 0.0, 1 / 30, 0.9]))
    assert out[:, 0] == pytest.approx([0.2, 0.2, 0.6, 0.6])


@given(st.floats(10, 240), st.integers(2, 200))
def test_no_value_leaves_the_range_of_its_neighbours(fps: float, count: int) -> None:
    values = np.random.default_rng(count).random((count, 2))
    out = clips.resample(values, fps, np.arange(40) / 30)
    assert out.min() >= values.min() - 1e-6
    assert out.max() <= values.max() + 1e-6


@pytest.mark.parametrize("fps", [23.976, 25.0, 29.97, 30.0, 59.94, 60.0, 120.0])
def test_a_blink_late_in_ten_minutes_is_where_it_was(fps: float) -> None:
    at = 590.0
    times = np.arange(round(600 * fps)) / fps
    face = np.zeros((len(times), len(CHANNELS)), np.float32)
    face[:, INDEX["jawOpen"]] = np.exp(-(((times - at) / 0.1) ** 2))
    click = np.zeros(600 * SAMPLE_RATE, np.float32)
    click[round(at * SAMPLE_RATE)] = 1.0
    audio, out, left_out = clips.align(
        recording(audio=click, rate=SAMPLE_RATE, coefficients=face, fps=fps), 0.5
    )
    mouth = out[:, INDEX["jawOpen"]]
    seen = (mouth * np.arange(len(out)) / 30).sum() / mouth.sum()
    heard = np.abs(audio).argmax() / SAMPLE_RATE
    assert abs(seen - heard) < 0.5 / 30
    assert left_out < 0.1


def test_frames_that_begin_later_than_the_audio() -> None:
    late = recording(start=1.0, coefficients=recording(3.0).coefficients)
    audio, face, left_out = clips.align(late, 0.5)
    assert (len(audio), len(face)) == (3 * SAMPLE_RATE, 90)
    assert face[30, INDEX["jawOpen"]] == pytest.approx(1 / 3, abs=1e-3)
    assert left_out == pytest.approx(1.0)


def test_the_longer_of_both_is_cut() -> None:
    audio, face, left_out = clips.align(recording(coefficients=recording(3.7).coefficients), 0.5)
    assert (len(face), len(audio)) == (111, round(111 * SAMPLE_RATE / 30))
    assert left_out == pytest.approx(0.3)


def test_lengths_that_do_not_belong_together() -> None:
    message = refusal(recording(coefficients=recording(3.0).coefficients))
    assert "4.00 s of audio" in message
    assert "3.00 s" in message
    assert "max_mismatch_seconds" in message


@pytest.mark.parametrize("rule", ["refuse", "clip"])
def test_coefficients_in_per_cent(rule: str) -> None:
    face = recording(coefficients=recording().coefficients * 100)
    with pytest.raises(UserError, match=r"source\.options\.scale=0\.01"):
        clips.in_unit_range(face, rule)


def test_values_beyond_the_range_are_clipped_by_choice() -> None:
    """3D-ETF has values below -0.5, which are not per cent."""
    face = recording().coefficients.copy()
    face[:8, :26] = -0.7
    with pytest.raises(UserError, match=r"from -0\.7 to .*out_of_range=clip"):
        clips.in_unit_range(recording(coefficients=face), "refuse")
    clipped = clips.in_unit_range(recording(coefficients=face), "clip")
    assert clipped.coefficients[:8, :26].max() == 0
    assert np.array_equal(clipped.coefficients[8:], face[8:])
    assert clipped.notes == ("values clipped that lay outside of 0 to 1: 1.7%",)
    little = clips.in_unit_range(recording(coefficients=np.clip(face, -0.1, 1)), "refuse")
    assert little.notes == clipped.notes
    assert clips.in_unit_range(recording(), "clip").notes == ()


def test_not_a_number_names_its_frame_and_channel() -> None:
    face = recording().coefficients.copy()
    face[7, 3] = np.nan
    with pytest.raises(UserError, match="frame 7, channel 3"):
        clips.in_unit_range(recording(coefficients=face), "refuse")


def test_no_frames_and_no_sound() -> None:
    with pytest.raises(UserError, match="no frames"):
        clips.in_unit_range(recording(coefficients=np.zeros((0, 52), np.float32)), "refuse")
    assert "0.00 s of audio" in refusal(recording(audio=np.zeros(0, np.float32)))


def test_a_little_beyond_the_range_is_clipped() -> None:
    face = recording().coefficients * 1.2 - 0.1
    _, out, _ = clips.align(recording(coefficients=face), 0.5)
    assert (out.min(), out.max()) == (0.0, 1.0)


def test_clips_follow_each_other_and_a_short_rest_is_left_out() -> None:
    assert list(clips.cut(320, 10.0, 0.5)) == [(0, 300), (300, 320)]
    assert list(clips.cut(320, 10.0, 1.0)) == [(0, 300)]
    assert list(clips.cut(20, 10.0, 1.0)) == []
    assert list(clips.cut(60, 1.0, 5.0)) == [(0, 30), (30, 60)]


def test_where_a_clip_is_cut_never_adds_up() -> None:
    assert [clips.frame_to_sample(k) for k in (0, 1, 2, 3, 18_000)] == [
        0,
        533,
        1067,
        1600,
        9_600_000,
    ]


@pytest.mark.parametrize(("fps", "seconds"), [(25.0, 2.9), (24.0, 2.2), (60.0, 1.2)])
def test_a_short_take_at_a_wrong_rate_is_refused(fps: float, seconds: float) -> None:
    """Frames of another rate that are taken for 30 a second, in less than half a second too."""
    values = recording(20.0).coefficients[: round(fps * seconds)]
    wrong = recording(seconds, 30.0, coefficients=values)
    with pytest.raises(UserError, match=rf"at {fps:g} fps .*source\.options\.fps={fps:g}"):
        clips.align(wrong, 0.5, 0.15)


def test_a_short_take_may_go_on_a_little_after_the_face() -> None:
    trailing = recording(3.0, 30.0, coefficients=recording(2.6, 30.0).coefficients)
    assert clips.align(trailing, 0.5, 0.15)[2] == pytest.approx(0.4)


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_counted_frames_run_at_the_rate_of_the_audio(fps: float) -> None:
    def taken(seconds: float, rate: float, nominal: bool = True) -> float:
        values = np.zeros((int(seconds * rate), len(CHANNELS)), np.float32)
        audio = np.zeros(round(seconds * 1000), np.float32)
        one = recording(1.0, audio=audio, rate=1000, coefficients=values, fps=fps)
        return clips.with_true_rate(replace(one, nominal_rate=nominal)).fps

    assert taken(110.0, fps / 1.001) == fps / 1.001
    assert taken(60.0, fps / 1.001) == fps / 1.001
    assert taken(110.0, fps) == fps
    assert taken(110.0, fps / 1.001, nominal=False) == fps
    assert taken(5.0, fps / 1.001) == fps  # too short to tell: 5 ms
    assert taken(110.3, fps / 1.0027) == fps  # the audio goes on, by more than a thousandth


def test_no_clip_covers_a_long_gap() -> None:
    seen = np.ones(300, bool)
    seen[100:115] = False  # half a second: filled in
    seen[200:216] = False
    assert clips.clip_spans(seen, 10.0, 1.0) == [(0, 200), (216, 300)]
    assert clips.clip_spans(seen, 3.0, 1.0) == [(0, 90), (90, 180), (216, 300)]
    assert clips.clip_spans(np.ones(320, bool), 10.0, 1.0) == list(clips.cut(320, 10.0, 1.0))
    seen[30:170:2] = False  # no gap is long, but nearly half of the frames are made up
    assert clips.clip_spans(seen, 10.0, 1.0) == [(216, 300)]
    assert clips.clip_spans(np.zeros(90, bool), 10.0, 1.0) == []


def test_what_is_seen_of_a_take_at_another_rate_and_start() -> None:
    seen = np.ones(240, bool)
    seen[60:120] = False  # from 1 to 2 s of the face, 2 to 3 s of the audio
    late = recording(coefficients=np.zeros((240, 52), np.float32), fps=60.0, start=1.0)
    shown = clips.tracked_frames(replace(late, tracked=seen), 120)
    assert np.flatnonzero(~shown).tolist() == list(range(30, 60))
    early = replace(late, tracked=seen, start=-0.5)
    assert np.flatnonzero(~clips.tracked_frames(early, 60)).tolist() == list(range(15, 45))
    assert clips.tracked_frames(recording(), 7).all()
