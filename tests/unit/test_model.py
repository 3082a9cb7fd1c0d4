"""The talker: padding, preconditioning, statistics, inheritance, and settings that cannot work."""

import json
import math
from dataclasses import replace

import pytest
import torch
from tests.unit import models
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from diffusiontalker.arkit import CHANNELS, UPPER
from diffusiontalker.config import ContextSettings, PersonalizerSettings
from diffusiontalker.errors import UserError
from diffusiontalker.model.decoder import STEP_DIM, step_embedding
from diffusiontalker.model.gaze import from_directions, to_directions
from diffusiontalker.model.personalizer import Personalizer
from diffusiontalker.model.talker import Condition, Talker, TalkerConfig, copy_matching_weights

KINDS = [
    pytest.param({"kind": kind, "teacher": teacher, "depth": depth}, id=f"{kind}-{who}-{depth}")
    for kind in ("tcn", "gru")
    for teacher, who in ((True, "teacher"), (False, "student"))
    for depth in (0, 2)
]


@pytest.mark.parametrize("shape", KINDS)
def test_padding_changes_nothing_on_real_frames(shape: dict[str, object]) -> None:
    talker = models.talker(**shape)
    padded, length = models.batch((20, 14)), 14
    # garbage where no frame is, and in the noise too
    padded["features"][1, length:] = 7
    padded["log_mel"][1, 2 * length :] = -7
    alone = {
        key: value[1:, : 2 * length if key == "log_mel" else length]
        if value.ndim > 1
        else value[1:]
        for key, value in padded.items()
    }
    noise = torch.randn(2, 20, len(CHANNELS), generator=torch.Generator().manual_seed(1))

    def everything(batch: dict[str, Tensor], noise: Tensor) -> dict[str, Tensor]:
        mask = batch["mask"][..., None]
        audio = talker.encode(models.inputs(talker, batch), mask)
        voice = talker.embed_voice(audio, mask)
        condition = models.listen(talker, batch)
        t = torch.full((len(noise),), 0.6)
        x_0 = talker.predict(noise, t, condition)
        return {
            "audio": audio,
            "identity": voice.identity,
            "emotion": voice.emotion,
            **vars(condition),
            "x_0": x_0,
            "upper": talker.upper_encoder(x_0, mask),
            "samples": talker.generate(condition, noise, steps=3),
        }

    with torch.no_grad():
        together = everything(padded, noise)
        single = everything(alone, noise[1:, :length])
    for name, value in single.items():
        other = together[name][1:]
        other = other[:, :length] if value.ndim == 3 or name in ("blink", "seal") else other
        assert_close(other, value, atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    for name in ("audio", "context", "mean", "x_0"):
        assert (together[name][1, length:] == 0).all(), name


def test_samples_depend_on_audio_voice_and_noise() -> None:
    talker, batch = models.talker(), models.batch((20, 20))
    noise = torch.zeros(2, 20, len(CHANNELS))

    def faces(batch: dict[str, Tensor], noise: Tensor = noise) -> Tensor:
        return talker.generate(models.listen(talker, batch), noise, steps=2)

    with torch.no_grad():
        usual = faces(batch)
        assert ((usual >= 0) & (usual <= 1)).all()
        assert not torch.equal(faces({**batch, "features": batch["features"] + 1}), usual)
        assert not torch.equal(faces({**batch, "identity": batch["identity"] + 1}), usual)
        assert not torch.equal(faces({**batch, "emotion": 1 - batch["emotion"]}), usual)
        assert not torch.equal(faces(batch, noise + 1), usual)
        assert torch.equal(faces(batch), usual)


def test_embeddings_lie_on_the_unit_sphere() -> None:
    talker, batch = models.talker(), models.batch()
    mask = batch["mask"][..., None]
    voice = talker.embed_voice(talker.encode(batch["features"], mask), mask)
    for vectors in (voice.identity, voice.emotion, talker.personalizer.identities()):
        assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)))


def test_an_embedding_switched_off_has_no_say() -> None:
    talker = models.talker(personalizer=PersonalizerSettings(dim=8, fused=8, use_identity=False))
    one, two = torch.eye(8)[:1], torch.eye(8)[1:2]
    fuse = talker.personalizer
    assert torch.equal(fuse(one, one), fuse(two, one))
    assert not torch.equal(fuse(one, one), fuse(one, two))


