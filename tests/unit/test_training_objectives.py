"""What training optimises: conditioning, each loss's reach, overfitting, and what must not move."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.unit import models
from torch import Tensor
from torch.testing import assert_close

from diffusiontalker.arkit import LIP, UPPER
from diffusiontalker.config import LossSettings, PersonalizerSettings
from diffusiontalker.diffusion.schedule import Schedule
from diffusiontalker.model.personalizer import VoiceEmbeddings
from diffusiontalker.model.talker import Talker
from diffusiontalker.objectives import losses
from diffusiontalker.training import objectives
from diffusiontalker.training.augmentation import augment
from diffusiontalker.training.objectives import RoundObjective, TeacherObjective
from diffusiontalker.training.windows import UNKNOWN

OFF = dict.fromkeys(
    (
        "exp lip vel movement aperture blink seal mean con_identity con_emotion dis ae pc energy"
    ).split(),
    0.0,
)


def only(**weights: Any) -> LossSettings:
    """Every loss at weight 0 but these."""
    return LossSettings(**{**OFF, **weights})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def teacher_task(settings: LossSettings | None = None, **shape: Any) -> TeacherObjective:
    return TeacherObjective(models.talker(**shape), settings or LossSettings())


def round_task(
    steps: int = 2, settings: LossSettings | None = None, **shape: Any
) -> RoundObjective:
    student = models.talker(seed=1, teacher=False, **shape)
    return RoundObjective(
        student, models.talker(**shape), steps, settings or LossSettings(energy=0.3)
    )


def test_a_model_for_n_steps_is_trained_at_their_times_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: set[float] = set()

    def spy(self: Schedule, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        seen.update(t.tolist())
        return x_0

    monkeypatch.setattr(Schedule, "add_noise", spy)
    task = TeacherObjective(models.talker(teacher=False), LossSettings(), steps=2)
    batch = models.batch()
    del batch["features"]  # which the student's network does not take
    draws = generator()
    for _ in range(8):
        task(batch, draws)
    assert seen == {0.5, 1.0}


TASKS = [
    pytest.param(lambda: teacher_task(), id="teacher"),
    pytest.param(lambda: teacher_task(kind="gru", depth=0), id="teacher-papers"),
    pytest.param(lambda: round_task(), id="round"),
    pytest.param(lambda: round_task(kind="gru", depth=0), id="round-papers"),
    pytest.param(
        lambda: RoundObjective(
            models.talker(seed=2, teacher=False),
            models.talker(teacher=False),
            2,
            LossSettings(energy=0.3),
        ),
        id="second-round",
    ),
]


@pytest.mark.parametrize("make", TASKS)
def test_losses_are_finite_and_weighed(make: Any) -> None:
    task = make().train()
    parts = task(models.batch(), generator())
    assert all(value.isfinite() and value.ndim == 0 for value in parts.values())
    weighed = sum(getattr(task.settings, k) * v.item() for k, v in parts.items() if k != "loss")
    assert parts["loss"].item() == pytest.approx(weighed, rel=1e-5)


@pytest.mark.parametrize("make", TASKS)
def test_every_trained_parameter_gets_a_gradient(make: Any) -> None:
    # so that wrap_ddp workers, who wait for each other's gradients, never wait in vain
    task = make().train()
    task(models.batch((20, 20, 14)), generator())["loss"].backward()
    without = {n for n, p in task.named_parameters() if p.requires_grad and p.grad is None}
    assert not without


@pytest.mark.parametrize("label", [0, UNKNOWN])
def test_weights_of_0_and_unknown_labels_leave_no_parameter_out(label: int) -> None:
    batch = models.batch((20, 20))
    batch["identity"], batch["emotion"] = (torch.full((2,), label) for _ in range(2))
    settings = PersonalizerSettings(dim=8, fused=8, use_identity=False, from_voice=1.0)
    for task in (
        teacher_task(only(exp=1.0), personalizer=settings),
        round_task(2, only(dis=1.0), personalizer=settings),
    ):
        task.train()(batch, generator())["loss"].backward()
        assert all(p.grad is not None for p in task.talker.parameters())


@pytest.mark.parametrize("make", TASKS[:3])
def test_overfits_two_windows(make: Any) -> None:
    task, batch = make().train(), models.batch((20, 20))
    optimizer = torch.optim.Adam((p for p in task.parameters() if p.requires_grad), 1e-2)

    def loss() -> float:
        with torch.no_grad():
            return sum(task(batch, generator(1000 + i))["loss"].item() for i in range(8))

    before = loss()
    for step in range(60):
        optimizer.zero_grad()
        task(batch, generator(step))["loss"].backward()
        optimizer.step()
    assert loss() < 0.92 * before


@pytest.mark.parametrize("make", TASKS[:3])
def test_one_seed_one_loss(make: Any) -> None:
    one, two, three = (make().train()(models.batch(), generator(seed)) for seed in (3, 3, 4))
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}
    assert one["loss"] != three["loss"]


def test_validation_neither_augments_nor_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("called in evaluation mode")

    monkeypatch.setattr(objectives, "augment", never)
    monkeypatch.setattr(objectives, "track_residual", never)
    for task in (teacher_task(), round_task()):
        before = copy.deepcopy(task.state_dict())
        task.eval()(models.batch(), generator())
        assert all(torch.equal(v, before[k]) for k, v in task.state_dict().items())
        with pytest.raises(AssertionError, match="evaluation mode"):
            task.train()(models.batch(), generator())


def test_a_round_leaves_its_teacher_alone() -> None:
    task = round_task().train()
    assert task.talker.training
    assert not any(module.training for module in task.teacher.modules())
    before = copy.deepcopy(task.teacher.state_dict())
    optimizer = torch.optim.SGD(task.parameters(), 0.1)
    for step in range(3):
        task(models.batch(), generator(step))["loss"].backward()
        optimizer.step()
    assert all(p.grad is None and not p.requires_grad for p in task.teacher.parameters())
    assert all(torch.equal(v, before[k]) for k, v in task.teacher.state_dict().items())
    assert not any(module.training for module in task.teacher.modules())


def test_teacher_reads_features_student_reads_log_mel() -> None:
    task, batch = round_task().eval(), models.batch()
    usual = task(batch, generator())
    deaf = task({**batch, "log_mel": torch.zeros_like(batch["log_mel"])}, generator())
    led_astray = task({**batch, "features": torch.zeros_like(batch["features"])}, generator())
    assert deaf["lip"] != usual["lip"]
    assert led_astray["lip"] == usual["lip"]
    assert led_astray["dis"] != usual["dis"]
    assert led_astray["ae"] != usual["ae"]


def output_gradient(task: RoundObjective, truth: str) -> Tensor:
    """Gradient (52,) of exp and vel on what the student's decoder puts out."""
    task.settings = only(exp=1.0, vel=0.5, student_truth=truth)
    task.zero_grad()
    task.train()(models.batch(), generator())["loss"].backward()
    bias = task.talker.decoder.out.bias
    assert bias.grad is not None
    return bias.grad


