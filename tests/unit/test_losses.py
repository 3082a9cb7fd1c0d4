"""Every loss against numbers worked by hand, and padding that must not count."""

import math

import pytest
import torch
from torch import Tensor

from diffusiontalker import arkit
from diffusiontalker.arkit import LIP
from diffusiontalker.objectives import losses


def column(*values: float) -> Tensor:
    """One clip of one channel, (1, T, 1)."""
    return torch.tensor(values, dtype=torch.float32)[None, :, None]


def test_exp_by_hand() -> None:
    x_0 = torch.zeros(1, 2, 2)
    x_0_hat = torch.tensor([[[1.0, 2.0], [0.0, 3.0]]])
    everything = torch.ones(1, 2, dtype=torch.bool)
    assert losses.exp(x_0_hat, x_0, everything).item() == pytest.approx((1 + 4 + 0 + 9) / 4)
    assert losses.exp(x_0_hat, x_0, everything, channels=(1,)).item() == pytest.approx(13 / 2)
    assert losses.exp(x_0_hat, x_0, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(5 / 2)
    # weights 1 : 3 -> frame errors (1 + 3 * 4) / 4 and (0 + 3 * 9) / 4
    for weights in (torch.tensor([1.0, 3.0]), torch.tensor([10.0, 30.0])):
        loss = losses.exp(x_0_hat, x_0, everything, weights=weights)
        assert loss.item() == pytest.approx((13 / 4 + 27 / 4) / 2)


def test_exp_counts_frames_not_clips() -> None:
    # three real frames with squared errors 4, 4 and 1: a mean over clips would give 2.5
    x_0_hat = torch.cat([column(2, 2), column(1, 5)])
    mask = torch.tensor([[True, True], [True, False]])
    assert losses.exp(x_0_hat, torch.zeros(2, 2, 1), mask).item() == pytest.approx(3)


def test_lip_sees_only_lips() -> None:
    x_0 = torch.zeros(1, 1, 52)
    lips, brows = x_0.clone(), x_0.clone()
    lips[..., 24] = 2  # jawOpen
    brows[..., 2] = 2  # browInnerUp
    mask = torch.ones(1, 1)
    assert losses.lip(lips, x_0, mask).item() == pytest.approx(4 / len(LIP))
    assert losses.lip(brows, x_0, mask).item() == 0
    assert losses.lip(lips, x_0, mask, channels=(24, 25)).item() == pytest.approx(2)


def test_vel_by_hand() -> None:
    x_0_hat, x_0 = column(0, 1, 3, 3), column(0, 0, 0, 5)
    # differences 1, 2, 0 against 0, 0, 5: squares 1, 4, 25
    assert losses.vel(x_0_hat, x_0, torch.ones(1, 4)).item() == pytest.approx(10)
    # without frame 3 its difference is gone; without frame 1 only 2 -> 3 is left
    assert losses.vel(x_0_hat, x_0, torch.tensor([[1, 1, 1, 0]])).item() == pytest.approx(2.5)
    assert losses.vel(x_0_hat, x_0, torch.tensor([[1, 0, 1, 1]])).item() == pytest.approx(25)


def test_vel_ignores_a_constant_offset_and_takes_channels() -> None:
    x_0 = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 5)
    assert losses.vel(x_0 + 1, x_0, mask).item() == pytest.approx(0, abs=1e-12)
    moved = x_0.clone()
    moved[..., 2] += torch.arange(5.0)
    assert losses.vel(moved, x_0, mask).item() == pytest.approx(1 / 3)
    assert losses.vel(moved, x_0, mask, channels=(2,)).item() == pytest.approx(1)
    assert losses.vel(moved, x_0, mask, channels=(0, 1)).item() == pytest.approx(0)


def test_dis_by_hand() -> None:
    x_tilde, x_0_hat = (
        torch.cat([column(1, 1), column(0, 0)]),
        torch.cat([column(0, 3), column(2, 9)]),
    )
    mask = torch.tensor([[True, True], [True, False]])
    # clip 0: weight 2 on 1 and 4; clip 1: weight 10 on 4; three real frames
    loss = losses.dis(x_tilde, x_0_hat, mask, torch.tensor([2.0, 10.0]))
    assert loss.item() == pytest.approx((2 * (1 + 4) + 10 * 4) / 3)
    ones = losses.dis(x_tilde, x_0_hat, mask, torch.ones(2), channels=(0,))
    assert ones.item() == pytest.approx(losses.exp(x_0_hat, x_tilde, mask).item())


