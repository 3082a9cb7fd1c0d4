"""Kokoro's voices: tokens, phone times, pitch, and the real model where the cache holds it."""

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests.kokoro_made import F0, VOCABULARY, make_graph, make_kokoro

from diffusiontalker.arkit import INDEX
from diffusiontalker.assets import ASSETS
from diffusiontalker.assets.cache import cache
from diffusiontalker.config import CorpusSettings
from diffusiontalker.corpus.procedural import generation, kokoro, kokoro_timing, planning
from diffusiontalker.corpus.procedural.kokoro import Kokoro
from diffusiontalker.corpus.procedural.kokoro_timing import phone_times
from diffusiontalker.corpus.procedural.kokoro_tokens import PAD, Token, phone_symbols, tokenize
from diffusiontalker.corpus.procedural.speech import Phone, Prosody
from diffusiontalker.errors import UserError

RATE = kokoro.SAMPLE_RATE

# Tokens


@pytest.mark.parametrize(
    ("ipa", "british", "symbols"),
    [
        ("tʃ", False, "ʧ"), ("dʒ", True, "ʤ"), ("ˈeɪ", False, "ˈA"), ("aɪɚ", False, "Iəɹ"),
        ("oʊ", False, "O"), ("əʊ", True, "Q"), ("ɜː", False, "ɜɹ"), ("ɜː", True, "ɜː"),
        ("ˈɔːɹ", False, "ˈɔɹ"), ("ˈiː", False, "ˈi"), ("ˈiː", True, "ˈiː"), ("ɾ", False, "T"),
        ("ˈeə", True, "ˈɛː"), ("iə", True, "ɪə"), ("əl", False, "ᵊl"), ("n̩", False, "ᵊn"),
        ("ɐ", False, "ə"), ("p", False, "p"), ("ˌaʊ", False, "ˌW"),
    ],
)  # fmt: skip
def test_phonemes_become_the_symbols_of_misaki(ipa: str, british: bool, symbols: str) -> None:
    assert phone_symbols(ipa, british) == symbols


def test_tokens_keep_words_punctuation_and_the_phone_they_speak() -> None:
    phones, tokens = tokenize("My boat, Emma!", "en-us", VOCABULARY)
    assert phones == ["m", "aɪ", "b", "ˈoʊ", "t", "ˈɛ", "m", "ə"]
    assert "".join(token.symbol for token in tokens) == "mI bˈOt, ˈɛmə!"
    assert tokens[0] == tokens[-1] == Token(PAD, None)
    assert [t.phone for t in tokens[1:-1]] == [0, 1, None, 2, 3, 3, 4, None, None, 5, 5, 6, 7, None]


def test_symbols_that_the_vocabulary_lacks_are_left_out() -> None:
    phones, tokens = tokenize("my boat.", "en-us", {"m": 1, "b": 2, " ": 3})
    assert phones == ["m", "b"]
    assert [token.symbol for token in tokens] == [PAD, "m", " ", "b", PAD]


# Phone times


def sound(*parts: tuple[str, float]) -> np.ndarray:
    """Voiced and silent stretches of given seconds, and closures, which keep the voice bar."""
    seconds = np.arange(int(RATE * sum(length for _, length in parts))) / RATE
    bar = np.sin(2 * np.pi * 120 * seconds)
    vowel = bar + sum(np.sin(2 * np.pi * hertz * seconds) for hertz in (700, 1500, 2600))
    kind = np.repeat([kind for kind, _ in parts], [round(length * RATE) for _, length in parts])
    size = len(kind)
    return 0.1 * np.select([kind == "vowel", kind == "bar"], [vowel[:size], 0.1 * bar[:size]])


def token_list(text: str, ipa: list[str]) -> list[Token]:
    """One token for each phone, space and mark of ``text``."""
    numbers = itertools.count()
    inner = [Token(c, next(numbers) if c in ipa else None) for c in text]
    return [Token(PAD, None), *inner, Token(PAD, None)]


def test_lips_close_where_the_sound_stops_and_pauses_where_it_is_silent() -> None:
    # The grid says: a from .2, p from .4, a from .5; and a pause of .05 after 1 s.
    ipa = ["a", "p", "a", "i"]
    samples = sound(
        ("silence", 0.17), ("vowel", 0.26), ("bar", 0.07), ("vowel", 0.4), ("silence", 0.2),
        ("vowel", 0.3), ("silence", 0.3),
    )  # fmt: skip
    durations = np.array([10, 8, 4, 24, 2, 8, 12])
    assert durations.sum() * kokoro_timing.FRAME == pytest.approx(len(samples) / RATE)
    phones = phone_times(ipa, token_list("apa,i", ipa), durations, samples, RATE)
    assert [phone.ipa for phone in phones] == ["", "a", "p", "a", "", "i", ""]
    expected = [0, 0.17, 0.43, 0.5, 0.9, 1.1, 1.4]
    assert [phone.start for phone in phones] == pytest.approx(expected, abs=0.011)
    for phone, after in itertools.pairwise(phones):
        assert phone.start < phone.end == after.start
    assert phones[-1].end == pytest.approx(len(samples) / RATE)


