"""Recordings in: WAV, FLAC, Ogg or MP3, any rate, mono or stereo, to mono 16 kHz float32.

What is wrong with a file and can be put right (it was joined of several, its sizes are missing, its
end is) is put right, and what is missing then is noted.
"""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from math import log10
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from diffusiontalker import storage
from diffusiontalker.containers import flac, foreign, kinds, mpeg, ogg, parts, reasons, wav
from diffusiontalker.containers.kinds import Kind
from diffusiontalker.containers.parts import Part
from diffusiontalker.errors import UserError

SAMPLE_RATE = 16_000
"""Hz; the rate of every encoder and of the shards."""
MIN_SECONDS = 0.2
MAX_SECONDS = 3600.0
MIN_RATE, MAX_RATE = 1_000, 384_000
"""Hz, of recordings."""
MAX_CHANNELS = 2
"""Of a file."""
USUAL_RATE = 48_000
"""Hz up to which a stereo file may be as long as is allowed. With more samples a second it must be
shorter: it is they that take time and memory."""
PCM = (np.dtype(np.int16), np.dtype(np.int32))
BLOCK = 1 << 16
"""Samples of all channels that are decoded at a time."""
_UNKNOWN = (1 << 63) - 1
"""What libsndfile says of a file whose header does not tell how long it is."""
LEVEL_DB = -23.0
"""RMS of the louder parts after ``normalize``, in dB relative to full scale: our choice."""
FLOOR_DB = -65
"""Below that is no voice, but the room."""
SHORT = 0.05
"""Seconds that may be missing of what a header tells before it is noted."""
CANCELLED_DB = 20
"""Channels whose average is so far below the louder of them cancel each other: our choice."""
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
CANCELLED = "left and right cancel each other out; the louder channel alone is used"
SILENT = f"silent: nothing in it is louder than {FLOOR_DB} dB, and the face is at rest"


@dataclass(frozen=True)
class Sound:
    """A recording as it was decoded."""

    samples: np.ndarray
    """(n,) float32, mono."""
    rate: int
    """Hz."""
    notes: tuple[str, ...] = ()
    """What is missing or was chosen, a line each, for whoever gave the file."""