def test_student_truth_lip_keeps_the_recording_from_the_upper_face() -> None:
    task = round_task()
    lips = output_gradient(task, "lip")
    assert not lips[list(UPPER)].any()
    assert lips[list(LIP)].all()
    assert output_gradient(task, "all")[list(UPPER)].all()


def test_energy_only_in_rounds_of_few_steps() -> None:
    for steps, weight, expected in (
        (2, 0.3, True),
        (4, 0.3, False),
        (2, 0.0, False),
        (1, 0.3, True),
    ):
        task = round_task(steps, LossSettings(energy=weight, energy_steps=2))
        assert ("energy" in task(models.batch(), generator())) is expected


def test_energy_reaches_the_upper_face_alone() -> None:
    # of one step: in two, the lips of the first step steer the upper face of the second
    task = round_task(1, only(energy=1.0)).train()
    task(models.batch(), generator())["loss"].backward()
    gradient = task.talker.decoder.out.bias.grad
    assert gradient is not None
    assert gradient[list(UPPER)].all()
    assert not gradient[list(LIP)].any()


def test_a_student_like_its_teacher_has_nothing_to_distil_at_the_last_step() -> None:
    # with one model on both sides and x_0 predicted from z = its own mean, the two half steps of
    # the teacher land where one step lands: here the model ignores z altogether
    teacher = models.talker(
        teacher=False, personalizer=PersonalizerSettings(dim=8, fused=8, from_voice=0.0)
    )
    torch.nn.init.zeros_(teacher.decoder.out.weight)
    torch.nn.init.zeros_(teacher.decoder.out.bias)
    teacher.residual_variance.fill_(1e-6)
    task = RoundObjective(
        copy.deepcopy(teacher).requires_grad_(True), teacher, 2, only(dis=1.0)
    ).eval()
    parts = task(models.batch(), generator())
    assert parts["dis"].item() == pytest.approx(0, abs=1e-6)
    assert parts["ae"].item() == 0


