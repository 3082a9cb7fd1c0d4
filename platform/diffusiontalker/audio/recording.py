"""Recordings in: WAV, FLAC, Ogg or MP3, any rate, mono or stereo, to mono 16 kHz float32.

What is wrong with a file and can be put right (it was joined of several, its sizes are missing, its
end is) is put right, and what is missing then is noted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import BLOCK
from diffusiontalker.audio.waveform import (
    CANCELLED,
    MAX_SECONDS,
    ChannelPowers,
    check_rate,
    to_mono,
)
from diffusiontalker.containers import flac, foreign, kinds, mpeg, ogg, parts, reasons, wav
from diffusiontalker.containers.kinds import Kind
from diffusiontalker.containers.parts import Part
from diffusiontalker.errors import UserError

MAX_CHANNELS = 2
"""Of a file."""
USUAL_RATE = 48_000
"""Hz up to which a stereo file may be as long as is allowed. With more samples a second it must be
shorter: it is they that take time and memory."""
_UNKNOWN = (1 << 63) - 1
"""What libsndfile says of a file whose header does not tell how long it is."""
SHORT = 0.05
"""Seconds that may be missing of what a header tells before it is noted."""
FORMATS = {"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3"}
"""libsndfile's names of the four."""
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
"""How files of them are called."""
OTHER_SUFFIXES = (
    ".opus", ".oga", ".m4a", ".aac", ".webm", ".aif", ".aiff", ".caf", ".wma", ".amr",
)  # fmt: skip
"""Likewise of Ogg, and of what ``read`` decodes where FFmpeg or PyAV is installed."""
UNPROMISED = ("MPEG_LAYER_I", "MPEG_LAYER_II")
"""Codecs that it takes for one of them."""


@dataclass(frozen=True)
class DecodedAudio:
    """A recording as it was decoded."""

    samples: np.ndarray
    """(n,) float32, mono."""
    rate: int
    """Hz."""
    notes: tuple[str, ...] = ()
    """What is missing or was chosen, a line each, for whoever gave the file."""


class _Sequential(soundfile.SoundFile):
    """A file that is read from its beginning to its end: soundfile seeks after every block, which
    fails where something is cut off, and at the end of a FLAC that does not tell its length."""

    def seekable(self) -> bool:
        return False


def read_recording(
    path: str | Path, max_seconds: float = MAX_SECONDS, to: int | None = None
) -> DecodedAudio:
    """Read a recording, local or in S3; ``to`` as in ``decode``. Other kinds than the four formats
    are decoded where FFmpeg or PyAV is installed.

    Raises:
        UserError: missing, not to be read, or as ``decode``.
    """
    path = storage.location(path)
    with BytesIO(storage.read_bytes(path)) if storage.is_remote(path) else _opened(path) as file:
        return decode_recording(file, str(path), max_seconds, to, others=True)


def decode_recording(
    file: BinaryIO,
    where: str,
    max_seconds: float = MAX_SECONDS,
    to: int | None = None,
    others: bool = False,
    check: Callable[[], None] = lambda: None,
) -> DecodedAudio:
    """Decode a recording block by block: memory follows what is there, not what a header claims.

    Args:
        file: open, and seekable.
        where: names it in errors.
        max_seconds: a longer one is refused; beyond ``USUAL_RATE`` in stereo, a shorter one too.
        to: rate in Hz to which it is resampled as it comes, so that memory does not follow its own
            rate either; None: it is left as it is.
        others: whether FFmpeg or PyAV may decode what is none of the four formats.
        check: called before every block; an exception that it raises cancels the decoding.

    Returns:
        Its channels averaged; or the louder one, where they cancel each other out.

    Raises:
        UserError: not audio, more than two channels, an impossible rate, NaN, or longer than
            ``max_seconds``; the length that the header claims is checked before anything is
            decoded.
    """
    found, head = _kind(file)
    if not head:
        raise UserError(f"{where}: the file is empty; get it again")
    if found.format is not None and reasons.is_eaten(head):
        raise UserError(f"{where}: is {found.name} {reasons.EATEN}")
    if found.format is not None:
        try:
            return _decoded(file, found, where, max_seconds, to, check)
        except soundfile.LibsndfileError as error:
            mistake = UserError(
                f"{where}: {reasons.damage(file, found, head, where, error.error_string)}"
            )
            if not (others and reasons.has_other_codec(file, found, head)):
                raise mistake from error
    else:
        mistake = UserError(f"{where}: is {reasons.refusal(found, head, where)}")
    if not (others and found.demuxer and foreign.is_there()):
        raise mistake
    size = round(2 * max_seconds * MAX_CHANNELS * USUAL_RATE)
    with foreign.decoded(file, found.demuxer, max_seconds, size) as (sound, said):
        if sound is None:
            raise UserError(
                f"{where}: is {found.name} that cannot be decoded ({said}); get it again, or see "
                f"what {reasons.mend(where)} says"
            )
        made = decode_recording(sound, where, max_seconds, to, check=check)
    return DecodedAudio(made.samples, made.rate, (*made.notes, *([said] if said else [])))


