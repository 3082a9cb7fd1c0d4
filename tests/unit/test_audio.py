"""Recordings in: every format and rate, and every way in which a file can be wrong."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from tests import refusals

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.front_end import TRAINING
from diffusiontalker.audio.level import FLOOR_DB, normalize
from diffusiontalker.audio.recording import _append, read_recording
from diffusiontalker.audio.waveform import prepare_waveform
from diffusiontalker.errors import UserError


def tone(rate: int = SAMPLE_RATE, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.25 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype("float32")


def level(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


def load(path: Path, **limits: Any) -> tuple[np.ndarray, int]:
    sound = read_recording(path, **limits)
    return sound.samples, sound.rate


def refusal(path: Path, **limits: float) -> str:
    message = refusals.refusal(lambda: load(path, **limits))
    assert path.name in message
    return message


def wav(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, **how: str) -> Path:
    soundfile.write(path, samples, rate, **how)
    return path


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_U8", 1e-2),
        ("wav", "FLOAT", 0.0),
        ("flac", "PCM_24", 1e-6),
        ("ogg", "VORBIS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_formats_come_back_as_written(tmp_path: Path, suffix: str, subtype: str, error: float):
    samples, rate = load(wav(tmp_path / f"a.{suffix}", tone(), subtype=subtype))
    assert rate == SAMPLE_RATE
    assert samples.dtype == np.float32
    assert samples.shape == (SAMPLE_RATE,)
    # Lossy codecs ring where the tone starts and stops.
    assert np.abs(samples - tone())[2000:-2000].max() <= error


def test_channels_are_averaged(tmp_path: Path):
    stereo = np.stack([tone(), 0.5 * tone()], axis=1)
    samples, _ = load(wav(tmp_path / "a.wav", stereo, subtype="FLOAT"))
    assert np.allclose(samples, 0.75 * tone(), atol=1e-7)


def test_a_file_longer_than_a_block_is_whole(tmp_path: Path):
    long = np.random.default_rng(0).uniform(-1, 1, 150_001).astype(np.float32)
    samples, _ = load(wav(tmp_path / "a.wav", long, subtype="FLOAT"))
    assert (samples == long).all()


def test_files_that_are_no_audio(tmp_path: Path):
    assert "no such file" in refusal(tmp_path / "no.wav")
    assert "is a folder" in refusal(tmp_path)
    for name, content, part in (
        ("empty.wav", b"", "the file is empty"),
        ("text.wav", b"hello, this is no sound\n" * 50, "not a readable audio file"),
        ("text.mp3", b"hello", "not a readable audio file"),
        ("samples.raw", bytes(2000), "not a readable audio file"),
        ("zeros.flac", bytes(2000), "not a readable audio file"),
    ):
        (tmp_path / name).write_bytes(content)
        assert part in refusal(tmp_path / name)


def test_too_long_is_refused_before_decoding(tmp_path: Path):
    path = wav(tmp_path / "a.wav", tone(seconds=3.0))
    assert "3 s of audio, but at most 2 s are allowed" in refusal(path, max_seconds=2.0)
    assert len(load(path, max_seconds=3.0)[0]) == 3 * SAMPLE_RATE


def with_flac_length(path: Path, samples: int) -> Path:
    """Overwrite the 36 bits of the STREAMINFO block that hold the number of samples."""
    content = bytearray(path.read_bytes())
    fields = int.from_bytes(content[18:26], "big")
    content[18:26] = (fields >> 36 << 36 | samples).to_bytes(8, "big")
    path.write_bytes(bytes(content))
    return path


def test_a_header_that_claims_hours(tmp_path: Path):
    path = with_flac_length(wav(tmp_path / "a.flac", tone()), 100 * 3600 * SAMPLE_RATE)
    assert "360000 s of audio, but at most 3600 s are allowed" in refusal(path)


def test_a_header_that_claims_more_than_there_is(tmp_path: Path):
    path = with_flac_length(wav(tmp_path / "a.flac", tone()), 3000 * SAMPLE_RATE)
    samples, _ = load(path)
    assert len(samples) == SAMPLE_RATE
    assert read_recording(path).notes[0].startswith("cut short")
    # In WAV the sizes count for little: what is there is read.
    path = wav(tmp_path / "a.wav", tone())
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", 0xFFFF_FFF0)
    path.write_bytes(content)
    assert len(load(path)[0]) == SAMPLE_RATE


@pytest.mark.parametrize("rate", [0, 4_000_000_000])
def test_a_header_with_an_impossible_rate(tmp_path: Path, rate: int):
    path = wav(tmp_path / "a.wav", tone())
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    assert "not a readable audio file" in refusal(path)


def test_a_truncated_wav_gives_what_is_there(tmp_path: Path):
    path = wav(tmp_path / "a.wav", tone())
    path.write_bytes(path.read_bytes()[: 44 + 2 * 5000])
    samples, _ = load(path)
    assert np.allclose(samples, tone()[:5000], atol=1e-4)
    path.write_bytes(path.read_bytes()[:44])
    with pytest.raises(UserError, match=r"a\.wav: holds no samples"):
        prepare_waveform(*load(path), "a.wav")


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000])
def test_every_rate_keeps_length_pitch_and_level(rate: int):
    prepared = prepare_waveform(tone(rate), rate)
    assert prepared.dtype == np.float32
    assert len(prepared) == SAMPLE_RATE
    assert np.abs(np.fft.rfft(prepared)).argmax() == 440
    assert level(prepared) == pytest.approx(TRAINING.level_db, abs=0.05)


def test_resampling_does_not_shift():
    click = np.zeros(48_000, np.float32)
    click[24_000] = 1.0
    assert np.abs(prepare_waveform(click, 48_000)).argmax() == 8_000


def test_integers_scale_by_their_full_range():
    wave = tone()
    for dtype in (np.int16, np.int32):
        whole = np.round(wave * np.iinfo(dtype).max).astype(dtype)
        assert np.allclose(
            prepare_waveform(whole, SAMPLE_RATE), prepare_waveform(wave, SAMPLE_RATE), atol=1e-5
        )
    full = np.tile(np.array([-32768, 32767], np.int16), SAMPLE_RATE)
    assert level(prepare_waveform(full, SAMPLE_RATE)) == pytest.approx(TRAINING.level_db, abs=0.01)


def test_stereo_arrays_are_averaged():
    stereo = np.stack([tone(), np.zeros(SAMPLE_RATE, np.float32)], axis=1)
    assert np.allclose(
        prepare_waveform(stereo, SAMPLE_RATE), prepare_waveform(tone(), SAMPLE_RATE), atol=1e-6
    )


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0), SAMPLE_RATE, "holds no samples"),
        (np.zeros((0, 2)), SAMPLE_RATE, "holds no samples"),
        (np.full(SAMPLE_RATE, np.nan), SAMPLE_RATE, "holds NaN or infinite samples"),
        (np.r_[tone(), np.inf], SAMPLE_RATE, "holds NaN or infinite samples"),
        (tone(seconds=0.05), SAMPLE_RATE, "0.050 s of audio; at least 0.2 s are needed"),
        (tone(seconds=0.2)[:-1], SAMPLE_RATE, "at least 0.2 s"),
        (tone(), 0, "a sample rate of 0 Hz"),
        (tone(), -16_000, "a sample rate of -16000 Hz"),
        (tone(), 400_000, "a sample rate of 400000 Hz"),
        (np.zeros((2, 3, 4)), SAMPLE_RATE, "expected samples (n,) or (n, channels)"),
    ],
)
def test_prepare_refuses(samples: np.ndarray, rate: int, message: str):
    with pytest.raises(UserError) as error:
        prepare_waveform(samples, rate, "take 3")
    assert str(error.value).startswith("take 3: ")
    assert message in str(error.value)


def test_a_fifth_of_a_second_is_enough():
    assert len(prepare_waveform(tone(8_000, 0.2), 8_000)) == 3200


def test_silence_stays_silence():
    assert (prepare_waveform(np.zeros(SAMPLE_RATE), SAMPLE_RATE) == 0).all()
    assert np.abs(prepare_waveform(np.full(SAMPLE_RATE, 0.5, np.float32), SAMPLE_RATE)).max() == 0


def test_a_room_without_a_voice_is_no_shout() -> None:
    rng = np.random.default_rng(0)
    dither = np.round(rng.random(SAMPLE_RATE) - rng.random(SAMPLE_RATE)) / 2**15
    found = level(prepare_waveform(dither, SAMPLE_RATE))
    assert found == pytest.approx(level(dither) + TRAINING.level_db - FLOOR_DB, abs=0.5)
    assert found < TRAINING.level_db - 20


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint8, np.uint16])
def test_integers_whose_full_scale_nobody_knows_are_refused(kind: type) -> None:
    with pytest.raises(UserError, match="give int16 or int32 PCM"):
        prepare_waveform(np.ones(SAMPLE_RATE, kind), SAMPLE_RATE)


def test_there_may_be_more_than_a_header_told() -> None:
    samples = np.zeros(4, np.float32)
    kept = _append(samples, 2, np.arange(5, dtype=np.float32), None)
    assert kept == 7
    assert samples[:kept].tolist() == [0, 0, 0, 1, 2, 3, 4]


def test_a_recording_may_be_resampled_as_it_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(48_000), 48_000, subtype="FLOAT")
    samples, rate = load(tmp_path / "a.wav", to=SAMPLE_RATE)
    assert (rate, len(samples)) == (SAMPLE_RATE, SAMPLE_RATE)


def test_a_constant_offset_and_the_gain_do_not_matter():
    expected = prepare_waveform(tone(), SAMPLE_RATE)
    assert np.allclose(prepare_waveform(0.3 + tone(), SAMPLE_RATE), expected, atol=1e-5)
    assert np.allclose(prepare_waveform(0.01 * tone(), SAMPLE_RATE), expected, atol=1e-5)


def test_pauses_do_not_raise_the_level():
    half = np.r_[tone(), np.zeros(3 * SAMPLE_RATE, np.float32)]
    assert level(normalize(half)[:SAMPLE_RATE]) == pytest.approx(TRAINING.level_db, abs=0.05)


def test_peaks_are_clipped_to_full_scale():
    # The level is of the loudest 20 ms, here one sample of 320: 25 dB of crest.
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[100] = 0.5
    assert np.abs(normalize(click)).max() == 1.0


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampling_block_by_block_is_resampling_the_whole(tmp_path: Path, rate: int):
    long = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * rate + 17).astype(np.float32)
    path = wav(tmp_path / "a.wav", long, rate, subtype="FLOAT")
    samples, at = load(path, to=SAMPLE_RATE)
    assert at == SAMPLE_RATE
    whole = soxr.resample(long, rate, SAMPLE_RATE)
    assert len(samples) == len(whole)
    np.testing.assert_allclose(samples, whole, atol=1e-6)


def test_a_flac_that_does_not_tell_its_length_is_read(tmp_path: Path):
    path = with_flac_length(wav(tmp_path / "a.flac", tone(seconds=2.0)), 0)
    assert len(load(path)[0]) == 2 * SAMPLE_RATE
    assert "at most 1 s" in refusal(path, max_seconds=1.0)


@pytest.mark.parametrize("odd", [["a.wav"], b"RIFF", [True, False], [None]])
def test_what_is_no_array_of_numbers_is_refused(odd: Any) -> None:
    with pytest.raises(UserError, match="samples"):
        prepare_waveform(odd, SAMPLE_RATE)