# conditioning


def quiet(share: float) -> Talker:
    return models.talker(personalizer=PersonalizerSettings(dim=8, fused=8, from_voice=share))


def fused(talker: Talker, identity: Tensor, emotion: Tensor) -> Tensor:
    return talker.personalizer(identity, emotion)


def test_library_without_a_generator_and_the_voice_for_unknown_labels() -> None:
    talker, batch = quiet(1.0), models.batch((20, 20, 20))
    batch["identity"] = torch.tensor([1, UNKNOWN, 2])
    batch["emotion"] = torch.tensor([UNKNOWN, 1, 0])
    audio = talker.encode(batch["features"], batch["mask"][..., None])
    condition, voice, keys = objectives.personalise(talker, audio, batch, None)
    identity = torch.stack([keys.identity[1], voice.identity[1], keys.identity[2]])
    emotion = torch.stack([voice.emotion[0], keys.emotion[1], keys.emotion[0]])
    assert_close(condition.personalized, fused(talker, identity, emotion))
    assert keys.identity.shape == (3, 8)
    assert keys.emotion.shape == (2, 8)


@pytest.mark.parametrize(("share", "from_voice"), [(0.0, False), (1.0, True)])
def test_share_from_voice(share: float, from_voice: bool) -> None:
    talker, batch = quiet(share), models.batch((20, 20, 20))
    audio = talker.encode(batch["features"], batch["mask"][..., None])
    condition, _, keys = objectives.personalise(talker, audio, batch, generator())
    mask = batch["mask"][..., None]
    given = talker.embed_voice(
        audio, objectives.beginning(mask, generator())
    )  # drawn before all else
    expected = (
        (given.identity, given.emotion)
        if from_voice
        else (keys.identity[batch["identity"]], keys.emotion[batch["emotion"]])
    )
    assert_close(condition.personalized, fused(talker, *expected))


def test_half_of_the_voices_are_heard_but_in_their_beginning() -> None:
    mask = models.batch((50,) * 1000, window=50)["mask"][..., None]
    heard = objectives.beginning(mask, generator())[..., 0]
    lengths = heard.sum(1)
    assert torch.equal(heard, heard.sort(dim=1, descending=True).values)  # beginnings, no holes
    assert (lengths == 50).float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert lengths.min() >= 1
    assert lengths[lengths < 50].mean().item() == pytest.approx(25, abs=3)


