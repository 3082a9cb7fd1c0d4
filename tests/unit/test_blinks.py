"""Blinks: found and removed in training data, described, and drawn by the runtime."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.objectives import losses, movement
from diffusiontalker.runtime.blinks import (
    LIDS,
    LONG_AGO,
    BlinkParameters,
    Blinks,
    closed,
    draw,
    uniforms,
)
from diffusiontalker.training.blinks import (
    blink_shape,
    find_blinks,
    onset_labels,
    without_blinks,
)

COURSE = np.array([0.2, 0.8, 0.9, 0.5, 0.1], np.float32)


def face(starts: list[int], frames: int = 100, rest: float = 0.1) -> np.ndarray:
    """A face whose lids rest at ``rest`` and follow ``COURSE`` from each of ``starts`` on."""
    out = np.zeros((frames, len(CHANNELS)), np.float32)
    out[:, list(LIDS)] = rest
    for start in starts:
        part = out[start : start + len(COURSE), list(LIDS)]
        out[start : start + len(COURSE), list(LIDS)] = part + (1 - part) * COURSE[: len(part), None]
    return out


def test_blinks_are_found_removed_and_labelled() -> None:
    recorded = face([20, 60])
    blinks = find_blinks(recorded)
    assert [(b.start, b.stop) for b in blinks] == [(19, 25), (59, 65)]
    base = without_blinks(recorded, blinks)
    np.testing.assert_allclose(base, face([]), atol=1e-6)
    labels = onset_labels(len(recorded), blinks)
    assert np.flatnonzero(labels == 1).tolist() == [20, 60]
    assert np.flatnonzero(labels < 0).tolist() == [19, *range(21, 26), 59, *range(61, 66)]


def test_what_is_no_blink_stays() -> None:
    asleep, squint, wink = face([]), face([]), face([])
    asleep[30:60, list(LIDS)] = 0.95
    squint[30:36, list(LIDS)] = 0.4
    wink[30:36, LIDS[0]] = 0.9
    jaw = face([])
    jaw[30:36, INDEX["jawOpen"]] = 1
    for one in (asleep, squint, wink, jaw, face([], frames=1), face([], frames=2)):
        assert find_blinks(one) == []


def test_a_blink_at_the_edge_of_a_clip_is_removed_but_not_described() -> None:
    for cut in (face([20])[22:], face([20])[:23]):
        blinks = find_blinks(cut)
        assert len(blinks) == 1
        np.testing.assert_allclose(without_blinks(cut, blinks), face([], len(cut)), atol=1e-6)
        assert blink_shape([(cut, without_blinks(cut, blinks), blinks)] * 30) == ()


def test_a_blink_that_began_before_the_clip_has_no_onset_in_it() -> None:
    cut = face([20])[22:]
    assert set(onset_labels(len(cut), find_blinks(cut)).tolist()) == {0.0, -1.0}
    ends = face([20])[:23]
    assert np.flatnonzero(onset_labels(len(ends), find_blinks(ends)) == 1).tolist() == [20]


def test_the_shape_is_the_median_course_and_needs_some_blinks() -> None:
    def described(count: int) -> tuple[float, ...]:
        faces = [face([20]) for _ in range(count)]
        found = [find_blinks(one) for one in faces]
        return blink_shape(
            (one, without_blinks(one, b), b) for one, b in zip(faces, found, strict=True)
        )

    np.testing.assert_allclose(described(25), COURSE, atol=1e-5)
    assert described(19) == ()


def test_a_recording_blinks_alike_however_it_is_cut() -> None:
    probability = np.random.default_rng(0).uniform(0, 0.2, 300).astype(np.float32)
    parameters, still = BlinkParameters(tuple(COURSE.tolist())), face([], 300)
    whole, cut = Blinks(3, parameters)(still, probability), Blinks(3, parameters)
    edges = [0, 1, 2, 9, 40, 300]
    parts = [cut(still[a:b], probability[a:b]) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole[:, LIDS[0]] > 0.9).sum() > 10
    rest = [c for c in range(len(CHANNELS)) if c not in LIDS]
    np.testing.assert_array_equal(whole[:, rest], still[:, rest])
    # and frame by frame, as streams do
    uniform, since = draw(uniforms(3), 300), np.array([LONG_AGO])
    for t in range(300):
        amount, since = closed(parameters, uniform[t : t + 1], probability[t : t + 1], since)
        assert whole[t, LIDS[0]] == pytest.approx(0.1 + 0.9 * amount[0], abs=1e-6)


def test_blinks_come_as_often_as_the_probability_asks_and_last() -> None:
    frames = 60_000
    parameters = BlinkParameters(tuple(COURSE.tolist()))
    drawn = Blinks(0, parameters)(face([], frames), np.full(frames, 0.01, np.float32))
    found = movement.blinks([drawn])
    free = 1 - len(COURSE) * 0.01 / (1 + 0.01 * len(COURSE))
    assert found.per_minute == pytest.approx(0.01 * free * 1800, rel=0.1)
    assert found.single_frame == 0


def test_no_shape_no_blinks() -> None:
    still = face([])
    assert Blinks(0, BlinkParameters())(still, np.ones(100, np.float32)) is still


def test_seeds_differ_and_the_largest_works() -> None:
    assert draw(uniforms(0), 5).tolist() != draw(uniforms(1), 5).tolist()
    assert ((draw(uniforms(2**64 - 1), 1000) >= 0) & (draw(uniforms(7), 1000) < 1)).all()


def test_blink_loss_by_hand() -> None:
    logit = torch.tensor([[0.0, 2.0, -1.0, 5.0]])
    labels, mask = torch.tensor([[0.0, 1.0, -1.0, 1.0]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    expected = (np.log(2) + np.log1p(np.exp(-2))) / 2
    assert losses.blink(logit, labels, mask).item() == pytest.approx(expected, rel=1e-6)
    assert losses.blink(logit, labels, 0 * mask).item() == 0


def test_movement_loss_by_hand() -> None:
    x = torch.tensor([[[0.0], [1.0], [3.0], [9.0]]])
    mask, variances = torch.tensor([[1, 1, 1, 0]]), torch.tensor([[2.0], [4.0]])
    # differences 1 and 2 over variance 2, and their difference 1 over 4; the last frame is padding
    expected = ((1 + 4) / 2 / 2 + 1 / 4) / 2
    assert losses.movement(x, 0 * x, mask, variances).item() == pytest.approx(expected)
    nan = x.masked_fill(mask[..., None] == 0, float("nan"))
    assert_close(losses.movement(nan, 0 * x, mask, variances), torch.tensor(expected))
