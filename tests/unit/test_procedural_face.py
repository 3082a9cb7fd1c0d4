"""Speakers, emotions, and the face that follows from phonemes."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from openfacefx import IPA_MAPPING

from diffusiontalker.arkit import CHANNELS, FPS, INDEX, LIP, UPPER
from diffusiontalker.corpus.procedural import articulation, face, text
from diffusiontalker.corpus.procedural.speech import Phone, Prosody, speak
from diffusiontalker.corpus.procedural.voices import (
    ACCENTS,
    EMOTIONS,
    REGIONS,
    VARIANTS,
    Speaker,
    espeak_speakers,
)
from diffusiontalker.objectives.articulation import SEALED, aperture

RATE = 16_000
LIPS = [INDEX[name] for name in ("mouthPressLeft", "mouthPressRight", "mouthRollLower")]


def plain(**changes: object) -> Speaker:
    """A speaker without habits: no lag, no gains, a face at rest that is zero."""
    speaker = espeak_speakers(1, 0)[0]
    return dataclasses.replace(
        speaker,
        **{
            "lag": 0.0,
            "gains": dict.fromkeys(REGIONS, 1.0),
            "asymmetry": 0.0,
            "rest": {},
            "expressiveness": 1.0,
            **changes,
        },
    )


def phones_of(*sounds: tuple[str, float]) -> list[Phone]:
    """Phones from (symbol, seconds)."""
    ends = np.cumsum([seconds for _, seconds in sounds])
    return [
        Phone(ipa, float(end - seconds), float(end))
        for (ipa, seconds), end in zip(sounds, ends, strict=True)
    ]


def performed(phones: list[Phone], emotion: str = "neutral", speaker: Speaker | None = None):
    """A motion to noise of even loudness, of the phones' length."""
    samples = np.random.default_rng(0).normal(0, 0.1, int(phones[-1].end * RATE))
    return articulation.speech_motion(
        samples.astype(np.float32), RATE, phones, speaker or plain(), EMOTIONS[emotion], 1.0
    )


def drawn(phones: list[Phone], emotion: str = "neutral", seed: int = 0) -> np.ndarray:
    return face.draw(performed(phones, emotion), np.random.default_rng(seed))


OPEN_P_OPEN = [("", 0.2), ("ɑː", 0.3), ("p", 0.08), ("ɑː", 0.3), ("", 0.2)]


# Speakers and emotions


def test_voices_exist_and_variants_are_distinct():
    import espeakng_loader

    folder = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    assert len(set(VARIANTS)) == len(VARIANTS)
    assert set(VARIANTS) <= {path.name for path in folder.iterdir()}


def test_speakers_are_distinct_and_stay_as_their_number_grows():
    many = espeak_speakers(3 * len(VARIANTS), 7)
    assert len({s.name for s in many}) == len(many)
    assert len({s.voice for s in many[: len(VARIANTS)]}) == len(VARIANTS)
    assert len({(s.voice, s.pitch) for s in many}) == len(many)
    assert espeak_speakers(5, 7) == many[:5]
    assert espeak_speakers(5, 8)[0].gains != many[0].gains


def test_emotions_name_known_channels_and_expand_sides():
    for emotion in EMOTIONS.values():
        assert set(emotion.pose) <= set(INDEX)
        assert all(0 < weight <= 1 for weight in emotion.pose.values())
    assert {"browDownLeft", "browDownRight"} <= set(EMOTIONS["anger"].pose)
    assert EMOTIONS["neutral"].pose == {}


def test_regions_name_known_channels_once():
    named = list(itertools.chain(*REGIONS.values()))
    assert len(set(named)) == len(named)
    assert set(named) <= set(CHANNELS)


def test_prosody_by_hand():
    speaker = plain(rate=1.1, pitch=40.0)
    assert speaker.prosody(EMOTIONS["neutral"], 1.0) == Prosody(165 * 1.1, 95.0, 90.0, 50.0)
    afraid = speaker.prosody(EMOTIONS["fear"], 0.5)
    assert afraid.rate == pytest.approx(165 * 1.1 * EMOTIONS["fear"].rate ** 0.5)
    assert afraid.pitch == 97.0  # 90 and half of 26 are past the dial's end


