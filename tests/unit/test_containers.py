"""Files as they are met: joined, cut off, without sizes, or something else than their name says."""

import base64
import itertools
import os
import re
import shutil
import struct
import subprocess
import time
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests import refusals
from tests.tools import tool

from diffusiontalker.audio.block_decoder import BlockDecoder
from diffusiontalker.audio.recording import DecodedAudio, decode_recording, read_recording
from diffusiontalker.audio.waveform import CANCELLED, as_waveform, louder_if_cancelled, to_mono
from diffusiontalker.containers import flac, foreign, kinds, mpeg, ogg, parts, wav
from diffusiontalker.containers.kinds import PcmGuard
from diffusiontalker.errors import UserError

RATE = 24_000


def tone(seconds: float = 1.0, rate: int = RATE, hz: float = 440.0) -> np.ndarray:
    return (0.25 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype("float32")


def written(form: str, samples: np.ndarray, rate: int = RATE, **more: str) -> bytes:
    file = BytesIO()
    soundfile.write(file, samples, rate, format=form, **more)
    return file.getvalue()


def heard(content: bytes, **limits: float) -> DecodedAudio:
    return decode_recording(BytesIO(content), "a", **limits)


def refusal(content: bytes, **limits: float) -> str:
    return refusals.refusal(lambda: heard(content, **limits))


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return chunk(b"RIFF", content, size)


FMT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
PCM = (tone() * 32767).astype("<i2").tobytes()
WAV = riff(FMT, chunk(b"data", PCM))
LIST = chunk(b"LIST", b"INFOISFT\x04\0\0\0Lavf")


# a part as a file


def test_a_view_reads_across_its_spans() -> None:
    view = parts.PartReader(BytesIO(b"0123456789"), parts.Part((b"ab", (2, 5), (8, 10))))
    assert view.read() == b"ab23489"
    assert (view.seek(-3, os.SEEK_END), view.read(2), view.tell()) == (4, b"48", 6)
    assert view.seek(100) == 100
    assert view.read(1) == b""


@pytest.mark.parametrize("block", [2, 3, 100])
def test_what_is_looked_for_may_lie_across_blocks(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SEARCH_BLOCK", block)
    found = parts.find(BytesIO(b"xabbaxabaa"), re.compile(b"ab.a"), 4, 1)
    assert list(found) == [1, 6]


# WAV


@pytest.mark.parametrize(
    "content",
    [
        riff(FMT, chunk(b"data", PCM, 0), size=0),
        riff(FMT, LIST, chunk(b"data", PCM, 0), size=36),
        riff(FMT, LIST, chunk(b"data", PCM, 0xFFFF_FFFF), size=0xFFFF_FFFF),
        riff(FMT, chunk(b"data", PCM, 0x7FFF_F000)),
        riff(FMT, chunk(b"data", PCM), size=0),
        riff(chunk(b"junk", b"abc") + b"\0", FMT, chunk(b"data", PCM)),
        riff(chunk(b"junk", b"abc"), FMT, chunk(b"data", PCM)),  # its padding left out
        riff(FMT, chunk(b"data", PCM), LIST),
        riff(FMT, chunk(b"data", PCM)) + b"no chunk at all",
        b"RF64" + WAV[4:12] + chunk(b"ds64", bytes(28)) + FMT + chunk(b"data", PCM, 0xFFFF_FFFF),
        riff(FMT, chunk(b"data", PCM, len(PCM) + 44)),  # its header counted in
    ],
    ids=[
        "zero sizes", "zero sizes, LIST", "unknown", "sox", "RIFF of size 0", "padded chunk",
        "unpadded chunk", "LIST behind", "junk behind", "RF64 through a pipe", "44 too many",
    ],
)  # fmt: skip
def test_a_wav_with_odd_sizes_is_whole(content: bytes) -> None:
    sound = heard(content)
    assert (len(sound.samples), sound.rate, sound.notes) == (RATE, RATE, ())
    np.testing.assert_allclose(sound.samples, tone(), atol=1e-4)


def test_a_wav_without_samples_has_none() -> None:
    for content in (riff(FMT, chunk(b"data", b"")), riff(FMT, chunk(b"data", b""), LIST)):
        assert len(heard(content).samples) == 0
    assert "damaged WAV" in refusal(riff(FMT))


@pytest.mark.parametrize("first", [WAV, riff(FMT, chunk(b"data", PCM, 0)), WAV + LIST])
def test_joined_wav_files_are_all_heard(first: bytes) -> None:
    sound = heard(first + written("WAV", tone(0.5, 48_000), 48_000) + WAV)
    assert sound.rate == RATE  # of the first
    assert len(sound.samples) == pytest.approx(2.5 * RATE, abs=2)
    assert sound.notes == ()


def test_a_big_endian_wav_and_a_wide_one() -> None:
    assert len(heard(written("WAV", tone(), endian="BIG")).samples) == RATE
    assert len(heard(written("RF64", tone())).samples) == RATE
    assert len(heard(written("WAVEX", tone(), subtype="PCM_24")).samples) == RATE


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "ULAW", "GSM610", "DOUBLE", "PCM_U8", "PCM_32"])
def test_codecs_that_wav_may_have(subtype: str) -> None:
    content = written("WAV", tone(), subtype=subtype)
    assert np.array_equal(heard(content).samples[:RATE], soundfile.read(
        BytesIO(content), dtype="float32")[0][:RATE])  # fmt: skip


