"""Closures of stops where the audio has them."""

import numpy as np
import pytest

from diffusiontalker.corpus.procedural.closures import CLOSURE, SHORTEST, on_dips
from diffusiontalker.corpus.procedural.speech import Phone, Prosody, speak

RATE = 16_000


def hissing(*silences: tuple[float, float], seconds: float = 1.0) -> np.ndarray:
    """Noise with silences."""
    samples = np.random.default_rng(0).normal(0, 0.1, int(seconds * RATE))
    for start, end in silences:
        samples[int(start * RATE) : int(end * RATE)] = 0
    return samples


def contiguous(phones: list[Phone], seconds: float) -> bool:
    edges = [0.0, *(p.end for p in phones)]
    return [p.start for p in phones] == edges[:-1] and edges[-1] == pytest.approx(
        seconds, abs=SHORTEST
    )


def phones(stop: str, start: float, end: float, before: str = "ɑ") -> list[Phone]:
    return [Phone(before, 0.0, start), Phone(stop, start, end), Phone("ɑ", end, 1.0)]


@pytest.mark.parametrize("stop", ["p", "b", "t", "k"])
def test_a_stop_that_begins_at_its_release_is_moved_onto_its_closure(stop: str) -> None:
    moved = on_dips(phones(stop, 0.54, 0.58), hissing((0.5, 0.56)), RATE)
    assert [p.ipa for p in moved] == ["ɑ", stop, "ɑ"]
    assert moved[1].start == pytest.approx(0.5, abs=0.01)
    assert moved[1].end == pytest.approx(0.56, abs=0.01)
    assert contiguous(moved, 1.0)


@pytest.mark.parametrize("sound", ["m", "d", "ɡ", "s"])
def test_other_sounds_stay(sound: str) -> None:
    given = phones(sound, 0.54, 0.58)
    assert on_dips(given, hissing((0.5, 0.56)), RATE) == given


def test_a_stop_without_a_dip_stays() -> None:
    given = phones("p", 0.54, 0.58)
    assert on_dips(given, np.random.default_rng(0).uniform(-1e-9, 1e-9, RATE), RATE) == given


@pytest.mark.parametrize(("pause", "taken"), [(0.5, CLOSURE), (0.03, 0.03 - SHORTEST)])
def test_a_stop_after_a_pause_closes_in_it(pause: float, taken: float) -> None:
    given = [Phone("", 0.0, pause), Phone("p", pause, 0.6), Phone("ɑ", 0.6, 1.0)]
    moved = on_dips(given, hissing((0.0, pause)), RATE)
    assert moved[1].ipa == "p"
    assert moved[1].start == pytest.approx(pause - taken, abs=1e-6)
    assert contiguous(moved, 1.0)


def test_times_do_not_drift_at_espeaks_rate() -> None:
    """A hop of 110 samples at 22,050 Hz was taken for 5 ms: 23 ms late after ten seconds."""
    rate = 22_050
    samples = np.random.default_rng(0).normal(0, 0.1, 11 * rate)
    samples[int(10.0 * rate) : int(10.06 * rate)] = 0
    given = [Phone("ɑ", 0.0, 10.04), Phone("p", 10.04, 10.08), Phone("ɑ", 10.08, 11.0)]
    moved = on_dips(given, samples, rate)
    assert moved[1].start == pytest.approx(10.0, abs=0.008)
    assert moved[1].end == pytest.approx(10.06, abs=0.008)


def test_each_stop_of_a_cluster_has_its_own_closure() -> None:
    """The second stop took the first one's, and the next vowel began a quarter second early."""
    given = [
        Phone("ɛ", 0.0, 0.45), Phone("p", 0.45, 0.55), Phone("t", 0.55, 0.62), Phone("ɪ", 0.62, 1.0)
    ]  # fmt: skip
    moved = on_dips(given, hissing((0.42, 0.48), (0.53, 0.59)), RATE)
    assert [p.ipa for p in moved] == ["ɛ", "p", "t", "ɪ"]
    assert [moved[1].start, moved[1].end] == pytest.approx([0.42, 0.53], abs=0.06)
    assert moved[2].start == pytest.approx(0.53, abs=0.06)
    assert moved[3].start == pytest.approx(0.59, abs=0.01)
    assert contiguous(moved, 1.0)


def test_a_stop_at_the_very_beginning_closes_before_its_release() -> None:
    moved = on_dips([Phone("p", 0.1, 0.14), Phone("ɑ", 0.14, 1.0)], hissing((0.0, 0.1)), RATE)
    assert [p.ipa for p in moved] == ["", "p", "ɑ"]
    assert moved[1].start == pytest.approx(0.1 - CLOSURE)


def test_phones_at_the_end_stay_within_the_audio() -> None:
    given = [Phone("ɛ", 0.0, 0.99), Phone("p", 0.99, 0.995), Phone("t", 0.995, 1.0)]
    moved = on_dips(given, hissing(), RATE)
    assert [p.ipa for p in moved] == ["ɛ", "p", "t"]
    assert moved[-1].end <= 1.0
    assert contiguous(moved, 1.0)
    assert min(p.end - p.start for p in moved) >= SHORTEST - 1e-9


def test_espeaks_p_lies_on_its_silence() -> None:
    samples, rate, given = speak("a paper copy, happy people", "en-us", Prosody())
    moved = on_dips(given, samples, rate)
    assert [p.ipa for p in moved] == [p.ipa for p in given]

    def level(phones: list[Phone]) -> float:
        """RMS in the first halves of p."""
        inside = [
            samples[int(p.start * rate) : int((p.start + p.end) / 2 * rate)]
            for p in phones
            if p.ipa == "p"
        ]
        return float(np.sqrt(np.square(np.concatenate(inside)).mean()))

    assert level(moved) < 0.5 * level(given)
    assert contiguous(moved, len(samples) / rate)
    assert min(p.end - p.start for p in moved) >= SHORTEST - 1e-9
