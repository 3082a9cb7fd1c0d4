"""Vertices to coefficients: against hand-worked values, SciPy, and the rig itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from diffusiontalker import arkit
from diffusiontalker.animation.rig import Rig, default_rig
from diffusiontalker.errors import UserError


def rig_of(vertices: int, **moves: tuple[int, tuple[float, float, float]]) -> Rig:
    """Vertices at the origin; each channel named moves one of them."""
    deltas = np.zeros((52, vertices, 3), np.float32)
    for name, (vertex, delta) in moves.items():
        deltas[arkit.INDEX[name], vertex] = delta
    return Rig(np.zeros((vertices, 3), np.float32), deltas)


def random_rig(rng: np.random.Generator, vertices: int = 40) -> Rig:
    """Channels as unlike in size as a jaw and an eyelid."""
    sizes = 10.0 ** rng.uniform(-4, -2, (52, 1, 1))
    deltas = sizes * rng.normal(size=(52, vertices, 3))
    return Rig(np.zeros((vertices, 3), np.float32), deltas.astype(np.float32))


def speaking(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Coefficients (frames, 52), many of them at 0 and some at 1."""
    return np.clip(rng.normal(0.2, 0.4, (frames, 52)), 0, 1)


def test_a_displacement_becomes_its_share_of_the_channel() -> None:
    rig = rig_of(2, jawOpen=(0, (0, -0.02, 0)), browInnerUp=(1, (0, 0.01, 0)))
    moved = np.array([[[0, -0.005, 0], [0, 0.01, 0]]], np.float32)
    found, residual = rig.coefficients(moved)
    assert found.dtype == np.float32
    assert found[0, arkit.INDEX["jawOpen"]] == pytest.approx(0.25, abs=1e-6)
    assert found[0, arkit.INDEX["browInnerUp"]] == pytest.approx(1, abs=1e-6)
    assert np.count_nonzero(found) == 2
    assert residual == pytest.approx(0, abs=1e-9)


def test_what_lies_beyond_the_box_remains_as_residual() -> None:
    rig = rig_of(2, jawOpen=(0, (0, -0.02, 0)), browInnerUp=(1, (0, 0.01, 0)))
    moved = np.array([[[0, -0.03, 0], [0, -0.02, 0]]], np.float32)  # too far, and the wrong way
    found, residual = rig.coefficients(moved)
    assert found[0, arkit.INDEX["jawOpen"]] == 1
    assert found[0, arkit.INDEX["browInnerUp"]] == 0
    # One vertex stays 10 mm short and the other 20 mm off.
    assert residual == pytest.approx(np.sqrt((0.01**2 + 0.02**2) / 2), rel=1e-5)


def test_displacements_count_from_the_speakers_own_face() -> None:
    rng = np.random.default_rng(0)
    rig = random_rig(rng)
    truth = speaking(rng, 5)
    face = rng.normal(0, 0.1, rig.mean.shape)
    found, residual = rig.coefficients(rig.vertices(truth) - rig.mean + face, face)
    np.testing.assert_allclose(found, truth, atol=1e-3)
    assert residual < 1e-7
    assert rig.coefficients(rig.vertices(truth) + face)[1] > 0.01  # and not from the rig's


def test_default_rig_there_and_back() -> None:
    rig, rng = default_rig(), np.random.default_rng(1)
    truth = speaking(rng, 12)
    truth[:, arkit.INDEX["tongueOut"]] = 0
    vertices = rig.vertices(truth)
    found, residual = rig.coefficients(vertices)
    np.testing.assert_allclose(rig.vertices(found), vertices, atol=1e-6)  # a micrometre
    np.testing.assert_allclose(found, truth, atol=1e-3)
    assert residual < 1e-7
    assert rig.static_channels == ("tongueOut",)


def test_noise_moves_no_channel_that_moves_nothing() -> None:
    rig, rng = default_rig(), np.random.default_rng(2)
    vertices = rig.vertices(speaking(rng, 3))
    found, residual = rig.coefficients(vertices + rng.normal(0, 1e-3, vertices.shape))
    assert (found[:, arkit.INDEX["tongueOut"]] == 0).all()
    assert residual == pytest.approx(1e-3 * np.sqrt(3), rel=0.02)


@pytest.mark.parametrize("noise", [0.0, 1e-3, 1e-1])
def test_agrees_with_scipy(noise: float) -> None:
    rng = np.random.default_rng(3)
    rig = random_rig(rng)
    vertices = rig.vertices(speaking(rng, 6)) + rng.normal(0, noise, (6, 40, 3))
    found, residual = rig.coefficients(vertices)
    matrix = rig.deltas.reshape(52, -1).T.astype(np.float64)
    wanted = [
        lsq_linear(matrix, frame.ravel(), (0, 1), method="bvls", tol=1e-14) for frame in vertices
    ]
    np.testing.assert_allclose(found, [result.x for result in wanted], atol=2e-3)
    cost = sum(result.cost for result in wanted)
    assert residual == pytest.approx(np.sqrt(2 * cost / (6 * 40)), rel=1e-4, abs=1e-8)


def test_channels_that_are_the_same_share_the_movement() -> None:
    rig = rig_of(1, mouthLeft=(0, (0.01, 0, 0)), jawLeft=(0, (0.01, 0, 0)))
    found, residual = rig.coefficients(np.array([[[0.015, 0, 0]]]))
    assert found.sum() == pytest.approx(1.5, abs=1e-5)
    assert residual == pytest.approx(0, abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 0.1))
def test_no_face_in_the_box_is_nearer(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    rig = random_rig(rng, vertices=20)
    vertices = rig.vertices(speaking(rng, 1)) + rng.normal(0, noise, (1, 20, 3))
    found, _ = rig.coefficients(vertices)
    assert (found >= 0).all()
    assert (found <= 1).all()

    def distance(coefficients: np.ndarray) -> np.ndarray:
        gap = np.tensordot(coefficients, rig.deltas.astype(np.float64), 1) - vertices
        return np.square(gap).sum((1, 2))

    best = distance(found)
    steps = 10.0 ** rng.uniform(-3, 0, (200, 1)) * rng.normal(size=(200, 52))
    assert (distance(np.clip(found + steps, 0, 1)) >= best - 1e-9).all()


def test_no_frames_and_a_rig_that_never_moves() -> None:
    found, residual = random_rig(np.random.default_rng(4)).coefficients(np.zeros((0, 40, 3)))
    assert found.shape == (0, 52)
    assert residual == 0
    found, residual = rig_of(3).coefficients(np.full((2, 3, 3), 0.01))
    assert not found.any()
    assert residual == pytest.approx(0.01 * np.sqrt(3))


def test_another_mesh_is_refused() -> None:
    rig = rig_of(3)
    with pytest.raises(UserError, match=r"3 vertices.*2 x 4 x 3.*same mesh"):
        rig.coefficients(np.zeros((2, 4, 3)))
    with pytest.raises(UserError, match="neutral face of 4 x 3"):
        rig.coefficients(np.zeros((2, 3, 3)), np.zeros((4, 3)))
