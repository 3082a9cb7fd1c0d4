"""Every metric against numbers worked by hand, and input that does not fit."""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from diffusiontalker.arkit import INDEX, LIP, UPPER
from diffusiontalker.errors import UserError
from diffusiontalker.objectives import metrics


def face(frames: int = 4, **curves: ArrayLike) -> np.ndarray:
    """Coefficients (frames, 52): 0 but for the named channels."""
    x = np.zeros((frames, 52), dtype=np.float32)
    for name, curve in curves.items():
        x[:, INDEX[name]] = curve
    return x


def test_mbe_and_lbe_by_hand() -> None:
    g = face(2)
    p = face(2, jawOpen=[3, 0], browInnerUp=[4, 2])
    assert metrics.mbe(p, g) == pytest.approx((5 + 2) / 2)
    assert metrics.lbe(p, g) == pytest.approx((3 + 0) / 2)
    assert metrics.lbe(p, g, "upper") == pytest.approx((4 + 2) / 2)
    assert metrics.lbe(p, g, "lip_published") == 0  # which leaves out jawOpen
    assert metrics.lbe(p, g, [INDEX["jawOpen"]]) == pytest.approx(1.5)
    assert metrics.mbe(g, g) == 0


def test_fdd_by_hand() -> None:
    # sums of squares over the upper face: truth 0, 4, 0, 4 (std 2), prediction 1, 0, 1, 0 (std 0.5)
    g = face(browInnerUp=[0, 2, 0, 2], jawOpen=[9, 0, 0, 1])
    p = face(eyeBlinkLeft=[1, 0, -1, 0])
    assert metrics.fdd(p, g) == pytest.approx(1.5)
    assert metrics.fdd(g, p) == pytest.approx(-1.5)
    assert metrics.fdd_abs(g, p) == pytest.approx(1.5)
    assert metrics.fdd(p, g, "upper_published") == pytest.approx(-0.5)  # which leaves out the brows
    # two channels in one frame: 1 + 4 = 5 against 0, std 2.5
    assert metrics.fdd(face(2), face(2, browInnerUp=[1, 0], noseSneerLeft=[2, 0])) == 2.5


def test_lve_and_eve_by_hand() -> None:
    g = np.zeros((2, 4, 3))
    p = g.copy()
    p[0, 0] = [3, 4, 0]  # 25
    p[0, 1] = [1, 0, 0]  # 1
    p[1, 1] = [0, 2, 1]  # 5
    p[1, 3] = [0, 0, 9]  # 81
    assert metrics.lve(p, g, np.array([0, 1])) == pytest.approx((25 + 5) / 2)
    assert metrics.lve(p, g, np.array([True, True, False, False])) == pytest.approx(15)
    assert metrics.eve(p, g, np.array([2, 3])) == pytest.approx((0 + 81) / 2)
    assert metrics.lve(p, p, np.array([0])) == 0


def test_lve_agrees_with_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.multimodal import lip_vertex_error

    p, g = np.random.default_rng(0).normal(size=(2, 7, 9, 3))
    theirs = lip_vertex_error(torch.from_numpy(p), torch.from_numpy(g), [1, 4, 5])
    assert metrics.lve(p, g, np.array([1, 4, 5])) == pytest.approx(theirs.item())


def test_fdd_vertex_by_hand() -> None:
    template = np.arange(9.0).reshape(3, 3)
    p, g = (np.repeat(template[None], 2, axis=0) for _ in range(2))
    g[0, 0] += [2, 0, 0]  # squared norms 4, 0: std 2
    g[:, 1] += [0, 5, 0]  # moved away but still: std 0
    p[1, 1] += [0, 0, 1]  # squared norms 0, 1: std 0.5
    p[1, 2] += [9, 9, 9]  # not an upper vertex
    upper = np.array([0, 1])
    assert metrics.fdd_vertex(p, g, template, upper) == pytest.approx((2 + 0) / 2 - (0 + 0.5) / 2)
    assert metrics.fdd_vertex(g, p, template, upper) == pytest.approx(-0.75)


