"""WAV files as they are met: joined, cut off, or written to a pipe without their sizes."""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from diffusiontalker.containers.parts import MOST, Part, find, read, size_of

BEGINS = re.compile(rb"(?:RIFF|RIFX|RF64).{4}WAVE", re.DOTALL)
UNKNOWN = 0x7FFF_0000
"""Sizes from here on are what programs write that do not know them: 0x7FFFF000, 0xFFFFFFFF."""
SLOPPY = 64
"""Bytes by which a size may be too large because a header was counted in."""
CHUNKS = 1000
"""Chunks that are looked at, in the hope of samples."""
LONGEST = 0xFFFF_0000
"""Bytes of samples for which the sizes of WAV are large enough; RF64 has others."""
LARGEST = 4096
"""Bytes of a chunk that a decoder needs."""
EXTENSIBLE = 0xFFFE
CODECS = {
    1: "PCM", 2: "Microsoft ADPCM", 3: "float", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM",
    0x31: "GSM 6.10", 0x40: "G.721 ADPCM", 0x42: "G.723.1", 0x45: "G.726 ADPCM",
    0x50: "MPEG audio", 0x55: "MP3", 0x92: "AC-3", 0xFF: "AAC", 0x160: "WMA", 0x161: "WMA",
    0x162: "WMA Pro", 0x163: "WMA lossless", 0x1600: "AAC", 0x1610: "AAC", 0x2000: "AC-3",
    0x2001: "DTS", 0x674F: "Vorbis", 0x6750: "Vorbis", 0x6751: "Vorbis", 0xF1AC: "FLAC",
}  # fmt: skip
Chunk = tuple[bytes, int, int]
"""Its name, where its content begins, and the size that it claims."""


def is_wav(head: bytes) -> bool:
    """Whether a file that begins so is WAV."""
    return BEGINS.match(head) is not None


def parts(file: BinaryIO) -> list[Part]:
    """The recordings of a WAV file, one behind the other, with headers whose sizes are right; none
    where chunks are missing."""
    size, at = size_of(file), 0
    found: list[Part] = []
    while at < size and is_wav(read(file, at, 12)) and len(found) <= MOST:
        part, at = _part(file, at, size)
        if part is not None:
            found.append(part)
    return found


def codec(file: BinaryIO) -> tuple[int, str]:
    """The codec of a WAV file by its number and its name; 0: its header has none."""
    order = _order(file, 0)
    for name, at, count in _chunks(file, 0):
        if name != b"fmt ":
            continue
        content = read(file, at, min(count, LARGEST))
        tag, bits = (struct.unpack_from(f"{order}H", content.ljust(16), n)[0] for n in (0, 14))
        if tag == EXTENSIBLE and len(content) >= 40:
            tag = struct.unpack_from(f"{order}H", content, 24)[0]
        known = CODECS.get(tag, f"codec 0x{tag:04X}")
        return tag, f"{known} of {bits} bits" if tag in (1, 3) else known
    return 0, "nothing"


def _part(file: BinaryIO, begin: int, size: int) -> tuple[Part | None, int]:
    """The recording that begins there, and where the next may."""
    order, wide, header = _order(file, begin), 0, b""
    for name, at, claimed in _chunks(file, begin):
        content = read(file, at, min(claimed, LARGEST)) if name != b"data" else b""
        if name == b"ds64" and len(content) >= 16:
            (wide,) = struct.unpack_from("<Q", content, 8)
        elif name in (b"fmt ", b"fact"):
            padding = b"\0" * (len(content) % 2)
            header += name + struct.pack(f"{order}I", len(content)) + content + padding
        elif name == b"data":
            claimed = wide if claimed == 0xFFFF_FFFF and wide else claimed
            following = _following(file, at + claimed, size, order)
            missing = at + claimed - size
            if (claimed == 0 and following is None) or claimed >= UNKNOWN < missing + UNKNOWN:
                # Its size is unknown: another file's header alone can end it before the file does.
                end = next(find(file, BEGINS, 12, at), size)
                return _rebuilt(file, begin, header, (at, end), False), end
            if missing > 0 or following is None:
                return _rebuilt(
                    file, begin, header, (at, min(at + claimed, size)), missing > SLOPPY
                ), size
            if claimed > LONGEST and begin == 0 and following == size:
                return Part(((0, size),)), size
            return _rebuilt(file, begin, header, (at, at + claimed), False), following
    return None, size


def _rebuilt(
    file: BinaryIO, begin: int, header: bytes, samples: tuple[int, int], cut: bool
) -> Part:
    """A part whose header tells the right sizes."""
    order, form = _order(file, begin), read(file, begin, 4)
    count = min(samples[1] - samples[0], LONGEST)
    sizes = [struct.pack(f"{order}I", n) for n in (12 + len(header) + count, count)]
    form = b"RIFX" if form == b"RIFX" else b"RIFF"
    start = form + sizes[0] + b"WAVE" + header + b"data" + sizes[1]
    return Part((start, (samples[0], samples[0] + count)), cut)


def _following(file: BinaryIO, at: int, size: int, order: str) -> int | None:
    """Where another WAV file begins behind samples that end ``at``, or their own file ends; None
    where something else than chunks follows."""
    for _ in range(CHUNKS):
        for start in (at, at + at % 2):  # some writers leave the padding out
            head = read(file, start, 12)
            if is_wav(head):
                return start
            if _is_name(head[:4]) and len(head) >= 8:
                at = start + 8 + struct.unpack(f"{order}I", head[4:8])[0]
                break
        else:
            return size if size - 1 <= at <= size + 1 else None
    return None


def _chunks(file: BinaryIO, begin: int) -> Iterator[Chunk]:
    """The chunks of the file that begins there, as far as there are any."""
    at, order = begin + 12, _order(file, begin)
    for _ in range(CHUNKS):
        head = read(file, at, 8)
        if len(head) < 8 or not _is_name(head[:4]):
            return
        (count,) = struct.unpack(f"{order}I", head[4:])
        yield head[:4], at + 8, count
        at += 8 + count
        if not _is_name(read(file, at, 4)):  # some writers leave the padding out
            at += at % 2


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= letter < 0x7F for letter in name)


def _order(file: BinaryIO, begin: int) -> str:
    return ">" if read(file, begin, 4) == b"RIFX" else "<"
