"""Files of other kinds, through FFmpeg or PyAV where one of them is installed.

For a user's own files alone: decoders of a hundred formats are more than a server should offer to
strangers.
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

PATIENCE = 300
"""Seconds that a decoder may take."""
HEADER = 44
"""Bytes of a WAV file without samples, at least."""
_SAID = re.compile(r"^(?:\[[^]]*\] )?\[(?:error|fatal|panic)\] (.*)", re.MULTILINE)
_TRACK = re.compile(r"^\[info\]   Stream #0:\d+.*?: Audio: ", re.MULTILINE)
Decoded = tuple[BinaryIO | None, str]
"""A WAV file, if there is any sound, and what the decoder complained of."""


def is_there() -> bool:
    """Whether anything is installed that decodes them."""
    return shutil.which("ffmpeg") is not None or importlib.util.find_spec("av") is not None


@contextmanager
def decoded(file: BinaryIO, demuxer: str, seconds: float, size: int) -> Iterator[Decoded]:
    """The first track of sound in a file as 16-bit WAV, a little more than ``seconds`` and at most
    ``size`` bytes of it."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(str(getattr(file, "name", ""))), Path(folder, "out.wav")
        if not path.is_file():
            path = Path(folder, "in")
            file.seek(0)
            with path.open("wb") as copy:
                shutil.copyfileobj(file, copy)
        if (program := shutil.which("ffmpeg")) is not None:
            said = _by_ffmpeg(program, path, demuxer, out, seconds, size)
        else:
            said = _by_pyav(path, demuxer, out, seconds, size)
        if not out.is_file() or out.stat().st_size <= HEADER:
            yield None, said or "there is no sound in it"
            return
        with out.open("rb") as sound:
            yield sound, said


def _by_ffmpeg(program: str, path: Path, demuxer: str, out: Path, seconds: float, size: int) -> str:
    """What FFmpeg complains of, or what it left out. It reads this file alone, and as what it is:
    no playlists."""
    command = [
        program, "-nostdin", "-hide_banner", "-nostats", "-v", "level+info",
        "-protocol_whitelist", "file",
        "-f", demuxer, "-i", f"file:{path.resolve()}", "-map", "0:a:0", "-map_metadata", "-1",
        "-c:a", "pcm_s16le", "-t", f"{seconds + 1:.3f}", "-fs", str(size), "-f", "wav",
        f"file:{out}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        out.unlink(missing_ok=True)
        return f"not done after {PATIENCE} s"
    text = done.stderr.decode("utf-8", "replace")
    said = _SAID.search(text)
    if said is not None:
        return f"ffmpeg: {said[1].replace(str(path.resolve()), path.name)[:200]}"
    return _left_out(len(_TRACK.findall(text.partition("\n[info] Output #0")[0])))


def _by_pyav(path: Path, demuxer: str, out: Path, seconds: float, size: int) -> str:
    """What PyAV complains of, or what it left out."""
    import av

    try:
        with av.open(str(path), format=demuxer) as container, wave.open(str(out), "wb") as sound:
            tracks, written, most = container.streams.audio, 0, 0
            count = len(tracks)
            to16 = av.AudioResampler(format="s16")
            for frame in container.decode(tracks[0]):
                for made in to16.resample(frame):
                    if not written:
                        channels = len(made.layout.channels)
                        sound.setparams((channels, 2, made.sample_rate, 0, "NONE", ""))
                        most = min(size, int((seconds + 1) * made.sample_rate) * 2 * channels)
                    content = made.to_ndarray().tobytes()
                    written += len(content)
                    sound.writeframesraw(content)
                if written > most:
                    break
    except (av.FFmpegError, IndexError, wave.Error) as error:
        return f"PyAV: {str(error)[:200] or 'no sound in it'}"
    return _left_out(count)


def _left_out(tracks: int) -> str:
    return f"the first of {tracks} tracks of sound alone is used" if tracks > 1 else ""