def test_ae_by_hand() -> None:
    student, teacher = torch.zeros(1, 3, 2), torch.tensor([[[1.0, 1.0], [3.0, 1.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    assert losses.ae(student, teacher, mask).item() == pytest.approx((1 + 1 + 9 + 1) / 4)


def test_gradient_reaches_the_student_only() -> None:
    student, teacher = (torch.ones(1, 2, 2, requires_grad=True) for _ in range(2))
    mask = torch.ones(1, 2)
    loss = losses.ae(student, 2 * teacher, mask)
    loss = loss + losses.dis(2 * teacher, student, mask, torch.ones(1))
    loss.backward()
    # d/ds of mean (s - 2)^2 over four values, twice: 2 * 2 (1 - 2) / 4
    assert student.grad is not None
    assert torch.allclose(student.grad, torch.full((1, 2, 2), -1.0))
    assert teacher.grad is None


def frame_losses(x_0_hat: Tensor, x_0: Tensor, mask: Tensor) -> dict[str, Tensor]:
    return {
        "exp": losses.exp(x_0_hat, x_0, mask, weights=torch.arange(1.0, 53)),
        "lip": losses.lip(x_0_hat, x_0, mask),
        "vel": losses.vel(x_0_hat, x_0, mask),
        "dis": losses.dis(x_0, x_0_hat, mask, torch.tensor([1.0, 3.0])),
        "ae": losses.ae(x_0_hat, x_0, mask),
    }


@pytest.mark.parametrize("padding", [0.0, 1e6, math.nan])
def test_padding_never_counts(padding: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x_0_hat, x_0 = (torch.randn(2, 4, 52, generator=generator) for _ in range(2))
    mask = torch.ones(2, 4)
    short = frame_losses(x_0_hat, x_0, mask)
    pad = torch.full((2, 3, 52), padding)
    x_0_hat = torch.cat([x_0_hat, pad], 1).requires_grad_()
    padded = frame_losses(
        x_0_hat, torch.cat([x_0, -pad], 1), torch.cat([mask, torch.zeros(2, 3)], 1)
    )
    for name, loss in padded.items():
        assert loss.item() == pytest.approx(short[name].item(), rel=1e-5), name
        (gradient,) = torch.autograd.grad(loss, x_0_hat)
        assert gradient.isfinite().all(), name
        assert (gradient[:, 4:] == 0).all(), name


def test_no_real_frame_gives_zero() -> None:
    x = torch.ones(2, 3, 52, requires_grad=True)
    for loss in frame_losses(x, torch.zeros(2, 3, 52), torch.zeros(2, 3)).values():
        assert loss.item() == 0
    assert losses.vel(x[:, :1], x[:, :1], torch.ones(2, 1)).item() == 0


def test_shapes_that_do_not_match_are_refused() -> None:
    # both would broadcast to a wrong number without a word
    with pytest.raises(ValueError, match=r"\(2, 3, 1\)"):
        losses.exp(torch.ones(2, 3, 4), torch.ones(2, 3, 1), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"mask \(B, T\)"):
        losses.exp(torch.ones(2, 3, 4), torch.ones(2, 3, 4), torch.ones(1, 3))


def test_contrastive_by_hand() -> None:
    # lengths differ on purpose: after normalising, the similarities are 1, 0 and -1
    anchors = torch.tensor([[5.0, 0.0]])
    candidates = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    total = math.e**2 + 1 + math.e**-2  # temperature 0.5
    one = losses.contrastive(anchors, candidates, torch.tensor([[True, False, False]]), 0.5)
    assert one.item() == pytest.approx(-math.log(math.e**2 / total), rel=1e-5)
    two = losses.contrastive(anchors, candidates, torch.tensor([[True, True, False]]), 0.5)
    assert two.item() == pytest.approx(-math.log((math.e**2 + 1) / total), rel=1e-5)
    everything = losses.contrastive(anchors, candidates, torch.ones(1, 3, dtype=torch.bool), 0.5)
    assert everything.item() == pytest.approx(0, abs=1e-6)


def test_contrastive_leaves_out_unknown_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(3, 4, generator=generator, requires_grad=True)
    candidates = torch.randn(5, 4, generator=generator, requires_grad=True)
    positives = torch.zeros(3, 5, dtype=torch.bool)
    positives[0, 1] = positives[2, 3] = True
    loss = losses.contrastive(anchors, candidates, positives, 0.1)
    known = losses.contrastive(anchors[[0, 2]], candidates, positives[[0, 2]], 0.1)
    assert loss.item() == pytest.approx(known.item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, anchors)
    assert gradient.isfinite().all()
    assert gradient[1].abs().max() < 1e-6
    assert gradient[0].abs().max() > 1e-3

    nothing = losses.contrastive(anchors, candidates, torch.zeros_like(positives), 0.1)
    nothing.backward()  # every parameter stays in the graph, as distributed training needs
    assert nothing.item() == 0
    assert candidates.grad is not None
    assert candidates.grad.abs().max() < 1e-6


def test_contrastive_one_positive_is_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    anchors, library = (
        torch.randn(6, 8, generator=generator),
        torch.randn(4, 8, generator=generator),
    )
    labels = torch.tensor([0, 3, 1, 1, 2, 0])
    cosine = torch.nn.functional.cosine_similarity(anchors[:, None], library[None], dim=-1)
    expected = torch.nn.functional.cross_entropy(cosine / 0.07, labels)
    positives = labels[:, None] == torch.arange(4)
    loss = losses.contrastive(anchors, library, positives, torch.tensor(0.07))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_pc_by_hand() -> None:
    # similarities: rows (1, 0) and (0.6, 0.8) against columns (1, 0) and (0, 1)
    personalized = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    upper = torch.tensor([[2.0, 0.0], [0.0, 7.0]])
    e = math.exp
    rows = [math.log(1 + e(0 - 1)), math.log(1 + e(0.6 - 0.8))]
    columns = [math.log(1 + e(0.6 - 1)), math.log(1 + e(0 - 0.8))]
    expected = (sum(rows) + sum(columns)) / 4
    assert losses.pc(personalized, upper, 1.0).item() == pytest.approx(expected, rel=1e-6)
    assert losses.pc(upper, personalized, 1.0).item() == pytest.approx(expected, rel=1e-6)


def test_pc_same_marks_further_positives() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 4, generator=generator), torch.randn(3, 4, generator=generator)
    label = torch.tensor([0, 1, 0])
    same = label[:, None] == label
    assert losses.pc(a, b, 0.1, same) < losses.pc(a, b, 0.1)
    assert losses.pc(a, b, 0.1, torch.ones(3, 3, dtype=torch.bool)).item() == pytest.approx(0)
    # marks are rows of personalized by columns of upper, in both directions
    one_way = torch.tensor([[0, 0, 1], [0, 0, 0], [0, 0, 0]], dtype=torch.bool)
    forward, backward = losses.pc(a, b, 0.1, one_way), losses.pc(b, a, 0.1, one_way.T)
    assert forward.item() == pytest.approx(backward.item())
    cosine = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1) / 0.1
    marked = one_way | torch.eye(3, dtype=torch.bool)
    shares = (cosine.softmax(1) * marked).sum(1), (cosine.softmax(0) * marked).sum(0)
    expected = -(shares[0].log().mean() + shares[1].log().mean()) / 2
    assert forward.item() == pytest.approx(expected.item(), rel=1e-5)
    # the diagonal is positive whatever ``same`` says
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    assert losses.pc(a, b, 0.1, nothing).item() == losses.pc(a, b, 0.1).item()


def test_aperture_by_hand() -> None:
    def mouth(jaw: float, close: float, lower: float, upper: float) -> Tensor:
        face = torch.zeros(1, 2, len(arkit.CHANNELS))
        names = "jawOpen", "mouthClose", "mouthLowerDownLeft", "mouthUpperUpLeft"
        for name, value in zip(names, (jaw, close, lower, upper), strict=True):
            face[..., arkit.INDEX[name]] = value
        return face

    mask = torch.tensor([[1.0, 0.0]])
    sealed, ajar = mouth(0.3, 0.35, 0.0, 0.0), mouth(0.35, 0.3, 0.04, 0.06)
    expected = math.log(0.15 / 0.05) ** 2  # apertures of 0.1 and 0
    assert losses.aperture(ajar, sealed, mask).item() == pytest.approx(expected, rel=1e-5)
    # an open mouth that is 0.1 more open costs far less
    wide, wider = mouth(0.6, 0.0, 0.0, 0.0), mouth(0.7, 0.0, 0.0, 0.0)
    assert losses.aperture(wider, wide, mask) < 0.03 * expected
    assert losses.aperture(ajar, sealed, 0 * mask).item() == 0
