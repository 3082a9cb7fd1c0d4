"""Files of other kinds, decoded by FFmpeg or PyAV where one of them is installed.

For a user's own files only: a server must not expose decoders of a hundred formats to its callers.
"""

import importlib.util
import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TIMEOUT = 300
"""Seconds that FFmpeg may take."""
HEADER_BYTES = 44
"""Least bytes of a WAV file without samples."""
_ERROR_LINE = re.compile(r"^(?:\[[^]]*\] )?\[(?:error|fatal|panic)\] (.*)", re.MULTILINE)
_TRACK_LINE = re.compile(r"^\[info\]   Stream #0:\d+.*?: Audio: ", re.MULTILINE)
Decoded = tuple[BinaryIO | None, str]
"""A WAV file, if there is any sound, and an error message or a note; may be empty."""


def is_available() -> bool:
    """Whether FFmpeg or PyAV is installed."""
    return shutil.which("ffmpeg") is not None or importlib.util.find_spec("av") is not None


@contextmanager
def decoded(file: BinaryIO, demuxer: str, seconds: float, size: int) -> Iterator[Decoded]:
    """The first audio track of a file as 16-bit WAV, up to ``seconds`` + 1 and ``size`` bytes of
    it."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(str(getattr(file, "name", ""))), Path(folder, "out.wav")
        if not path.is_file():
            path = Path(folder, "in")
            file.seek(0)
            with path.open("wb") as copy:
                shutil.copyfileobj(file, copy)
        if (program := shutil.which("ffmpeg")) is not None:
            message = _with_ffmpeg(program, path, demuxer, out, seconds, size)
        else:
            message = _with_pyav(path, demuxer, out, seconds, size)
        if not out.is_file() or out.stat().st_size <= HEADER_BYTES:
            yield None, message or "there is no sound in it"
            return
        with out.open("rb") as sound:
            yield sound, message


def _with_ffmpeg(
    program: str, path: Path, demuxer: str, out: Path, seconds: float, size: int
) -> str:
    """Run FFmpeg; returns its error message or a note. It opens this file only, with this demuxer:
    no playlists."""
    command = [
        program, "-nostdin", "-hide_banner", "-nostats", "-v", "level+info",
        "-protocol_whitelist", "file",
        "-f", demuxer, "-i", f"file:{path.resolve()}", "-map", "0:a:0", "-map_metadata", "-1",
        "-c:a", "pcm_s16le", "-t", f"{seconds + 1:.3f}", "-fs", str(size), "-f", "wav",
        f"file:{out}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        out.unlink(missing_ok=True)
        return f"not done after {TIMEOUT} s"
    text = done.stderr.decode("utf-8", "replace")
    message = _ERROR_LINE.search(text)
    if message is not None:
        return f"ffmpeg: {message[1].replace(str(path.resolve()), path.name)[:200]}"
    return _tracks_note(len(_TRACK_LINE.findall(text.partition("\n[info] Output #0")[0])))


def _with_pyav(path: Path, demuxer: str, out: Path, seconds: float, size: int) -> str:
    """Run PyAV; returns its error message or a note."""
    import av

    try:
        with av.open(str(path), format=demuxer) as container, wave.open(str(out), "wb") as sound:
            tracks, written, limit = container.streams.audio, 0, 0
            count = len(tracks)
            to16 = av.AudioResampler(format="s16")
            for frame in container.decode(tracks[0]):
                for made in to16.resample(frame):
                    if not written:
                        channels = len(made.layout.channels)
                        sound.setparams((channels, 2, made.sample_rate, 0, "NONE", ""))
                        limit = min(size, int((seconds + 1) * made.sample_rate) * 2 * channels)
                    content = made.to_ndarray().tobytes()
                    written += len(content)
                    sound.writeframesraw(content)
                if written > limit:
                    break
    except (av.FFmpegError, IndexError, wave.Error) as error:
        return f"PyAV: {str(error)[:200] or 'no sound in it'}"
    return _tracks_note(count)


def _tracks_note(tracks: int) -> str:
    return f"the first of {tracks} tracks of sound alone is used" if tracks > 1 else ""