def test_half_a_download_is_said() -> None:
    sound = heard(WAV[: 44 + RATE])  # half of its samples
    assert len(sound.samples) == RATE // 2
    (note,) = sound.notes
    assert note.startswith("cut short")
    assert "0.5 s" in note


def test_a_codec_that_is_not_read_is_named() -> None:
    fmt = struct.pack("<HHIIHH", 0x161, 1, RATE, 2 * RATE, 2, 16)
    message = refusal(riff(chunk(b"fmt ", fmt), chunk(b"data", PCM)))
    assert "WMA" in message
    assert "ffmpeg -i IN -ac 1 OUT.wav" in message


def test_the_extensible_format_without_its_extension() -> None:
    fmt = struct.pack("<HHIIHH", 0xFFFE, 1, RATE, 2 * RATE, 2, 16)
    assert "extension" in refusal(riff(chunk(b"fmt ", fmt), chunk(b"data", PCM)))


def test_a_wav_of_chunks_alone_is_soon_given_up() -> None:
    assert "damaged WAV" in refusal(riff(*[chunk(b"junk", b"")] * 100_000))


# MP3


@pytest.fixture(scope="module")
def mp3() -> bytes:
    """A second of MP3 whose first frame counts the others."""
    content = written("MP3", tone())
    assert content[13:17] in (b"Xing", b"Info")
    return content


