"""MP3 files: the parts of one that was joined or truncated, or has tags between its frames.

A decoder trusts the count of frames in a Xing or Info header and stops there. So the frames are
counted here: every such header begins a part, and a wrong count is corrected.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

from diffusiontalker.containers.parts import MAX_PARTS, Part, file_size, read

RATES = (44_100, 48_000, 32_000)
"""Hz of MPEG-1; MPEG-2 has half of it, 2.5 a quarter."""
BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""kbit/s of MPEG-1 and of MPEG-2, layer III."""
FRAME_HEAD = 64
"""First bytes of a frame that are read: a Xing header lies within them."""
MIN_FRAMES = 3
"""Consecutive frames that are taken as proof of MP3."""
MAX_FRAME_BYTES = 1442
"""Largest frame of layer III: 320 kbit/s at 32 kHz, rounded up."""
XING_BITRATE = 9 << 4
"""Bitrate bits, 128 or 80 kbit/s, of an inserted frame: a Xing header fits in it."""
MAX_JUNK = 1 << 20
"""Most bytes between frames, without tags, that are skipped in a file."""
SEARCH_BYTES = 1 << 14
"""Bytes that are searched for the next frame at a time."""
TAGS = (b"ID3", b"APETAGEX", b"TAG")


@dataclass(frozen=True)
class Frame:
    """Header of a layer III frame."""

    rate: int
    channels: int
    size: int
    """Bytes, with the header."""
    samples: int
    xing_offset: int
    """Offset of a Xing header, if there is one."""

    def compatible(self, other: "Frame | None") -> bool:
        """Whether both may be of one recording."""
        return other is not None and (self.rate, self.channels) == (other.rate, other.channels)


@dataclass
class _PartFrames:
    """The frames of a part, collected as they are found."""

    kind: Frame
    head: bytes
    stated: int | None
    """Count in the Xing header of the first frame; None: it has none."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    bitrates: set[int] = field(default_factory=set)

    def add(self, begin: int, end: int, bitrate: int) -> None:
        if self.spans and self.spans[-1][1] == begin:
            begin = self.spans.pop()[0]
        self.spans.append((begin, end))
        self.frames += 1
        self.bitrates.add(bitrate)

    @property
    def audio_frames(self) -> int:
        """Frames without the one that holds the Xing header."""
        return self.frames - (self.stated is not None)

    def part(self, cut: bool) -> Part:
        size = sum(end - begin for begin, end in self.spans)
        if self.stated is None:
            # A decoder estimates the length by the first bitrate: wrong where bitrates vary.
            varies = len(self.bitrates) > 1
            count = (_xing_frame(self.head, self.frames, size),) if varies else ()
            return Part((*count, *self.spans), cut)
        if abs(self.audio_frames - self.stated) <= 1:
            return Part(tuple(self.spans), cut)
        head = _corrected_xing(self.head, self.kind, self.audio_frames, size)
        (begin, end), *rest = self.spans
        return Part((head, (begin + len(head), end), *rest), cut)


@lru_cache(4096)
def frame(head: bytes) -> Frame | None:
    """The layer III frame header in four bytes; None where there is none, or its size is free."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, rate, bits = (head[1] >> 3) & 3, (head[2] >> 2) & 3, head[2] >> 4
    if version == 1 or rate == 3 or bits in (0, 15):
        return None
    is_mpeg1, mono = version == 3, head[3] >> 6 == 3
    hertz = RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 1152 if is_mpeg1 else 576
    size = samples // 8 * 1000 * BITRATES[not is_mpeg1][bits] // hertz + ((head[2] >> 1) & 1)
    side = (17 if mono else 32) if is_mpeg1 else (9 if mono else 17)
    return Frame(hertz, 1 if mono else 2, size, samples, 4 + side)


def is_frame_sequence(content: bytes) -> bool:
    """Whether bytes begin with ``MIN_FRAMES`` consecutive frames, or two that reach the end."""
    at = count = 0
    first = frame(content[:4])
    while count < MIN_FRAMES and (found := frame(content[at : at + 4])) and found.compatible(first):
        at, count = at + found.size, count + 1
    return count == MIN_FRAMES or (count == MIN_FRAMES - 1 and at >= len(content) - 3)


