"""The rivals: each trains, samples, is saved and loaded; and what is special about one."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests import refusals
from tests.unit import models
from torch import Tensor

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.rivals import attention, base, emotalk, retrieval
from diffusiontalker.rivals.base import Rival, RivalConfig, Style
from diffusiontalker.rivals.evaluated import TrainedRival, batch_of
from diffusiontalker.rivals.kinds import KINDS, load_rival, make_rival
from diffusiontalker.training.windows import UNKNOWN

WIDTH = 16


def settings(name: str) -> RivalConfig:
    own = models.config(teacher=False, depth=0).to_dict() if name == "regression" else None
    return RivalConfig(models.FEATURES, models.IDENTITIES, models.EMOTIONS, WIDTH, own)


def corpus(folder: Path) -> CorpusFolder:
    """A shard of two clips of two speakers, whose faces stand still at .2 and .6."""
    clips = [
        models.clip(name, 30, seed=i, identity=name, split="train") for i, name in enumerate("ab")
    ]
    clips = [
        replace(clip, coefficients=np.full((30, 52), level, np.float32))
        for clip, level in zip(clips, (0.2, 0.6), strict=True)
    ]
    info = shards.write_shard(folder / "train-00000.parquet", clips)
    mean, deviation = np.full(52, 0.4, np.float32), np.full(52, 0.2, np.float32)
    manifest: Any = SimpleNamespace(of=lambda _: [info], statistics=lambda: (mean, deviation))
    return CorpusFolder(folder, manifest)


def rival(name: str, folder: Path) -> Rival:
    torch.manual_seed(0)
    return make_rival(name, settings(name), corpus(folder))


def one(length: int = 20, **labels: int) -> dict[str, Tensor]:
    """A batch of a single clip."""
    batch = models.batch((length,), length)
    return batch | {name: torch.tensor([label]) for name, label in labels.items()}


@pytest.mark.parametrize("name", KINDS)
def test_every_rival_trains_samples_and_is_kept(name: str, tmp_path: Path) -> None:
    made = rival(name, tmp_path)
    if made.learns:
        batch = models.batch((20, 14))
        batch["coefficients"][1, 14:] = torch.nan  # padding never counts
        found = made.train()(batch, torch.Generator().manual_seed(0))
        found["loss"].backward()
        assert found["loss"].isfinite()
        gradients = [p.grad for p in made.trained.parameters() if p.grad is not None]
        assert gradients
        assert all(grad.isfinite().all() for grad in gradients)
    base.save(tmp_path / "out", name, made)
    loaded = load_rival(tmp_path / "out")
    made.eval()
    for labels in ({"identity": 1, "emotion": 0}, {"identity": UNKNOWN, "emotion": UNKNOWN}):
        faces = [
            own.sample(one(**labels), 2, 2, torch.Generator().manual_seed(3)).detach()
            for own in (made, loaded)
        ]
        assert faces[0].shape == (2, 20, len(CHANNELS))
        assert 0 <= faces[0].min() <= faces[0].max() <= 1
        torch.testing.assert_close(*faces)
        assert set(made.detect(one(**labels))) == set(made.recognises)


@pytest.mark.parametrize("name", ["faceformer", "facediffuser", "unitalker", "emotalk"])
def test_a_rival_learns_a_face_that_stands_still(name: str, tmp_path: Path) -> None:
    made = rival(name, tmp_path).train()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    batch = models.batch((12, 12, 12, 12), 12)
    batch["coefficients"] = 0.9 * torch.ones_like(batch["coefficients"])
    first = last = 0.0
    for step in range(40):
        loss = made(batch, generator)["loss"]
        first, last = (loss.item() if not step else first), loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert last < 0.3 * first


def test_a_frame_at_a_time_is_all_frames_at_once() -> None:
    torch.manual_seed(0)
    layer = attention.AlignedDecoderLayer(16, 32).eval()
    x, memory = torch.randn(2, 2, 70, 16)
    cache: list[tuple[Tensor, Tensor]] = []
    steps = [
        layer.step(*parts, cache)
        for parts in zip(x.split(1, dim=1), memory.split(1, dim=1), strict=True)
    ]
    torch.testing.assert_close(torch.cat(steps, dim=1), layer(x, memory))


def test_attention_is_biased_by_whole_periods_and_causal() -> None:
    found = attention.bias(62, torch.zeros(1))
    assert found.shape == (attention.HEADS, 62, 62)
    assert found[0, 61, 61] == found[0, 61, 32] == 0
    assert (found[0, 61, 31], found[0, 61, 1]) == (-0.25, -0.5)
    assert found[1, 61, 31] == -0.0625
    assert found[0, 0, 1] == -torch.inf
    places = attention.positions(31, 16, found)
    torch.testing.assert_close(places[0], places[30])


def test_an_unknown_speaker_has_the_mean_style() -> None:
    style = Style(3, 4)
    found = style(torch.tensor([1, UNKNOWN]))
    torch.testing.assert_close(found[0], style.entries[1])
    torch.testing.assert_close(found[1], style.entries.mean(0))


def test_emotions_are_exchanged_within_an_emotion() -> None:
    labels = torch.tensor([0, 1, 0, UNKNOWN, UNKNOWN, 1])
    found = emotalk.partners(labels, torch.Generator().manual_seed(0))
    assert found.tolist() == [2, 5, 0, 3, 4, 1]


def test_retrieval_returns_the_recorded_face_of_the_same_speaker(tmp_path: Path) -> None:
    made = rival("retrieval", tmp_path)
    made = make_rival("retrieval", replace(settings("retrieval"), identities=("a", "b")),
                      corpus(tmp_path))  # fmt: skip
    spoken = models.clip("x", 30, seed=1).features  # what b says
    heard = torch.from_numpy(spoken.astype(np.float32))[None]
    batch = {"features": heard, "mask": torch.ones(1, 30)}
    levels = {
        label: made.sample(batch | {"identity": torch.tensor([label])}, 1, 1, torch.Generator())
        for label in (0, 1, UNKNOWN)
    }
    assert {label: round(float(face.mean()), 3) for label, face in levels.items()} == {
        0: 0.2, 1: 0.6, UNKNOWN: 0.6,
    }  # fmt: skip
    made.owners[made.owners == 1] = UNKNOWN  # b's clips without a label
    spoken = models.clip("x", 30, seed=0).features  # what a says
    own = torch.from_numpy(spoken.astype(np.float32))[None]
    found = made.sample(
        batch | {"features": own, "identity": torch.tensor([UNKNOWN])}, 1, 1, torch.Generator()
    )
    assert float(found.mean()) == pytest.approx(0.2)  # an unknown speaker is nobody in particular
    assert retrieval.windows(torch.zeros(31, 2)).shape[0] * retrieval.HOP >= 31


def test_a_rival_is_measured_as_our_models_are(tmp_path: Path) -> None:
    base.save(tmp_path / "out", "emotalk", rival("emotalk", tmp_path))
    own = TrainedRival("emotalk", str(tmp_path / "out"), 1, 3, ("nowhere", (0,), None), cached=True)
    found = own.load()(models.clip(), 0)
    assert found.samples.shape == (3, 20, 52)
    assert (found.identity, found.emotion in models.EMOTIONS) == ("", True)
    assert list(own.recognised()) == ["emotion"]
    batch = batch_of(load_rival(tmp_path / "out"), np.zeros((4, 6)), np.zeros((8, 80)), "ben", None)
    assert (batch["identity"].item(), batch["emotion"].item()) == (1, UNKNOWN)


@pytest.mark.parametrize("name", ["mean_face", "regression"])
def test_a_rival_that_takes_no_features_is_not_charged_for_an_encoder(
    name: str, tmp_path: Path
) -> None:
    made = rival(name, tmp_path)
    assert not made.takes_features
    base.save(tmp_path / "out", name, made)
    own = TrainedRival(name, str(tmp_path / "out"), 1, 2, ("nowhere", (0,), None))
    work = own.animation()
    work.animate(np.zeros(16_000, np.float32))
    assert work.features(np.zeros(16_000, np.float32)) is None
    assert sum(t.numel() for t in work.tensors) == sum(t.numel() for t in made.deployed())
    assert own.load()(models.clip(), 0).samples.shape == (2, 20, 52)


def test_a_damaged_rival_is_refused_in_a_line(tmp_path: Path) -> None:
    base.save(tmp_path / "out", "selftalk", rival("selftalk", tmp_path))
    (tmp_path / "out" / base.WEIGHTS).write_bytes(b"no weights")
    assert "not a rival" in refusals.refusal(lambda: load_rival(tmp_path / "out"))