def constant(
    mean: float, variance: float, f: float, schedule: str = "cosine"
) -> tuple[Talker, Condition]:
    """A talker whose context says ``mean`` and whose decoder says ``f``, whatever they see."""
    talker = models.talker(schedule=schedule)
    torch.nn.init.zeros_(talker.decoder.out.weight)
    torch.nn.init.constant_(talker.decoder.out.bias, f)
    talker.residual_variance.fill_(variance)
    condition = models.listen(talker, models.batch())
    return talker, replace(condition, mean=torch.full_like(condition.mean, mean))


def at(time: float) -> Tensor:
    return torch.full((2,), time)


def test_prediction_at_the_ends_of_time() -> None:
    talker, condition = constant(mean=0.3, variance=0.25, f=2.0)
    x_t = torch.randn(2, 20, len(CHANNELS), generator=torch.Generator().manual_seed(0))
    # nothing to remove at t = 0; at t = 1 nothing is seen: the mean, and sqrt(0.25) * 2 beside it
    assert_close(talker.predict(x_t, at(0.0), condition), x_t * condition.mask)
    assert_close(
        talker.predict(x_t, at(1.0), condition),
        1.3 * condition.mask.expand_as(x_t),
        atol=1e-5,
        rtol=0,
    )


def test_prediction_without_context_is_the_usual_preconditioning() -> None:
    talker, condition = constant(mean=0.0, variance=1.0, f=0.7, schedule="linear")
    x_t = torch.randn(2, 20, len(CHANNELS), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.2, 0.8])
    alpha, sigma = (
        value[:, None, None] for value in (talker.schedule.alpha(t), talker.schedule.sigma(t))
    )
    expected = (alpha * x_t + sigma * 0.7) * condition.mask
    assert_close(talker.predict(x_t, t, condition), expected)


def test_context_of_depth_0_is_the_papers_form() -> None:
    talker, batch = models.talker(depth=0), models.batch()
    condition = models.listen(talker, batch)
    mask = batch["mask"][..., None]
    assert talker.context is None
    assert torch.equal(condition.context, talker.encode(batch["features"], mask))
    assert not condition.mean.any()


def test_prediction_is_the_posterior_mean_of_gaussian_data() -> None:
    # x_0 ~ N(m, v), x_t = alpha x_0 + sigma noise. By regression over a million draws, without the
    # formula: E[x_0 | x_t] is linear in x_t, with the slope cov(x_0, x_t) / var(x_t).
    mean, variance, time = 0.4, 0.3, 0.45
    talker, condition = constant(mean, variance, f=0.0)
    generator = torch.Generator().manual_seed(0)
    x_0 = mean + math.sqrt(variance) * torch.randn(1_000_000, generator=generator)
    noise = torch.randn(1_000_000, generator=generator)
    x_t = talker.schedule.add_noise(x_0, noise, torch.tensor(time))
    slope = torch.cov(torch.stack([x_0, x_t]))[0, 1] / x_t.var()
    asked = torch.linspace(-2, 2, 20)[None, :, None].expand(2, 20, len(CHANNELS)).contiguous()
    expected = x_0.mean() + slope * (asked - x_t.mean())
    predicted = talker.predict(asked, at(time), condition)
    assert_close(predicted[0], expected[0], atol=5e-3, rtol=0)
    # and its residual has the deviation that scales the decoder's correction
    alpha, sigma = (
        f(torch.tensor(time)).item() for f in (talker.schedule.alpha, talker.schedule.sigma)
    )
    residual = x_0 - (x_0.mean() + slope * (x_t - x_t.mean()))
    scale = sigma * math.sqrt(variance / (alpha**2 * variance + sigma**2))
    assert residual.std().item() == pytest.approx(scale, rel=5e-3)


def test_a_certain_channel_ignores_the_noise() -> None:
    talker, condition = constant(mean=0.5, variance=1e-3, f=0.0)
    x_t = 3 * torch.randn(2, 20, len(CHANNELS), generator=torch.Generator().manual_seed(0))
    assert_close(
        talker.predict(x_t, at(0.8), condition),
        0.5 * condition.mask.expand_as(x_t),
        atol=0.01,
        rtol=0,
    )


