"""The energy score as a loss: numbers worked by hand, padding, and that a blur loses."""

import math

import pytest
import torch
from torch import Tensor

from diffusiontalker.arkit import UPPER
from diffusiontalker.objectives.losses import energy

APPROXIMATELY = 2e-4  # the root is taken of square + 1e-8


def clip(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[None, :, None]


def score(
    samples: list[Tensor], truth: Tensor, mask: Tensor | None = None, chunk: int = 1, **more: object
) -> float:
    mask = torch.ones(truth.shape[:2]) if mask is None else mask
    return energy(torch.stack(samples), truth, mask, chunk, **more).item()


def test_by_hand() -> None:
    # two frames, chunks of one: distances to the truth |1|, |3| and |-1|, |0|, to each other 2, 3
    truth, a, b = clip(0, 0), clip(1, 3), clip(-1, 0)
    expected = ((1 + 3) / 2 + (1 + 0) / 2) / 2 - 0.5 * (2 + 3) / 2
    assert score([a, b], truth) == pytest.approx(expected, abs=APPROXIMATELY)
    # one chunk of both: norms sqrt(10), 1 and sqrt(4 + 9), each over sqrt(2)
    expected = ((math.sqrt(10) + 1) / 2 - 0.5 * math.sqrt(13)) / math.sqrt(2)
    assert score([a, b], truth, chunk=2) == pytest.approx(expected, abs=APPROXIMATELY)


def test_three_samples_by_hand() -> None:
    # to the truth 1, 2, 3: mean 2; pairs 1, 2, 1: mean 4/3
    samples = [clip(1), clip(2), clip(3)]
    assert score(samples, clip(0)) == pytest.approx(2 - 0.5 * 4 / 3, abs=APPROXIMATELY)


def test_norm_runs_over_channels_together_and_over_the_chosen() -> None:
    truth = torch.zeros(1, 1, 52)
    a, b = truth.clone(), truth.clone()
    a[..., 0], a[..., 1], a[..., 24] = 3, 4, 100  # brows, and the jaw that is not asked
    assert score([a, b], truth, channels=UPPER) == pytest.approx(5 / 2 - 5 / 2, abs=APPROXIMATELY)
    assert score([a, a], truth, channels=UPPER) == pytest.approx(5, abs=APPROXIMATELY)


def test_zero_where_all_samples_are_the_truth() -> None:
    truth = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    assert score([truth, truth], truth, chunk=3) == pytest.approx(0, abs=APPROXIMATELY)


def test_a_blur_loses_to_the_distribution_and_so_do_wrong_spreads() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (4000, 4, 2)

    def draw(scale: float) -> Tensor:
        return scale * torch.randn(shape, generator=generator)

    truth = draw(1)
    scores = {s: score([draw(s), draw(s)], truth, chunk=4) for s in (0.0, 0.5, 1.0, 2.0)}
    assert min(scores, key=scores.__getitem__) == 1.0
    assert scores[0.0] > scores[1.0] * 1.1
    # of the right spread in each frame, but frozen over time: worse, as movement counts
    frozen = [draw(1)[:, :1].expand(shape) for _ in range(2)]
    assert score(frozen, truth, chunk=4) > scores[1.0] * 1.02
    assert score(frozen, truth, chunk=1) == pytest.approx(
        score([draw(1), draw(1)], truth, chunk=1), rel=0.03
    )


def test_padding_and_incomplete_chunks_do_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    truth, a, b = (torch.randn(1, 7, 3, generator=generator) for _ in range(3))
    first = score([a[:, :3], b[:, :3]], truth[:, :3], chunk=3)
    # frames 3 to 5 hold a padded one, frame 6 fills no chunk
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 1]])
    a[:, 5] = math.nan
    a.requires_grad_()
    loss = energy(torch.stack([a, b]), truth, mask, 3)
    loss.backward()
    assert loss.item() == pytest.approx(first)
    assert a.grad is not None
    assert a.grad[:, :3].abs().sum() > 0
    assert not a.grad[:, 3:].any()


def test_nothing_to_judge_is_zero() -> None:
    truth = torch.zeros(2, 5, 3)
    ones = torch.ones_like(truth)
    assert score([ones, ones], truth, chunk=6) == 0  # no clip as long as a chunk
    assert score([ones, ones], truth, torch.zeros(2, 5), chunk=2) == 0


def test_gradient_is_finite_where_samples_coincide() -> None:
    x = torch.zeros(1, 4, 2, requires_grad=True)
    energy(torch.stack([x, x]), torch.zeros(1, 4, 2), torch.ones(1, 4), 2).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_bad_input() -> None:
    x = torch.zeros(1, 4, 2)
    with pytest.raises(ValueError, match="two samples"):
        energy(x[None], x, torch.ones(1, 4), 2)
    with pytest.raises(ValueError, match="one shape"):
        energy(torch.stack([x, x]), x[:, :3], torch.ones(1, 3), 1)