# From symbols to visemes


@pytest.mark.parametrize(
    ("ipa", "symbols"),
    [
        ("p", ["p"]),
        ("", ["sil"]),
        ("ˈɑː", ["ɑ"]),
        ("tʃ", ["tʃ"]),
        ("d͡ʒ", ["dʒ"]),
        ("n̩", ["n"]),
        ("ˈaɪ", ["a", "ɪ"]),
        ("ˈɔːɹ", ["ɔ", "ɹ"]),
        ("əl", ["ə", "l"]),
        ("aɪɚ", ["a", "ɪ", "ɚ"]),
        ("ᵻ", ["ɪ"]),
        ("ʲ", ["j"]),
        ("aa", ["a", "a"]),
        ("a:", ["a"]),
    ],
)
def test_visible_parts_of_a_phone(ipa: str, symbols: list[str]):
    parts = articulation.visible_parts(Phone(ipa, 1.0, 1.2))
    assert [symbol for symbol, _, _ in parts] == symbols
    assert parts[0][1] == 1.0
    assert parts[-1][2] == pytest.approx(1.2)
    assert all(one[2] == other[1] for one, other in itertools.pairwise(parts))


def test_the_first_of_two_parts_takes_55_percent():
    (_, _, cut), _ = articulation.visible_parts(Phone("aʊ", 0.0, 1.0))
    assert cut == pytest.approx(0.55, abs=0.005)


@pytest.mark.parametrize("accent", sorted(set(ACCENTS)))
def test_every_sound_of_every_accent_has_a_shape(accent: str):
    source = text.sentences(np.random.default_rng(1))
    said = " ".join(itertools.islice(source, 120))
    phones = speak(said, f"{accent}+m1", Prosody(rate=400))[2]
    unknown = {
        phone.ipa
        for phone in phones
        for symbol, _, _ in articulation.visible_parts(phone)
        if symbol not in IPA_MAPPING.rows or (phone.ipa and symbol == "sil")
    }
    assert len(phones) > 2000
    assert not unknown


# The mouth


@pytest.mark.parametrize("sound", ["p", "b", "m"])
@pytest.mark.parametrize("emotion", ["neutral", "surprise", "anger"])
def test_bilabials_between_open_vowels_close_the_lips(sound: str, emotion: str):
    phones = phones_of(*((sound if ipa == "p" else ipa, s) for ipa, s in OPEN_P_OPEN))
    coefficients = drawn(phones, emotion)
    jaw, close = coefficients[:, INDEX["jawOpen"]], coefficients[:, INDEX["mouthClose"]]
    closed, vowel = round(0.54 * FPS), round(0.35 * FPS)
    # mouthClose undoes jawOpen: the lips' opening is the difference.
    assert np.abs(jaw - close)[[closed]].max() < 0.02
    assert jaw[closed] < 0.3 * jaw[vowel]
    assert (jaw - close)[vowel] > 0.4
    assert close[vowel] < 0.02
    assert (coefficients[closed, LIPS] > [0.35, 0.35, 0.15]).all()
    if emotion != "anger":  # which presses the lips throughout
        assert (coefficients[vowel, LIPS] < 0.05).all()


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_no_emotion_parts_lips_that_are_closed(emotion: str):
    """Disgust raises the upper lip, which kept its p, b and m open."""
    gap = aperture(drawn(phones_of(*OPEN_P_OPEN), emotion))
    assert gap[round(0.54 * FPS)] < SEALED
    assert gap[round(0.35 * FPS)] > 0.3


@pytest.mark.parametrize("lag", [-0.02, 0.0, 0.0167, 0.031, 0.05])
def test_lips_close_wherever_frames_fall(lag: float):
    phones = phones_of(("", 0.2), ("ɑ", 0.2), ("b", 0.05), ("ɑ", 0.2), ("", 0.2))
    seal = performed(phones, speaker=plain(lag=lag)).seal
    assert seal.max() == pytest.approx(1.0)
    assert seal.argmax() / FPS == pytest.approx(0.425 + lag, abs=1 / FPS)