def tag(size: int) -> bytes:
    """ID3v2, with a picture in it that has frames of its own."""
    length = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + length + (b"\xff\xf3\x84\xc4" * (size // 4 + 1))[:size]


ID3V1 = b"TAG" + bytes(125)
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 1, 0) + bytes(8)


@pytest.mark.parametrize("form", ["mono", "stereo"])
def test_an_mp3_alone_is_decoded_as_ever(form: str, mp3: bytes) -> None:
    content = {
        "mono": mp3,
        "stereo": written("MP3", np.stack([tone(1, 44_100)] * 2, axis=1), 44_100),
    }[form]
    expected, rate = soundfile.read(BytesIO(content), dtype="float32")
    sound = heard(content)
    assert sound.rate == rate
    np.testing.assert_allclose(sound.samples, to_mono(expected, "a"), atol=1e-7)
    assert sound.notes == ()


def test_an_mp3_of_changing_bitrate_that_counts_nothing_is_whole(mp3: bytes) -> None:
    sound = heard(mp3[mpeg.frame(mp3[:4]).size :])
    assert RATE <= len(sound.samples) <= RATE + 4 * 576
    assert len(heard(3 * mp3[mpeg.frame(mp3[:4]).size :]).samples) > 3 * RATE


def test_joined_mp3_files_are_all_heard(mp3: bytes) -> None:
    other = written("MP3", tone(0.5, 44_100), 44_100)
    for content in (mp3 + mp3, mp3 + ID3V1 + tag(70_000) + mp3 + ID3V1, tag(300) + mp3 + APE + mp3):
        sound = heard(content)
        assert (len(sound.samples), sound.notes) == (2 * RATE, ())
        np.testing.assert_allclose(sound.samples[RATE:], sound.samples[:RATE], atol=1e-6)
    sound = heard(mp3 + other + mp3)  # of another rate
    assert len(sound.samples) == pytest.approx(2.5 * RATE, abs=RATE // 50)
    assert sound.rate == RATE


def test_joined_mp3_files_of_which_one_counts(mp3: bytes) -> None:
    bare = mp3[mpeg.frame(mp3[:4]).size :]
    first = soundfile.read(BytesIO(mp3))[0]
    sound = heard(mp3 + bare)
    # The delay of the encoder is left out once; the rest is there to the frame.
    assert len(sound.samples) == pytest.approx(2 * len(first), abs=4 * 576)
    assert len(sound.samples) > 1.95 * len(first)
    np.testing.assert_allclose(sound.samples[: RATE - 2000], first[: RATE - 2000], atol=1e-5)


def test_junk_in_an_mp3_is_passed_over(mp3: bytes) -> None:
    assert len(heard(bytes(3000) + mp3).samples) == RATE
    frames = [0]
    while frames[-1] < len(mp3) and (found := mpeg.frame(mp3[frames[-1] : frames[-1] + 4])):
        frames.append(frames[-1] + found.size)
    middle = frames[len(frames) // 2]
    assert len(heard(mp3[:middle] + b"\xff\xfb" * 3000 + mp3[middle:]).samples) == RATE


def test_half_an_mp3_is_said(mp3: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    sound = heard(mp3[: len(mp3) // 2])
    assert 0.3 * RATE < len(sound.samples) < 0.7 * RATE
    assert sound.notes[0].startswith("cut short")
    assert capfd.readouterr().err == ""  # of libmpg123, whose count is put right too


@pytest.mark.parametrize("end", [30, 44, 63, 100, 191])
def test_a_count_that_is_cut_off(mp3: bytes, end: int) -> None:
    frames = mp3[mpeg.frame(mp3[:4]).size :]
    assert len(heard(frames + mp3[:end]).samples) == pytest.approx(RATE, abs=4 * 576)


def test_a_count_of_vbri_is_put_right(mp3: bytes) -> None:
    size = mpeg.frame(mp3[:4]).size
    vbri = b"VBRI\0\1" + bytes(4) + struct.pack(">II", len(mp3), 3)  # frames, of some forty
    content = mp3[:4] + bytes(32) + vbri + bytes(size - 36 - len(vbri)) + mp3[size:]
    assert len(heard(content).samples) == pytest.approx(RATE, abs=5 * 576)
    assert len(heard(mp3 + content).samples) == pytest.approx(2 * RATE, abs=5 * 576)


def test_an_mp3_is_not_scanned_for_longer_than_it_may_be(mp3: bytes) -> None:
    found = mpeg.parts(BytesIO(mp3 * 100), 3.0)
    assert len(found) < 7
    assert "at most 3 s" in refusal(mp3 * 100, max_seconds=3.0)


def test_frames_are_told_by_their_headers() -> None:
    assert mpeg.frame(b"\xff\xfb\x90\x00") == mpeg.Frame(44_100, 2, 417, 1152, 36)  # 128 kbit/s
    assert mpeg.frame(b"\xff\xf3\x84\xc4") == mpeg.Frame(24_000, 1, 192, 576, 13)  # 64 kbit/s
    assert mpeg.frame(b"\xff\xe3\x18\xc0") == mpeg.Frame(8_000, 1, 72, 576, 13)  # 8 kbit/s
    for none in (b"\xff\xfb", b"\xff\xfd\x90\x00", b"\xff\xfb\x00\x00", b"\xff\xfb\x9c\x00"):
        assert mpeg.frame(none) is None


def test_other_layers_are_not_promised() -> None:
    layer2 = b"\xff\xfd\x84\xc0" + bytes(284)
    assert "layer II" in refusal(layer2 * 20)


# Ogg and FLAC


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg_is_heard_to_its_end(subtype: str) -> None:
    one = written("OGG", tone(), subtype=subtype)
    other = written("OGG", tone(0.5, 48_000), 48_000, subtype="VORBIS")
    sound = heard(one + other + one)
    assert (sound.rate, sound.notes) == (RATE, ())
    assert len(sound.samples) == pytest.approx(2.5 * RATE, abs=RATE // 50)


def test_half_an_ogg_is_said() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8 * RATE)
    content = written("OGG", noise, subtype="VORBIS")
    sound = heard(content[: len(content) // 2])
    assert 2 * RATE < len(sound.samples) < 6 * RATE
    assert sound.notes[0].startswith("cut short")


def test_an_ogg_of_something_else_is_named() -> None:
    page = b"OggS\0\x02" + bytes(20) + b"\x01\x08Speex   "
    assert ogg.codec(page) == "Speex"
    assert "Speex" in refusal(page)


def test_joined_flac_is_heard_to_its_end() -> None:
    sound = heard(written("FLAC", tone()) + written("FLAC", tone(0.5, 48_000), 48_000))
    assert (sound.rate, sound.notes) == (RATE, ())
    assert len(sound.samples) == pytest.approx(1.5 * RATE, abs=2)
    assert len(flac.parts(BytesIO(tag(500) + written("FLAC", tone())))) == 1


def test_half_a_flac_is_said() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE)
    content = written("FLAC", noise)
    sound = heard(content[: len(content) // 2])
    assert 1.5 * RATE < len(sound.samples) < 2 * RATE
    np.testing.assert_allclose(sound.samples, noise[: len(sound.samples)], atol=1e-4)
    assert sound.notes[0].startswith("cut short")


@pytest.mark.parametrize("form", ["WAV", "FLAC", "MP3", "OGG"])
def test_thousands_of_parts_are_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_PARTS", 3)
    for module in (wav, flac, mpeg, ogg):
        monkeypatch.setattr(module, "MAX_PARTS", 3)
    assert "more than 3 parts" in refusal(written(form, tone(0.3)) * 5)


# what is decoded costs time and memory


def test_at_most_two_channels() -> None:
    message = refusal(written("WAV", np.zeros((RATE, 6))))
    assert "6 channels" in message
    assert "-ac 1" in message


def test_samples_are_bounded_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two megabytes of FLAC may hold ten minutes of silence at 384 kHz."""
    content = written("FLAC", np.zeros((4 * 384_000, 2)), 384_000)
    monkeypatch.setattr(BlockDecoder, "_read", None)  # nothing is decoded
    message = refusal(content, max_seconds=10.0)
    assert "cut it into parts" in message
    assert "-ar 48000" in message
    monkeypatch.undo()
    assert len(heard(content, max_seconds=40.0, to=16_000).samples) == 4 * 16_000


@pytest.mark.parametrize(
    "form", ["AIFF", "AU", "CAF", "W64", "MAT5", "PAF", "NIST", "VOC", "IRCAM"]
)
def test_no_format_is_read_that_is_not_promised(form: str) -> None:
    assert "not a readable audio file" in refusal(written(form, tone()))


# what it is, in place of what it should be


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42", "m4a ffmpeg"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01", "WebM ffmpeg"),
        (b"FORM\0\0\0\x20AIFFCOMM", "AIFF ffmpeg"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(30), "wma ffmpeg"),
        (b"#!AMR\n" + bytes(30), "AMR ffmpeg"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI ffmpeg"),
        (b"PK\x03\x04" + bytes(30), "ZIP unpack"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "LFS pull"),
        (b"outs:\n- md5: 1234\n  path: a.wav\n", "DVC pull"),
        (b'{"error": {"message": "quota"}}', "JSON"),
        (b"\n<!DOCTYPE html><html></html>", "HTML"),
        (b"<?xml version='1.0'?><Error/>", "XML"),
        (base64.b64encode(WAV[:3000]), "base64 WAV"),
        (base64.encodebytes(WAV[:3000]), "base64 WAV"),
        (b"data:audio/wav;base64," + base64.b64encode(WAV[:300]), "data: base64"),
        ("Schöne Grüße, kein Ton\n".encode() * 500, "text"),
        (bytes(2000), "zeros"),
        (b"\x93NUMPY\x01\0v\0{'descr': '<f4'", "NumPy"),
        (np.random.default_rng(0).bytes(5000), "raw PCM"),
    ],
)
def test_what_is_no_sound_is_named(content: bytes, words: str) -> None:
    message = refusal(content)
    assert all(word in message for word in words.split()), message


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_what_curl_ate(form: str) -> None:
    content = written(form, np.random.default_rng(0).normal(0, 0.1, 2 * RATE))
    eaten = content.translate(None, b"\0\r\n")
    assert "--data-binary" in refusal(eaten)


def test_files_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(path: Path) -> str:
        with pytest.raises(UserError) as error:
            read_recording(path)
        assert str(error.value).startswith(str(path))
        return str(error.value)

    (tmp_path / "link.wav").symlink_to("gone.wav")
    assert "link to gone.wav" in message(tmp_path / "link.wav")
    assert "is a folder" in message(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")
    assert "no regular file" in message(tmp_path / "pipe.wav")
    assert "cannot be read" in message(tmp_path / ("a" * 300))
    (tmp_path / "a.wav").write_bytes(WAV)

    def denied(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", denied)  # the tests may run as root
    assert "no permission" in message(tmp_path / "a.wav")


def test_a_mend_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "is_available", lambda: False)
    path = tmp_path / "my voice.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42")
    with pytest.raises(UserError, match=r"-i '.*my voice\.m4a' -ac 1"):
        read_recording(path)


# other programs


def converted(path: Path, *options: str) -> Path:
    source = path.with_name("source.wav")
    source.write_bytes(WAV)
    command = [tool("ffmpeg"), "-nostdin", "-v", "error", "-i", source, *options, path]
    subprocess.run(command, check=True)
    return path


@pytest.mark.parametrize("name", ["a.m4a", "a.mov", "a.webm", "a.aiff", "-a b.mp4"])
def test_a_users_other_files_are_decoded_by_ffmpeg(tmp_path: Path, name: str) -> None:
    path = converted(tmp_path / name)
    sound = read_recording(path)
    assert len(sound.samples) / sound.rate == pytest.approx(1.0, abs=0.08)
    with path.open("rb") as file, pytest.raises(UserError, match="ffmpeg"):
        decode_recording(file, "a stranger's")  # not what others send
    made = decode_recording(BytesIO(path.read_bytes()), "bytes", others=True)
    assert len(made.samples) == len(sound.samples)
    with pytest.raises(UserError, match="at most 0 s"):
        read_recording(path, max_seconds=0.4)


def test_what_ffmpeg_complains_of_is_said(tmp_path: Path) -> None:
    path = tmp_path / "cut.m4a"
    path.write_bytes(converted(tmp_path / "a.m4a").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"m4a.*cannot be decoded.*ffmpeg -i"):
        read_recording(path)
    converted(tmp_path / "six.mov", "-ac", "6")
    with pytest.raises(UserError, match="6 channels"):
        read_recording(tmp_path / "six.mov")


def test_a_second_track_is_not_left_out_in_silence(tmp_path: Path) -> None:
    second = "-f lavfi -i anullsrc=r=16000:cl=mono -map 0 -map 1 -shortest"
    (note,) = read_recording(converted(tmp_path / "two.mov", *second.split())).notes
    assert "first of 2 tracks" in note
    assert read_recording(converted(tmp_path / "one.mov")).notes == ()


def test_ffmpeg_reads_one_file_as_what_it_is(tmp_path: Path) -> None:
    tool("ffmpeg")
    (tmp_path / "a.wav").write_bytes(WAV)
    playlist = f"ffconcat version 1.0\nfile '{tmp_path / 'a.wav'}'\n"
    (tmp_path / "a.m4a").write_text(playlist)
    with pytest.raises(UserError, match="is text"):
        read_recording(tmp_path / "a.m4a")
    with foreign.decoded(BytesIO(playlist.encode()), "mov", 1.0, 1 << 20) as (sound, _):
        assert sound is None


def test_pyav_takes_the_place_of_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with foreign.decoded(BytesIO(written("AIFF", tone())), "aiff", 9.0, 1 << 20) as (sound, said):
        assert said == ""
        assert sound is not None
        assert len(decode_recording(sound, "a").samples) == RATE


# channels


def test_stereo_that_cancels_is_heard_by_the_louder_channel() -> None:
    left = tone()
    sound = heard(written("WAV", np.stack([0.5 * left, -0.5 * left], 1), subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, 0.5 * left, atol=1e-6)
    assert sound.notes == (CANCELLED,)
    # With an offset, and one a little louder.
    offset = np.stack([0.3 - 0.95 * left, 0.2 + left], axis=1)
    sound = heard(written("WAV", offset, subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, 0.2 + left, atol=1e-6)
    assert np.allclose(as_waveform(offset, RATE), as_waveform(0.2 + left, RATE), atol=1e-6)


def test_stereo_that_does_not_cancel_is_averaged() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (RATE, 2)).astype(np.float32)
    for stereo in (noise, noise * [1, 0], noise * [0, 0], np.stack([tone(), -0.7 * tone()], 1)):
        sound = heard(written("WAV", stereo, subtype="FLOAT"))
        np.testing.assert_allclose(sound.samples, stereo.mean(axis=1), atol=1e-6)
        assert sound.notes == ()
        assert louder_if_cancelled(stereo) is None


# raw samples


DOORS = {
    "WAV": WAV, "FLAC": written("FLAC", tone()), "Ogg": written("OGG", tone()),
    "MP3": written("MP3", tone()), "WebM": b"\x1a\x45\xdf\xa3" + bytes(50),
    "m4a": b"\0\0\0\x20ftypM4A " + bytes(50), "ID3": tag(200) + bytes(50),
    "AAC": 3 * (b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)),
}  # fmt: skip


@pytest.mark.parametrize("kind", DOORS)
@pytest.mark.parametrize("size", [16, 640, 1 << 20])
def test_a_file_is_turned_away_where_samples_are_wanted(kind: str, size: int) -> None:
    door, content = PcmGuard("samples", 48_000), DOORS[kind]
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    with pytest.raises(UserError, match="-ar 48000") as error:
        list(map(door, pieces))
    assert {"ID3": "MP3"}.get(kind, kind) in str(error.value)


def test_samples_pass() -> None:
    rng = np.random.default_rng(0)
    loud = rng.integers(-32768, 32767, 20_000).astype("<i2").tobytes()
    for content in (bytes(9000), PCM, loud, tone().tobytes(), b"\xff\xfb" * 5000, b"\xff" * 9000):
        door = PcmGuard("samples", RATE)
        for at in range(0, len(content), 320):
            door(content[at : at + 320])
    # Wherever in them the stream begins.
    assert not any(kinds.kind(loud[at:][:400]).format for at in range(0, len(loud) - 400, 7))


def test_noise_of_every_kind_is_no_crash() -> None:
    """A byte changed, a piece cut out: refused in a line, or heard."""
    rng = np.random.default_rng(0)
    for (form, more), _ in itertools.product(
        [("WAV", {}), ("FLAC", {}), ("OGG", {"subtype": "VORBIS"}), ("MP3", {})], range(25)
    ):
        content = bytearray(written(form, tone(0.5), **more))
        for _ in range(3):
            content[rng.integers(len(content))] = rng.integers(256)
        begin = rng.integers(len(content))
        del content[begin : begin + rng.integers(400)]
        with suppress(UserError):
            heard(bytes(content), max_seconds=60.0)


HOSTILE = {
    "pages and junk": b"OggS\0\2" + bytes(21) + (b"x" + b"OggS\0" + bytes(22)) * 300_000,
    "empty pages": (b"OggS\0\2" + bytes(21)) * 300_000,
    "frames and junk": tag(0) + (b"\xff\xf3\x18\xc4" + bytes(20) + b"\xff") * 400_000,
    "headers": b"\xff\xf3\x18\xc4" * 2_000_000,
    "ones": tag(0) + b"\xff" * 8_000_000,
    "tags": b"ID3\x04\0\0\0\0\0\0" * 800_000,
    "WAVE": riff(FMT, chunk(b"data", b"RIFFxxxxWAVE" * 600_000, 0)),
    "chunks": riff(FMT, chunk(b"data", b"") + b"LIST\0\0\0\0" * 1_000_000),
    "fLaC": b"fLaC\0\0\0\x22" * 1_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_file_takes_long_to_refuse(kind: str) -> None:
    begun = time.process_time()
    with suppress(UserError):
        heard(HOSTILE[kind], max_seconds=600.0, to=16_000)
    assert time.process_time() - begun < 5  # of some 8 MB