def parts(file: BinaryIO, seconds: float) -> list[Part]:
    """The recordings in an MP3 file, in order, until they exceed ``seconds``; none: it has no
    frames."""
    size, duration = file_size(file), 0.0
    sequences: list[_PartFrames] = []
    truncated = False
    for at, found, head in _frames(file, size):
        stated, is_vbri = _stated_frames(head, found), head[36:40] == b"VBRI"
        if (
            stated is not None
            or is_vbri
            or not sequences
            or not found.compatible(sequences[-1].kind)
        ):
            sequences.append(_PartFrames(found, head, stated))
        truncated = at + found.size > size
        if not is_vbri:  # a VBRI header, which libmpg123 would decode as sound
            sequences[-1].add(at, min(at + found.size, size), head[2] >> 4)
        duration += found.samples / found.rate
        if duration > seconds + 1 or len(sequences) > MAX_PARTS + 1:
            break
    # libmpg123 refuses a single frame.
    sequences = [sequence for sequence in sequences if sequence.audio_frames > 1]
    for sequence in sequences[-1:]:
        truncated |= sequence.stated is not None and sequence.audio_frames < sequence.stated - 1
    return [sequence.part(truncated and sequence is sequences[-1]) for sequence in sequences]


def _frames(file: BinaryIO, size: int) -> Iterator[tuple[int, Frame, bytes]]:
    """Position, header and first bytes of each frame; other bytes are skipped."""
    at, junk = _next_frame(file, 0, MAX_JUNK)
    kind: Frame | None = None
    while at < size:
        head = read(file, at, FRAME_HEAD)
        found = frame(head[:4])
        if found and (
            found.compatible(kind)
            or is_frame_sequence(read(file, at, MIN_FRAMES * MAX_FRAME_BYTES))
        ):
            yield at, found, head
            at, kind = at + found.size, found
        else:
            at, junk = _next_frame(file, at, junk)


def _next_frame(file: BinaryIO, at: int, junk: int) -> tuple[int, int]:
    """Position of the next frame from ``at`` on, or the end of the file; and how many bytes of junk
    may still be skipped."""
    while junk > 0:
        at = skip_tags(file, at)
        content = read(file, at, SEARCH_BYTES + MIN_FRAMES * MAX_FRAME_BYTES)
        tags = (content.find(magic, 1) for magic in TAGS)
        end = min((place for place in tags if place > 0), default=SEARCH_BYTES)
        place = content.find(b"\xff")
        while 0 <= place < end:
            if frame(content[place : place + 4]) and is_frame_sequence(content[place:]):
                # A search costs more than the bytes that it skips.
                return at + place, junk - (max(place, MAX_FRAME_BYTES) if place else 0)
            place = content.find(b"\xff", place + 1)
        if len(content) <= end:
            break
        at, junk = at + end, junk - max(end, MAX_FRAME_BYTES)
    return file_size(file), 0


def skip_tags(file: BinaryIO, at: int) -> int:
    """Position behind the tags at ``at``."""
    while head := read(file, at, 32):
        if head[:3] == b"ID3" and len(head) >= 10:
            length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            at += 10 + length + (10 if head[5] & 0x10 else 0)
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            # Its header, or a footer alone.
            is_head = head[23] & 0x20
            at += 32 + (struct.unpack_from("<I", head, 12)[0] if is_head else 0)
        elif head[:3] == b"TAG":
            at += 128
        else:
            break
    return at


def _stated_frames(head: bytes, found: Frame) -> int | None:
    """Count of frames in the Xing header of a frame, if it has one."""
    at = found.xing_offset
    if min(len(head), found.size) < FRAME_HEAD or head[at : at + 4] not in (b"Xing", b"Info"):
        return None
    return int.from_bytes(head[at + 8 : at + 12], "big") if head[at + 7] & 1 else None


def _xing_frame(head: bytes, frames: int, size: int) -> bytes:
    """A silent frame with a Xing header, for the frames that follow it."""
    plain = bytes([head[0], head[1] | 1, XING_BITRATE | head[2] & 0x0C, head[3]])
    found = frame(plain)
    assert found is not None
    count = b"Xing" + struct.pack(">III", 3, frames, size + found.size)
    return (plain + bytes(found.xing_offset - 4) + count).ljust(found.size, b"\0")


def _corrected_xing(head: bytes, found: Frame, frames: int, size: int) -> bytes:
    """The beginning of a frame with its Xing header corrected: count of frames and, if stated, of
    bytes."""
    at = found.xing_offset + 8
    counts = struct.pack(">I", frames) + (struct.pack(">I", size) if head[at - 1] & 2 else b"")
    return head[:at] + counts