class Channels:
    """Whether the channels of a recording cancel each other in their average."""

    def __init__(self) -> None:
        self._count, self._sums = 0, np.zeros((2, 1))

    def add(self, samples: np.ndarray) -> None:
        """The next samples (n, channels)."""
        for block in np.array_split(samples, 1 + samples.size // BLOCK):
            values = np.column_stack([block, block.mean(axis=1)]).astype(np.float64)
            self._count += len(values)
            self._sums = self._sums + np.stack([values.sum(axis=0), np.square(values).sum(axis=0)])

    def lone(self) -> int | None:
        """The channel to use alone; None: their average is what it should be."""
        mean, square = self._sums / max(self._count, 1)
        *channels, average = square - mean**2
        loudest = int(np.argmax(channels)) if channels else 0
        least = channels[loudest] * 10 ** (-CANCELLED_DB / 10) if channels else 0.0
        return loudest if average < least else None


class _Sequential(soundfile.SoundFile):
    """A file that is read from its beginning to its end: soundfile seeks after every block, which
    fails where something is cut off, and at the end of a FLAC that does not tell its length."""

    def seekable(self) -> bool:
        return False


def load(
    path: str | Path, max_seconds: float = MAX_SECONDS, to: int | None = None
) -> tuple[np.ndarray, int]:
    """``read`` without its notes: samples (n,) float32, mono, and their rate in Hz."""
    sound = read(path, max_seconds, to)
    return sound.samples, sound.rate


def read(path: str | Path, max_seconds: float = MAX_SECONDS, to: int | None = None) -> Sound:
    """Read a recording, local or in S3; ``to`` as in ``decode``. Other kinds than the four formats
    are decoded where FFmpeg or PyAV is installed.

    Raises:
        UserError: missing, not to be read, or as ``decode``.
    """
    path = storage.location(path)
    with BytesIO(storage.read_bytes(path)) if storage.is_remote(path) else _opened(path) as file:
        return decode(file, str(path), max_seconds, to, others=True)


def decode(
    file: BinaryIO,
    where: str,
    max_seconds: float = MAX_SECONDS,
    to: int | None = None,
    others: bool = False,
) -> Sound:
    """Decode a recording block by block: memory follows what is there, not what a header claims.

    Args:
        file: open, and seekable.
        where: names it in errors.
        max_seconds: a longer one is refused; beyond ``USUAL_RATE`` in stereo, a shorter one too.
        to: rate in Hz to which it is resampled as it comes, so that memory does not follow its own
            rate either; None: it is left as it is.
        others: whether FFmpeg or PyAV may decode what is none of the four formats.

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
            return _decoded(file, found, where, max_seconds, to)
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
        made = decode(sound, where, max_seconds, to)
    return Sound(made.samples, made.rate, (*made.notes, *([said] if said else [])))


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

    def __init__(self, file: BinaryIO, found: Kind, where: str, max_seconds: float) -> None:
        self._file, self._found, self._where, self._most = file, found, where, max_seconds
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


def _decoded(file: BinaryIO, found: Kind, where: str, max_seconds: float, to: int | None) -> Sound:
    """A file of one of the four formats. Raises UserError and LibsndfileError."""
    channels = Channels()
    blocks = _Blocks(file, found, where, max_seconds)
    samples, rate = _joined(blocks, where, to, channels)
    notes = []
    if (lone := channels.lone()) is not None:
        notes.append(CANCELLED)
        samples, rate = _joined(_Blocks(file, found, where, max_seconds), where, to, lone)
    if blocks.cut:
        notes.append(f"cut short: a part or its end is missing, {blocks.seconds:.1f} s are there")
    return Sound(samples, rate, tuple(notes))


def _joined(
    blocks: _Blocks, where: str, to: int | None, mix: Channels | int
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
        kept = _append(samples, kept, mono(block, where), resampler)
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


def prepare(samples: np.ndarray, rate: int, where: str = "audio") -> np.ndarray:
    """Check, resample to 16 kHz and bring to a common level: (n,) or (n, channels) -> (m,).

    Raises UserError as ``check``.
    """
    return normalize(check(samples, rate, where))


def check(samples: np.ndarray, rate: int, where: str = "audio") -> np.ndarray:
    """Check, and resample to mono at 16 kHz: (n,) or (n, channels) -> (m,) float32. What is that
    already is not copied. Of channels that cancel each other out the louder one is used.

    Raises:
        UserError: no samples, NaN or infinite samples, too short, or an impossible rate.
    """
    samples = mono(_audible(_numbers(samples, where)), where, first=0)
    check_rate(rate, where)
    if len(samples) == 0:
        raise UserError(f"{where}: holds no samples")
    if len(samples) / rate < MIN_SECONDS:
        raise UserError(
            f"{where}: {len(samples) / rate:.3f} s of audio; at least {MIN_SECONDS} s are needed"
        )
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return samples


def cancelled(samples: np.ndarray) -> int | None:
    """The channel of a recording (n,) or (n, channels) that is to be used alone, because their
    average is ``CANCELLED_DB`` below it; None: there is no need."""
    samples = np.asarray(samples)
    if samples.ndim != 2 or samples.shape[1] < 2 or samples.dtype.kind not in "iuf":
        return None
    channels = Channels()
    with np.errstate(invalid="ignore", over="ignore"):  # NaN is another's to refuse
        channels.add(samples)
        return channels.lone()


def _audible(samples: np.ndarray) -> np.ndarray:
    samples, lone = np.asarray(samples), cancelled(samples)
    return samples if lone is None else samples[:, lone]


def check_rate(rate: float, where: str, low: int = MIN_RATE, high: int = MAX_RATE) -> None:
    """Raises UserError unless audio may have this sample rate in Hz; by default a recording."""
    if not is_number(rate):
        raise UserError(f"{where}: rate {rate!r}: must be a number of Hz")
    if not low <= rate <= high:
        raise UserError(f"{where}: a sample rate of {rate} Hz; expected {low} to {high}")


def is_number(value: object) -> bool:
    """Whether it is one real number; text that reads like one is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def mono(samples: np.ndarray, where: str, first: int | None = None) -> np.ndarray:
    """Samples (n,) or (n, channels), integer PCM or float, as (n,) float32, channels averaged.

    Args:
        samples: the samples.
        where: names them in errors.
        first: number of the first of them in the whole, so that an error can name a bad one.

    Raises:
        UserError: no numbers, another shape, integers of other widths than PCM has them, or NaN or
            infinite samples.
    """
    samples = _numbers(samples, where)
    whole = samples.dtype.kind in "iu"
    if whole and samples.dtype not in PCM:
        raise UserError(
            f"{where}: integers of type {samples.dtype}, whose full scale is unknown; give int16 "
            "or int32 PCM, or float in [-1, 1]"
        )
    if whole:
        samples = np.divide(samples, _full_scale(samples.dtype), dtype=np.float32)
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 2 and samples.shape[1] > 0:
        samples = samples.mean(axis=1)
    if samples.ndim != 1:
        raise UserError(f"{where}: expected samples (n,) or (n, channels), got {samples.shape}")
    # Both ends tell of NaN and infinity, without a second array as long as the recording.
    if not whole and samples.size and not np.isfinite([samples.min(), samples.max()]).all():
        bad = int(np.flatnonzero(~np.isfinite(samples))[0])
        at = "" if first is None else f", the first is number {first + bad}, counted from 0"
        raise UserError(f"{where}: holds NaN or infinite samples{at}; export it again")
    return samples


def _numbers(samples: Any, where: str) -> np.ndarray:
    """What was given as samples, as an array of numbers. Raises UserError."""
    if isinstance(samples, str | os.PathLike):
        raise UserError(
            f"{where}: {str(samples)!r} is a path, not samples; read the file first: "
            "samples, rate = diffusiontalker.audio.load(path)"
        )
    if isinstance(samples, bytes | bytearray):
        odd = " (an odd number: a sample of 16-bit PCM has two)" if len(samples) % 2 else ""
        raise UserError(
            f"{where}: {len(samples)} bytes{odd}, not samples; give numpy.frombuffer(content, "
            "'<i2') for 16-bit PCM"
        )
    try:
        found = np.asarray(samples)
    except (ValueError, TypeError) as error:  # rows of unequal length, a tensor on a GPU
        raise UserError(f"{where}: no array of samples ({error})") from error
    if found.dtype.kind not in "iuf":
        raise UserError(f"{where}: samples of type {found.dtype}; give float or PCM")
    return found


@functools.cache
def _full_scale(dtype: np.dtype) -> np.float32:
    """What stands for 1 in integer PCM."""
    return np.float32(np.iinfo(dtype).max)


def normalize(samples: np.ndarray) -> np.ndarray:
    """Remove DC and scale (n,) so that its louder parts have an RMS of ``LEVEL_DB``."""
    return leveled(samples, *level(samples))


def level(samples: np.ndarray) -> tuple[float, float]:
    """Mean of samples (n,), and the gain that brings what is left to ``LEVEL_DB``.

    The level is taken over the 20 ms pieces within 25 dB of the loudest, so that pauses do not
    count. What is below ``FLOOR_DB`` stays as far below ``LEVEL_DB``: a room is no voice.
    """
    mean = samples.mean(dtype=np.float64)
    piece = min(SAMPLE_RATE // 50, len(samples))
    whole = samples[: len(samples) // piece * piece].reshape(-1, piece)
    # In blocks: an hour is not held twice.
    blocks = np.array_split(whole, 1 + whole.size // BLOCK)
    power = np.concatenate([np.square(block - np.float32(mean)).mean(axis=1) for block in blocks])
    loud = float(power[power >= power.max() * 10**-2.5].mean())
    return float(mean), 10 ** ((LEVEL_DB - max(10 * log10(loud + 1e-12), FLOOR_DB)) / 20)


def is_quiet(samples: np.ndarray) -> bool:
    """Whether nothing in samples (n,) is louder than ``FLOOR_DB``: nobody speaks."""
    return 20 * log10(level(samples)[1]) >= LEVEL_DB - FLOOR_DB - 1e-6


def leveled(samples: np.ndarray, mean: float, gain: float) -> np.ndarray:
    """A recording (n,), or a part of it, without DC and at its level, within ±1."""
    out = samples - np.float32(mean)
    out *= np.float32(gain)
    return np.clip(out, -1.0, 1.0, out=out)
