"""The papers' configurations: a step of each stage is trained, and they are as the papers state."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.unit import models

from diffusiontalker import config
from diffusiontalker.config import LossSettings, Settings, round_settings
from diffusiontalker.model.talker import Talker, TalkerConfig, copy_matching_weights
from diffusiontalker.training import objectives
from diffusiontalker.training.architecture import student_config, teacher_config

FOLDER = Path(__file__).parents[2] / "configs" / "papers"
FILES = sorted(FOLDER.glob("*.yaml"))
V1 = {"exp": 1.0, "lip": 1.0, "vel": 0.5, "con_identity": 0.007}
"""Weights of v1's losses; a round has ``dis`` of 0.1 beside them, which a teacher never has."""


def data(features: int = models.FEATURES) -> Any:
    """A corpus as an architecture sees it."""
    manifest = SimpleNamespace(
        identities=list(models.IDENTITIES), emotions=list(models.EMOTIONS), feature_dim=features
    )
    return SimpleNamespace(manifest=manifest)


def shapes(settings: Settings, features: int = models.FEATURES) -> list[TalkerConfig]:
    return [make(settings, data(features)) for make in (teacher_config, student_config)]


def weights(losses: LossSettings) -> dict[str, float]:
    """The losses that count."""
    options = {"energy_steps", "energy_chunk", "temperature", "student_truth", "channel_power"}
    return {k: v for k, v in losses.model_dump(exclude=options).items() if v}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_teacher_and_every_round_train(path: Path) -> None:
    settings = config.load(path)
    torch.manual_seed(0)
    shape, own = shapes(settings)
    guide: Talker = Talker(shape)
    stages: list[Any] = [objectives.TeacherObjective(guide, settings.losses.teacher)]
    for steps in settings.diffusion.rounds:
        student = Talker(own)
        copy_matching_weights(student, guide)
        losses = settings.losses.student
        stages.append(objectives.RoundObjective(student, copy.deepcopy(guide), steps, losses))
        guide = student
    for stage in stages:
        batch = models.batch((20, 14))
        if not stage.takes_features:
            del batch["features"]
        found = stage.train()(batch, torch.Generator().manual_seed(0))
        found["loss"].backward()
        assert found["loss"].isfinite()
        gradients = [p.grad for p in stage.trained.decoder.parameters()]
        assert all(grad is not None and grad.isfinite().all() for grad in gradients)


def test_v1_is_as_the_paper_states() -> None:
    settings = config.load(FOLDER / "v1.yaml")
    for losses in (settings.losses.teacher, settings.losses.student):
        assert weights(losses) == {**V1, "dis": 0.1}
    assert (settings.diffusion.steps, settings.diffusion.rounds) == (32, (16, 8))
    for steps in (None, 16, 8):
        train = settings.training.teacher if steps is None else round_settings(settings, steps)
        assert (train.epochs, train.passes, train.learning_rate) == (50, 1, 1e-4)
        assert (train.decay, train.warmup, train.weight_decay) == ("constant", 0, 0)
        assert (train.clip_norm, train.ema, train.window) == (None, 0, 300)
    teacher, student = shapes(settings)
    assert teacher == student, "a student is its teacher's copy"
    assert teacher.personalizer.dim == 32
    assert not teacher.personalizer.use_emotion
    guide, copied = Talker(teacher), Talker(student)
    copy_matching_weights(copied, guide)
    for name, value in guide.deployed().items():
        assert torch.equal(value, copied.deployed()[name]), name


def test_v2_has_a_small_student_of_the_published_size() -> None:
    settings = config.load(FOLDER / "v2.yaml")
    assert (settings.diffusion.steps, settings.diffusion.rounds) == (16, (8, 4, 2))
    assert settings.losses.student.ae > 0
    assert settings.losses.teacher.pc > 0
    teacher, student = shapes(settings, features=768)
    assert teacher.personalizer.fusion == "cross"
    assert teacher.feature_dim == 768
    assert student.feature_dim is None
    size = sum(4 * value.numel() for value in Talker(student).deployed().values()) / 1e6
    assert size == pytest.approx(45, rel=0.05)


def test_a_copy_on_features_and_log_mel_has_all_of_its_teachers_weights() -> None:
    changes = ["model.student.frozen_features=true", "output=a"]
    same = [f"model.student.{part}" for part in ("context", "decoder")]
    given = config.load(None, changes)
    settings = config.changed(
        given,
        {name: config.value_of(given, name.replace("student", "teacher")) for name in same},
        "here",
    )
    teacher, student = map(Talker, shapes(settings))
    assert copy_matching_weights(student, teacher) == []
    assert all(
        torch.equal(value, student.state_dict()[k]) for k, value in teacher.state_dict().items()
    )


def test_an_override_of_a_section_leaves_that_of_the_same_anchor_alone() -> None:
    found = config.load(FOLDER / "v1.yaml", ["training.teacher.epochs=3", "losses.student.dis=0.3"])
    assert found.training.teacher.epochs == 3
    assert found.training.first_round.epochs == found.training.round.epochs == 50
    assert (found.losses.student.dis, found.losses.teacher.dis) == (0.3, 0.1)