def test_shapes_of_vowels_and_labiodentals():
    def shape(ipa: str) -> dict[str, float]:
        frame = performed(phones_of(("", 0.2), (ipa, 0.3), ("", 0.2))).mouth[round(0.35 * FPS)]
        return dict(zip(CHANNELS, frame, strict=True))

    ah, oo, ee, ef = (shape(ipa) for ipa in ("ɑ", "u", "i", "f"))
    assert ah["jawOpen"] > 2 * max(oo["jawOpen"], ee["jawOpen"], ef["jawOpen"])
    assert oo["mouthPucker"] > 0.3 > ah["mouthPucker"]
    assert ee["mouthStretchLeft"] > oo["mouthStretchLeft"]
    assert ef["mouthRollLower"] > ah["mouthRollLower"]


def test_pauses_shut_the_mouth():
    mouth = performed(phones_of(("", 0.4), ("ɑ", 0.3), ("", 0.6))).mouth
    assert mouth[0].max() < 0.02
    assert mouth[-1].max() < 0.02


def test_a_compound_moves_the_mouth_as_its_parts_do():
    compound = performed(phones_of(("", 0.2), ("ˈɔːɹ", 0.4), ("", 0.2))).mouth
    parts = performed(phones_of(("", 0.2), ("ɔ", 0.4 * 0.551), ("ɹ", 0.4 * 0.449), ("", 0.2))).mouth
    assert np.abs(compound - parts).max() < 0.02
    assert compound.max() > 0.2


def test_the_mouth_trails_by_the_speakers_lag():
    mouth = [
        performed(phones_of(*OPEN_P_OPEN), speaker=plain(lag=lag)).mouth[:, INDEX["jawOpen"]]
        for lag in (0.0, 2 / FPS)
    ]
    # Loudness, which widens the jaw, does not move along; in the middle it is even.
    assert np.abs(mouth[1][2:] - mouth[0][:-2])[9:-9].max() < 0.02


@pytest.mark.parametrize("sound", ["t", "k", "s", "f", "n"])
def test_the_jaw_never_opens_wider_for_a_consonant_than_for_its_vowels(sound: str):
    phones = phones_of(("", 0.2), ("ɑ", 0.2), (sound, 0.08), ("ɑ", 0.2), ("", 0.2))
    jaw = performed(phones).mouth[:, INDEX["jawOpen"]]
    vowel, consonant = jaw[round(0.3 * FPS)], jaw[round(0.44 * FPS)]
    assert consonant < 0.8 * vowel
    assert jaw.max() == pytest.approx(vowel, rel=0.1)


def test_gains_scale_their_region_alone():
    gains = dict.fromkeys(REGIONS, 1.0)
    phones = phones_of(("", 0.2), ("u", 0.2), ("ɑ", 0.2), ("m", 0.1), ("i", 0.2), ("", 0.2))
    before = performed(phones).mouth
    after = performed(phones, speaker=plain(gains=gains | {"round": 0.5})).mouth
    columns = [INDEX[name] for name in REGIONS["round"]]
    others = [i for i in range(52) if i not in columns]
    assert np.allclose(after[:, columns], 0.5 * before[:, columns])
    assert (after[:, others] == before[:, others]).all()


# The rest of the face


@pytest.mark.parametrize("emotion", sorted(EMOTIONS))
def test_coefficients_are_within_bounds_and_of_the_samples_length(emotion: str):
    phones = phones_of(*OPEN_P_OPEN)
    coefficients = drawn(phones, emotion)
    assert coefficients.shape == (int(1.08 * FPS), 52)
    assert coefficients.dtype == np.float32
    assert coefficients.min() >= 0.0
    assert coefficients.max() <= 1.0