def test_half_of_many_examples_come_from_the_voice() -> None:
    talker = quiet(0.5)
    batch = models.batch((4,) * 400, window=4)
    audio = talker.encode(batch["features"], batch["mask"][..., None])
    with torch.no_grad():
        condition, _, keys = objectives.personalise(talker, audio, batch, generator())
        library = fused(talker, keys.identity[batch["identity"]], keys.emotion[batch["emotion"]])
        given = talker.embed_voice(
            audio, objectives.beginning(batch["mask"][..., None], generator())
        )
        heard = fused(talker, given.identity, given.emotion)
    # identity and emotion are drawn apart: a quarter has both from the library, a quarter neither
    for both in (library, heard):
        share = torch.isclose(condition.personalized, both, atol=1e-6).all(-1).float().mean()
        assert share.item() == pytest.approx(0.25, abs=0.07)


def test_gradients_reach_libraries_and_heads() -> None:
    talker, batch = quiet(0.0), models.batch((20, 20))
    batch["identity"] = torch.tensor([1, UNKNOWN])
    audio = talker.encode(batch["features"], batch["mask"][..., None])
    condition, _, _ = objectives.personalise(talker, audio, batch, None)
    condition.personalized.square().sum().backward()
    entries = talker.personalizer.identities.entries.grad
    assert entries is not None
    assert entries[1].any()
    assert not entries[[0, 2]].any()
    head = talker.personalizer.identity_head.pooled[0].weight.grad
    assert head is not None
    assert head.any()


# single losses


def test_contrast_by_hand() -> None:
    # cosines with the library: [1, 0, -1] and [0.6, 0.8, -0.6]; the third clip is not named
    library = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    heard = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    keys, voice = VoiceEmbeddings(library, library[:2]), VoiceEmbeddings(heard, heard)
    batch = {
        "identity": torch.tensor([0, 1, UNKNOWN]),
        "emotion": torch.tensor([UNKNOWN, UNKNOWN, UNKNOWN]),
    }
    e = math.exp
    first = -math.log(e(2) / (e(2) + e(0) + e(-2)))
    second = -math.log(e(1.6) / (e(1.2) + e(1.6) + e(-1.2)))
    found = objectives.contrast(voice, keys, batch, temperature=0.5)
    assert found["con_identity"].item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert found["con_emotion"].item() == 0


def test_enhancer_counts_clips_of_one_speaker_and_emotion_as_positives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Tensor] = []

    def pc(personalized: Tensor, upper: Tensor, temperature: float, same: Tensor) -> Tensor:
        seen.append(same)
        return personalized.sum() * 0

    monkeypatch.setattr(losses, "pc", pc)
    talker, batch = models.talker(), models.batch((20,) * 5)
    condition = models.listen(talker, batch)
    batch["identity"] = torch.tensor([0, 0, 0, UNKNOWN, UNKNOWN])
    batch["emotion"] = torch.tensor([1, 1, 0, 1, 1])
    objectives.enhancer(talker, batch["coefficients"], condition, batch, 0.1)
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[:2, :2] = True
    expected[2, 2] = True
    assert torch.equal(seen[0], expected)


def test_same_labels_are_those_that_the_embedding_depends_on() -> None:
    batch = {
        "identity": torch.tensor([0, 0, 1, 0]),
        "emotion": torch.tensor([1, 2, 1, UNKNOWN]),
    }
    expected = {
        (True, True): torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]),
        (True, False): torch.tensor([[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]]),
        (False, True): torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]),
    }
    for (identity, emotion), same in expected.items():
        talker = models.talker()
        own = talker.config.personalizer.model_copy(
            update={"use_identity": identity, "use_emotion": emotion}
        )
        talker.config = replace(talker.config, personalizer=own)
        found = objectives.same_labels(objectives.personal_labels(talker, batch))
        assert torch.equal(found, same.bool()), (identity, emotion)


