"""Lips that meet by a decision: worked by hand, in torch, in its loss and in the graphs."""

import numpy as np
import pytest
import torch
from tests.unit import models

from diffusiontalker.arkit import CHANNELS, INDEX
from diffusiontalker.config import LossSettings
from diffusiontalker.model.lip_seal import seal_lips
from diffusiontalker.model.talker import TalkerConfig
from diffusiontalker.objectives import losses
from diffusiontalker.objectives.articulation import aperture
from diffusiontalker.training.objectives import RoundObjective


def face(**channels: float) -> torch.Tensor:
    out = torch.full((1, 1, len(CHANNELS)), 0.3)
    for name, value in channels.items():
        out[..., INDEX[name]] = value
    return out


OPEN = face(jawOpen=0.5, mouthClose=0.1, mouthLowerDownLeft=0.2, mouthUpperUpLeft=0.1)


@pytest.mark.parametrize(
    ("probability", "close", "lower"),
    [(0.0, 0.1, 0.2), (0.07, 0.1, 0.2), (0.12, 0.3, 0.1), (0.17, 0.5, 0.0), (1.0, 0.5, 0.0)],
)
def test_lips_are_sealed_by_hand(probability: float, close: float, lower: float) -> None:
    found = seal_lips(OPEN, torch.full((1, 1), probability))[0, 0]
    assert found[INDEX["mouthClose"]].item() == pytest.approx(close, abs=1e-6)
    assert found[INDEX["mouthLowerDownLeft"]].item() == pytest.approx(lower, abs=1e-6)
    assert found[INDEX["jawOpen"]].item() == pytest.approx(0.5)
    assert found[INDEX["browInnerUp"]].item() == pytest.approx(0.3)
    assert 0 <= found.min() <= found.max() <= 1
    if close == 0.5:
        assert aperture(found[None].numpy())[0] == pytest.approx(0, abs=1e-6)


def test_a_mouth_that_is_closed_stays_as_it_is() -> None:
    closed = face(jawOpen=0.0, mouthClose=0.0, mouthLowerDownLeft=0.0, mouthLowerDownRight=0.0,
                  mouthUpperUpLeft=0.0, mouthUpperUpRight=0.0)  # fmt: skip
    torch.testing.assert_close(seal_lips(closed, torch.ones(1, 1)), closed)


def test_its_loss_by_hand() -> None:
    # closed, open, and padding
    faces = torch.cat([face(jawOpen=0.02, mouthClose=0.0, mouthLowerDownLeft=0.0,
                            mouthUpperUpLeft=0.0), OPEN, OPEN], dim=1)  # fmt: skip
    closed = losses.closed_lips(faces)
    assert closed.tolist() == [[1, 0, 0]]
    logit, mask = torch.tensor([[0.0, 2.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    expected = (np.log(2) + np.log1p(np.exp(2))) / 2
    assert losses.seal(logit, closed, mask).item() == pytest.approx(expected, rel=1e-5)


def test_a_student_learns_the_teachers_probability_and_not_its_decision() -> None:
    student, teacher = models.talker(0, teacher=False), models.talker(1)
    batch = models.batch((20,))
    task = RoundObjective(student, teacher, 2, LossSettings()).eval()

    def error(bias: float) -> float:
        torch.nn.init.zeros_(student.seal.weight)
        torch.nn.init.constant_(student.seal.bias, bias)
        return task(batch, torch.Generator().manual_seed(0))["seal"].item()

    torch.nn.init.zeros_(teacher.seal.weight)
    torch.nn.init.constant_(teacher.seal.bias, -0.8)  # 0.3, at which it closes the lips
    assert error(-0.8) < min(error(-1.2), error(-0.4), error(3.0))


def test_a_talker_seals_what_it_generates() -> None:
    talker = models.talker(teacher=False)
    assert talker.seal is not None
    mel, mask = torch.zeros(1, 40, 80), torch.ones(1, 20, 1)
    noise = talker.noise((1, 20, len(CHANNELS)), torch.Generator().manual_seed(0))

    def apertures(bias: float) -> np.ndarray:
        torch.nn.init.constant_(talker.seal.bias, bias)
        condition, _, _ = talker.recognise(mel, mask)
        return aperture(talker.generate(condition, noise, 2)[0].detach().numpy())

    assert apertures(50.0).max() == pytest.approx(0, abs=1e-6)
    assert apertures(-50.0).max() > 0.05


def test_without_the_decision_there_is_no_head_and_no_loss() -> None:
    talker = models.talker(lip_seal=False)
    assert not [name for name in talker.state_dict() if name.startswith("seal")]
    condition, _, _ = talker.recognise(torch.zeros(1, 20, models.FEATURES), torch.ones(1, 20, 1))
    assert condition.seal is None
    assert condition.expand(3).seal is None


def test_a_checkpoint_of_a_release_without_it_is_read() -> None:
    plain = models.config().to_dict()
    assert TalkerConfig.from_dict(plain).lip_seal
    del plain["lip_seal"]
    assert not TalkerConfig.from_dict(plain).lip_seal
