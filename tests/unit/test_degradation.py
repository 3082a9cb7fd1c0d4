"""Degradations of speech: aligned, finite, of equal length, and each does what its name says."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.refusals import refusal

from diffusiontalker.audio import SAMPLE_RATE, degradation
from diffusiontalker.audio.front_end import TRAINING
from diffusiontalker.audio.level import normalize, speech_level
from diffusiontalker.config import DegradationSettings, DegradationWeights
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.features.augmentation import babble, degraded

COUNT = 50_667  # 3.17 s, no multiple of any block
KINDS = tuple(DegradationWeights.model_fields)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def speech(seed: int = 0, count: int = COUNT) -> np.ndarray:
    """Pulses of a voice through wide resonances, with pauses, and some noise up to 8 kHz."""
    time = np.arange(count) / SAMPLE_RATE
    phase = np.cumsum(120 + 20 * np.sin(2 * np.pi * (1.3 + 0.1 * seed) * time)) / SAMPLE_RATE
    pulses = (np.diff(np.floor(phase), prepend=0) > 0).astype(np.float32)
    noise = rng(seed).normal(0, 0.05, count)
    tail = np.exp(-np.arange(200) / 20) * np.cos(np.arange(200) * 0.4)
    voiced = np.convolve(pulses, tail)[:count] + noise
    return normalize((voiced * (np.sin(2 * np.pi * 0.9 * time + seed) > -0.5)).astype(np.float32))


def power(samples: np.ndarray, low: float, high: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return float(spectrum[(hz >= low) & (hz < high)].sum())


def decibels(ratio: float) -> float:
    return 10 * float(np.log10(ratio))


def lag(one: np.ndarray, other: np.ndarray) -> int:
    """Samples by which the other is later: the peak of the correlation with whitened spectra."""
    size = 2 * len(one)
    cross = np.conj(np.fft.rfft(one, size)) * np.fft.rfft(other, size)
    peak = int(np.argmax(np.fft.irfft(cross / np.sqrt(np.abs(cross) + 1e-9), size)))
    return peak if peak < len(one) else peak - size


ALL: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "low_pass": lambda x: degradation.low_pass(x, 3500),
    "ulaw": lambda x: degradation.telephone(x, "ulaw"),
    "alaw": lambda x: degradation.telephone(x, "alaw"),
    "opus-8": lambda x: degradation.opus(x, 8),
    "opus-32": lambda x: degradation.opus(x, 32),
    "mp3-16": lambda x: degradation.mp3(x, 16),
    "mp3-32": lambda x: degradation.mp3(x, 32),
    "mp3-48": lambda x: degradation.mp3(x, 48),
    "room": lambda x: degradation.convolved(x, degradation.room_response(0.8, 0, rng())),
    "noise": lambda x: degradation.with_noise(x, degradation.coloured_noise(len(x), 2, rng()), 8),
    "babble": lambda x: degradation.with_noise(x, speech(1, len(x)), 8),
    "clipping": lambda x: degradation.clipped(x, 15),
    "equaliser": lambda x: degradation.equalised(
        x, np.array([125.0, 1000.0, 8000.0]), np.array([-12.0, 0.0, 12.0])
    ),
}


@pytest.mark.parametrize("kind", list(ALL))
@pytest.mark.parametrize("count", [COUNT, 16_000, 4_800])
def test_a_degradation_keeps_length_time_level_and_numbers(kind: str, count: int) -> None:
    clean = speech(count=count)
    before = clean.copy()
    out = degradation.matched_level(ALL[kind](clean), clean)
    np.testing.assert_array_equal(clean, before)
    assert out.dtype == np.float32
    assert out.shape == clean.shape
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1
    assert abs(out.mean()) < 2e-3
    assert decibels(speech_level(clean)[1] / speech_level(out)[1]) == pytest.approx(0, abs=0.3)
    assert not np.array_equal(out, clean)
    assert abs(lag(clean, out)) <= 16, "more than a millisecond"


def test_a_low_pass_keeps_what_lies_below() -> None:
    clean = speech()
    out = degradation.low_pass(clean, 4000)
    assert decibels(power(out, 4200, 8000) / power(clean, 4200, 8000)) < -50
    assert decibels(power(out, 0, 3800) / power(clean, 0, 3800)) == pytest.approx(0, abs=0.01)
    np.testing.assert_allclose(degradation.low_pass(clean, 9000), clean, atol=1e-5)


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_a_telephone_has_its_band_and_the_noise_of_8_bits(law: degradation.Law) -> None:
    clean = speech()
    out = degradation.telephone(clean, law)
    for low, high in ((0, 250), (3600, 8000)):
        assert decibels(power(out, low, high) / power(clean, low, high)) < -15
    hz = (400, 3200)
    assert decibels(power(out, *hz) / power(clean, *hz)) == pytest.approx(0, abs=0.2)
    error = power(out - clean, *hz) / power(clean, *hz)
    assert -45 < decibels(error) < -28  # G.711: about 38 dB of signal to noise


def test_codecs_get_worse_with_fewer_bits() -> None:
    clean = speech()
    for codec, rates in ((degradation.opus, (8, 16, 64)), (degradation.mp3, (16, 32, 64))):
        errors = [float(np.square(codec(clean, rate) - clean).mean()) for rate in rates]
        assert errors[0] > errors[1] > errors[2] > 0


def test_a_room_decays_by_60_db_in_its_reverberation_time() -> None:
    response = degradation.room_response(0.5, 6, rng())
    assert response[0] == 1
    tail = np.square(response[1:])
    assert decibels(1 / tail.sum()) == pytest.approx(6, abs=1e-6)
    left = np.cumsum(tail[::-1])[::-1]  # Schroeder's integral
    first, second = 0.05 * SAMPLE_RATE, 0.25 * SAMPLE_RATE
    fall = decibels(left[int(first)] / left[int(second)])
    assert fall == pytest.approx(60 * (second - first) / SAMPLE_RATE / 0.5, rel=0.1)
    np.testing.assert_allclose(
        degradation.convolved(speech(), np.array([0.0, 0.0, 1.0]))[2:], speech()[:-2], atol=1e-6
    )


@pytest.mark.parametrize("exponent", [0, 1, 2])
def test_coloured_noise_falls_as_it_should(exponent: int) -> None:
    noise = degradation.coloured_noise(1 << 17, exponent, rng())
    # of equal bandwidth, an octave apart
    ratio = power(noise, 1900, 2100) / power(noise, 3900, 4100)
    assert decibels(ratio) == pytest.approx(exponent * decibels(2), abs=0.5)


@pytest.mark.parametrize("snr", [0.0, 10.0, 25.0])
def test_noise_has_the_wanted_distance_to_the_speech_without_pauses(snr: float) -> None:
    clean = speech() * 0.3
    noise = degradation.coloured_noise(len(clean), 1, rng())
    added = degradation.with_noise(clean, noise, snr) - clean
    level = TRAINING.level_db - 20 * np.log10(speech_level(clean)[1])
    assert level - decibels(np.square(added).mean()) == pytest.approx(snr, abs=0.05)
    np.testing.assert_array_equal(degradation.with_noise(clean, np.zeros_like(clean), snr), clean)


def test_clipping_and_equaliser_by_hand() -> None:
    ramp = np.array([-1.0, -0.4, 0.0, 0.4, 1.0], np.float32)
    np.testing.assert_allclose(
        degradation.clipped(ramp, 20 * np.log10(2)), [-0.5, -0.4, 0, 0.4, 0.5], atol=1e-6
    )
    clean = speech()
    out = degradation.equalised(clean, np.array([1000.0, 4000.0]), np.array([0.0, -12.0]))
    for hz, wanted in ((500, 0), (2000, -6), (6000, -12)):
        around = hz - 10, hz + 10
        assert decibels(power(out, *around) / power(clean, *around)) == pytest.approx(
            wanted, abs=0.2
        )


def clip(name: str, seed: int = 0) -> Clip:
    return Clip(name, "ada", None, "train", None, speech(seed), np.zeros((95, 52), np.float32))


def only(kind: str) -> DegradationSettings:
    weights = dict.fromkeys(KINDS, 0.0) | {kind: 1.0}
    return DegradationSettings(share=1, kinds=DegradationWeights(**weights))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_drawn_alone(kind: str) -> None:
    one, other = clip("a"), clip("b", 1)
    out = degraded(one, [other], only(kind))
    assert not np.array_equal(out, one.audio)
    assert out.shape == one.audio.shape
    assert np.isfinite(out).all()
    assert abs(lag(one.audio, out)) <= 16


def test_a_clip_is_degraded_by_its_id_and_the_seed_alone() -> None:
    settings = DegradationSettings(share=1)
    one, others = clip("a"), [clip("b", 1), clip("c", 2)]
    out = degraded(one, others, settings)
    np.testing.assert_array_equal(out, degraded(one, others, settings))
    for changed in (replace(one, id="d"), one):
        other_seed = settings if changed is not one else DegradationSettings(share=1, seed=1)
        assert not np.array_equal(out, degraded(changed, others, other_seed))


def test_a_share_of_the_clips_is_degraded() -> None:
    settings = only("clipping").model_copy(update={"share": 0.3})
    one = clip("a")
    same = [degraded(replace(one, id=str(i)), [], settings) is one.audio for i in range(200)]
    assert np.mean(same) == pytest.approx(0.7, abs=0.1)
    assert degraded(one, [], DegradationSettings()) is one.audio
    assert degraded(one, [], only("babble")) is one.audio  # nobody else is there


def test_babble_is_other_clips_at_once() -> None:
    others = [np.full(10, 1.0, np.float32), np.full(7, 10.0, np.float32)]
    np.testing.assert_array_equal(babble(25, others, 5, rng()), np.full(25, 11.0))
    assert set(babble(25, others, 1, rng())) < {1.0, 10.0}


def test_a_missing_encoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_mp3(*args: Any, **kwargs: Any) -> None:
        raise soundfile.LibsndfileError(1)

    monkeypatch.setattr(soundfile, "write", without_mp3)
    assert "kinds.opus=0 and mp3=0" in refusal(lambda: degradation.mp3(speech(), 32))


def test_a_degradation_without_kinds_is_refused() -> None:
    with pytest.raises(ValueError, match="kinds"):
        DegradationSettings(share=0.5, kinds=DegradationWeights(**dict.fromkeys(KINDS, 0.0)))
