"""What a sweep is judged by: the metrics of whole samples, window by window, whatever the padding.

Samples are computed here once more, each window alone and without padding, and measured by the
metrics of the papers.
"""

import math

import numpy as np
import pytest
import torch
from tests.unit import models
from torch import Tensor

from diffusiontalker.arkit import CHANNELS, INDEX, LIP, UPPER
from diffusiontalker.audio.log_mel import PER_FRAME
from diffusiontalker.config import LossSettings
from diffusiontalker.model.talker import Talker
from diffusiontalker.objectives import metrics
from diffusiontalker.training.objectives import Batch, RoundObjective, TeacherObjective
from diffusiontalker.training.validation_metrics import SEED, sample_metrics

LENGTHS = (20, 14, 1)
STEPS = 3
NO_PHONES = {"bilabials": 0.0, "open_bilabials": 0.0}


def task_of(talker: Talker) -> TeacherObjective | RoundObjective:
    """The task in whose training a model is judged."""
    if talker.config.feature_dim is not None:
        return TeacherObjective(talker, LossSettings()).eval()
    return RoundObjective(talker, models.talker(seed=1), STEPS, LossSettings()).eval()


def judged(talker: Talker, batch: Batch, sampler: str = "ddim") -> dict[str, float]:
    with torch.no_grad():
        found = sample_metrics(task_of(talker), batch, STEPS, sampler)
    assert all(value.shape == () for value in found.values())
    return {name: float(value) for name, value in found.items()}


def alone(talker: Talker, batch: Batch, row: int, noise: Tensor) -> np.ndarray:
    """The coefficients (T, 52) of a window as inference makes them of a voice it does not know."""
    length = int(batch["mask"][row].sum())
    frames = slice(row, row + 1), slice(0, length)
    mel = batch["log_mel"][row : row + 1, : length * PER_FRAME]
    mask = torch.ones(1, length, 1)
    audio = talker.encode(talker.inputs(batch["features"][frames], mel), mask)
    voice = talker.embed_voice(audio, mask)
    identities, emotions = talker.personalizer.identities(), talker.personalizer.emotions()
    identity, emotion = (
        max(library, key=lambda entry: float(entry @ heard[0]))[None]
        for library, heard in ((identities, voice.identity), (emotions, voice.emotion))
    )
    condition = talker.condition(audio, identity, emotion, mask)
    made: np.ndarray = talker.generate(condition, noise[frames], STEPS)[0].numpy()
    return made


def measured(talker: Talker, batch: Batch) -> dict[str, float]:
    """Means over windows of the metrics, each of a window alone."""
    generator = torch.Generator().manual_seed(SEED)
    noises = [talker.noise(batch["coefficients"].shape, generator) for _ in range(2)]
    found: dict[str, list[float]] = {"lbe": [], "energy_score": [], "upper_energy": []}
    found |= {"bilabials": [0.0], "open_bilabials": [0.0]}
    for row in range(len(batch["mask"])):
        with torch.no_grad():
            samples = np.stack([alone(talker, batch, row, noise) for noise in noises])
        truth = batch["coefficients"][row, : samples.shape[1]].numpy()
        found["lbe"].append(sum(metrics.lbe(sample, truth) for sample in samples) / 2)
        found["energy_score"].append(metrics.energy_score(samples, truth))
        found["upper_energy"].append(metrics.energy_score(samples, truth, "upper"))
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("teacher", [True, False])
@pytest.mark.parametrize("kind", ["tcn", "gru"])
def test_it_is_the_metrics_of_each_window_alone(teacher: bool, kind: str) -> None:
    talker = models.talker(teacher=teacher, kind=kind)
    batch = models.batch(LENGTHS)
    expected = measured(talker, batch)
    assert judged(talker, batch) == pytest.approx(expected, rel=1e-4)
    assert len({round(value, 4) for value in expected.values() if value}) == 3


def test_what_stands_on_padding_does_not_matter() -> None:
    talker, batch = models.talker(), models.batch(LENGTHS)
    dirty = {key: value.clone() for key, value in batch.items()}
    for row, length in enumerate(LENGTHS):
        dirty["coefficients"][row, length:] = torch.nan
        dirty["features"][row, length:] = 1e9
        dirty["log_mel"][row, length * PER_FRAME :] = -1e9
    assert judged(talker, dirty) == judged(talker, batch)


