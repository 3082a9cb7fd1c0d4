"""The noise: published words, normal numbers by hand, one stream however it is cut."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from diffusiontalker.arkit import GAZE, INDEX
from diffusiontalker.diffusion.noise import (
    NEVER,
    AutoRegression,
    correlations,
    gaze_noise,
    gaze_threshold,
)
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.noise import Noise, NoiseParameters, normal


def test_words_are_philoxs() -> None:
    # Random123's known answers: of counter 0 and key 0, and of all bits set
    expected = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    words = np.random.Philox(key=0, counter=2**256 - 1).random_raw(4)  # numpy counts first
    assert words.tolist() == expected
    first = np.random.Philox(key=7, counter=0).random_raw(26)
    np.testing.assert_array_equal(Noise(7)(1)[0], normal(first))


def test_normal_numbers_by_hand() -> None:
    half = 1 << 31
    word = ((half - 1) << 32) | (half // 2)  # uniform numbers 1/2 and 1/4: the angle is 90 degrees
    cosine, sine = normal(np.array([word], np.uint64))
    assert cosine == pytest.approx(0, abs=1e-7)
    assert sine == pytest.approx(math.sqrt(2 * math.log(2)))
    ends = normal(np.array([0, 2**64 - 1], np.uint64))  # the smallest radius number is 2^-32, not 0
    assert ends[:2].tolist() == [pytest.approx(math.sqrt(64 * math.log(2))), 0.0]
    np.testing.assert_array_equal(ends[2:], 0)


def test_it_is_normal_and_follows_its_seed() -> None:
    values, other = Noise(3)(1000).ravel(), Noise(4)(1000).ravel()
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.02
    assert values.std() == pytest.approx(1, abs=0.02)
    assert (np.abs(values) < 1.96).mean() == pytest.approx(0.95, abs=0.005)
    assert abs(np.corrcoef(values, other)[0, 1]) < 0.02
    for lag in (1, 2, 52):
        assert abs(np.corrcoef(values[lag:], values[:-lag])[0, 1]) < 0.02


def test_it_is_the_same_however_it_is_cut() -> None:
    whole, cut = Noise(5)(60), Noise(5)
    parts = [cut(count) for count in (1, 0, 7, 52)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a", None])
def test_bad_seeds(seed: object) -> None:
    with pytest.raises(UserError, match="seed"):
        Noise(seed)  # type: ignore[arg-type]


LAGS = correlations(np.linspace(0.02, 0.8, 52), np.linspace(0.02, 1.1, 52))
COLOURED = NoiseParameters(*map(tuple, LAGS.tolist()))


def test_coloured_noise_is_the_same_however_it_is_cut() -> None:
    whole, cut = Noise(5, COLOURED)(90), Noise(5, COLOURED)
    parts = [cut(count) for count in (1, 0, 7, 30, 16, 36)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_runtime_and_training_filter_alike() -> None:
    white, ours = Noise(1)(70), Noise(1, COLOURED)(70)
    theirs = AutoRegression(*torch.from_numpy(LAGS))(torch.from_numpy(white)[None])[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_gaze_holds_and_jumps_as_in_training_however_it_is_cut() -> None:
    threshold = gaze_threshold(0.05)
    parameters = NoiseParameters(*map(tuple, LAGS.tolist()), gaze_threshold=threshold)
    whole, cut = Noise(5, parameters)(300), Noise(5, parameters)
    parts = [cut(count) for count in (1, 0, 7, 30, 16, 246)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    places = np.arange(52)[GAZE]
    theirs = gaze_noise(torch.from_numpy(Noise(5)(300))[None], threshold)[0]
    np.testing.assert_allclose(whole[:, places], theirs, atol=1e-6)
    others = np.delete(np.arange(52), places)
    np.testing.assert_array_equal(whole[:, others], Noise(5, COLOURED)(300)[:, others])


def test_gaze_noise_by_hand() -> None:
    white = torch.arange(5.0)[:, None] + torch.arange(52.0) / 100
    white[:, INDEX["eyeBlinkLeft"]] = torch.tensor([0.0, -3.0, 0.0, 1.9, 2.1])
    frames = [0, 1, 1, 1, 4]  # it is replaced in frames 1 and 4
    expected = white[frames][:, GAZE]
    assert gaze_noise(white, 2.0).tolist() == expected.tolist()


def test_gaze_noise_is_standard_normal_and_jumps_at_its_rate() -> None:
    """Independent between channels: shared noise would cancel out in a difference of two."""
    generator = torch.Generator().manual_seed(0)
    made = gaze_noise(torch.randn(2000, 60, 52, generator=generator), gaze_threshold(0.1))
    for frame in (0, 1, 30, 59):
        covariance = np.cov(made[:, frame].T)
        np.testing.assert_allclose(covariance, np.eye(8), atol=0.12)
    np.testing.assert_allclose(made.mean(0), 0, atol=0.1)
    jumps = (made[:, 1:] != made[:, :-1]).any(-1)
    assert jumps.float().mean() == pytest.approx(0.1, abs=0.005)
    assert gaze_threshold(0.0) == NEVER


def test_coloured_noise_is_standard_normal_in_every_frame_and_moves_as_asked() -> None:
    """The mean absolute differences that ``correlations`` is given come out, from frame 0 on."""
    drawn = np.stack([Noise(seed, COLOURED)(40) for seed in range(1500)])
    np.testing.assert_allclose(drawn.std(0).mean(1), 1, atol=0.02)
    np.testing.assert_allclose(drawn.std(0), 1, atol=0.1)
    for order, asked in ((1, np.linspace(0.02, 0.8, 52)), (2, np.linspace(0.02, 1.1, 52))):
        speed = np.abs(np.diff(drawn, order, axis=1)).mean(0)
        # the slowest channel would not move in a clip: MAX_LAG_1 holds it back
        np.testing.assert_allclose(speed[:, 1:], np.tile(asked[1:], (len(speed), 1)), rtol=0.1)


def test_noise_at_the_edge_of_stationarity_is_finite() -> None:
    """An artifact's correlations may lie as near to the edge as numbers allow."""
    one = np.random.default_rng(0).uniform(-0.99999, 0.99999, 52)
    two = np.nextafter(2 * one**2 - 1, 2)
    with np.errstate(all="raise"):
        drawn = Noise(0, NoiseParameters(tuple(one.tolist()), tuple(two.tolist())))(64)
    assert np.isfinite(drawn).all()


def test_streams_of_a_student_share_what_their_noise_has_in_common() -> None:
    """A filter takes 120 kB, and a server has hundreds of streams."""

    def size() -> int:
        return sum(trace.size for trace in tracemalloc.take_snapshot().traces)

    tracemalloc.start()
    try:
        several = [Noise(seed, COLOURED) for seed in range(2)]
        before = size()
        several += [Noise(seed, COLOURED) for seed in range(50)]
        for one in several:
            one(32)
        assert size() - before < 52 * 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("speed", [0.0, 0.01, 0.5, 1.2, 3.0])
@pytest.mark.parametrize("acceleration", [0.0, 0.01, 0.6, 2.0, 6.0])
def test_any_movement_gives_a_stationary_process(speed: float, acceleration: float) -> None:
    lags = correlations(np.full(52, speed), np.full(52, acceleration))
    drawn = Noise(0, NoiseParameters(*map(tuple, lags.tolist())))(2000)
    assert np.isfinite(drawn).all()
    assert np.abs(drawn).max() < 8