def _opened(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give a recording in it")
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is no regular file; write what comes from it into one")
        return path.open("rb")
    except FileNotFoundError as error:
        target = f"; it is a link to {path.readlink()}" if path.is_symlink() else ""
        raise UserError(f"{path}: no such file{target}") from error
    except PermissionError as error:
        raise UserError(f"{path}: no permission to read it; see chmod") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _kind(file: BinaryIO) -> tuple[Kind, bytes]:
    """What a file is, behind its tags, and how it begins."""
    head = parts.read(file, 0, kinds.HEAD)
    found = kinds.kind(head)
    if found is kinds.MP3 and (behind := mpeg.behind_tags(file, 0)):
        inner = kinds.kind(parts.read(file, behind, kinds.HEAD))
        found = inner if inner.format or inner.demuxer else found
    if not (found.format or found.demuxer) and mpeg.parts(file, 0):
        found = kinds.MP3  # behind something else
    return found, head


class _Blocks:
    """The blocks (n, channels) of all parts of a file, each with its rate in Hz. Raises UserError
    and LibsndfileError."""

    def __init__(
        self,
        file: BinaryIO,
        found: Kind,
        where: str,
        max_seconds: float,
        check: Callable[[], None],
    ) -> None:
        self._file, self._found, self._where, self._most = file, found, where, max_seconds
        self._check_cancelled = check
        self.expected = 0.0
        """Seconds that the header of this part claims, a minute if it claims none."""
        self.seconds, self.cut = 0.0, False
        """Those that were there, and whether there should be more."""
        self._samples = 0

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        pieces = self._parts()
        if len(pieces) > parts.MOST:
            raise UserError(f"{self._where}: is joined of more than {parts.MOST} parts; cut it")
        for piece in pieces:
            with _Sequential(parts.View(self._file, piece)) as sound:
                rate, told = int(sound.samplerate), sound.frames != _UNKNOWN
                self.expected = sound.frames / rate if told else 60.0
                self._check(sound, sound.frames if told else 0)
                frames = 0
                for block in self._read(sound):
                    frames += len(block)
                    self._check(sound, frames)
                    yield rate, block
                self.seconds += frames / rate
                self._samples += frames * sound.channels
                # Of these alone the header tells how much there is, and not about how much.
                exact = told and self._found.format in ("flac", "ogg")
                self.cut |= piece.cut or (exact and frames < sound.frames - SHORT * rate)

    def _read(self, sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
        """The blocks of an open part, as far as it can be decoded."""
        size, begun = max(BLOCK // sound.channels, 1), False
        while True:
            self._check_cancelled()
            block = np.full((size, sound.channels), np.nan, np.float32)
            try:
                block = sound.read(out=block)
            except soundfile.LibsndfileError:
                # What was decoded before it stands there.
                block = block[: int(np.isfinite(block).all(axis=1).argmin())]
                if not (begun or len(block)):
                    raise
                self.cut = True
            if not len(block):
                return
            begun = True
            yield block

    def _parts(self) -> list[Part]:
        match self._found.format:
            case "wav":
                found = wav.parts(self._file)
            case "flac":
                found = flac.parts(self._file)
            case "ogg":
                found = ogg.parts(self._file)
            case _:
                found = mpeg.parts(self._file, self._most)
        return found or [Part(((0, parts.size_of(self._file)),))]

    def _check(self, sound: soundfile.SoundFile, frames: int) -> None:
        """Raise UserError unless there may be so many more ``frames`` of such a part."""
        rate, channels, where = int(sound.samplerate), sound.channels, self._where
        check_rate(rate, where)
        if FORMATS.get(sound.format) != self._found.format or sound.subtype in UNPROMISED:
            raise UserError(f"{where}: is {sound.subtype_info}, not wav, flac, ogg or mp3")
        if channels > MAX_CHANNELS:
            raise UserError(
                f"{where}: {channels} channels; at most {MAX_CHANNELS} are read; mix them: "
                f"{reasons.mend(where)}"
            )
        seconds = self.seconds + frames / rate
        if seconds > self._most:
            raise UserError(
                f"{where}: {seconds:.0f} s of audio, but at most {self._most:.0f} s are allowed; "
                "cut it into parts"
            )
        if self._samples + frames * channels > self._most * MAX_CHANNELS * USUAL_RATE:
            raise UserError(
                f"{where}: {seconds:.0f} s of {channels} x {rate} Hz, as many samples as more than "
                f"{self._most:.0f} s of stereo at {USUAL_RATE} Hz; cut it into parts, or "
                f"{reasons.mend(where, after=f'-ac 1 -ar {USUAL_RATE}')}"
            )


def _decoded(
    file: BinaryIO,
    found: Kind,
    where: str,
    max_seconds: float,
    to: int | None,
    check: Callable[[], None],
) -> DecodedAudio:
    """A file of one of the four formats. Raises UserError and LibsndfileError."""
    channels = ChannelPowers()
    blocks = _Blocks(file, found, where, max_seconds, check)
    samples, rate = _joined(blocks, where, to, channels)
    notes = []
    if (lone := channels.lone()) is not None:
        notes.append(CANCELLED)
        again = _Blocks(file, found, where, max_seconds, check)
        samples, rate = _joined(again, where, to, lone)
    if blocks.cut:
        notes.append(f"cut short: a part or its end is missing, {blocks.seconds:.1f} s are there")
    return DecodedAudio(samples, rate, tuple(notes))


def _joined(
    blocks: _Blocks, where: str, to: int | None, mix: ChannelPowers | int
) -> tuple[np.ndarray, int]:
    """All blocks, one behind the other, at the rate of the first unless ``to`` is given; ``mix``:
    the channel that is used alone, or what watches their average."""
    samples, kept = np.empty(0, np.float32), 0
    resampler, before, end = None, 0, np.zeros(0, np.float32)
    for rate, block in blocks:
        if rate != before:
            to = to or rate
            if not before:
                # A header that lies costs nothing: memory never written to is never taken.
                samples = np.empty(round(blocks.expected * to) + 2 * BLOCK, np.float32)
            kept = _append(samples, kept, end, resampler, last=True)
            resampler = None if rate == to else soxr.ResampleStream(rate, to, 1)
            before = rate
        if isinstance(mix, int):
            block = block[:, mix]
        elif block.shape[1] > 1:
            mix.add(block)
        kept = _append(samples, kept, to_mono(block, where), resampler)
    kept = _append(samples, kept, end, resampler, last=True)
    return samples[:kept], to or SAMPLE_RATE


def _append(
    out: np.ndarray,
    kept: int,
    piece: np.ndarray,
    resampler: soxr.ResampleStream | None,
    last: bool = False,
) -> int:
    """Put a piece, resampled, behind the ``kept`` samples of ``out``, which grows where the header
    told of less; how many there are now."""
    if resampler is not None:
        piece = resampler.resample_chunk(piece, last=last)
    if kept + len(piece) > len(out):
        out.resize(2 * (kept + len(piece)), refcheck=False)
    out[kept : kept + len(piece)] = piece
    return kept + len(piece)
