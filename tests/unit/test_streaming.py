"""A stream: the same frames however it is cut, whatever comes in, for as long as it lasts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from tests.refusals import refusal
from tests.unit import models
from tests.unit.test_export_runtime import speech

from diffusiontalker.audio.front_end import TRAINING
from diffusiontalker.audio.level import normalize
from diffusiontalker.audio.log_mel import look_ahead, look_ahead_ms
from diffusiontalker.audio.resampler import Resampler
from diffusiontalker.audio.waveform import CANCELLED
from diffusiontalker.export import artifact
from diffusiontalker.runtime.offline import silent
from diffusiontalker.runtime.stream import Stream
from diffusiontalker.runtime.stream_batch.running_level import RunningLevel
from diffusiontalker.runtime.stream_parameters import StreamParameters
from diffusiontalker.runtime.student import Student

RATE = 16_000


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    path = tmp_path_factory.mktemp("artifact") / "student"
    artifact.export(models.talker(teacher=False), 2, path, "")
    return Student(path)


def running_level() -> RunningLevel:
    return RunningLevel(TRAINING, StreamParameters())


def cut(samples: np.ndarray, sizes: Iterator[int]) -> Iterator[np.ndarray]:
    at = 0
    while at < len(samples):
        size = next(sizes)
        yield samples[at : at + size]
        at += size


def sizes(kind: str) -> Iterator[int]:
    rng = np.random.default_rng(0)
    while True:
        yield {"all": 10**9, "10 ms": 160, "40 ms": 640, "odd": int(rng.integers(1, 3000))}[kind]


def run(stream: Stream, samples: np.ndarray, kind: str = "40 ms") -> np.ndarray:
    parts = [stream.push(part) for part in cut(samples, sizes(kind))]
    return np.concatenate([*parts, stream.close()])


@pytest.mark.parametrize("rate", [16_000, 8_000, 44_100, 48_000])
def test_the_same_frames_however_it_is_cut(student: Student, rate: int) -> None:
    samples = soxr.resample(speech(3.1), RATE, rate)
    once = run(student.stream(rate, seed=3), samples, "all")
    assert len(once) == 93
    for kind in ("10 ms", "40 ms", "odd"):
        np.testing.assert_allclose(
            run(student.stream(rate, seed=3), samples, kind), once, atol=1e-4
        )


def test_pinned_at_its_level_a_stream_is_the_recording(
    student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Level and voice are all that a stream does not know yet."""
    samples = normalize(speech(4.0))
    pinned: dict[str, Any] = {"identity": "ben", "emotion": "anger", "seed": 1}
    stream = student.stream(**pinned)

    def level(self: RunningLevel, powers: np.ndarray) -> np.ndarray:
        self.speech_start = 0
        return np.ones((len(powers), 1))

    monkeypatch.setattr(RunningLevel, "__call__", level)
    whole = student.animate(samples, RATE, **pinned).coefficients
    np.testing.assert_allclose(run(stream, samples), whole, atol=1e-4)


def test_frames_come_when_their_look_ahead_is_heard(student: Student) -> None:
    stream = student.stream()
    assert stream.look_ahead_ms == pytest.approx(70.0)
    came = []
    for part in cut(speech(2.0), sizes("10 ms")):
        came.append(len(stream.push(part)))
    for number, total in enumerate(np.cumsum(came), start=1):
        heard_ms = 10 * number
        # frame t is due at t / 30 s + 70 ms, and no later than a push after that
        assert total >= np.floor((heard_ms - 70 - 1) * 30 / 1000)
        assert total <= max((heard_ms - 70) * 30 / 1000 + 1, 0) + 1e-6
    assert sum(came) + len(stream.close()) == 60


def test_nothing_later_than_the_look_ahead_is_used(student: Student) -> None:
    samples = speech(3.0)
    changed = samples.copy()
    changed[RATE * 2 :] = speech(3.0, seed=2)[RATE * 2 :]
    faces = [run(student.stream(identity="ada", emotion="anger"), s) for s in (samples, changed)]
    alike = np.abs(faces[0] - faces[1]).max(axis=1) < 1e-6
    # 2.0 s less 70 ms: frame 57 is the last that heard nothing new
    assert alike[:58].all()
    assert not alike[58:70].any()


