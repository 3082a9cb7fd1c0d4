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