def test_emotions_show():
    phones = phones_of(("", 0.2), *[("ɑ", 0.2), ("s", 0.1)] * 6, ("", 0.2))
    mean = {
        name: np.mean([drawn(phones, name, seed).mean(axis=0) for seed in range(6)], axis=0)
        for name in EMOTIONS
    }
    for channel, high, low in (
        ("browDownLeft", "anger", "happiness"),
        ("mouthSmileLeft", "happiness", "anger"),
        ("mouthSmileRight", "happiness", "sadness"),
        ("mouthFrownLeft", "sadness", "happiness"),
        ("browOuterUpRight", "surprise", "neutral"),
        ("eyeWideLeft", "fear", "neutral"),
        ("noseSneerLeft", "disgust", "neutral"),
    ):
        assert mean[high][INDEX[channel]] > mean[low][INDEX[channel]] + 0.1, channel


def test_draws_follow_the_seed_and_differ_where_the_speech_does_not_decide():
    motion = performed(phones_of(*[("ɑ", 0.2), ("s", 0.1)] * 10))
    one, same, other = (face.draw(motion, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (one == same).all()
    difference = np.abs(one - other).mean(axis=0)
    articulators = [INDEX[name] for names in REGIONS.values() for name in names]
    articulators = [i for i in articulators if "Smile" not in CHANNELS[i]]
    assert difference[articulators].max() < 1e-6
    assert difference[list(UPPER)].mean() > 0.01


def test_the_expected_face_is_the_mean_of_draws():
    motion = performed(phones_of(*OPEN_P_OPEN))
    rng = np.random.default_rng(5)
    mean = np.mean([face.draw(motion, rng) for _ in range(4)], axis=0)
    assert np.allclose(face.expected(motion, np.random.default_rng(5), 4), mean, atol=1e-6)


def test_blinks_close_both_eyes_at_about_the_speakers_rate():
    motion = performed([Phone("ɑ", 0.0, 60.0)], speaker=plain(blinks=20.0))
    lids = face.draw(motion, np.random.default_rng(0))[
        :, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
    ]
    assert np.allclose(lids[:, 0], lids[:, 1], atol=1e-6)
    starts = np.flatnonzero((lids[1:, 0] > 0.5) & (lids[:-1, 0] <= 0.5))
    assert 8 <= len(starts) <= 26
    assert np.diff(starts).min() > 0.5 * FPS


def test_gaze_turns_both_eyes_the_same_way():
    coefficients = drawn([Phone("ɑ", 0.0, 20.0)])
    column = {name: coefficients[:, INDEX[name]] for name in CHANNELS if name.startswith("eyeLook")}
    assert np.allclose(column["eyeLookOutLeft"], column["eyeLookInRight"])
    assert np.allclose(column["eyeLookInLeft"], column["eyeLookOutRight"])
    assert (column["eyeLookInLeft"] * column["eyeLookOutLeft"] == 0).all()
    assert (column["eyeLookUpLeft"] * column["eyeLookDownLeft"] == 0).all()
    assert column["eyeLookOutLeft"].max() > 0.05


def test_asymmetry_moves_one_side_more():
    phones = phones_of(*[("i", 0.2), ("s", 0.1)] * 10)
    motion = performed(phones, speaker=plain(asymmetry=0.2))
    coefficients = face.draw(motion, np.random.default_rng(0))
    left, right = (coefficients[:, INDEX["mouthStretch" + side]] for side in ("Left", "Right"))
    moving = right > 0.01
    assert np.allclose(left[moving] / right[moving], 1.2 / 0.8, atol=1e-3)


def test_loudness_by_hand():
    # 10 Hz of frames' worth: silence, then noise whose level is constant.
    samples = np.r_[np.zeros(RATE), np.sin(np.arange(RATE) * 0.3)].astype(np.float32)
    energy = articulation.loudness(samples, RATE, 60)
    assert energy.shape == (60,)
    assert energy[:25].max() == 0.0
    assert energy[35:].min() > 0.99


def test_lips_and_upper_face_are_told_apart_by_region():
    assert {INDEX[n] for names in REGIONS.values() for n in names} <= set(LIP)