@pytest.mark.parametrize(("ms", "mel_frames"), [(0, -2), (20, 0), (40, 1), (80, 3), (160, 8)])
def test_look_ahead_by_hand(ms: float, mel_frames: int) -> None:
    # 20 ms are half a window, and a mel frame lasts 16.7 ms
    assert look_ahead(ms) == mel_frames
    assert look_ahead_ms(mel_frames) <= ms + 1e-9
    assert look_ahead_ms(mel_frames + 1) > ms


def test_who_speaks_is_followed_or_pinned(student: Student) -> None:
    stream = student.stream(emotion="anger")
    assert stream.emotion == "anger"
    run(stream, speech(4.0))
    assert stream.emotion == "anger"
    heard = student.recognise(speech(4.0), RATE)
    assert stream.identity == max(heard.identities, key=lambda name: heard.identities[name])
    stream = student.stream(identity="cleo")
    stream.push(speech(1.0))
    stream.pin(identity="ada")
    stream.push(speech(2.0))
    assert stream.identity == "ada"
    with pytest.raises(Exception, match="unknown identity 'bob'"):
        stream.pin(identity="bob", emotion="neutral")
    assert not stream.batch.voices._pinned[stream.row, 1]  # nothing changed


def test_level_finds_what_a_recording_has(student: Student) -> None:
    """After some seconds of speech the gain is that of ``normalize``, within 2 dB."""
    for decibels in (-20, -6, 6):
        samples = speech(6.0) * np.float32(10 ** (decibels / 20))
        pieces = samples[: len(samples) // 320 * 320].reshape(-1, 320)
        gains = running_level()(pieces.var(axis=1))
        normal = normalize(samples)
        right = np.abs(normal).max() / np.abs(samples).max()
        assert abs(20 * np.log10(gains[-1, 0] / right)) < 2
    assert (running_level()(np.zeros(50)) == 1).all()  # silence stays silence


def test_level_forgets_for_as_long_as_it_lasts() -> None:
    # Twenty minutes at -30 dB, where a window keeps exp(-1 / 1800) of its weight in the next.
    gains = running_level()(np.full(72_000, 10**-3.0))
    heard = 1 / (1 - np.exp(-1 / 1800))
    np.testing.assert_allclose(gains[36_000:], 10 ** (heard / (heard + 30) * 7 / 20), rtol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_against_soxr(rate: int) -> None:
    t = np.arange(rate) / rate
    tones = sum(np.sin(2 * np.pi * f * t + f) for f in (90, 440, 1300, 2900)).astype(np.float32) / 4
    ours = Resampler(rate, RATE)
    made = np.concatenate([ours.push(part) for part in np.array_split(tones, 23)])
    made = np.concatenate([made, ours.close(len(tones))])
    theirs = soxr.resample(tones, rate, RATE)
    assert len(made) == len(theirs) == RATE
    inside = slice(400, -400)
    assert np.abs(made[inside] - theirs[inside]).max() < 2e-3
    assert ours.delay < 0.004


def test_resampling_folds_nothing_back() -> None:
    tone = np.sin(2 * np.pi * 11_000 * np.arange(48_000) / 48_000).astype(np.float32)
    made = Resampler(48_000, RATE).push(tone)
    assert np.abs(made[200:]).max() < 1e-3


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(RATE * 2, np.float32),
        np.ones(RATE * 2, np.float32),
        np.full(RATE * 2, 0.5, np.float32),
        np.sign(speech(2.0)),
        np.round(speech(2.0) * 32767).astype(np.int16),
        np.stack([speech(2.0), speech(2.0)], axis=1),
        1e-7 * speech(2.0),
        speech(2.0).astype(np.float64),
    ],
    ids=["silence", "full scale", "DC", "clipped", "int16", "stereo", "whisper", "double"],
)
def test_whatever_sounds(student: Student, samples: np.ndarray) -> None:
    face = run(student.stream(), samples)
    assert face.shape == (60, 52)
    assert np.isfinite(face).all()
    assert face.min() >= 0
    assert face.max() <= 1
    offline = student.animate(samples, RATE).coefficients
    assert offline.shape == (60, 52)
    assert np.isfinite(offline).all()


