"""Reading recordings: WAV, FLAC, Ogg or MP3, any rate, mono or stereo, to mono float32.

Joined files and files without sizes are read as a whole; of a truncated file what is there is read,
and noted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.block_decoder import MAX_CHANNELS, USUAL_RATE, BlockDecoder
from diffusiontalker.audio.level import BLOCK
from diffusiontalker.audio.waveform import CANCELLED, MAX_SECONDS, ChannelPowers, to_mono
from diffusiontalker.containers import foreign, kinds, mpeg, parts, reasons
from diffusiontalker.containers.kinds import Kind
from diffusiontalker.errors import UserError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
"""File names of the four formats."""
ALL_SUFFIXES = (
    *SUFFIXES, ".opus", ".oga", ".m4a", ".aac", ".webm", ".aif", ".aiff", ".caf", ".wma", ".amr",
)  # fmt: skip
"""Also others of Ogg, and those of files that need FFmpeg or PyAV."""


@dataclass(frozen=True)
class DecodedAudio:
    """A decoded recording."""

    samples: np.ndarray
    """(n,) float32, mono."""
    rate: int
    """Hz."""
    notes: tuple[str, ...] = ()
    """What is missing or was chosen, a line each, for whoever gave the file."""


def read_recording(
    path: str | Path, max_seconds: float = MAX_SECONDS, to: int | None = None
) -> DecodedAudio:
    """Read a recording, local or in S3; ``to`` as in ``decode_recording``. Files of other formats
    than the four are decoded where FFmpeg or PyAV is installed.

    Raises:
        UserError: missing, unreadable, or as ``decode_recording``.
    """
    path = storage.location(path)
    with open_recording(path) as file:
        return decode_recording(file, str(path), max_seconds, to, others=True)


def decode_recording(
    file: BinaryIO,
    where: str,
    max_seconds: float = MAX_SECONDS,
    to: int | None = None,
    others: bool = False,
    check: Callable[[], None] = lambda: None,
) -> DecodedAudio:
    """Decode a recording block by block: memory grows with its samples, not with what a header
    states.

    Args:
        file: open, and seekable.
        where: names it in errors.
        max_seconds: a longer one is refused; beyond ``USUAL_RATE`` in stereo, a shorter one too.
        to: rate in Hz to which blocks are resampled as they are decoded, so that memory does not
            grow with their own rate either; None: they are not resampled.
        others: whether FFmpeg or PyAV may decode other formats than the four.
        check: called before every block; an exception that it raises cancels the decoding.

    Returns:
        Its channels averaged; or the louder one, where they cancel each other out.

    Raises:
        UserError: not audio, more than two channels, an impossible rate, NaN, or longer than
            ``max_seconds``; the length that the header states is checked before anything is
            decoded.
    """
    kind, head = _detect(file)
    if not head:
        raise UserError(f"{where}: the file is empty; get it again")
    if kind.format is not None and reasons.lost_control_bytes(head):
        raise UserError(f"{where}: is {kind.name} {reasons.LOST_CONTROL_BYTES}")
    if kind.format is not None:
        try:
            return _decode(file, kind, where, max_seconds, to, check)
        except soundfile.LibsndfileError as error:
            mistake = UserError(
                f"{where}: {reasons.damaged(file, kind, head, where, error.error_string)}"
            )
            if not (others and reasons.has_other_codec(file, kind, head)):
                raise mistake from error
    else:
        mistake = UserError(f"{where}: is {reasons.unsupported(kind, head, where)}")
    if not (others and kind.demuxer and foreign.is_available()):
        raise mistake
    size = round(2 * max_seconds * MAX_CHANNELS * USUAL_RATE)
    with foreign.decoded(file, kind.demuxer, max_seconds, size) as (sound, message):
        if sound is None:
            raise UserError(
                f"{where}: is {kind.name} that cannot be decoded ({message}); get it again, or see "
                f"what {reasons.conversion(where)} says"
            )
        decoded = decode_recording(sound, where, max_seconds, to, check=check)
    notes = (*decoded.notes, *([message] if message else []))
    return DecodedAudio(decoded.samples, decoded.rate, notes)


def open_recording(path: Path) -> BinaryIO:
    """A file for ``decode_recording``, local or in S3. Raises UserError: it cannot be reached."""
    return BytesIO(storage.read_bytes(path)) if storage.is_remote(path) else _open(path)


def _open(path: Path) -> BinaryIO:
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


def _detect(file: BinaryIO) -> tuple[Kind, bytes]:
    """The kind of a file, behind its tags, and its first bytes."""
    head = parts.read(file, 0, kinds.HEAD_BYTES)
    kind = kinds.kind(head)
    if kind is kinds.MP3 and (behind := mpeg.skip_tags(file, 0)):
        inner = kinds.kind(parts.read(file, behind, kinds.HEAD_BYTES))
        kind = inner if inner.format or inner.demuxer else kind
    if not (kind.format or kind.demuxer) and mpeg.parts(file, 0):
        kind = kinds.MP3  # behind other bytes
    return kind, head


def _decode(
    file: BinaryIO, kind: Kind, where: str, max_seconds: float, to: int | None,
    check: Callable[[], None],
) -> DecodedAudio:  # fmt: skip
    """Decode a file of one of the four formats. Raises UserError and LibsndfileError."""
    channels = ChannelPowers()
    decoder = BlockDecoder(file, kind, where, max_seconds, check)
    samples, rate = _concatenate(decoder, where, to, channels)
    notes = []
    if (louder := channels.louder_if_cancelled()) is not None:
        notes.append(CANCELLED)
        again = BlockDecoder(file, kind, where, max_seconds, check)
        samples, rate = _concatenate(again, where, to, louder)
    if decoder.truncated:
        notes.append(f"cut short: a part or its end is missing, {decoder.seconds:.1f} s are there")
    return DecodedAudio(samples, rate, tuple(notes))


def _concatenate(
    decoder: BlockDecoder, where: str, to: int | None, channel: ChannelPowers | int
) -> tuple[np.ndarray, int]:
    """All blocks as mono samples (n,), at the rate of the first unless ``to`` is given; and that
    rate.

    ``channel``: number of the one to use; or their average is used, and ``ChannelPowers`` takes
    their powers.
    """
    samples, length = np.empty(0, np.float32), 0
    resampler, before, end = None, 0, np.zeros(0, np.float32)
    for rate, block in decoder:
        if rate != before:
            to = to or rate
            if not before:
                # A wrong header costs no memory: pages that are not written to are not allocated.
                samples = np.empty(round(decoder.stated_seconds * to) + 2 * BLOCK, np.float32)
            length = _append(samples, length, end, resampler, last=True)
            resampler = None if rate == to else soxr.ResampleStream(rate, to, 1)
            before = rate
        if isinstance(channel, int):
            block = block[:, channel]
        elif block.shape[1] > 1:
            channel.add(block)
        length = _append(samples, length, to_mono(block, where), resampler)
    length = _append(samples, length, end, resampler, last=True)
    return samples[:length], to or SAMPLE_RATE


def _append(
    out: np.ndarray,
    length: int,
    piece: np.ndarray,
    resampler: soxr.ResampleStream | None,
    last: bool = False,
) -> int:
    """Resample a piece and write it behind the first ``length`` samples of ``out``, which grows if
    it is full. Returns the new length."""
    if resampler is not None:
        piece = resampler.resample_chunk(piece, last=last)
    if length + len(piece) > len(out):
        out.resize(2 * (length + len(piece)), refcheck=False)
    out[length : length + len(piece)] = piece
    return length + len(piece)
