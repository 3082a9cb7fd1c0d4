"""The kind of a file by its first bytes: for error messages, and to choose a decoder."""

import base64
import codecs
import re
from dataclasses import dataclass
from typing import Literal

from diffusiontalker.containers import mpeg, wav
from diffusiontalker.errors import UserError

Format = Literal["wav", "flac", "ogg", "mp3"]
HEAD_BYTES = 8192
"""First bytes that are examined."""


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    name: str
    format: Format | None = None
    """None: not one of the four supported formats."""
    demuxer: str | None = None
    """Name of FFmpeg's demuxer; None: it holds no sound."""
    hint: str | None = None
    """What to do, where FFmpeg cannot help."""


UNKNOWN = Kind("of no known kind")
_WAV, _FLAC = Kind("WAV", "wav", "wav"), Kind("FLAC", "flac", "flac")
_OGG, MP3 = Kind("Ogg", "ogg", "ogg"), Kind("MP3", "mp3", "mp3")
_AAC = Kind("AAC (ADTS)", demuxer="aac")
_MP4 = Kind("MP4 or QuickTime (m4a, mp4, mov)", demuxer="mov")
_MP2 = Kind("MPEG audio of layer II (mp2)", demuxer="mp3")
_ARCHIVE = "unpack it"
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"fLaC", _FLAC),
    (0, b"OggS", _OGG),
    (0, b"\x1a\x45\xdf\xa3", Kind("WebM or Matroska (webm, mkv)", demuxer="matroska")),
    (4, b"ftyp", _MP4),
    (0, b"FORM", Kind("AIFF", demuxer="aiff")),
    (0, b"caff", Kind("Core Audio (caf)", demuxer="caf")),
    (0, b"riff\x2e\x91\xcf\x11", Kind("Wave64 (w64)", demuxer="w64")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind("Windows Media (wma)", demuxer="asf")),
    (0, b"#!AMR", Kind("AMR", demuxer="amr")),
    (0, b".snd", Kind("Sun audio (au)", demuxer="au")),
    (0, b"wvpk", Kind("WavPack", demuxer="wv")),
    (0, b"MAC ", Kind("Monkey's Audio (ape)", demuxer="ape")),
    (0, b"FLV\x01", Kind("Flash video", demuxer="flv")),
    (0, b"NIST_1A", Kind("NIST SPHERE", demuxer="nistsphere")),
)
"""Signatures so long that raw samples hardly ever match."""
_SHORT_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (4, b"moov", _MP4),
    (4, b"mdat", _MP4),
    (4, b"wide", _MP4),
    (4, b"free", _MP4),
    (0, b"\x00\x00\x01\xba", Kind("an MPEG video", demuxer="mpeg")),
    (0, b"\xff\xfd", _MP2),
    (0, b"\xff\xfc", _MP2),
    (0, b"\xff\xf5", _MP2),
    (0, b"\xff\xf4", _MP2),
    (0, b"\x0b\x77", Kind("AC-3", demuxer="ac3")),
    (0, b"PK\x03\x04", Kind("a ZIP archive", hint=_ARCHIVE)),
    (0, b"\x1f\x8b", Kind("a gzip archive", hint=_ARCHIVE)),
    (0, b"7z\xbc\xaf", Kind("a 7z archive", hint=_ARCHIVE)),
    (0, b"Rar!", Kind("a RAR archive", hint=_ARCHIVE)),
    (0, b"%PDF", Kind("a PDF")),
    (0, b"\x89PNG", Kind("a picture")),
    (0, b"\xff\xd8\xff", Kind("a picture")),
    (0, b"GIF8", Kind("a picture")),
    (0, b"\x93NUMPY", Kind("a NumPy array", hint="write its samples as WAV")),
    (0, b"MATLAB", Kind("a MATLAB file", hint="write its samples with audiowrite")),
    (0, b"\x89HDF", Kind("an HDF5 file", hint="write its samples as WAV")),
    (0, b" paf", Kind("Ensoniq PARIS (paf)")),
    (0, b"fap ", Kind("Ensoniq PARIS (paf)")),
    (0, b"MThd", Kind("MIDI", hint="it holds notes, no sound")),
)
_TEXTS: tuple[tuple[re.Pattern[bytes], Kind], ...] = (
    (re.compile(rb"version https://git-lfs"), Kind("a Git LFS pointer", hint="run git lfs pull")),
    (re.compile(rb"outs:\s*-"), Kind("a DVC pointer", hint="run dvc pull")),
    (re.compile(rb"(?i)<!doctype html|<html"), Kind("an HTML page", hint="download it again")),
    (re.compile(rb"<\?xml|<[A-Za-z]"), Kind("XML", hint="download it again")),
    (re.compile(rb"data:[a-z]+/[^,]{0,80},"), Kind("a data: URL", hint="decode its base64 part")),
    (re.compile(rb"[{\[]"), Kind("JSON", hint="it holds text: an error, or sound as base64")),
)  # fmt: skip
_BASE64 = re.compile(rb"[A-Za-z0-9+/\r\n]{24,}={0,2}\s*")


def kind(head: bytes) -> Kind:
    """The kind of a file by its first bytes, up to ``HEAD_BYTES``; or ``UNKNOWN``."""
    return _by_signature(head) or _lookup(head, _SHORT_MAGIC) or _text(head) or UNKNOWN


class PcmGuard:
    """Rejects an audio file that is sent in place of raw PCM, by its first bytes.

    Raw samples hardly ever match: a signature is at least four bytes, or a sequence of frames.
    """

    def __init__(self, where: str, rate: int) -> None:
        """``where`` names it in errors; ``rate`` of the samples in Hz."""
        self._where, self._rate, self._head = where, rate, b""

    def __call__(self, content: bytes) -> None:
        """Check the next bytes. Raises UserError: they are of a file."""
        if len(self._head) >= HEAD_BYTES:
            return
        self._head += content[: HEAD_BYTES - len(self._head)]
        if (found := _by_signature(self._head)) is not None:
            raise UserError(
                f"{self._where}: is a file ({found.name}), not raw PCM; decode it first: ffmpeg "
                f"-i IN -f s16le -ac 1 -ar {self._rate} -"
            )


def _by_signature(head: bytes) -> Kind | None:
    if wav.is_wav(head):
        return _WAV
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return Kind("AVI", demuxer="avi")
    if head[:3] == b"ID3" and len(head) >= 10 and head[3] < 16 and max(head[6:10]) < 128:
        return MP3
    if mpeg.is_frame_sequence(head):
        return MP3
    if _is_adts(head):
        return _AAC
    return _lookup(head, _MAGIC)


def _lookup(head: bytes, magic: tuple[tuple[int, bytes, Kind], ...]) -> Kind | None:
    return next((found for at, first, found in magic if head[at:].startswith(first)), None)


def _is_adts(head: bytes) -> bool:
    """Whether two AAC frames follow each other."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return False
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size > 7 and head[size : size + 2] == head[:2] and head[size + 2 : size + 3] == head[2:3]


def _text(head: bytes) -> Kind | None:
    if not any(head):
        return Kind("nothing but zeros", hint="get it again") if len(head) > 16 else None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, found in _TEXTS:
        if pattern.match(start):
            return found
    if _BASE64.fullmatch(start):
        letters = b"".join(start.split()).rstrip(b"=")
        inside = kind(base64.b64decode(letters[: len(letters) // 4 * 4]))
        if inside.format or inside.demuxer:
            return Kind(f"base64 of {inside.name}", hint="decode it: base64 -d IN > OUT")
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return None
    return Kind("text") if all(c.isprintable() or c.isspace() for c in text) else None
