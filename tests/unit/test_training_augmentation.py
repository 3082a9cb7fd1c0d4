"""Augmentation of log-mel while training: lost bands are those of a band-limited recording."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from diffusiontalker.audio import degradation
from diffusiontalker.audio.front_end import TRAINING
from diffusiontalker.audio.log_mel import log_mel
from diffusiontalker.training.augmentation import (
    LOWEST_CUTOFF,
    augment,
    band_limited,
    low_pass_gain,
    warped,
)

FLOOR = (np.log(TRAINING.floor) - TRAINING.mean) / TRAINING.scale
EDGES = 700 * (
    10 ** (np.linspace(*(2595 * np.log10(1 + np.array([40, 8000]) / 700)), 82) / 2595) - 1
)
"""Hz: band b lies between edges b and b + 2."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    """Noise whose level rises and falls, louder at low frequencies, as speech is."""
    rng = np.random.default_rng(0)
    noise = degradation.coloured_noise(48_000, 1, rng)
    envelope = 1.1 + np.sin(np.arange(48_000) / 3000)
    return (0.1 * noise / noise.std() * envelope).astype(np.float32)


@pytest.mark.parametrize("cutoff", [3400.0, 4000.0, 5512.5, 7000.0])
def test_lost_bands_are_those_of_a_low_pass_of_the_waveform(
    audio: np.ndarray, cutoff: float
) -> None:
    real = log_mel(degradation.low_pass(audio, cutoff))
    found = band_limited(torch.from_numpy(log_mel(audio))[None], torch.tensor([cutoff]))[0].numpy()
    below, above = EDGES[2:] < 0.95 * cutoff, EDGES[:-2] > 1.05 * cutoff
    assert below.sum() > 50
    assert above.any()
    inside = slice(4, -4)  # at the ends of a recording the filter rings
    np.testing.assert_allclose(real[inside, above], FLOOR, atol=0.01)
    np.testing.assert_allclose(found[:, above], FLOOR, atol=1e-6)
    np.testing.assert_allclose(found[inside][:, below], real[inside][:, below], atol=1e-3)
    # bands that the cut-off divides: within 3 dB on average
    assert np.abs(found - real)[inside][:, ~(below | above)].mean(axis=0).max() < 0.25


def test_the_gains_are_those_of_the_waveforms_low_pass() -> None:
    click = np.zeros(4000, np.float32)
    click[2000] = 1
    real = np.abs(np.fft.rfft(degradation.low_pass(click, 5000)))
    hz = torch.linspace(0, 8000, 2001)
    found = low_pass_gain(hz, torch.tensor([5000.0]))
    np.testing.assert_allclose(found, real, atol=0.01)


def test_a_share_of_the_examples_loses_bands_from_a_random_one_on() -> None:
    mel = torch.ones(400, 4, 80)
    out, whole = augment(mel, generator(), 0.5), augment(mel, generator())
    assert_close(out, augment(mel, generator(), 0.5))
    drawn = (out != whole).any(2).any(1)
    assert drawn.float().mean().item() == pytest.approx(0.5, abs=0.1)
    lowest = int((EDGES[2:] < 0.95 * LOWEST_CUTOFF).sum())
    assert_close(out[..., :lowest], whole[..., :lowest])
    lost = (out[drawn] - FLOOR).abs() < 1e-4
    count = lost[:, 0].sum(1)
    assert torch.equal(lost[:, 0].flip(1).cumprod(1).sum(1), count), "the highest bands alone"
    assert len(set(count.tolist())) > 10


def test_without_a_share_nothing_else_is_drawn() -> None:
    one, other = generator(), generator()
    assert_close(augment(torch.ones(3, 4, 80), one), augment(torch.ones(3, 4, 80), other, 0.0))
    drawn: Any = torch.rand(1, generator=one)
    assert drawn == torch.rand(1, generator=other)


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.25])
def test_a_shorter_vocal_tract_raises_frequencies(factor: float) -> None:
    def tone(hz: float) -> np.ndarray:
        time = np.arange(16_000) / 16_000
        return log_mel((0.1 * np.sin(2 * np.pi * hz * time)).astype(np.float32))[20]

    found = warped(torch.from_numpy(tone(1500))[None, None], torch.tensor([factor]))[0, 0]
    assert abs(int(found.argmax()) - int(tone(1500 * factor).argmax())) <= 1
    assert int(found.argmax()) != int(tone(1500).argmax())


def test_warping_by_nothing_changes_nothing() -> None:
    mel = torch.randn(2, 4, 80, generator=generator())
    assert_close(warped(mel, torch.ones(2)), mel, atol=1e-4, rtol=0)
    drawn = [generator(), generator()]
    augment(mel, drawn[0])
    augment(mel, drawn[1], vocal_tract=0.1)
    assert torch.rand(1, generator=drawn[0]) != torch.rand(1, generator=drawn[1])
    one, other = augment(mel, generator(), vocal_tract=0.1), augment(mel, generator())
    assert one.shape == other.shape
    assert torch.isfinite(one).all()
    assert not torch.equal(one, other)