def test_standardise_and_back() -> None:
    talker = models.talker()
    c = torch.rand(2, 5, len(CHANNELS))
    c = from_directions(to_directions(c))  # no eye looks both ways
    z = talker.standardise(c)
    by_hand = (c[0, 0, 24] - talker.coefficient_mean[24]) / talker.coefficient_scale[24]
    assert z[0, 0, 24] == by_hand
    assert_close(talker.destandardise(z), c)


def test_inherit_copies_what_fits_and_says_what_does_not() -> None:
    teacher = models.talker(seed=1)
    student = models.talker(
        seed=2, teacher=False, context=ContextSettings(width=12, depth=1, dilations=(1, 2))
    )
    before = {k: v.clone() for k, v in student.state_dict().items()}
    left = copy_matching_weights(student, teacher)
    given, own = teacher.state_dict(), student.state_dict()
    assert any(name.startswith("encoder.") for name in left)
    for name, value in own.items():
        assert torch.equal(value, before[name] if name in left else given[name]), name
    for part in ("decoder.", "personalizer.", "context.blocks.0.", "coefficient_", "residual_"):
        assert not any(name.startswith(part) for name in left)
    # a copy, not a shared tensor
    student.residual_variance.fill_(9.0)
    assert not (teacher.residual_variance == 9.0).any()


def test_config_survives_json() -> None:
    for teacher in (True, False):
        config = models.config("gru", teacher, depth=0)
        assert TalkerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_step_embedding_by_hand() -> None:
    t = torch.tensor([0.0, 0.5])
    embedded = step_embedding(t)
    assert embedded.shape == (2, STEP_DIM)
    assert_close(embedded[0], torch.cat([torch.zeros(32), torch.ones(32)]))
    # lowest frequency 1, highest 1000
    assert embedded[1, 0].item() == pytest.approx(math.sin(0.5))
    assert embedded[1, 31].item() == pytest.approx(math.sin(500.0), abs=1e-3)
    assert embedded[1, 32].item() == pytest.approx(math.cos(0.5))


def test_upper_face_encoder_sees_the_upper_face_alone() -> None:
    talker, mask = models.talker(), torch.ones(1, 9, 1)
    face = torch.zeros(1, 9, len(CHANNELS))
    brows, jaw = face.clone(), face.clone()
    brows[..., UPPER[0]] = 1
    jaw[..., 24] = 1
    assert torch.equal(talker.upper_encoder(jaw, mask), talker.upper_encoder(face, mask))
    assert not torch.equal(talker.upper_encoder(brows, mask), talker.upper_encoder(face, mask))


def test_bad_shapes_are_named() -> None:
    with pytest.raises(UserError, match="schedule 'square'"):
        Talker(models.config(schedule="square"))
    talker = models.talker()
    condition = models.listen(talker, models.batch())
    with pytest.raises(UserError, match="sampler 'euler'"):
        talker.generate(condition, torch.zeros(2, 20, 52), 2, "euler")


def test_identity_and_emotion_attend_to_each_other_alone_in_cross_attention() -> None:
    torch.manual_seed(0)
    settings = PersonalizerSettings(dim=8, fused=8, fusion="cross")
    own = Personalizer(settings, 4, 3, 2)
    assert own.kinds is not None
    nn.init.normal_(own.kinds)
    own.fuse = nn.Identity()  # type: ignore[assignment]
    one, other, emotion = (F.normalize(torch.randn(2, 8), dim=-1) for _ in range(3))

    def attended(identity: Tensor, emotion: Tensor) -> tuple[Tensor, Tensor]:
        """What each token adds of the attention's output."""
        tokens = own.tokens(torch.stack([identity, emotion], dim=1)) + own.kinds
        return tuple((own(identity, emotion).unflatten(1, (2, 8)) - tokens).unbind(1))

    first, second = attended(one, emotion), attended(other, emotion)
    assert first[0].allclose(second[0], atol=1e-6), "an identity attends to the emotion alone"
    assert not first[1].allclose(second[1], atol=1e-2)
    assert not attended(one, other)[0].allclose(first[0], atol=1e-2)
