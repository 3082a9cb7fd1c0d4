"""A part of a file, such as one of several recordings joined, as a file of its own.

Nothing is copied: a part is spans of the file, and bytes that replace damaged ones.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Span = tuple[int, int] | bytes
"""Begin and end in the file, or bytes that are read instead."""
SEARCH_BLOCK = 1 << 20
"""Bytes that ``find`` reads at a time."""
MAX_PARTS = 4096
"""Most parts of a file: the work that one upload may cause is bounded."""


@dataclass(frozen=True)
class Part:
    """A recording within a file."""

    spans: tuple[Span, ...]
    truncated: bool = False
    """Whether its end is missing."""


class PartReader(io.RawIOBase):
    """A part of an open file, read as if it were a file: read-only, seekable."""

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file, self._spans = file, part.spans
        sizes = (len(s) if isinstance(s, bytes) else s[1] - s[0] for s in part.spans)
        self._starts = list(accumulate(sizes, initial=0))
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As ``io.RawIOBase.seek``."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        self._at = max(origin + offset, 0)
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """As ``io.RawIOBase.readinto``; fewer bytes only at the end."""
        into, done = memoryview(buffer).cast("B"), 0
        for span, first, end in zip(self._spans, self._starts, self._starts[1:], strict=False):
            if not first <= self._at < end:
                continue
            offset, count = self._at - first, min(end - self._at, len(into) - done)
            if isinstance(span, bytes):
                into[done : done + count] = span[offset : offset + count]
            else:
                content = read(self._file, span[0] + offset, count)
                count = len(content)
                into[done : done + count] = content
            done += count
            self._at += count
            if done == len(into):
                break
        return done


def file_size(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return file.seek(0, io.SEEK_END)


def read(file: BinaryIO, at: int, count: int) -> bytes:
    """``count`` bytes of a file at a position, fewer at its end."""
    file.seek(at)
    return file.read(count)


def find(file: BinaryIO, pattern: re.Pattern[bytes], length: int, at: int = 0) -> Iterator[int]:
    """Positions of a pattern of ``length`` bytes in a file, from ``at`` on."""
    tail = b""
    while block := read(file, at, SEARCH_BLOCK):
        content, first = tail + block, at - len(tail)
        yield from (first + found.start() for found in pattern.finditer(content))
        tail = content[-(length - 1) :]
        at += len(block)
