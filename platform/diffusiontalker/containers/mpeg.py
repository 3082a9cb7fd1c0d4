"""MP3 files as they are met: joined, cut off, with tags between their frames.

A decoder believes the count of frames in the first frame of a file (Xing or Info), and stops there.
So the frames are counted; and every such count begins a part, whose own count is put right.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

from diffusiontalker.containers.parts import MOST, Part, read, size_of

RATES = (44_100, 48_000, 32_000)
"""Hz of MPEG-1; MPEG-2 has half of it, 2.5 a quarter."""
BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""kbit/s of MPEG-1 and of MPEG-2, layer III."""
HEAD = 64
"""Bytes of a frame that are looked at: its count, if it has one, lies in them."""
SURE = 3
"""Frames in a row that are no chance."""
LONGEST = 1442
"""Bytes of a frame of layer III, at 320 kbit/s and 32 kHz, rounded up."""
MIDDLE = 9 << 4
"""A bitrate, 128 or 80 kbit/s, in whose frames there is room for a count."""
JUNK = 1 << 20
"""Bytes between frames, tags not counted, that are passed over in all."""
WINDOW = 1 << 14
"""Bytes in which the next frame is looked for at once."""
TAGS = (b"ID3", b"APETAGEX", b"TAG")


@dataclass(frozen=True)
class Frame:
    """What the header of a frame of layer III says."""

    rate: int
    channels: int
    size: int
    """Bytes, with the header."""
    samples: int
    info: int
    """Where the count of frames would lie."""

    def like(self, other: "Frame | None") -> bool:
        """Whether both may stand in one recording."""
        return other is not None and (self.rate, self.channels) == (other.rate, other.channels)


@dataclass
class _Run:
    """The frames of a part, as they are found."""

    kind: Frame
    head: bytes
    counted: int | None
    """How many the first of them tells of; None: it tells nothing."""
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
    def sounding(self) -> int:
        """Frames but for the one that counts."""
        return self.frames - (self.counted is not None)

    def part(self, cut: bool) -> Part:
        size = sum(end - begin for begin, end in self.spans)
        if self.counted is None:
            # What a decoder makes of the first bitrate is wrong where that changes.
            varies = len(self.bitrates) > 1
            count = (_counting(self.head, self.frames, size),) if varies else ()
            return Part((*count, *self.spans), cut)
        if abs(self.sounding - self.counted) <= 1:
            return Part(tuple(self.spans), cut)
        head = _recounted(self.head, self.kind, self.sounding, size)
        (begin, end), *rest = self.spans
        return Part((head, (begin + len(head), end), *rest), cut)


