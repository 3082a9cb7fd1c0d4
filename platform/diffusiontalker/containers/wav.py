"""WAV files: parts of one that was joined, truncated, or written to a pipe without sizes."""

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from diffusiontalker.containers.parts import MAX_PARTS, Part, file_size, find, read

SIGNATURE = re.compile(rb"(?:RIFF|RIFX|RF64).{4}WAVE", re.DOTALL)
UNKNOWN_SIZE = 0x7FFF_0000
"""Sizes from here on are placeholders of programs that write to a pipe: 0x7FFFF000, 0xFFFFFFFF."""
SIZE_TOLERANCE = 64
"""Bytes by which a size may be too large because the header was included."""
MAX_CHUNKS = 1000
"""Most chunks that are searched for samples."""
MAX_DATA = 0xFFFF_0000
"""Most bytes of samples that fit the 32-bit sizes of WAV; RF64 has 64-bit ones."""
MAX_HEADER_CHUNK = 4096
"""Most bytes of a header chunk that are kept for the decoder."""
EXTENSIBLE = 0xFFFE
CODECS = {
    1: "PCM", 2: "Microsoft ADPCM", 3: "float", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM",
    0x31: "GSM 6.10", 0x40: "G.721 ADPCM", 0x42: "G.723.1", 0x45: "G.726 ADPCM",
    0x50: "MPEG audio", 0x55: "MP3", 0x92: "AC-3", 0xFF: "AAC", 0x160: "WMA", 0x161: "WMA",
    0x162: "WMA Pro", 0x163: "WMA lossless", 0x1600: "AAC", 0x1610: "AAC", 0x2000: "AC-3",
    0x2001: "DTS", 0x674F: "Vorbis", 0x6750: "Vorbis", 0x6751: "Vorbis", 0xF1AC: "FLAC",
}  # fmt: skip
Chunk = tuple[bytes, int, int]
"""Name, position of the content, and stated size."""


def is_wav(head: bytes) -> bool:
    """Whether a file with these first bytes is WAV."""
    return SIGNATURE.match(head) is not None


def parts(file: BinaryIO) -> list[Part]:
    """The recordings in a WAV file, in order, with headers of the right sizes; none where chunks
    are missing."""
    size, at = file_size(file), 0
    found: list[Part] = []
    while at < size and is_wav(read(file, at, 12)) and len(found) <= MAX_PARTS:
        part, at = _part(file, at, size)
        if part is not None:
            found.append(part)
    return found


def codec(file: BinaryIO) -> tuple[int, str]:
    """Number and name of the codec of a WAV file; 0: its header has none."""
    byte_order = _byte_order(file, 0)
    for name, at, count in _chunks(file, 0):
        if name != b"fmt ":
            continue
        content = read(file, at, min(count, MAX_HEADER_CHUNK))
        tag, bits = (struct.unpack_from(f"{byte_order}H", content.ljust(16), n)[0] for n in (0, 14))
        if tag == EXTENSIBLE and len(content) >= 40:
            tag = struct.unpack_from(f"{byte_order}H", content, 24)[0]
        known = CODECS.get(tag, f"codec 0x{tag:04X}")
        return tag, f"{known} of {bits} bits" if tag in (1, 3) else known
    return 0, "nothing"


def _part(file: BinaryIO, begin: int, size: int) -> tuple[Part | None, int]:
    """The recording at ``begin``, and the position of the next."""
    byte_order, size_64, header = _byte_order(file, begin), 0, b""
    for name, at, stated in _chunks(file, begin):
        content = read(file, at, min(stated, MAX_HEADER_CHUNK)) if name != b"data" else b""
        if name == b"ds64" and len(content) >= 16:
            (size_64,) = struct.unpack_from("<Q", content, 8)
        elif name in (b"fmt ", b"fact"):
            padding = b"\0" * (len(content) % 2)
            header += name + struct.pack(f"{byte_order}I", len(content)) + content + padding
        elif name == b"data":
            stated = size_64 if stated == 0xFFFF_FFFF and size_64 else stated
            next_file = _next_file(file, at + stated, size, byte_order)
            missing = at + stated - size
            if (
                stated == 0 and next_file is None
            ) or stated >= UNKNOWN_SIZE < missing + UNKNOWN_SIZE:
                # Its size is unknown: it ends at the next WAV header or at the end of the file.
                end = next(find(file, SIGNATURE, 12, at), size)
                return _rebuild(file, begin, header, (at, end), False), end
            if missing > 0 or next_file is None:
                return _rebuild(
                    file, begin, header, (at, min(at + stated, size)), missing > SIZE_TOLERANCE
                ), size
            if stated > MAX_DATA and begin == 0 and next_file == size:
                return Part(((0, size),)), size
            return _rebuild(file, begin, header, (at, at + stated), False), next_file
    return None, size


def _rebuild(
    file: BinaryIO, begin: int, header: bytes, samples: tuple[int, int], truncated: bool
) -> Part:
    """A part whose header has the right sizes."""
    byte_order, form = _byte_order(file, begin), read(file, begin, 4)
    count = min(samples[1] - samples[0], MAX_DATA)
    sizes = [struct.pack(f"{byte_order}I", n) for n in (12 + len(header) + count, count)]
    form = b"RIFX" if form == b"RIFX" else b"RIFF"
    start = form + sizes[0] + b"WAVE" + header + b"data" + sizes[1]
    return Part((start, (samples[0], samples[0] + count)), truncated)


def _next_file(file: BinaryIO, at: int, size: int, byte_order: str) -> int | None:
    """Position of the next WAV file, or of the end of this one, after samples that end ``at``; None
    where something other than chunks follows."""
    for _ in range(MAX_CHUNKS):
        for start in (at, at + at % 2):  # some writers leave the padding out
            head = read(file, start, 12)
            if is_wav(head):
                return start
            if _is_chunk_name(head[:4]) and len(head) >= 8:
                at = start + 8 + struct.unpack(f"{byte_order}I", head[4:8])[0]
                break
        else:
            return size if size - 1 <= at <= size + 1 else None
    return None


def _chunks(file: BinaryIO, begin: int) -> Iterator[Chunk]:
    """The chunks of the WAV file at ``begin``, up to the first that is not one."""
    at, byte_order = begin + 12, _byte_order(file, begin)
    for _ in range(MAX_CHUNKS):
        head = read(file, at, 8)
        if len(head) < 8 or not _is_chunk_name(head[:4]):
            return
        (count,) = struct.unpack(f"{byte_order}I", head[4:])
        yield head[:4], at + 8, count
        at += 8 + count
        if not _is_chunk_name(read(file, at, 4)):  # some writers leave the padding out
            at += at % 2


def _is_chunk_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= letter < 0x7F for letter in name)


def _byte_order(file: BinaryIO, begin: int) -> str:
    return ">" if read(file, begin, 4) == b"RIFX" else "<"
