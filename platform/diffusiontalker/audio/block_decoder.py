"""Decoding a file block by block with libsndfile, part by part where it is joined from several."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from diffusiontalker.audio.level import BLOCK
from diffusiontalker.audio.waveform import check_rate
from diffusiontalker.containers import flac, mpeg, ogg, parts, reasons, wav
from diffusiontalker.containers.kinds import Kind
from diffusiontalker.containers.parts import Part, PartReader
from diffusiontalker.errors import UserError

MAX_CHANNELS = 2
"""Of a file."""
USUAL_RATE = 48_000
"""Hz up to which a stereo file may be as long as is allowed. At a higher rate it must be shorter:
time and memory follow the number of samples."""
UNKNOWN_FRAMES = (1 << 63) - 1
"""``SoundFile.frames`` where the header does not state a length."""
UNKNOWN_SECONDS = 60.0
"""Assumed length of such a file, for the first allocation."""
TRUNCATED_SECONDS = 0.05
"""Seconds that may be missing of the stated length before that is noted."""
FORMATS = {"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3"}
"""libsndfile's names of the four formats."""
UNSUPPORTED_CODECS = ("MPEG_LAYER_I", "MPEG_LAYER_II")
"""Codecs that libsndfile reports as MP3."""


class _SequentialFile(soundfile.SoundFile):
    """A file that is read from beginning to end: soundfile seeks after every block, which fails in
    a truncated file, and at the end of a FLAC that does not state its length."""

    def seekable(self) -> bool:
        return False


class BlockDecoder:
    """Iterates over the blocks (n, channels) of all parts of a file, each with its rate in Hz.

    The iterator raises UserError as ``decode_recording``, and LibsndfileError where nothing of a
    part can be decoded.
    """

    def __init__(
        self, file: BinaryIO, kind: Kind, where: str, max_seconds: float,
        check: Callable[[], None],
    ) -> None:  # fmt: skip
        """``check`` is called before every block; an exception that it raises cancels."""
        self._file, self._kind, self._where, self._max_seconds = file, kind, where, max_seconds
        self._check = check
        self.stated_seconds = 0.0
        """Length of the current part by its header, or ``UNKNOWN_SECONDS``."""
        self.seconds, self.truncated = 0.0, False
        """Seconds decoded, and whether there should be more."""
        self._samples = 0

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        pieces = self._parts()
        if len(pieces) > parts.MAX_PARTS:
            raise UserError(
                f"{self._where}: is joined of more than {parts.MAX_PARTS} parts; cut it"
            )
        for piece in pieces:
            with _SequentialFile(PartReader(self._file, piece)) as sound:
                rate, is_stated = int(sound.samplerate), sound.frames != UNKNOWN_FRAMES
                self.stated_seconds = sound.frames / rate if is_stated else UNKNOWN_SECONDS
                self._check_limits(sound, sound.frames if is_stated else 0)
                frames = 0
                for block in self._read(sound):
                    frames += len(block)
                    self._check_limits(sound, frames)
                    yield rate, block
                self.seconds += frames / rate
                self._samples += frames * sound.channels
                # Only these formats state an exact length.
                exact = is_stated and self._kind.format in ("flac", "ogg")
                missing = sound.frames - frames
                self.truncated |= piece.truncated or (exact and missing > TRUNCATED_SECONDS * rate)

    def _read(self, sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
        """The blocks of an open part, as far as it can be decoded."""
        size, is_first = max(BLOCK // sound.channels, 1), True
        while True:
            self._check()
            block = np.full((size, sound.channels), np.nan, np.float32)
            try:
                block = sound.read(out=block)
            except soundfile.LibsndfileError:
                # The samples before the error have been written to the block.
                block = block[: int(np.isfinite(block).all(axis=1).argmin())]
                if is_first and not len(block):
                    raise
                self.truncated = True
            if not len(block):
                return
            is_first = False
            yield block

    def _parts(self) -> list[Part]:
        match self._kind.format:
            case "wav":
                found = wav.parts(self._file)
            case "flac":
                found = flac.parts(self._file)
            case "ogg":
                found = ogg.parts(self._file)
            case _:
                found = mpeg.parts(self._file, self._max_seconds)
        return found or [Part(((0, parts.file_size(self._file)),))]

    def _check_limits(self, sound: soundfile.SoundFile, frames: int) -> None:
        """Raise UserError unless such a part may have so many ``frames``."""
        rate, channels, where = int(sound.samplerate), sound.channels, self._where
        check_rate(rate, where)
        is_expected = FORMATS.get(sound.format) == self._kind.format
        if not is_expected or sound.subtype in UNSUPPORTED_CODECS:
            raise UserError(f"{where}: is {sound.subtype_info}, not wav, flac, ogg or mp3")
        if channels > MAX_CHANNELS:
            raise UserError(
                f"{where}: {channels} channels; at most {MAX_CHANNELS} are read; mix them: "
                f"{reasons.conversion(where)}"
            )
        seconds = self.seconds + frames / rate
        if seconds > self._max_seconds:
            raise UserError(
                f"{where}: {seconds:.0f} s of audio, but at most {self._max_seconds:.0f} s are "
                "allowed; cut it into parts"
            )
        if self._samples + frames * channels > self._max_seconds * MAX_CHANNELS * USUAL_RATE:
            raise UserError(
                f"{where}: {seconds:.0f} s of {channels} x {rate} Hz, as many samples as more than "
                f"{self._max_seconds:.0f} s of stereo at {USUAL_RATE} Hz; cut it into parts, or "
                f"{reasons.conversion(where, after=f'-ac 1 -ar {USUAL_RATE}')}"
            )
