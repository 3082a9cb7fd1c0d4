"""MP3 files as they are met: joined, cut off, with tags between their frames.

A decoder believes the count of frames in the first frame of a file (Xing, Info or VBRI), and stops
there. So the frames are counted; and every such count begins a part, whose own count is put right.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
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
    counted: tuple[int, int] | None
    """Where in the head the count stands, and what it is."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0

    def add(self, begin: int, end: int) -> None:
        if self.spans and self.spans[-1][1] == begin:
            begin = self.spans.pop()[0]
        self.spans.append((begin, end))
        self.frames += 1

    def part(self, last: bool, broken: bool) -> Part:
        cut = last and broken
        if self.counted is None:
            return Part(tuple(self.spans), cut)
        at, count = self.counted
        frames = self.frames - 1  # but for the one that counts
        if abs(frames - count) <= 1:
            return Part(tuple(self.spans), cut)
        size = sum(end - begin for begin, end in self.spans)
        head = self.head[:at] + _sizes(self.head, at, frames, size)
        (begin, end), *rest = self.spans
        return Part((head, (begin + len(head), end), *rest), cut or (last and frames < count))


@cache
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
        counted = _counted(head, found)
        if counted is not None or not runs or not found.like(runs[-1].kind):
            runs.append(_Run(found, head, counted))
        broken = at + found.size > size
        runs[-1].add(at, min(at + found.size, size))
        heard += found.samples / found.rate
        if heard > seconds + 1 or len(runs) > MOST:
            break
    return [run.part(run is runs[-1], broken) for run in runs]


def _frames(file: BinaryIO, size: int) -> Iterator[tuple[int, Frame, bytes]]:
    """Place, header and first bytes of each frame. What is none is passed over."""
    at, junk = _start(file, 0, JUNK)
    while at < size:
        head = read(file, at, HEAD)
        if (found := frame(head[:4])) is None:
            behind, junk = _start(file, at, junk)
            if behind == at:
                return
            at = behind
            continue
        yield at, found, head
        at += found.size


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


def _counted(head: bytes, found: Frame) -> tuple[int, int] | None:
    """Where in a frame's head its count of frames stands, and what it is, if it has one."""
    at = found.info
    if head[at : at + 4] in (b"Xing", b"Info") and head[at + 7] & 1:
        return at + 8, struct.unpack_from(">I", head, at + 8)[0]
    if head[36:40] == b"VBRI":
        return 36 + 14, struct.unpack_from(">I", head, 36 + 14)[0]
    return None


def _sizes(head: bytes, at: int, frames: int, size: int) -> bytes:
    """What stands there when the count is put right: of bytes too, if they are told."""
    if head[36:40] == b"VBRI":
        return struct.pack(">I", frames)
    told = head[at - 1] & 2
    return struct.pack(">I", frames) + (struct.pack(">I", size) if told else b"")