def test_where_nobody_speaks_the_face_is_at_rest(student: Student) -> None:
    rng = np.random.default_rng(0)
    room = 2e-4 * rng.normal(size=RATE * 2).astype(np.float32)  # -74 dB
    for quiet in (np.zeros(RATE * 2, np.float32), np.full(RATE * 2, 0.5), room):
        made = student.animate(quiet, RATE, emotion="anger")
        assert made.coefficients.shape == (60, 52)
        assert not made.coefficients.any()
        assert (made.identity, made.emotion, made.notes) == (None, "anger", (silent(TRAINING),))
    for quiet in (np.zeros(RATE * 2, np.float32), room):
        stream = student.stream()
        assert not run(stream, quiet).any()
        assert (stream.identity, stream.emotion) == (None, None)
    left = speech(1.0)
    made = student.animate(np.stack([left, -left], axis=1), RATE)
    assert made.notes == (CANCELLED,)
    np.testing.assert_array_equal(made.coefficients, student.animate(left, RATE).coefficients)
    assert student.animate(left, RATE).notes == ()


def test_a_face_at_rest_comes_to_life_with_the_voice(student: Student) -> None:
    samples = np.concatenate([np.zeros(RATE, np.float32), speech(2.0)])
    stream = student.stream()
    before = stream.push(samples[: RATE + 160])
    assert not before.any()
    assert stream.identity is None
    face = np.concatenate([before, stream.push(samples[RATE + 160 :]), stream.close()])
    assert stream.identity is not None
    # The voice is found with the third window of 25 ms that it is in, 17 ms apart, and a frame sees
    # what is 70 ms ahead of it.
    first = int(face.any(axis=1).argmax())
    assert 27 <= first <= 29
    for size in (97, 5000):
        again = student.stream()
        parts = [again.push(samples[at : at + size]) for at in range(0, len(samples), size)]
        np.testing.assert_allclose(np.concatenate([*parts, again.close()]), face, atol=1e-4)
    # From the fourth frame on it is what it would be had it been there all the time.
    rising, awake = (student.stream(identity="ada", emotion="anger") for _ in range(2))
    awake.batch.front_end._speech[awake.row] = 0
    shares = np.clip((np.arange(len(face)) - first + 1) / 4, 0, 1)[:, None]
    np.testing.assert_allclose(run(rising, samples), shares * run(awake, samples), atol=1e-6)


def test_a_constant_is_no_sound(student: Student) -> None:
    pinned = {"identity": "ada", "emotion": "anger"}
    plain = run(student.stream(**pinned), speech(2.0))
    shifted = run(student.stream(**pinned), speech(2.0) + np.float32(0.2))
    np.testing.assert_allclose(plain, shifted, atol=2e-3)


@pytest.mark.parametrize(
    ("begin", "said"),
    [
        ({"rate": 4000}, "a sample rate of 4000 Hz; expected 8000 to 192000"),
        ({"rate": 10**6}, "a sample rate of 1000000 Hz"),
        ({"rate": 191_999}, "has no small ratio to 16000; resample the audio to one of 8000, "),
        ({"rate": 44_100.5}, "has no small ratio"),
        ({"rate": "48000"}, "stream: rate '48000'"),
        ({"seed": "a"}, "seed 'a'"),
        ({"identity": "adda"}, "did you mean 'ada'?"),
        ({"emotion": {"anger": -1}}, "give 0 or more"),
        ({"emotion": {}}, "all zero or not finite"),
        ({"identity": np.zeros(8)}, "all zero or not finite"),
        ({"identity": np.ones(5)}, "an embedding of shape (5,); this student's have (8,)"),
        ({"seed": -1}, "seed -1"),
        ({"smooth_ms": -5}, "smooth_ms -5"),
        ({"smooth_ms": float("nan")}, "smooth_ms nan"),
    ],
    ids=str,
)
def test_bad_beginnings(student: Student, begin: dict[str, Any], said: str) -> None:
    assert said in refusal(lambda: student.stream(**begin))


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.full(100, np.nan, np.float32), "NaN or infinite"),
        (np.array([0.0, np.inf], np.float32), "NaN or infinite"),
        (np.zeros((2, 3, 4), np.float32), "expected samples (n,) or (n, channels)"),
        (np.zeros((5, 0), np.float32), "expected samples"),
        (np.array(["a"]), "samples of type <U1"),
        (np.zeros(5, np.uint8), "of type uint8"),
        ("speech.wav", "'speech.wav' is a path"),
        (b"\0" * 641, "641 bytes (an odd number"),
        (np.array([0.0, np.nan], np.float32), "the first is number 16001,"),
    ],
)
def test_bad_pushes_change_nothing(student: Student, samples: np.ndarray, said: str) -> None:
    stream, other = student.stream(), student.stream()
    first = speech(1.0)
    before = stream.push(first), other.push(first)
    assert said in refusal(lambda: stream.push(samples))
    np.testing.assert_array_equal(*before)
    np.testing.assert_array_equal(
        np.concatenate([stream.push(first), stream.close()]),
        np.concatenate([other.push(first), other.close()]),
    )