def test_without_silence_or_dips_the_grid_stands() -> None:
    ipa = ["a", "b", "i"]
    samples = sound(("vowel", 0.5))
    phones = phone_times(ipa, token_list("ab i", ipa), np.array([2, 4, 4, 4, 4, 2]), samples, RATE)
    # The space is shared; silence at neither end.
    assert phones == [
        Phone("a", 0.0, pytest.approx(0.1)),
        Phone("b", pytest.approx(0.1), pytest.approx(0.25)),
        Phone("i", pytest.approx(0.25), pytest.approx(0.5)),
    ]


def test_many_short_phones_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    ipa = ["p", "b", "m"] * 10
    samples = rng.normal(size=RATE) * (rng.random(40) < 0.5).repeat(RATE // 40)
    tokens = token_list("".join(ipa), ipa)
    phones = phone_times(ipa, tokens, np.ones(len(tokens)), samples, RATE)
    assert [phone.ipa for phone in phones if phone.ipa] == ipa
    assert min(phone.end - phone.start for phone in phones) > 0.009


# The graph


def run_graph(pitch: float, span: float) -> float:
    session = onnxruntime.InferenceSession(kokoro.with_pitch(make_graph()))
    f0 = session.run(
        ["audio"],
        {
            "tokens": np.array([[0, 20, 40]]), "style": np.zeros((1, 256), np.float32),
            "speed": np.ones(1, np.float32), "pitch": np.float32([pitch]),
            "range": np.float32([span]),
        },
    )[0]  # fmt: skip
    return float(f0[0]) * 1000


def test_pitch_is_scaled_and_its_range_keeps_the_mean() -> None:
    assert run_graph(1.0, 1.0) == pytest.approx(F0 - 20)
    assert run_graph(1.5, 1.0) == pytest.approx(1.5 * (F0 - 20))
    assert run_graph(1.0, 2.0) == pytest.approx(F0 - 20)


def test_it_speaks_as_espeak_does(tmp_path: Path) -> None:
    speak = Kokoro(make_kokoro(tmp_path / "kokoro"))
    samples, rate, phones = speak("My boat.", "af_heart", Prosody())
    assert rate == RATE
    assert len(samples) == 2400 * len("mI bˈOt.PP")
    assert [phone.ipa for phone in phones if phone.ipa] == ["m", "aɪ", "b", "ˈoʊ", "t"]
    assert phones[-1].end == pytest.approx(len(samples) / rate)
    high = speak("My boat.", "af_heart", Prosody(pitch=75))[0]
    assert high[0] / samples[0] == pytest.approx(2**0.25)
    british = [phone.ipa for phone in speak("My boat.", "bm_george", Prosody())[2] if phone.ipa]
    assert british == ["m", "aɪ", "b", "ˈəʊ", "t"]


@pytest.mark.parametrize(
    ("text", "voice", "message"),
    [
        ("Hello.", "xx_nobody", "no voice 'xx_nobody'"),
        ("...", "af_heart", "no sound"),
        ("A fox. " * 120, "af_heart", "tokens"),
    ],
)
def test_what_cannot_be_said_is_refused(
    tmp_path: Path, text: str, voice: str, message: str
) -> None:
    speak = Kokoro(make_kokoro(tmp_path / "kokoro"))
    with pytest.raises(UserError, match=message):
        speak(text, voice, Prosody())


# The real model


@pytest.fixture(scope="module")
def real() -> Kokoro:
    asset = ASSETS[kokoro.ASSET]
    folder = cache() / f"{asset.name}-{asset.fingerprint}"
    if not folder.is_dir():
        pytest.skip("the cache holds no Kokoro; set corpus.voices.kokoro in a run to fetch it")
    return Kokoro(folder)


def test_the_real_voice_is_the_same_again_and_its_lips_meet(real: Kokoro) -> None:
    settings = CorpusSettings(minutes=1, voices={"espeak": 0, "kokoro": 1})
    plans = [plan for plan in planning.plan(settings) if plan.split == "train"][:2]
    sealed = []
    for plan in plans:
        clip = generation.make_clip(plan, settings, real)
        again = generation.make_clip(plan, settings, real)
        assert np.array_equal(clip.audio, again.audio)
        assert clip.phones is not None
        assert clip.phone_starts is not None
        opening = clip.coefficients[:, INDEX["jawOpen"]] - clip.coefficients[:, INDEX["mouthClose"]]
        ends = np.append(clip.phone_starts[1:], len(opening) / 30)
        for ipa, start, end in zip(clip.phones, clip.phone_starts, ends, strict=True):
            first, last = ((time + plan.speaker.lag) * 30 for time in (start, end))
            if ipa in ("p", "b", "m") and last < len(opening) - 1:
                sealed.append(opening[max(int(first), 0) : int(last) + 2].min() < 0.02)
    assert sealed
    assert np.mean(sealed) > 0.8