def test_energy_score_by_hand() -> None:
    # one channel, one frame: samples 0, 2, 5 and truth 1
    samples = np.array([0.0, 2.0, 5.0]).reshape(3, 1, 1)
    score = metrics.energy_score(samples, np.ones((1, 1)))
    assert score == pytest.approx((1 + 1 + 4) / 3 - 0.5 * (2 + 5 + 3) / 3)
    # two frames of two channels, norms per frame and then the mean: (5 + 0) / 2 and (0 + 5) / 2
    samples = np.array([[[3.0, 4.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 5.0]]])
    # the seeds are 5 apart in both frames
    assert metrics.energy_score(samples, np.zeros((2, 2))) == pytest.approx(2.5 - 0.5 * 5)
    assert metrics.energy_score(samples, np.zeros((2, 2)), [0]) == pytest.approx(0.75 - 0.5 * 1.5)


def test_energy_score_prefers_the_truths_distribution_where_the_error_prefers_a_blur() -> None:
    rng = np.random.default_rng(0)
    truth, good = rng.normal(size=(2000, 4)), rng.normal(size=(4, 2000, 4))
    blur = rng.normal(scale=0.2, size=(4, 2000, 4))
    wild = rng.normal(scale=2.0, size=(4, 2000, 4))
    assert metrics.mbe(blur[0], truth) < metrics.mbe(good[0], truth)
    score = metrics.energy_score(good, truth)
    assert score < metrics.energy_score(blur, truth)
    assert score < metrics.energy_score(wild, truth)


def test_energy_score_is_unbiased_over_pairs() -> None:
    # same distribution: in expectation E||X-y|| / 2, whatever K; here |N(0, 2)| has mean 2/sqrt(pi)
    rng = np.random.default_rng(0)
    for k in (2, 8):
        scores = metrics.energy_score(rng.normal(size=(k, 40_000, 1)), rng.normal(size=(40_000, 1)))
        assert scores == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)


def test_diversity_by_hand() -> None:
    samples = np.stack([face(2), face(2, jawOpen=3, browInnerUp=4), face(2, browInnerUp=[1, 0])])
    # all channels: 5, (1 + 0) / 2, (sqrt(9 + 9) + 5) / 2
    expected = (5 + 0.5 + (math.sqrt(18) + 5) / 2) / 3
    assert metrics.diversity(samples) == pytest.approx(expected)
    assert metrics.diversity(samples, "upper") == pytest.approx((4 + 0.5 + 3.5) / 3)
    assert metrics.diversity(samples, "lip") == pytest.approx((3 + 0 + 3) / 3)
    assert metrics.diversity(np.stack([face(), face()])) == 0


def test_spread_ratio_by_hand() -> None:
    # variances over time: truth 4 + 1, prediction 1
    g = face(browInnerUp=[0, 4, 0, 4], eyeBlinkLeft=[3, 1, 3, 1], jawOpen=[9, 0, 0, 0])
    p = face(browInnerUp=[7, 9, 7, 9])
    assert metrics.spread_ratio(p, g, UPPER) == pytest.approx(math.sqrt(1 / 5))
    assert metrics.spread_ratio(p, g, "upper") == pytest.approx(math.sqrt(1 / 5))
    assert metrics.spread_ratio(p, g, LIP) == 0
    assert metrics.spread_ratio(g + 1, g, "all") == pytest.approx(1)
    assert math.isnan(metrics.spread_ratio(g, p, LIP))


def test_spread_ratio_pools_so_that_quiet_clips_do_not_blow_up() -> None:
    loud, quiet = face(2, browInnerUp=[0, 2]), face(3, browInnerUp=[0, 0, 1e-6])
    still = face(5)
    # pooled: (1 + 1 + 1) over (1 + about 0 + 0); the mean of ratios would be about a million
    p = [loud, face(3, browInnerUp=[0, math.sqrt(4.5), 0]), face(5)]
    assert metrics.spread_ratio(p, [loud, quiet, still], "upper") == pytest.approx(math.sqrt(2))