def test_a_step_that_is_not_finite_leaves_the_residual_variance_alone() -> None:
    talker, batch = models.talker(), models.batch((20, 14))
    condition = models.listen(talker, batch)
    talker.residual_variance.fill_(0.5)
    x_0 = torch.full_like(condition.mean, math.nan)
    objectives.track_residual(talker, x_0, condition, batch["mask"][..., None])
    assert (talker.residual_variance == 0.5).all()


def test_residual_variance_by_hand() -> None:
    talker, batch = models.talker(), models.batch((20, 14))
    condition = models.listen(talker, batch)
    talker.residual_variance.fill_(0.5)
    error = torch.zeros_like(condition.mean)
    error[..., 0] = 0.4  # variance 0.16 on every real frame
    error[..., 1] = 5.0  # above 1: taken as 1
    error[1, 14:] = 100.0  # padding
    objectives.track_residual(
        talker, condition.mean.detach() + error, condition, condition.mask, keep=0.9
    )
    found = talker.residual_variance[:3].tolist()
    assert found == pytest.approx([0.45 + 0.016, 0.45 + 0.1, 0.45 + 0.0001], rel=1e-5)
    papers = models.talker(depth=0)
    before = papers.residual_variance.clone()
    objectives.track_residual(papers, error, models.listen(papers, batch), condition.mask)
    assert torch.equal(papers.residual_variance, before)


def test_loss_space_by_hand() -> None:
    talker = models.talker()
    talker.coefficient_scale.fill_(0.1)
    talker.coefficient_scale[0] = 0.4
    for power, ratio in ((0.0, 1.0), (0.5, 2.0), (1.0, 4.0)):
        factors = objectives.loss_space(talker, LossSettings(channel_power=power))
        assert (factors[0] / factors[1]).item() == pytest.approx(ratio)
        assert factors.square().mean().item() == pytest.approx(1)


def test_mean_error_by_hand() -> None:
    talker, batch = models.talker(), models.batch((20, 14))
    condition = models.listen(talker, batch)
    space = torch.ones(52)
    goal = condition.mean.clone()
    goal[..., 24] += 2  # the jaw is a lip channel: it counts in both terms
    goal[..., 0] += 1
    found = objectives.mean_error(condition, goal, space, batch)
    assert found.item() == pytest.approx((4 + 1) / 52 + 4 / len(LIP), rel=1e-5)


def test_noisy_pair_is_clean_on_padding() -> None:
    talker, batch = models.talker(), models.batch((20, 14))
    x_0, noise = objectives.noisy_pair(talker, batch, generator())
    assert not x_0[1, 14:].any()
    assert_close(x_0[0], talker.standardise(batch["coefficients"])[0])
    assert noise.shape == x_0.shape
    assert torch.equal(noise, objectives.noisy_pair(talker, batch, generator())[1])


def test_augment_changes_level_tilt_and_a_few_bands_of_each_clip() -> None:
    mel = torch.zeros(200, 6, 80)
    out = augment(mel, generator())
    assert torch.equal(out, augment(mel, generator()))
    assert not mel.any()
    # level and tilt: a straight line over the bands but where bands are hidden, the same in time
    assert_close(out[:, :1].expand_as(out), out)
    bends = (out[:, 0].diff(dim=1).diff(dim=1).abs() > 1e-5).sum(1)
    assert bends.max() <= 4
    level = out.mean((1, 2))
    assert level.std().item() == pytest.approx(0.15, rel=0.2)
    assert level.mean().abs().item() < 0.05


def test_a_round_between_students_needs_no_features() -> None:
    batch = models.batch()
    student, guide = models.talker(0, teacher=False), models.talker(1, teacher=False)
    task = objectives.RoundObjective(student, guide, 2, LossSettings()).eval()
    assert not task.takes_features
    assert objectives.RoundObjective(student, models.talker(), 2, LossSettings()).takes_features
    with_features = task(batch, torch.Generator().manual_seed(0))["loss"]
    del batch["features"]
    assert task(batch, torch.Generator().manual_seed(0))["loss"] == with_features