def test_the_end(student: Student) -> None:
    stream = student.stream()
    assert stream.push(np.zeros(0, np.float32)).shape == (0, 52)
    assert stream.close().shape == (0, 52)
    assert "is closed; begin another" in refusal(lambda: stream.push(speech(1.0)))
    assert "is closed already" in refusal(stream.close)
    short = student.stream()
    assert len(short.push(speech(1.0)[:100])) == 0
    assert short.close().shape == (1, 52)


def test_memory_does_not_grow(student: Student) -> None:
    stream = student.stream(44_100)
    held = []
    for second in range(20):
        stream.push(np.resize(speech(1.0), 44_100))
        batch = stream.batch
        rows = [*vars(batch).values(), *vars(batch.front_end).values(),
                *vars(batch.voices).values(), *batch.front_end._audio[stream.row],
                stream._resampler._buffer]  # fmt: skip
        held.append(sum(part.nbytes for part in rows if isinstance(part, np.ndarray)))
        assert stream.frames >= 30 * (second + 1) - 3
    assert max(held[10:]) <= max(held[:10]) < 100_000


def test_smoothing_keeps_closures_and_mirroring_swaps(student: Student) -> None:
    from diffusiontalker.arkit import INDEX
    from diffusiontalker.runtime.post_processing import PostProcessor

    face = np.zeros((40, 52), np.float32)
    jaw, close, blink = INDEX["jawOpen"], INDEX["mouthClose"], INDEX["eyeBlinkLeft"]
    face[:, jaw] = 0.5
    face[20, jaw] = 0.02  # an "m" of one frame
    face[20:, blink] = 1.0
    smooth = PostProcessor(smooth_ms=80)
    made = np.concatenate([smooth(face[:7]), smooth(face[7:])])
    np.testing.assert_array_equal(made, PostProcessor(smooth_ms=80)(face))
    assert made[20, jaw] < 0.1
    assert made[19, jaw] == pytest.approx(0.5)
    assert made[21, jaw] > 0.3
    # by hand: after one time constant, 1 - 1/e of a step is there
    after = 20 + round(80 / 1000 * 30) - 1
    assert made[after, blink] == pytest.approx(1 - np.exp(-(after - 19) * 1000 / 30 / 80), abs=1e-5)
    assert made[:, close].max() == 0
    mirrored = PostProcessor(mirror=True)(face)
    np.testing.assert_array_equal(mirrored[:, INDEX["eyeBlinkRight"]], face[:, blink])
    np.testing.assert_array_equal(mirrored[:, jaw], face[:, jaw])


def test_conditioning_by_weights_and_by_embedding(student: Student) -> None:
    samples = speech(2.0)
    named = student.animate(samples, RATE, "ben", "anger")
    weights = student.animate(samples, RATE, {"ben": 2.0}, {"anger": 0.3, "neutral": 0.0})
    assert (weights.identity, weights.emotion) == (None, None)
    np.testing.assert_allclose(weights.coefficients, named.coefficients, atol=1e-5)
    kept = student.libraries[0].entries[1] * 7
    saved = student.animate(samples, RATE, kept, "anger")
    np.testing.assert_allclose(saved.coefficients, named.coefficients, atol=1e-5)
    blend = student.animate(samples, RATE, "ben", {"anger": 1.0, "neutral": 1.0})
    assert not np.allclose(blend.coefficients, named.coefficients, atol=1e-4)
    heard = student.recognise(samples, RATE)
    assert np.linalg.norm(heard.identity) == pytest.approx(1, abs=1e-5)
    assert set(heard.emotions) == set(models.EMOTIONS)


def test_a_provider_that_is_not_here(student: Student) -> None:
    said = refusal(lambda: Student(student.folder, provider="cuda"))
    assert "built without CUDAExecutionProvider; pip install onnxruntime-gpu" in said
    assert "choose one of cpu, cuda, tensorrt" in refusal(
        lambda: Student(Path(student.folder), provider="tpu")
    )
