"""Why a file is not decoded, in a line that names the mend."""

import shlex
from typing import BinaryIO

from diffusiontalker.containers import kinds, ogg, wav
from diffusiontalker.containers.kinds import Kind

EATEN = "whose zeros and line ends are gone; send it by curl --data-binary, not by -d"
"""Of a file."""


def refusal(found: Kind, head: bytes, where: str) -> str:
    """What a file is that is none of the four formats, and the mend."""
    told = f"{found.name}, not a readable audio file (wav, flac, ogg or mp3)"
    if found.demuxer is not None:
        return f"{told}; convert it: {mend(where)}"
    if found is kinds.UNKNOWN and is_eaten(head):
        return f"{told}, {EATEN}"
    if found is kinds.UNKNOWN:
        return f"{told}; if it is raw PCM: {mend(where, '-f s16le -ar RATE ')}"
    return f"{told}; {found.hint or 'give a recording'}"


def damage(file: BinaryIO, found: Kind, head: bytes, where: str, said: str) -> str:
    """Why a file of the four formats is not decoded, and the mend."""
    said = said.rstrip(". ")
    if found.format == "wav":
        tag, codec = wav.codec(file)
        if tag == wav.EXTENSIBLE:
            return (
                "not a readable audio file: a WAV of the extensible format that lacks its "
                "extension, so that its codec is unknown; export it again"
            )
        if "unimplemented" in said.lower() or tag not in (0, 1, 3):
            return f"not a readable audio file: a WAV of {codec} ({said}); {mend(where)}"
    if found.format == "ogg":
        return f"not a readable audio file: an Ogg of {ogg.codec(head)} ({said})"
    return f"not a readable audio file: damaged {found.name} ({said}); get or export it again"


def has_other_codec(file: BinaryIO, found: Kind, head: bytes) -> bool:
    """Whether a file that libsndfile does not decode may be whole, of a codec that it lacks."""
    if found.format == "wav":
        return wav.codec(file)[0] not in (0, 1, 3, wav.EXTENSIBLE)
    return found.format == "ogg" and ogg.codec(head) not in ("Vorbis", "Opus")


def mend(where: str, before: str = "", after: str = "-ac 1") -> str:
    """The command that makes a WAV of a file."""
    name = shlex.quote(where) if "." in where else "IN"  # not of one without a name
    return f"ffmpeg {before}-i {name} {after} OUT.wav"


def is_eaten(head: bytes) -> bool:
    """Whether bytes lack what every file of sound has, and ``curl -d`` leaves out."""
    return len(head) > 2000 and not any(letter in head for letter in b"\0\r\n")
