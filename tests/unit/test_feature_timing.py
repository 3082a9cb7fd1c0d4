"""Where the outputs of an encoder lie in time."""

import numpy as np
import pytest
import torch
from torch import nn

from diffusiontalker.features.timing import at_frames, reach

HUBERT = ((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))


def test_reach_by_hand():
    assert reach([], []) == (1, 1)
    assert reach([10], [5]) == (5, 10)
    # The second layer sees three outputs of the first: 10 + 2 * 5 samples.
    assert reach([10, 3], [5, 2]) == (10, 20)
    assert reach(*HUBERT) == (320, 400)  # 20 ms and 25 ms


def test_reach_refuses_lists_of_unequal_length():
    with pytest.raises(ValueError, match="shorter"):
        reach([3, 3], [2])


def test_reach_is_what_convolutions_see():
    kernels, strides = [5, 3, 2], [2, 3, 1]
    layers = nn.Sequential(
        *(nn.Conv1d(1, 1, k, s, bias=False) for k, s in zip(kernels, strides, strict=True))
    )
    for layer in layers:
        nn.init.ones_(layer.weight)
    samples = torch.zeros(1, 1, 200, requires_grad=True)
    layers(samples)[0, 0, 4].backward()
    assert samples.grad is not None
    seen = torch.nonzero(samples.grad[0, 0]).flatten().tolist()
    stride, field = reach(kernels, strides)
    assert (seen[0], seen[-1] + 1) == (4 * stride, 4 * stride + field)


def test_outputs_that_tell_their_time_tell_the_times_of_frames():
    stride, field = reach(*HUBERT)
    centres = (np.arange(99) * stride + field / 2) / 16_000
    at = at_frames(centres[:, None].astype(np.float32), stride, field / 2, 60)
    assert at.shape == (60, 1)
    times = np.arange(60) / 30
    within = (times >= centres[0]) & (times <= centres[-1])
    assert np.allclose(at[within, 0], times[within], atol=1e-6)
    # Before the first output and after the last there is nothing but them.
    assert at[0, 0] == pytest.approx(centres[0])
    assert at[-1, 0] == pytest.approx(min(centres[-1], times[-1]))


def test_interpolation_by_hand():
    # Outputs at 400, 1200 and 2000 samples; frame 1 is at 533.33: a sixth of the way.
    hidden = np.array([[0.0, 6.0], [6.0, 0.0], [12.0, 0.0]], np.float32)
    at = at_frames(hidden, 800, 400, 3)
    assert np.allclose(at, [[0, 6], [1, 5], [5, 1]], atol=1e-5)
    assert at.dtype == np.float32


def test_a_single_output_holds_throughout():
    assert (at_frames(np.array([[3.0]], np.float32), 320, 200, 4) == 3.0).all()
