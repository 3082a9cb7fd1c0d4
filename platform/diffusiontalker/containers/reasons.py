"""Error messages for files that are not decoded: the reason, and what to do."""

import shlex
from typing import BinaryIO

from diffusiontalker.containers import kinds, ogg, wav
from diffusiontalker.containers.kinds import Kind

LOST_CONTROL_BYTES = "whose zeros and line ends are gone; send it by curl --data-binary, not by -d"
"""Follows the kind of a file."""


def unsupported(kind: Kind, head: bytes, where: str) -> str:
    """Message for a file in none of the four formats."""
    text = f"{kind.name}, not a readable audio file (wav, flac, ogg or mp3)"
    if kind.demuxer is not None:
        return f"{text}; convert it: {conversion(where)}"
    if kind is kinds.UNKNOWN and lost_control_bytes(head):
        return f"{text}, {LOST_CONTROL_BYTES}"
    if kind is kinds.UNKNOWN:
        return f"{text}; if it is raw PCM: {conversion(where, '-f s16le -ar RATE ')}"
    return f"{text}; {kind.hint or 'give a recording'}"


def damaged(file: BinaryIO, kind: Kind, head: bytes, where: str, message: str) -> str:
    """Message for a file of the four formats that cannot be decoded."""
    message = message.rstrip(". ")
    if kind.format == "wav":
        tag, codec = wav.codec(file)
        if tag == wav.EXTENSIBLE:
            return (
                "not a readable audio file: a WAV of the extensible format that lacks its "
                "extension, so that its codec is unknown; export it again"
            )
        if "unimplemented" in message.lower() or tag not in (0, 1, 3):
            return f"not a readable audio file: a WAV of {codec} ({message}); {conversion(where)}"
    if kind.format == "ogg":
        return f"not a readable audio file: an Ogg of {ogg.codec(head)} ({message})"
    return f"not a readable audio file: damaged {kind.name} ({message}); get or export it again"


def has_other_codec(file: BinaryIO, kind: Kind, head: bytes) -> bool:
    """Whether a file may be intact, but of a codec that libsndfile lacks."""
    if kind.format == "wav":
        return wav.codec(file)[0] not in (0, 1, 3, wav.EXTENSIBLE)
    return kind.format == "ogg" and ogg.codec(head) not in ("Vorbis", "Opus")


def conversion(where: str, before: str = "", after: str = "-ac 1") -> str:
    """The FFmpeg command that converts a file to WAV."""
    name = shlex.quote(where) if "." in where else "IN"  # where it is a file name
    return f"ffmpeg {before}-i {name} {after} OUT.wav"


def lost_control_bytes(head: bytes) -> bool:
    """Whether bytes lack zeros and line ends, which ``curl -d`` removes from audio files."""
    return len(head) > 2000 and not any(letter in head for letter in b"\0\r\n")