@lru_cache(4096)
def frame(head: bytes) -> Frame | None:
    """The frame of layer III that four bytes begin; None where they begin none, or one whose size
    they do not tell."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, rate, bits = (head[1] >> 3) & 3, (head[2] >> 2) & 3, head[2] >> 4
    if version == 1 or rate == 3 or bits in (0, 15):
        return None
    old, mono = version == 3, head[3] >> 6 == 3
    hertz = RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 1152 if old else 576
    size = samples // 8 * 1000 * BITRATES[not old][bits] // hertz + ((head[2] >> 1) & 1)
    side = (17 if mono else 32) if old else (9 if mono else 17)
    return Frame(hertz, 1 if mono else 2, size, samples, 4 + side)


def begins(content: bytes) -> bool:
    """Whether so many frames follow each other at the beginning, or to the end, that it is no
    chance; two at least."""
    at = count = 0
    first = frame(content[:4])
    while count < SURE and (found := frame(content[at : at + 4])) and found.like(first):
        at, count = at + found.size, count + 1
    return count == SURE or (count == SURE - 1 and at >= len(content) - 3)


def parts(file: BinaryIO, seconds: float) -> list[Part]:
    """The recordings of an MP3 file, one behind the other, until there is more than ``seconds`` of
    them; none: it has no frames."""
    size, heard = size_of(file), 0.0
    runs: list[_Run] = []
    broken = False
    for at, found, head in _frames(file, size):
        counted, is_vbri = _counted(head, found), head[36:40] == b"VBRI"
        if counted is not None or is_vbri or not runs or not found.like(runs[-1].kind):
            runs.append(_Run(found, head, counted))
        broken = at + found.size > size
        if not is_vbri:  # which is a count that libmpg123 takes for sound
            runs[-1].add(at, min(at + found.size, size), head[2] >> 4)
        heard += found.samples / found.rate
        if heard > seconds + 1 or len(runs) > MOST + 1:
            break
    # A frame alone is no recording, and libmpg123 refuses it.
    runs = [run for run in runs if run.sounding > 1]
    for run in runs[-1:]:
        broken |= run.counted is not None and run.sounding < run.counted - 1
    return [run.part(broken and run is runs[-1]) for run in runs]


def _frames(file: BinaryIO, size: int) -> Iterator[tuple[int, Frame, bytes]]:
    """Place, header and first bytes of each frame. What is none is passed over."""
    at, junk = _start(file, 0, JUNK)
    kind: Frame | None = None
    while at < size:
        head = read(file, at, HEAD)
        found = frame(head[:4])
        if found and (found.like(kind) or begins(read(file, at, SURE * LONGEST))):
            yield at, found, head
            at, kind = at + found.size, found
        else:
            at, junk = _start(file, at, junk)


def _start(file: BinaryIO, at: int, junk: int) -> tuple[int, int]:
    """Where, from something that may be no frame on, the next one lies, and how much junk may still
    be passed over; the end of the file, if there is none."""
    while junk > 0:
        at = behind_tags(file, at)
        content = read(file, at, WINDOW + SURE * LONGEST)
        tags = (content.find(magic, 1) for magic in TAGS)
        end = min((place for place in tags if place > 0), default=WINDOW)
        place = content.find(b"\xff")
        while 0 <= place < end:
            if frame(content[place : place + 4]) and begins(content[place:]):
                # To look costs more than the bytes that are passed over.
                return at + place, junk - (max(place, LONGEST) if place else 0)
            place = content.find(b"\xff", place + 1)
        if len(content) <= end:
            break
        at, junk = at + end, junk - max(end, LONGEST)
    return size_of(file), 0


def behind_tags(file: BinaryIO, at: int) -> int:
    """Where something else than a tag begins."""
    while head := read(file, at, 32):
        if head[:3] == b"ID3" and len(head) >= 10:
            length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            at += 10 + length + (10 if head[5] & 0x10 else 0)
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            # At its head if it has one, or alone.
            is_head = head[23] & 0x20
            at += 32 + (struct.unpack_from("<I", head, 12)[0] if is_head else 0)
        elif head[:3] == b"TAG":
            at += 128
        else:
            break
    return at


def _counted(head: bytes, found: Frame) -> int | None:
    """How many frames follow, where a frame tells that."""
    at = found.info
    if min(len(head), found.size) < HEAD or head[at : at + 4] not in (b"Xing", b"Info"):
        return None
    return int.from_bytes(head[at + 8 : at + 12], "big") if head[at + 7] & 1 else None


def _counting(head: bytes, frames: int, size: int) -> bytes:
    """A frame like the one that begins so, without sound, that counts those behind it."""
    plain = bytes([head[0], head[1] | 1, MIDDLE | head[2] & 0x0C, head[3]])
    found = frame(plain)
    assert found is not None
    count = b"Xing" + struct.pack(">III", 3, frames, size + found.size)
    return (plain + bytes(found.info - 4) + count).ljust(found.size, b"\0")


def _recounted(head: bytes, found: Frame, frames: int, size: int) -> bytes:
    """The beginning of a frame that counts, with the right counts: of bytes too, if it has one."""
    at = found.info + 8
    counts = struct.pack(">I", frames) + (struct.pack(">I", size) if head[at - 1] & 2 else b"")
    return head[:at] + counts