def test_matching_by_hand() -> None:
    truth = ["a", "a", "a", "b", "b", "c", None, "unknown"]
    predicted = ["a", "a", "b", "b", "d", "a", "a", "b"]
    # a: 2 of 3 chosen, 2 of 3 present; b: 1 of 2 and 1 of 2; c: never chosen; d is not in the truth
    result = metrics.matching(truth, predicted)
    assert result.precision == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert result.recall == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert result.f1 == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_matching_f1_is_averaged_over_labels() -> None:
    # a: precision 1/2, recall 1, F1 2/3; b: precision 1, recall 1/3, F1 1/2
    result = metrics.matching([0, 0, 1, 1, 1], [0, 0, 0, 0, 1])
    assert result.precision == pytest.approx(3 / 4)
    assert result.recall == pytest.approx(2 / 3)
    assert result.f1 == pytest.approx(7 / 12)
    assert metrics.matching(["x", "y"], ["x", "y"]) == (1, 1, 1)
    assert metrics.matching(["x"], [None]) == (0, 0, 0)
    assert all(math.isnan(value) for value in metrics.matching([None], ["x"]))


def test_inputs_stay_as_they_are() -> None:
    p, g = face(jawOpen=1), face(jawOpen=2)
    before = p.copy(), g.copy()
    metrics.mbe(p, g)
    metrics.spread_ratio(p, g, "lip")
    assert np.array_equal(p, before[0])
    assert np.array_equal(g, before[1])


@pytest.mark.parametrize("metric", [metrics.mbe, metrics.lbe, metrics.fdd, metrics.fdd_abs])
def test_coefficients_that_do_not_match(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(UserError, match="prediction has 3 frames, the truth 4"):
        metric(face(3), face(4))
    with pytest.raises(UserError, match="without frames"):
        metric(face(0), face(0))
    with pytest.raises(UserError, match=r"\(4, 51\), the truth \(4, 52\)"):
        metric(face(4)[:, :51], face(4))
    with pytest.raises(UserError, match="frames, channels"):
        metric(face(4)[None], face(4)[None])


def test_other_bad_input() -> None:
    v = np.zeros((2, 4, 3))
    with pytest.raises(UserError, match="region 'mouth' is unknown; choose lip"):
        metrics.lbe(face(), face(), "mouth")
    with pytest.raises(UserError, match="from 0 to 51"):
        metrics.lbe(face(), face(), [52])
    with pytest.raises(UserError, match="channel indices"):
        metrics.lbe(face(), face(), [])
    with pytest.raises(UserError, match="3 frames, the truth 2"):
        metrics.lve(np.zeros((3, 4, 3)), v, np.array([0]))
    with pytest.raises(UserError, match="3 booleans does not fit 4 vertices"):
        metrics.lve(v, v, np.array([True, False, True]))
    with pytest.raises(UserError, match="mask is empty"):
        metrics.eve(v, v, np.zeros(4, dtype=bool))
    with pytest.raises(UserError, match="outside 0 to 3"):
        metrics.lve(v, v, np.array([4]))
    with pytest.raises(UserError, match=r"template has shape \(5, 3\), the vertices need \(4, 3\)"):
        metrics.fdd_vertex(v, v, np.zeros((5, 3)), np.array([0]))
    with pytest.raises(UserError, match="at least 2 samples"):
        metrics.energy_score(face()[None], face())
    with pytest.raises(UserError, match="4 frames, the truth 5"):
        metrics.energy_score(np.stack([face(4), face(4)]), face(5))
    with pytest.raises(UserError, match="at least 2 samples"):
        metrics.diversity(face()[None])
    with pytest.raises(UserError, match="2 predictions for 1 truths"):
        metrics.spread_ratio([face(), face()], [face()], "upper")
    with pytest.raises(UserError, match="4 frames, the truth 5"):
        metrics.spread_ratio([face(4)], [face(5)], "upper")
    with pytest.raises(UserError, match="1 predicted labels for 2"):
        metrics.matching(["a", "b"], ["a"])