@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_every_call_draws_the_same(sampler: str) -> None:
    talker, batch = models.talker(), models.batch(LENGTHS)
    first = judged(talker, batch, sampler)
    torch.manual_seed(7)
    torch.randn(3)
    assert judged(talker, batch, sampler) == first


def test_labels_are_not_looked_at() -> None:
    # A sweep must not win by a model that leans on the label of a voice it will not know.
    talker, batch = models.talker(), models.batch(LENGTHS)
    unknown = {**batch, "identity": torch.full((3,), -1), "emotion": torch.full((3,), -1)}
    assert judged(talker, unknown) == judged(talker, batch)


def saying(*samples: Tensor) -> TeacherObjective:
    """A task whose talker's samples are given: what is measured of them shows alone."""
    talker, left = models.talker(), list(samples)
    talker.generate = lambda *_, **__: left.pop(0)
    return task_of(talker)


def face(*lengths: int, **channels: float) -> Tensor:
    """Windows (B, 20, 52) with a constant on some channels, and rubbish behind their ends."""
    out = torch.zeros(len(lengths), 20, len(CHANNELS))
    for name, value in channels.items():
        out[..., INDEX[name]] = value
    for row, length in zip(out, lengths, strict=True):
        row[length:] = 0.9
    return out


def figures(truth: Tensor, lengths: tuple[int, ...], *samples: Tensor) -> dict[str, float]:
    batch = models.batch(lengths) | {"coefficients": truth}
    found = sample_metrics(saying(*samples), batch, STEPS, "ddim")
    return {name: float(value) for name, value in found.items()}


def test_figures_by_hand() -> None:
    assert INDEX["jawOpen"] in LIP
    assert INDEX["browInnerUp"] in UPPER
    # One sample errs by 0.3 at the jaw and by 0.4 at the brow, so by 0.5 in all; the other by
    # 0.1 at the brow. They are hypot(0.3, 0.3) apart.
    truth, samples = face(10, jawOpen=0.3), (face(10, browInnerUp=0.4), face(10, jawOpen=0.3))
    samples[1][..., INDEX["browInnerUp"]] += 0.1
    assert figures(truth, (10,), *samples) == pytest.approx({
        "lbe": 0.3 / 2,
        "energy_score": (0.5 + 0.1) / 2 - math.hypot(0.3, 0.3) / 2,
        "upper_energy": (0.4 + 0.1) / 2 - 0.3 / 2,
        **NO_PHONES,
    })  # fmt: skip


def test_two_samples_alike_are_a_blur_and_pay_their_whole_error() -> None:
    found = figures(face(10, browInnerUp=0.4), (10,), face(10), face(10))
    errors = {"lbe": 0.0, "energy_score": 0.4, "upper_energy": 0.4}
    assert found == pytest.approx(errors | NO_PHONES)


def test_a_window_counts_as_one_however_long_it_is() -> None:
    truth = face(20, 4)
    truth[1, :4, INDEX["jawOpen"]] = 0.3
    found = figures(truth, (20, 4), face(20, 4), face(20, 4))
    assert found["lbe"] == pytest.approx((0.0 + 0.3) / 2)


def test_closures_by_hand() -> None:
    # p in frames 2 to 4 and b in 6 to 9 of the first window, m in 1 to 2 of the second
    bilabials = torch.tensor([[[2, 5], [6, 10]], [[1, 3], [0, 0]]])
    closed, half = face(20, 20, jawOpen=0.5), face(20, 20, jawOpen=0.5)
    closed[0, 3] = closed[0, 9] = closed[1, 2] = 0.0
    half[0, 4] = half[0, 5] = half[1, 4] = 0.0  # p alone, and beside m
    batch = models.batch((20, 20)) | {"bilabials": bilabials}
    found = sample_metrics(saying(closed, half), batch, STEPS, "ddim")
    assert float(found["bilabials"]) == 3 / 2
    assert float(found["open_bilabials"]) == (0 + 1 / 2 + 0 + 1 / 2) / 2
