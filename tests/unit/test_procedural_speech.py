"""Speech from eSpeak NG: samples, phonemes and their times."""

import ctypes
import itertools
import sys
import threading

import numpy as np
import pytest

from diffusiontalker.corpus.procedural import speech
from diffusiontalker.corpus.procedural.speech import Prosody, speak
from diffusiontalker.errors import UserError


def spoken_seconds(prosody: Prosody) -> float:
    samples, rate, _ = speak("The brown fox jumped over the fence.", "en-us", prosody)
    return len(samples) / rate


def test_phonemes_fill_the_time_in_order():
    samples, rate, phones = speak("Baby, map the moon.", "en-us", Prosody())
    assert samples.dtype == np.float32
    assert 0.05 < np.abs(samples).max() <= 1.0
    assert 0.0 <= phones[0].start < 0.03
    assert phones[-1].end == len(samples) / rate
    for phone, after in itertools.pairwise(phones):
        assert phone.start < phone.end == after.start
    ipa = "".join(phone.ipa for phone in phones)
    assert ipa.count("b") == 2
    assert ipa.count("m") == 2
    assert "ˈ" in ipa


def test_a_comma_is_a_pause_and_pauses_are_quiet():
    samples, rate, phones = speak("Emma, come in.", "en-us", Prosody())
    pauses = [p for p in phones if not p.ipa and p.start > 0 and p.end < len(samples) / rate]
    assert pauses
    loud = np.abs(samples).max()
    for pause in pauses:
        middle = int((pause.start + pause.end) / 2 * rate)
        assert np.abs(samples[middle - 50 : middle + 50]).max() < 0.1 * loud


def test_the_times_of_a_fricative_are_where_it_hisses():
    samples, rate, phones = speak("Ah, sah, sah.", "en-us", Prosody(rate=120))

    def brightness(start: float, end: float) -> float:
        third = (end - start) / 3
        piece = samples[int((start + third) * rate) : int((end - third) * rate)]
        power = np.abs(np.fft.rfft(piece)) ** 2
        return float((np.fft.rfftfreq(len(piece), 1 / rate) * power).sum() / power.sum())

    hiss = [brightness(p.start, p.end) for p in phones if p.ipa == "s"]
    vowels = [brightness(p.start, p.end) for p in phones if "ɑ" in p.ipa]
    assert len(hiss) == 2
    assert min(hiss) > 2 * max(vowels)


@pytest.mark.parametrize("voice", ["en-us+f2", "en-gb-x-gbclan+caleb", "en-gb-scotland+Reed"])
def test_the_same_words_sound_the_same_whatever_was_said_before(voice: str):
    first = speak("Oh my, a sheep.", voice, Prosody(pitch=70))
    speak("Something else.", "en-gb-scotland+m3", Prosody(rate=250, pitch=10, volume=40))
    again = speak("Oh my, a sheep.", voice, Prosody(pitch=70))
    # eSpeak carries a little state from call to call, which now and then shifts a sample by a hair.
    assert [phone.ipa for phone in again[2]] == [phone.ipa for phone in first[2]]
    assert len(again[0]) == len(first[0])
    assert np.corrcoef(again[0], first[0])[0, 1] > 0.99


def test_a_synthesizer_says_the_same_again_while_others_draw_random_numbers() -> None:
    def noisy() -> list[np.ndarray]:
        """A breathy voice among the rest, in a process of its own."""
        with speech.Synthesizer() as synthesizer:
            voices = ("en-us+whisperf", "en-gb-scotland+Reed")
            return [synthesizer("Oh my, a sheep.", voice, Prosody())[0] for voice in voices]

    stop = threading.Event()
    rand = ctypes.CDLL(None).rand

    def draw() -> None:
        while not stop.is_set():
            rand()

    first = noisy()
    other = threading.Thread(target=draw)
    other.start()
    again = noisy()
    stop.set()
    other.join()
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_synthesizer_speaks_as_speak_and_refuses_as_speak() -> None:
    with speech.Synthesizer() as synthesizer:
        with pytest.raises(UserError, match="no voice 'tlh-nowhere'"):
            synthesizer("Hello.", "tlh-nowhere", Prosody())
        samples, rate, phones = synthesizer("Baby, map the moon.", "en-us", Prosody(pitch=60))
    own = speak("Baby, map the moon.", "en-us", Prosody(pitch=60))
    assert rate == own[1]
    assert phones == own[2]
    assert np.corrcoef(samples, own[0])[0, 1] > 0.99


def test_the_dials_turn_the_right_way():
    assert spoken_seconds(Prosody(rate=110)) > 1.3 * spoken_seconds(Prosody(rate=220))
    loud = speak("Oh.", "en-us", Prosody(volume=100))[0]
    quiet = speak("Oh.", "en-us", Prosody(volume=30))[0]
    assert np.abs(quiet).max() < 0.6 * np.abs(loud).max()


def test_text_beyond_ascii_is_spoken():
    assert speak("Café — naïve Zoë.", "en-us", Prosody())[2]


@pytest.mark.parametrize(
    ("text", "voice", "message"),
    [
        ("Hello.", "tlh-nowhere", "no voice 'tlh-nowhere'"),
        ("", "en-us", "made no sound for ''"),
        ("...", "en-us", "made no sound for '...'"),
    ],
)
def test_what_cannot_be_said_is_refused(text: str, voice: str, message: str):
    with pytest.raises(UserError, match=message):
        speak(text, voice, Prosody())


def test_a_missing_library_names_the_mend(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"pip install '\.\[platform\]'"):
        speech._Engine()
