"""What causal layers remember: all of a chunk's past, or no more than a single frame sees."""

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusiontalker.model.convolutions import ChunkCache, FrameCache, TimeConv
from diffusiontalker.runtime.stream_batch.layer_history import LayerHistory

FRAMES, WIDTH = 23, 3


@pytest.mark.parametrize("dilation", [1, 2, 4, 8])
def test_a_frame_at_a_time_is_the_whole(dilation: int) -> None:
    torch.manual_seed(0)
    conv = TimeConv(WIDTH, 5, 3, dilation, causal=True)
    x = torch.randn(2, FRAMES, WIDTH)
    whole = conv(x)
    history, rows = LayerHistory({dilation: WIDTH}), np.array([0, 1])
    history.grow()
    for t in range(FRAMES):
        taps = FrameCache(tensors(history.read(rows, rows * 0 + t)))
        torch.testing.assert_close(conv(x[:, t : t + 1], taps), whole[:, t : t + 1])
        history.write(rows, rows * 0 + t, [seen.numpy() for seen in taps.now().values()])
    torch.testing.assert_close(conv(x, ChunkCache(torch.zeros(2, 2 * dilation * WIDTH))), whole)


def tensors(past: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in past.items()}


def test_taps_by_hand() -> None:
    past = {
        "far_2": torch.tensor([[[1.0, 2.0, 3.0]]]),
        "near_2": torch.tensor([[[4.0, 5.0, 6.0]]]),
        "near_0": torch.tensor([[[7.0, 8.0]]]),
    }
    taps = FrameCache(past)
    first, second = torch.tensor([[[10.0]]]), torch.tensor([[[20.0, 30.0]]])
    # Each layer of a dilation takes the next of its columns.
    assert taps.windows(first, 3, 2).tolist() == [[[1, 4, 10]]]
    assert taps.windows(second, 3, 2).tolist() == [[[2, 3, 5, 6, 20, 30]]]
    assert taps.read(first, 2).tolist() == [[7, 8]]
    taps.write(torch.tensor([[70.0, 80.0]]))
    assert {d: seen.tolist() for d, seen in taps.now().items()} == {
        0: [[[70, 80]]],
        2: [[[10, 20, 30]]],
    }


def test_a_clip_that_begins_saw_zeros() -> None:
    taps = FrameCache()
    assert taps.windows(torch.ones(1, 1, 2), 3, 4).tolist() == [[[0, 0, 0, 0, 1, 1]]]
    assert taps.read(torch.ones(1, 1, 2), 3).tolist() == [[0, 0, 0]]


def test_history_by_hand() -> None:
    history = LayerHistory({0: 1, 1: 1, 2: 2})
    history.grow()
    history.grow()
    rows = np.array([2, 1])
    for t in range(5):
        frames = np.array([t, t])
        value = np.full((2, 1, 1), float(t), np.float32)
        value[1] += 100
        history.write(rows, frames, [value, value, value.repeat(2, axis=2)])
    past = history.read(rows, np.array([5, 5]))
    assert {name: seen[:, 0, 0].tolist() for name, seen in past.items()} == {
        "near_0": [4, 104], "far_1": [3, 103], "near_1": [4, 104],
        "far_2": [1, 101], "near_2": [3, 103],
    }  # fmt: skip
    history.reset(2)
    past = history.read(rows, np.array([0, 5]))
    assert {seen[0].sum() for seen in past.values()} == {0}
    assert past["near_1"][1, 0, 0] == 104
    # A row that no stream has had is as fresh.
    assert {seen.sum() for seen in history.read(np.array([3]), np.array([0])).values()} == {0}
