"""Padding and what stands in it reach no loss, no gradient, no running statistic, no metric."""

import copy
import math
from typing import Any

import pytest
import torch
from tests.unit import models
from torch import Tensor, nn
from torch.testing import assert_close

from diffusiontalker.audio.log_mel import PER_FRAME
from diffusiontalker.config import LossSettings
from diffusiontalker.objectives import losses
from diffusiontalker.training.fit import validate
from diffusiontalker.training.objectives import RoundObjective, TeacherObjective

WEIGHTS = LossSettings(energy=0.3, energy_chunk=4)
EVERY_LOSS = {
    "loss", "mean", "exp", "lip", "vel", "movement", "aperture", "blink", "seal", "con_identity",
    "con_emotion", "pc",
}  # fmt: skip
LENGTHS = (20, 14, 17)
MORE = 9
"""Frames of padding that the padded batch has beyond the other."""
GARBAGE = [1e3, math.nan]
"""What stands in the padding."""
DRAWN = 64
"""Frames for which noise is drawn, whatever the batch's length: the same for both batches."""


def teacher(**shape: Any) -> TeacherObjective:
    return TeacherObjective(models.talker(**shape), WEIGHTS)


def round_of(teacher: bool, **shape: Any) -> RoundObjective:
    """A first round, from a teacher on features, or a later one, from a student."""
    student = models.talker(seed=1, teacher=False, **shape)
    return RoundObjective(student, models.talker(seed=2, teacher=teacher, **shape), 2, WEIGHTS)


HYBRID = {"encoder_width": 8, "encoder_depth": 2}
TASKS = [
    pytest.param(make, shape, id=f"{name}-{kind}-{depth}")
    for kind in ("tcn", "gru")
    for depth in (0, 2)
    for name, make, more in (
        ("teacher", teacher, {}),
        ("teacher-with-log-mel", teacher, HYBRID),
        ("first-round", lambda **shape: round_of(True, **shape), {}),
        ("later-round", lambda **shape: round_of(False, **shape), {}),
    )
    for shape in [{"kind": kind, "depth": depth, **more}]
]


@pytest.fixture(autouse=True)
def noise_for_so_many_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame k of clip b gets the same noise in a longer batch, so that padding alone differs."""
    randn = torch.randn

    def draw(*shape: Any, **options: Any) -> Tensor:
        size = shape[0] if len(shape) == 1 else shape
        if len(size) != 3 or size[1] == 1:
            return randn(*shape, **options)
        return randn((size[0], DRAWN, size[2]), **options)[:, : size[1]]

    monkeypatch.setattr(torch, "randn", draw)


def padded(batch: dict[str, Tensor], garbage: float) -> dict[str, Tensor]:
    """``MORE`` frames of padding behind every clip, and garbage in all of it."""
    out = dict(batch)
    mask = nn.functional.pad(batch["mask"], (0, MORE))
    for key, per_frame in (("coefficients", 1), ("features", 1), ("log_mel", PER_FRAME)):
        longer = nn.functional.pad(batch[key], (0, 0, 0, MORE * per_frame))
        real = mask.repeat_interleave(per_frame, dim=1)[..., None].bool()
        out[key] = longer.where(real, garbage)
    blinks = nn.functional.pad(batch["blinks"], (0, MORE)).where(mask.bool(), garbage)
    return out | {"mask": mask, "blinks": blinks}


def prepared(make: Any, shape: dict[str, Any], training: bool) -> TeacherObjective | RoundObjective:
    """The task, without dropout: it would draw other numbers for a longer batch."""
    task: TeacherObjective | RoundObjective = make(**shape).train(training)
    for module in task.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return task


def measured(
    task: TeacherObjective | RoundObjective, batch: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Every loss, the gradient of each on each parameter, and the tracked residual variance."""
    parts = task(batch, torch.Generator().manual_seed(0))
    parameters = {name: p for name, p in task.named_parameters() if p.requires_grad}
    gradients: dict[str, Tensor] = {}
    for key, part in parts.items():
        if not part.requires_grad:  # the mean, where there is no context
            continue
        found = torch.autograd.grad(
            part, list(parameters.values()), retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                gradients[f"{key} on {name}"] = gradient
    return parts, gradients, task.talker.residual_variance


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(("make", "shape"), TASKS)
def test_padding_reaches_no_loss_and_no_gradient(
    make: Any, shape: dict[str, Any], garbage: float
) -> None:
    batch = models.batch(LENGTHS)
    task = prepared(make, shape, training=True)
    other = copy.deepcopy(task)
    parts, gradients, variance = measured(task, batch)
    expected = EVERY_LOSS | ({"dis", "ae", "energy"} if isinstance(task, RoundObjective) else set())
    assert set(parts) == expected
    assert gradients
    others, other_gradients, other_variance = measured(other, padded(batch, garbage))
    assert_close(others, parts, atol=1e-5, rtol=1e-5)
    assert_close(other_gradients, gradients, atol=1e-5, rtol=1e-4)
    assert_close(other_variance, variance)


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(("make", "shape"), TASKS)
def test_padding_reaches_no_validation_metric(
    make: Any, shape: dict[str, Any], garbage: float
) -> None:
    task = prepared(make, shape, training=False)
    split = [models.batch(LENGTHS), models.batch((9, 12), window=12, seed=1)]

    def found(batches: list[dict[str, Tensor]]) -> dict[str, float]:
        return validate(task, batches, torch.device("cpu"))

    clean = found(split)
    assert clean == found(split)
    assert clean == pytest.approx(found([padded(b, garbage) for b in split]), rel=1e-4, abs=1e-5)


def test_what_is_real_does_count() -> None:
    """The other way round: a frame that the mask lets through changes every loss."""
    task = prepared(lambda: round_of(True), {}, training=False)
    batch = models.batch(LENGTHS)
    longer = {**batch, "mask": batch["mask"].clone()}
    longer["mask"][1] = 1
    parts, _, _ = measured(task, batch)
    others, _, _ = measured(task, longer)
    assert [key for key in parts if torch.equal(parts[key], others[key])] == []


@pytest.mark.parametrize("garbage", [1e6, math.nan])
def test_padding_reaches_no_energy_score(garbage: float) -> None:
    generator = torch.Generator().manual_seed(0)
    samples, x_0 = torch.randn(2, 2, 10, 5, generator=generator), torch.randn(2, 10, 5)
    mask = (torch.arange(10) < torch.tensor([[10], [7]])).float()
    real = mask[..., None].bool()
    clean = samples.where(real, 0.0).requires_grad_()
    dirty = nn.functional.pad(samples.where(real, garbage), (0, 0, 0, MORE), value=garbage)
    dirty.requires_grad_()
    score = losses.energy(clean, x_0.where(real, 0.0), mask, 3)
    other = losses.energy(
        dirty,
        nn.functional.pad(x_0.where(real, -garbage), (0, 0, 0, MORE), value=garbage),
        nn.functional.pad(mask, (0, MORE)),
        3,
    )
    assert_close(other, score)
    (gradient,) = torch.autograd.grad(score, clean)
    (other_gradient,) = torch.autograd.grad(other, dirty)
    assert_close(other_gradient[:, :, :10], gradient)
    assert not other_gradient[:, :, 10:].any()
    # by chunks of three: three real ones in the first clip, two in the second
    assert gradient[:, 0, :9].any(-1).all()
    assert gradient[:, 1, :6].any(-1).all()
    assert not gradient[:, 0, 9].any()
    assert not gradient[:, 1, 6].any()
